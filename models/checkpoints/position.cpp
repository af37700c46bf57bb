#include "models/checkpoints/position.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

constexpr std::array<const char*, 6> filter_names{"bicubic",         "bicubic-antialias", "bicubic-offset",
                                                  "bicubic-corners", "bilinear",          "bilinear-corners"};

// Keys' cubic (IEEE Trans. ASSP 29, 1981) at distance x.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

bool has_corners(PositionFilter filter) {
  return filter == PositionFilter::bicubic_corners || filter == PositionFilter::bilinear_corners;
}

// Of two or four rows around a place: those beyond the border give their weight to the last one.
Taps around(double place, int64_t old_count, bool linear) {
  const double floor = std::floor(place), t = place - floor;
  const auto at = static_cast<int64_t>(floor);
  constexpr double a = -0.75;
  const std::vector<double> weights =
      linear ? std::vector{1 - t, t}
             : std::vector{cubic(t + 1, a), cubic(t, a), cubic(1 - t, a), cubic(2 - t, a)};
  const int64_t begin = at - (linear ? 0 : 1), end = begin + static_cast<int64_t>(weights.size());
  const auto inside = [&](int64_t row) { return std::clamp<int64_t>(row, 0, old_count - 1); };
  Taps out{inside(begin), std::vector<double>(static_cast<size_t>(inside(end - 1) - inside(begin) + 1))};
  for (int64_t row = begin; row < end; ++row)
    out.weights[static_cast<size_t>(inside(row) - out.first)] += weights[static_cast<size_t>(row - begin)];
  return out;
}

// Of all rows that the stretched cubic reaches.
Taps stretched(double scale, int64_t i, int64_t old_count) {
  constexpr double a = -0.5;
  const double stretch = std::max(scale, 1.0), support = 2 * stretch,
               center = scale * (static_cast<double>(i) + 0.5);
  const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0),
                last = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), old_count);
  Taps out{first, {}};
  double sum = 0;
  for (int64_t row = first; row < last; ++row) {
    out.weights.push_back(cubic((static_cast<double>(row) - center + 0.5) / stretch, a));
    sum += out.weights.back();
  }
  for (double& weight : out.weights) weight /= sum;
  return out;
}

}  // namespace

const char* name_of(PositionFilter filter) { return filter_names.at(static_cast<size_t>(filter)); }

std::optional<PositionFilter> position_filter_named(std::string_view name) {
  for (const PositionFilter filter : all_position_filters)
    if (name == name_of(filter)) return filter;
  return std::nullopt;
}

std::vector<Taps> taps(PositionFilter filter, int64_t old_count, int64_t count) {
  check(old_count > 0 && count > 0, "positions: expected rows, got {} and {}", old_count, count);
  const auto g = static_cast<double>(old_count), n = static_cast<double>(count);
  const bool linear = filter == PositionFilter::bilinear || filter == PositionFilter::bilinear_corners;
  double scale = filter == PositionFilter::bicubic_offset ? g / (n + 0.1) : g / n;
  if (has_corners(filter)) scale = count > 1 ? (g - 1) / (n - 1) : 0;
  std::vector<Taps> out;
  for (int64_t i = 0; i < count; ++i) {
    if (filter == PositionFilter::bicubic_antialias) {
      out.push_back(stretched(scale, i, old_count));
      continue;
    }
    const auto at = static_cast<double>(i);
    const double place = has_corners(filter) ? scale * at : scale * (at + 0.5) - 0.5;
    out.push_back(around(linear ? std::max(place, 0.0) : place, old_count, linear));
  }
  return out;
}

Tensor resampled(const Tensor& embedding, int64_t prefix, int64_t count, PositionFilter filter) {
  const Shape& shape = embedding.shape();
  check(shape.rank() == 3 && shape.dim(0) == 1 && prefix >= 0 && prefix < shape.dim(1),
        "positions: expected (1, rows, width) with more than {} rows, got {}", prefix, shape);
  check(is_floating(embedding.dtype()), "positions: expected floating-point numbers, got {}",
        name_of(embedding.dtype()));
  const int64_t rows = shape.dim(1) - prefix, width = shape.dim(2);
  const auto g = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(rows))));
  check(g * g == rows, "positions: {} rows are no square", rows);
  const std::vector<Taps> lines = taps(filter, g, count);
  const Tensor wide = embedding.to(DType::f64);
  const double* old = wide.data<double>().data();
  const int64_t first = prefix * width;

  // Along the rows of the grid, then along its columns: (g, g, D) -> (g, n, D) -> (n, n, D).
  std::vector<double> half(static_cast<size_t>(g * count * width)), sum(static_cast<size_t>(width));
  for (int64_t y = 0; y < g; ++y)
    for (int64_t x = 0; x < count; ++x) {
      const Taps& line = lines[static_cast<size_t>(x)];
      double* to = half.data() + (y * count + x) * width;
      for (size_t k = 0; k < line.weights.size(); ++k) {
        const double* from = old + first + (y * g + line.first + static_cast<int64_t>(k)) * width;
        for (int64_t d = 0; d < width; ++d) to[d] += line.weights[k] * from[d];
      }
    }
  Tensor out = Tensor::empty({1, prefix + count * count, width}, DType::f32);
  float* to = out.mutable_data<float>().data();
  for (int64_t i = 0; i < first; ++i) *to++ = static_cast<float>(old[i]);
  for (int64_t y = 0; y < count; ++y)
    for (int64_t x = 0; x < count; ++x) {
      const Taps& line = lines[static_cast<size_t>(y)];
      std::fill(sum.begin(), sum.end(), 0.0);
      for (size_t k = 0; k < line.weights.size(); ++k) {
        const double* from = half.data() + ((line.first + static_cast<int64_t>(k)) * count + x) * width;
        for (int64_t d = 0; d < width; ++d) sum[static_cast<size_t>(d)] += line.weights[k] * from[d];
      }
      for (const double value : sum) *to++ = static_cast<float>(value);
    }
  return out.seal();
}

TensorFile with_image_size(TensorFile checkpoint, const VitConfig& config, int64_t size,
                           PositionFilter filter) {
  VitConfig c = config;
  c.image_size = size;
  check_config(c);
  const Tensor embedding = checkpoint.at("pos_embed");
  check(embedding.shape() == Shape{1, config.positions(), c.width},
        "{}: tensor 'pos_embed': expected {}, got {}", checkpoint.name, Shape{1, config.positions(), c.width},
        embedding.shape());
  if (size != config.image_size)
    checkpoint.tensors["pos_embed"] =
        resampled(embedding, config.prefix_positions ? config.prefix() : 0, size / c.patch, filter);
  checkpoint.metadata["config"] = config_to_json(c);
  return checkpoint;
}

}  // namespace vitrine
