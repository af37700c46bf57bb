// resize.cpp: two-pass resampling with integer weights, crops and mirrors.
#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/check.h"

namespace vitrine {
namespace {

// weights are at most 1.x, bytes take 8 bits, two are left for the sum's sign and range
constexpr int fraction_bits = 22;

constexpr double pi = 3.14159265358979323846;

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) { return std::max(0.0, 1.0 - std::fabs(x)); }

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * pi) / (x * pi); }

// The window's constants are f32 in Pillow.
double hamming(double x) {
  x = std::fabs(x);
  if (x >= 1.0) return 0.0;
  return sinc(x) * (double{0.54f} + double{0.46f} * std::cos(x * pi));
}

// Keys' cubic convolution with a = -1/2.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

double lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

struct Shape {
  double (*weight)(double);
  double support;  // no weight further from the middle
};

Shape shape_of(Filter filter) {
  switch (filter) {
    case Filter::box:
      return {box, 0.5};
    case Filter::bilinear:
      return {bilinear, 1.0};
    case Filter::hamming:
      return {hamming, 1.0};
    case Filter::bicubic:
      return {bicubic, 2.0};
    case Filter::lanczos:
      return {lanczos, 3.0};
    case Filter::nearest:
      break;
  }
  fail(Fault::input, "resize: expected a filter with weights");
}

// Which inputs make up each output along one axis, and their integer weights.
struct Taps {
  struct Range {
    int begin, count;
  };
  std::vector<Range> ranges;
  std::vector<int32_t> weights;  // `most` for each output
  int most = 0;

  const int32_t* of(int output) const { return weights.data() + size_t(output) * size_t(most); }
};

Taps taps(int in, int out, Filter filter) {
  const double scale = static_cast<double>(in) / out, stretch = std::max(scale, 1.0);
  const Shape shape = shape_of(filter);
  const double support = shape.support * stretch, inverse = 1.0 / stretch;
  Taps t;
  t.most = static_cast<int>(std::ceil(support)) * 2 + 1;
  t.ranges.resize(size_t(out));
  t.weights.resize(size_t(out) * size_t(t.most));
  std::vector<double> real(size_t(t.most));
  for (int o = 0; o < out; ++o) {
    const double center = (o + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in) - begin;
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      const double x = (begin + k - center + 0.5) * inverse;
      real[size_t(k)] = shape.weight(x);
      sum += real[size_t(k)];
    }
    int32_t* weight = t.weights.data() + size_t(o) * size_t(t.most);
    for (int k = 0; k < count; ++k) {
      const double w = sum != 0.0 ? real[size_t(k)] / sum : real[size_t(k)];
      weight[k] = static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << fraction_bits));
    }
    t.ranges[size_t(o)] = {begin, count};
  }
  return t;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> fraction_bits, 0, 255)); }

constexpr int32_t half = 1 << (fraction_bits - 1);

// Rows [first, first + rows) of `image`, each resampled to `width` pixels.
Image resample_rows(const Image& image, int width, int first, int rows, Filter filter) {
  const Taps t = taps(image.width, width, filter);
  Image result = blank_image(width, rows);
  uint8_t* out = result.rgb.data();
  for (int y = 0; y < rows; ++y) {
    const uint8_t* row = image.rgb.data() + size_t(first + y) * size_t(image.width) * 3;
    for (int x = 0; x < width; ++x, out += 3) {
      const auto [begin, count] = t.ranges[size_t(x)];
      const int32_t* weight = t.of(x);
      const uint8_t* in = row + size_t(begin) * 3;
      int32_t r = half, g = half, b = half;
      for (int k = 0; k < count; ++k, in += 3) {
        r += in[0] * weight[k];
        g += in[1] * weight[k];
        b += in[2] * weight[k];
      }
      out[0] = to_byte(r);
      out[1] = to_byte(g);
      out[2] = to_byte(b);
    }
  }
  return result;
}

// Every column resampled by `t`, whose inputs are numbered from `first` at the image's row 0.
Image resample_columns(const Image& image, int height, const Taps& t, int first) {
  Image result = blank_image(image.width, height);
  const size_t row = size_t(image.width) * 3;
  std::vector<int32_t> sums(row);
  for (int y = 0; y < height; ++y) {
    const auto [begin, count] = t.ranges[size_t(y)];
    std::fill(sums.begin(), sums.end(), half);
    for (int k = 0; k < count; ++k) {
      const uint8_t* in = image.rgb.data() + size_t(begin - first + k) * row;
      const int32_t weight = t.of(y)[k];
      for (size_t i = 0; i < row; ++i) sums[i] += in[i] * weight;
    }
    uint8_t* out = result.rgb.data() + size_t(y) * row;
    for (size_t i = 0; i < row; ++i) out[i] = to_byte(sums[i]);
  }
  return result;
}

