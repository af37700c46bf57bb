#include "models/training/pca.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/check.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

// The three diagonals that a symmetric matrix becomes, and the orthogonal matrix that brings it there: its rows are the
// new basis, so rotations of the basis work on whole rows.
struct Tridiagonal {
  std::vector<double> diagonal, beside;  // n, n - 1
  std::vector<double> basis;             // (n, n)
};

double dot(const double* x, const double* y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}
void add_scaled(double factor, const double* x, int64_t n, double* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// Column after column is turned by a reflection I - 2 v v^T / v^T v so that only its neighbour of the diagonal remains.
Tridiagonal tridiagonal(std::vector<double> a, int64_t n) {
  Tridiagonal out{{}, {}, std::vector<double>(static_cast<size_t>(n * n), 0)};
  for (int64_t i = 0; i < n; ++i) out.basis[static_cast<size_t>(i * n + i)] = 1;
  std::vector<double> v(static_cast<size_t>(n)), w(static_cast<size_t>(n));
  for (int64_t k = 0; k + 1 < n; ++k) {
    const int64_t rest = n - k - 1;
    double* const block =
        a.data() + (k + 1) * n + k + 1;  // what is not yet done, (rest, rest) of rows n apart
    for (int64_t i = 0; i < rest; ++i) v[i] = a[static_cast<size_t>((k + 1 + i) * n + k)];
    const double below = dot(v.data() + 1, v.data() + 1, rest - 1), length = std::sqrt(v[0] * v[0] + below);
    out.diagonal.push_back(a[static_cast<size_t>(k * n + k)]);
    if (below == 0) {
      out.beside.push_back(v[0]);
      continue;
    }
    const double target = v[0] > 0 ? -length : length;  // away from v[0]: nothing cancels
    out.beside.push_back(target);
    v[0] -= target;
    const double beta = 2 / (v[0] * v[0] + below);
    parallel_for(rest, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) w[i] = beta * dot(block + i * n, v.data(), rest);
    });
    add_scaled(-beta / 2 * dot(w.data(), v.data(), rest), v.data(), rest, w.data());
    parallel_for(rest, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {  // A - v w^T - w v^T
        add_scaled(-v[i], w.data(), rest, block + i * n);
        add_scaled(-w[i], v.data(), rest, block + i * n);
      }
    });
    // The basis rows k + 1 ... are turned by the same reflection.
    double* const rows = out.basis.data() + (k + 1) * n;
    std::vector<double> mixed(static_cast<size_t>(n), 0);
    for (int64_t i = 0; i < rest; ++i) add_scaled(v[i], rows + i * n, n, mixed.data());
    for (int64_t i = 0; i < rest; ++i) add_scaled(-beta * v[i], mixed.data(), n, rows + i * n);
  }
  out.diagonal.push_back(a.back());
  return out;
}

// One implicit QR step on rows and columns [low, high] of the three diagonals: a rotation that would begin the QR
// decomposition of the shifted matrix, then rotations that chase what it leaves beside them to the end.
void chase(Tridiagonal& t, int64_t low, int64_t high, int64_t n) {
  std::vector<double>&d = t.diagonal, &e = t.beside;
  const double half = (d[high - 1] - d[high]) / 2, last = e[high - 1];
  // Of the last 2 x 2 block's eigenvalues the one nearer to its corner (Wilkinson).
  const double shift = d[high] - last * last / (half + std::copysign(std::hypot(half, last), half));
  double x = d[low] - shift, z = e[low];
  for (int64_t k = low; k < high; ++k) {
    const double r = std::hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
    if (k > low) e[k - 1] = r;
    const double a = d[k], b = e[k], g = d[k + 1];
    d[k] = c * c * a + 2 * c * s * b + s * s * g;
    d[k + 1] = s * s * a - 2 * c * s * b + c * c * g;
    e[k] = c * s * (g - a) + (c * c - s * s) * b;
    if (k + 1 < high) {
      x = e[k];
      z = s * e[k + 1];
      e[k + 1] *= c;
    }
    double *const p = t.basis.data() + k * n, *const q = p + n;
    for (int64_t i = 0; i < n; ++i) {
      const double above = p[i], under = q[i];
      p[i] = c * above + s * under;
      q[i] = c * under - s * above;
    }
  }
}

}  // namespace

