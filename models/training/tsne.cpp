#include "models/training/tsne.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/check.h"
#include "engine/parallel.h"
#include "models/training/pca.h"

namespace vitrine {

namespace {

constexpr int64_t grain = 16;  // rows of a piece of work

void check_points(const Tensor& points, const char* who) {
  check(points.defined() && points.dtype() == DType::f64 && points.shape().rank() == 2 &&
            points.dim(0) >= 2 && points.dim(1) >= 1,
        "{}: expected at least 2 points (N, D) f64", who);
  check(std::ranges::all_of(points.data<double>(), [](double v) { return std::isfinite(v); }),
        "{}: a point holds NaN or infinity", who);
}

// (N, N): squares of distances
std::vector<double> squared_distances(const Tensor& points) {
  const int64_t n = points.dim(0), d = points.dim(1);
  const double* x = points.data<double>().data();
  std::vector<double> out(static_cast<size_t>(n * n));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < d; ++k) {
          const double difference = x[i * d + k] - x[j * d + k];
          sum += difference * difference;
        }
        out[static_cast<size_t>(i * n + j)] = sum;
      }
  });
  return out;
}

// One row of p(j | i) for this beta; returns its entropy in nats. Distances count from the least one, which changes
// nothing of p and keeps exp away from 0.
double fill_row(const double* distances, double least, double beta, int64_t i, int64_t n, double* p) {
  double sum = 0, weighted = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double further = distances[j] - least;
    p[j] = j == i ? 0 : std::exp(-beta * further);
    sum += p[j];
    weighted += p[j] * further;
  }
  for (int64_t j = 0; j < n; ++j) p[j] /= sum;
  return std::log(sum) + beta * weighted / sum;
}

// What the layout makes of the pairs: 1 / (1 + |y_i - y_j|^2), and their sum over i != j in the order of rows.
struct Nearness {
  std::vector<double> pairs;  // (N, N), 0 on the diagonal
  double sum = 0;
};

void fill_nearness(const Tensor& y, Nearness& out) {
  const int64_t n = y.dim(0);
  const double* at = y.data<double>().data();
  out.pairs.resize(static_cast<size_t>(n * n));
  std::vector<double> sums(static_cast<size_t>(n));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* row = out.pairs.data() + i * n;
      for (int64_t j = 0; j < n; ++j) {
        const double across = at[2 * i] - at[2 * j], down = at[2 * i + 1] - at[2 * j + 1];
        row[j] = 1 / (1 + across * across + down * down);
      }
      row[i] = 0;
      for (int64_t j = 0; j < n; ++j) sums[static_cast<size_t>(i)] += row[j];
    }
  });
  out.sum = 0;
  for (const double sum : sums) out.sum += sum;
}

// The gradient with p multiplied by `exaggeration`.
void fill_gradient(const Tensor& p, const Tensor& y, double exaggeration, Nearness& nearness, Tensor& out) {
  fill_nearness(y, nearness);
  const int64_t n = y.dim(0);
  const double* at = y.data<double>().data();
  double* to = out.mutable_data<double>().data();
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double *wanted = p.data<double>().data() + i * n, *near = nearness.pairs.data() + i * n;
      double across = 0, down = 0;
      for (int64_t j = 0; j < n; ++j) {
        const double pull = (exaggeration * wanted[j] - near[j] / nearness.sum) * near[j];
        across += pull * (at[2 * i] - at[2 * j]);
        down += pull * (at[2 * i + 1] - at[2 * j + 1]);
      }
      to[2 * i] = 4 * across;
      to[2 * i + 1] = 4 * down;
    }
  });
}

void check_layout(const Tensor& p, const Tensor& y) {
  check(y.defined() && y.dtype() == DType::f64 && y.shape().rank() == 2 && y.dim(1) == 2 && p.defined() &&
            p.dtype() == DType::f64 && p.shape() == Shape{y.dim(0), y.dim(0)},
        "tsne: expected affinities (N, N) and a layout (N, 2), both f64");
}

}  // namespace

Tensor conditional_affinities(const Tensor& points, double perplexity) {
  check_points(points, "tsne");
  const int64_t n = points.dim(0);
  check(perplexity >= 1 && perplexity <= static_cast<double>(n - 1),
        "tsne: a perplexity of {} cannot be had from {} points", perplexity, n);
  const std::vector<double> distances = squared_distances(points);
  Tensor out = Tensor::empty({n, n}, DType::f64);
  double* to = out.mutable_data<double>().data();
  const double wanted = std::log(perplexity);
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double* row = distances.data() + i * n;
      double least = std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        if (j != i) least = std::min(least, row[j]);
        sum += row[j];
      }
      // Bisection between bounds that are first widened until they hold the solution.
      double beta = sum > 0 ? static_cast<double>(n - 1) / sum : 1, low = 0,
             high = std::numeric_limits<double>::infinity();
      for (int step = 0; step < 200; ++step) {
        const double excess = fill_row(row, least, beta, i, n, to + i * n) - wanted;
        if (std::abs(excess) < 1e-10) break;
        (excess > 0 ? low : high) = beta;
        beta = std::isinf(high) ? 2 * beta : (low + high) / 2;
        if (std::isinf(beta)) break;
      }
    }
  });
  return out;
}

