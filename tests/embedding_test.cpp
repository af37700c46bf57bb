// embedding_test.cpp: principal components against Eigen, and t-SNE against its formulas.
#include <doctest/doctest.h>

#include <Eigen/Eigenvalues>
#include <cmath>

#include "engine/parallel.h"
#include "models/training/pca.h"
#include "models/training/tsne.h"
#include "tests/op_checks.h"

using namespace vitrine;
using testing::normal;

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const Matrix> matrix_of(const Tensor& t) { return {t.data<double>().data(), t.dim(0), t.dim(1)}; }

Tensor tensor_of(const Matrix& m) {
  return Tensor::of<double>({m.rows(), m.cols()},
                            std::span<const double>(m.data(), static_cast<size_t>(m.size())));
}

void check_eigen(const Matrix& a) {
  const SymmetricEigen got = symmetric_eigen(tensor_of(a));
  const Eigen::SelfAdjointEigenSolver<Matrix> expected(a);
  const double size = std::max(expected.eigenvalues().cwiseAbs().maxCoeff(), 1e-300);
  const Eigen::Index n = a.rows();
  for (Eigen::Index i = 0; i < n; ++i)
    CHECK(std::abs(got.values[static_cast<size_t>(i)] - expected.eigenvalues()[n - 1 - i]) <= 1e-13 * size);
  const Matrix v = matrix_of(got.vectors);
  CHECK((v * v.transpose() - Matrix::Identity(n, n)).cwiseAbs().maxCoeff() < 1e-12);
  const Eigen::VectorXd values = Eigen::Map<const Eigen::VectorXd>(got.values.data(), n);
  CHECK((v * a - values.asDiagonal() * v).cwiseAbs().maxCoeff() <= 1e-12 * size);
}

// `count` points around each of `clusters` corners that are `apart` from each other.
Tensor clouds(int64_t clusters, int64_t count, int64_t width, double apart) {
  Tensor points = normal({clusters * count, width}, 1);
  for (int64_t i = 0; i < clusters * count; ++i)
    points.mutable_data<double>()[i * width + i / count] += apart;
  return points;
}

// How often a point's nearest neighbour belongs to its own cluster.
double purity(const Tensor& y, int64_t count) {
  int64_t pure = 0;
  const auto at = matrix_of(y);
  for (Eigen::Index i = 0; i < at.rows(); ++i) {
    Eigen::Index nearest = i == 0 ? 1 : 0;
    for (Eigen::Index j = 0; j < at.rows(); ++j)
      if (j != i && (at.row(i) - at.row(j)).norm() < (at.row(i) - at.row(nearest)).norm()) nearest = j;
    pure += nearest / count == i / count;
  }
  return static_cast<double>(pure) / static_cast<double>(at.rows());
}

}  // namespace

TEST_CASE("eigenvalues and eigenvectors of symmetric matrices are Eigen's") {
  for (const int64_t n : {1, 2, 3, 7, 64, 150}) {
    CAPTURE(n);
    const Tensor random = normal({n, n}, 2);
    const Matrix m = matrix_of(random);
    check_eigen(m + m.transpose());
    check_eigen(m.leftCols((n + 1) / 2) * m.leftCols((n + 1) / 2).transpose());  // half of them are 0
    check_eigen(Matrix::Identity(n, n));
    check_eigen(Matrix::Zero(n, n));
    check_eigen(Matrix::Ones(n, n));
    Matrix graded = m + m.transpose();  // from 1 to 1e-18
    for (Eigen::Index i = 0; i < n; ++i) {
      graded.row(i) *= std::pow(10, -9.0 * static_cast<double>(i) / static_cast<double>(n));
      graded.col(i) *= std::pow(10, -9.0 * static_cast<double>(i) / static_cast<double>(n));
    }
    check_eigen(graded);
  }
  Matrix swap(2, 2);
  swap << 0, 1, 1, 0;
  check_eigen(swap);
  CHECK_THROWS_AS(symmetric_eigen(Tensor::zeros({2, 3}, DType::f64)), Error);
  CHECK_THROWS_WITH(symmetric_eigen(Tensor::full({2, 2}, NAN, DType::f64)),
                    "symmetric_eigen: the matrix holds NaN or infinity");
}