SymmetricEigen symmetric_eigen(const Tensor& matrix) {
  check(matrix.defined() && matrix.dtype() == DType::f64 && matrix.shape().rank() == 2 &&
            matrix.dim(0) == matrix.dim(1) && matrix.dim(0) > 0,
        "symmetric_eigen: expected (n, n) f64");
  const int64_t n = matrix.dim(0);
  std::vector<double> a(matrix.data<double>().begin(), matrix.data<double>().end());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) a[static_cast<size_t>(j * n + i)] = a[static_cast<size_t>(i * n + j)];
  check(std::ranges::all_of(a, [](double v) { return std::isfinite(v); }),
        "symmetric_eigen: the matrix holds NaN or infinity");
  Tridiagonal t = tridiagonal(std::move(a), n);

  std::vector<double>& e = t.beside;
  double largest = 0;
  for (const double v : t.diagonal) largest = std::max(largest, std::abs(v));
  for (const double v : e) largest = std::max(largest, std::abs(v));
  constexpr double unit = std::numeric_limits<double>::epsilon();
  const auto negligible = [&](int64_t i) {
    const double size = std::abs(e[i]);
    return size <= unit * (std::abs(t.diagonal[i]) + std::abs(t.diagonal[i + 1])) ||
           size <= unit * unit * largest;
  };
  int64_t steps = 60 * n;  // about two for each eigenvalue are usual
  for (int64_t high = n - 1; high > 0;) {
    if (negligible(high - 1)) {
      e[high - 1] = 0;
      --high;
      continue;
    }
    int64_t low = high - 1;
    while (low > 0 && !negligible(low - 1)) --low;
    check(--steps > 0, "symmetric_eigen: the QR algorithm does not come to an end");
    chase(t, low, high, n);
  }

  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t i, int64_t j) { return t.diagonal[i] > t.diagonal[j]; });
  SymmetricEigen out{{}, Tensor::empty({n, n}, DType::f64)};
  double* to = out.vectors.mutable_data<double>().data();
  for (const int64_t i : order) {
    out.values.push_back(t.diagonal[i]);
    to = std::copy_n(t.basis.data() + i * n, n, to);
  }
  return out;
}

Pca pca(const Tensor& points, int64_t count) {
  check(points.defined() && points.dtype() == DType::f64 && points.shape().rank() == 2,
        "pca: expected points (N, D) f64");
  const int64_t n = points.dim(0), d = points.dim(1);
  check(count >= 1 && count <= std::min(n, d), "pca: {} points of {} numbers have no {} components", n, d,
        count);
  const Tensor centred = points.clone();
  double* const x = Tensor(centred).mutable_data<double>().data();
  std::vector<double> mean(static_cast<size_t>(d), 0);
  for (int64_t i = 0; i < n; ++i) add_scaled(1 / static_cast<double>(n), x + i * d, d, mean.data());
  for (int64_t i = 0; i < n; ++i) add_scaled(-1, mean.data(), d, x + i * d);

  const bool by_points = n < d;
  const Variable transposed = permute(centred, {1, 0});
  const Tensor square = by_points ? matmul(centred, transposed).value() : matmul(transposed, centred).value();
  const SymmetricEigen eigen = symmetric_eigen(square);
  const double divisor = static_cast<double>(std::max<int64_t>(n - 1, 1));
  Pca out{Tensor::zeros({count, d}, DType::f64), {}, {}, 0};
  for (const double value : eigen.values) out.total += std::max(value, 0.0) / divisor;
  double* to = out.components.mutable_data<double>().data();
  // What rounding leaves of a direction in which nothing spreads is none.
  const double least = static_cast<double>(std::max(n, d)) * std::numeric_limits<double>::epsilon() *
                       std::max(eigen.values[0], 0.0);
  for (int64_t c = 0; c < count; ++c, to += d) {
    if (eigen.values[static_cast<size_t>(c)] <= least) continue;
    const double* vector = eigen.vectors.data<double>().data() + c * eigen.vectors.dim(1);
    if (by_points)
      for (int64_t i = 0; i < n; ++i) add_scaled(vector[i], x + i * d, d, to);
    else
      std::copy_n(vector, d, to);
    const double greatest =
        *std::max_element(to, to + d, [](double a, double b) { return std::abs(a) < std::abs(b); });
    const double length = std::copysign(std::sqrt(dot(to, to, d)), greatest);
    for (int64_t i = 0; i < d; ++i) to[i] /= length;
  }
  out.projected = matmul(centred, permute(out.components, {1, 0})).value();
  for (int64_t c = 0; c < count; ++c) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double v = out.projected.data<double>()[i * count + c];
      squares += v * v;
    }
    out.variances.push_back(squares / divisor);
  }
  return out;
}

}  // namespace vitrine