Tensor joint_affinities(const Tensor& conditional) {
  check(conditional.defined() && conditional.dtype() == DType::f64 && conditional.shape().rank() == 2 &&
            conditional.dim(0) == conditional.dim(1),
        "tsne: expected affinities (N, N) f64");
  const int64_t n = conditional.dim(0);
  const double* from = conditional.data<double>().data();
  Tensor out = Tensor::empty({n, n}, DType::f64);
  double* to = out.mutable_data<double>().data();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      to[i * n + j] = (from[i * n + j] + from[j * n + i]) / (2 * static_cast<double>(n));
  return out;
}

double tsne_divergence(const Tensor& p, const Tensor& y) {
  check_layout(p, y);
  Nearness nearness;
  fill_nearness(y, nearness);
  double sum = 0;
  for (int64_t i = 0; i < p.numel(); ++i) {
    const double wanted = p.data<double>()[i];
    if (wanted > 0) sum += wanted * std::log(wanted * nearness.sum / nearness.pairs[static_cast<size_t>(i)]);
  }
  return sum;
}

Tensor tsne_gradient(const Tensor& p, const Tensor& y) {
  check_layout(p, y);
  Nearness nearness;
  Tensor out = Tensor::empty(y.shape(), DType::f64);
  fill_gradient(p, y, 1, nearness, out);
  return out;
}

Tensor tsne(const Tensor& points, const TsneOptions& o,
            const std::function<void(int64_t, int64_t)>& progress) {
  check_points(points, "tsne");
  check(o.steps >= 0 && o.exaggeration >= 1 && o.learning_rate >= 0 && o.momentum >= 0 && o.momentum < 1 &&
            o.late_momentum >= 0 && o.late_momentum < 1,
        "tsne: its options make no sense");
  const int64_t n = points.dim(0);
  const double few = std::max(1.0, static_cast<double>(n - 1) / 3);
  const Tensor p = joint_affinities(conditional_affinities(points, std::clamp(o.perplexity, 1.0, few)));

  // Principal components of deviation 1e-4, as small as the random start of the paper's program.
  const Pca start = pca(points, std::min<int64_t>({2, n, points.dim(1)}));
  const double deviation = std::sqrt(start.variances[0]);
  const int64_t had = start.projected.dim(1);
  Tensor y = Tensor::zeros({n, 2}, DType::f64);
  for (int64_t i = 0; i < n && deviation > 0; ++i)
    for (int64_t c = 0; c < had; ++c)
      y.mutable_data<double>()[2 * i + c] = 1e-4 * start.projected.data<double>()[i * had + c] / deviation;

  const double rate =
      o.learning_rate > 0 ? o.learning_rate : std::max(static_cast<double>(n) / o.exaggeration / 4, 50.0);
  std::vector<double> velocity(static_cast<size_t>(2 * n), 0), gain(static_cast<size_t>(2 * n), 1);
  Tensor gradient = Tensor::empty({n, 2}, DType::f64);
  Nearness nearness;
  for (int64_t step = 0; step < o.steps; ++step) {
    const bool early = step < o.exaggerated_steps;
    fill_gradient(p, y, early ? o.exaggeration : 1, nearness, gradient);
    const double momentum = early ? o.momentum : o.late_momentum;
    const auto slope = gradient.data<double>();
    const auto at = y.mutable_data<double>();
    for (size_t i = 0; i < velocity.size(); ++i) {
      // A coordinate that goes on downhill gains speed, one that turns back loses it.
      const bool onward = (slope[i] > 0) != (velocity[i] > 0);
      gain[i] = std::max(onward ? gain[i] + 0.2 : gain[i] * 0.8, 0.01);
      velocity[i] = momentum * velocity[i] - rate * gain[i] * slope[i];
      at[i] += velocity[i];
    }
    for (size_t c = 0; c < 2; ++c) {  // the middle stays at 0
      double middle = 0;
      for (size_t i = c; i < at.size(); i += 2) middle += at[i] / static_cast<double>(n);
      for (size_t i = c; i < at.size(); i += 2) at[i] -= middle;
    }
    if (progress) progress(step + 1, o.steps);
  }
  return y;
}

}  // namespace vitrine