TEST_CASE("pca: components, variances and projections, with more points than numbers and with fewer") {
  for (const auto& [n, d] : {std::pair<int64_t, int64_t>{200, 12}, {12, 40}, {30, 30}}) {
    CAPTURE(n);
    Tensor points = normal({n, d}, 4);
    for (int64_t i = 0; i < points.numel(); ++i)  // some directions spread more than others
      points.mutable_data<double>()[i] *= 1 + 10.0 / static_cast<double>(1 + i % d);
    const Pca got = pca(points, 3);
    const Matrix x = matrix_of(points).rowwise() - matrix_of(points).colwise().mean();
    const Matrix covariance = x.transpose() * x / static_cast<double>(n - 1);
    const Eigen::SelfAdjointEigenSolver<Matrix> expected(covariance);
    CHECK(got.total == doctest::Approx(covariance.trace()).epsilon(1e-12));
    CHECK((matrix_of(got.projected) - x * matrix_of(got.components).transpose()).cwiseAbs().maxCoeff() <
          1e-12);
    for (int64_t c = 0; c < 3; ++c) {
      CHECK(got.variances[static_cast<size_t>(c)] ==
            doctest::Approx(expected.eigenvalues()[d - 1 - c]).epsilon(1e-11));
      const auto own = matrix_of(got.components).row(c);
      const Eigen::VectorXd theirs = expected.eigenvectors().col(d - 1 - c);
      CHECK(std::abs(own.dot(theirs)) == doctest::Approx(1).epsilon(1e-9));
      Eigen::Index greatest = 0;
      own.cwiseAbs().maxCoeff(&greatest);
      CHECK(own[greatest] > 0);
    }
  }
  // Points that are all the same spread nowhere.
  const Pca flat = pca(Tensor::full({5, 4}, 2, DType::f64), 2);
  CHECK(flat.total == 0);
  for (const double v : flat.projected.data<double>()) CHECK(v == 0);
  CHECK_THROWS_WITH(pca(normal({3, 4}, 1), 4), "pca: 3 points of 4 numbers have no 4 components");
}

TEST_CASE(
    "t-SNE: each row of affinities has the perplexity that was asked for, and the joint ones sum to 1") {
  const Tensor points = clouds(3, 40, 10, 8);
  for (const double wanted : {2.0, 30.0, 100.0}) {
    const Tensor p = conditional_affinities(points, wanted);
    for (int64_t i = 0; i < 120; ++i) {
      double entropy = 0, sum = 0;
      for (int64_t j = 0; j < 120; ++j) {
        const double v = p.data<double>()[i * 120 + j];
        sum += v;
        if (v > 0) entropy -= v * std::log2(v);
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-12));
      CHECK(std::abs(std::exp2(entropy) - wanted) < 1e-3);
      CHECK(p.data<double>()[i * 120 + i] == 0);
    }
    const Tensor joint = joint_affinities(p);
    CHECK(matrix_of(joint).sum() == doctest::Approx(1).epsilon(1e-12));
    CHECK((matrix_of(joint) - matrix_of(joint).transpose()).cwiseAbs().maxCoeff() == 0);
  }
  // Where more points are alike than the perplexity has neighbours, all of them count the same.
  const Tensor same = conditional_affinities(Tensor::zeros({10, 3}, DType::f64), 2);
  CHECK(same.data<double>()[1] == doctest::Approx(1.0 / 9));
  CHECK_THROWS_WITH(conditional_affinities(points, 120),
                    "tsne: a perplexity of 120 cannot be had from 120 points");
  CHECK_THROWS_AS(conditional_affinities(Tensor::full({4, 2}, NAN, DType::f64), 2), Error);
}

TEST_CASE("t-SNE: the gradient is that of the divergence, by central differences") {
  const Tensor p = joint_affinities(conditional_affinities(clouds(3, 10, 6, 4), 5));
  Tensor y = normal({30, 2}, 9);
  const Tensor gradient = tsne_gradient(p, y);
  const auto at = y.mutable_data<double>();
  for (size_t i = 0; i < at.size(); ++i) {
    const double kept = at[i], step = 1e-5;
    at[i] = kept + step;
    const double above = tsne_divergence(p, y);
    at[i] = kept - step;
    const double below = tsne_divergence(p, y);
    at[i] = kept;
    CHECK(std::abs((above - below) / (2 * step) - gradient.data<double>()[i]) < 1e-9);
  }
}

TEST_CASE("t-SNE: clusters stay clusters, descent descends, and the threads do not matter") {
  const Tensor points = clouds(5, 30, 20, 12);
  const TsneOptions options{.steps = 300, .exaggerated_steps = 100};
  int64_t told = 0;
  const Tensor y = tsne(points, options, [&](int64_t done, int64_t all) {
    CHECK(done == ++told);
    CHECK(all == 300);
  });
  CHECK(told == 300);
  CHECK(purity(y, 30) == 1);
  const Tensor p = joint_affinities(conditional_affinities(points, 30));
  CHECK(tsne_divergence(p, y) < 0.5 * tsne_divergence(p, tsne(points, {.steps = 0})));
  const int threads = thread_count();
  set_thread_count(threads == 1 ? 3 : 1);
  const Tensor again = tsne(points, options);
  set_thread_count(threads);
  CHECK(testing::largest_difference(y, again) == 0);
  // Few points, and points that are all the same.
  CHECK(tsne(normal({2, 5}, 1)).shape() == Shape{2, 2});
  for (const double v : tsne(Tensor::zeros({4, 3}, DType::f64), {.steps = 10}).data<double>())
    CHECK(std::isfinite(v));
  CHECK_THROWS_AS(tsne(normal({1, 5}, 1)), Error);
}