// Which input each output of `nearest` takes. Pillow adds the scale up, so we do: the sums' rounding decides where
// a middle falls between two pixels.
std::vector<int> nearest_inputs(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  std::vector<int> inputs(static_cast<size_t>(out));
  double middle = scale * 0.5;
  for (int& input : inputs) {
    input = static_cast<int>(middle);
    middle += scale;
  }
  return inputs;
}

Image resize_nearest(const Image& image, int width, int height) {
  Image result = blank_image(width, height);
  const std::vector<int> columns = nearest_inputs(image.width, width);
  uint8_t* out = result.rgb.data();
  for (const int y : nearest_inputs(image.height, height)) {
    const uint8_t* row = image.rgb.data() + size_t(y) * size_t(image.width) * 3;
    for (const int x : columns) {
      std::memcpy(out, row + size_t(x) * 3, 3);
      out += 3;
    }
  }
  return result;
}

int half_to_even(int doubled) { return doubled / 2 + (doubled % 2 != 0 && doubled / 2 % 2 != 0 ? 1 : 0); }

constexpr std::array<const char*, all_filters.size()> filter_names{"nearest", "box",     "bilinear",
                                                                   "hamming", "bicubic", "lanczos"};

}  // namespace

const char* name_of(Filter filter) { return filter_names.at(static_cast<size_t>(filter)); }

std::optional<Filter> filter_named(std::string_view name) {
  for (const Filter filter : all_filters)
    if (name == name_of(filter)) return filter;
  return std::nullopt;
}

Image resize(const Image& image, int width, int height, Filter filter) {
  check_image(image, "resize");
  check(width >= 1 && height >= 1, "resize: expected a target of at least 1 x 1, got {} x {}", width, height);
  if (filter == Filter::nearest) return resize_nearest(image, width, height);
  if (height == image.height)
    return width == image.width ? image : resample_rows(image, width, 0, image.height, filter);
  const Taps vertical = taps(image.height, height, filter);
  if (width == image.width) return resample_columns(image, height, vertical, 0);
  // The first and the last output reach furthest; no other row is needed.
  const int first = vertical.ranges.front().begin;
  const int last = vertical.ranges.back().begin + vertical.ranges.back().count;
  return resample_columns(resample_rows(image, width, first, last - first, filter), height, vertical, first);
}

Image resize_shorter(const Image& image, int size, Filter filter) {
  check_image(image, "resize");
  check(size >= 1 && size <= max_image_side, "resize: expected a side of 1 to {}, got {}", max_image_side,
        size);
  const bool wide = image.width > image.height;
  const int64_t shorter = wide ? image.height : image.width, longer = wide ? image.width : image.height;
  const int64_t other = size * longer / shorter;
  check(other <= max_image_side, "resize: {} x {} with its shorter side at {} would be {} pixels long",
        image.width, image.height, size, other);
  const int long_side = static_cast<int>(other);
  return wide ? resize(image, long_side, size, filter) : resize(image, size, long_side, filter);
}

Image crop(const Image& image, int x, int y, int width, int height) {
  check_image(image, "crop");
  check(
      x >= 0 && y >= 0 && width >= 1 && height >= 1 && width <= image.width - x && height <= image.height - y,
      "crop: {} x {} pixels from ({}, {}) do not lie inside {} x {}", width, height, x, y, image.width,
      image.height);
  Image part = blank_image(width, height);
  const size_t row = size_t(width) * 3;
  for (int r = 0; r < height; ++r)
    std::memcpy(part.rgb.data() + size_t(r) * row,
                image.rgb.data() + (size_t(y + r) * size_t(image.width) + size_t(x)) * 3, row);
  return part;
}

Image center_crop(const Image& image, int width, int height) {
  check_image(image, "crop");
  if (image.width >= width && image.height >= height)
    return crop(image, half_to_even(image.width - width), half_to_even(image.height - height), width, height);
  Image framed = blank_image(std::max(width, image.width), std::max(height, image.height));
  const int left = (framed.width - image.width) / 2, top = (framed.height - image.height) / 2;
  const size_t row = size_t(image.width) * 3;
  for (int r = 0; r < image.height; ++r)
    std::memcpy(framed.rgb.data() + (size_t(top + r) * size_t(framed.width) + size_t(left)) * 3,
                image.rgb.data() + size_t(r) * row, row);
  return center_crop(framed, width, height);
}

Image flip(const Image& image) { return apply_orientation(image, 2); }

}  // namespace vitrine
