// gemm_test.cpp: the packed matrix product against the plain sum.
#include <doctest/doctest.h>

#include <Eigen/Core>

#include <array>
#include <cmath>
#include <limits>

#include "engine/cpu/gemm.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// All ways to call the product for one size, against the plain sum in double. The bound is the classic one
// for a sum of k products in any order (Higham, Accuracy and Stability, 3.1): k rounding units of sum |a b|.
template <class T>
void check_product(int64_t m, int64_t n, int64_t k) {
  const DType dtype = dtype_of<T>();
  const Tensor a = normal({m, k}, 0, dtype), b = normal({k, n}, 1, dtype), bias = normal({n}, 2, dtype);
  const Tensor start = normal({m, n}, 3, dtype);
  const auto flip = [](const Tensor& x) { return permute(x, {1, 0}).value(); };
  const Tensor a_flipped = flip(a), b_flipped = flip(b);
  const auto pa = a.data<T>(), pb = b.data<T>(), pbias = bias.data<T>(), pstart = start.data<T>();
  Doubles sums(m * n, 0.0), sizes(m * n, 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) {
        const double term = static_cast<double>(pa[i * k + p]) * static_cast<double>(pb[p * n + j]);
        sums[i * n + j] += term;
        sizes[i * n + j] += std::abs(term);
      }
  constexpr double unit = std::numeric_limits<T>::epsilon();
  const int64_t row = n + 3;  // the rows of c stand apart, and nothing may be written between them
  for (const bool a_transposed : {false, true}) {
    for (const bool b_transposed : {false, true}) {
      for (const int extra : {0, 1, 2}) {  // nothing, accumulate, bias
        Tensor c = Tensor::full({m, row}, 123, dtype);
        const auto to = c.mutable_data<T>();
        for (int64_t i = 0; i < m && extra == 1; ++i)
          for (int64_t j = 0; j < n; ++j) to[i * row + j] = pstart[i * n + j];
        cpu::Product<T> x{m, n, k, {}, to.data(), row};
        x.a = a_transposed ? cpu::Matrix<T>{a_flipped.data<T>().data(), m, 1}.transposed()
                           : cpu::Matrix<T>{pa.data(), k, 1};
        x.accumulate = extra == 1;
        x.bias = extra == 2 ? pbias.data() : nullptr;
        const cpu::Matrix<T> right = b_transposed
                                         ? cpu::Matrix<T>{b_flipped.data<T>().data(), k, 1}.transposed()
                                         : cpu::Matrix<T>{pb.data(), n, 1};
        cpu::multiply<T>(x, right, {});

        bool close = true, outside = true;
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const double first = extra == 1 ? pstart[i * n + j] : extra == 2 ? pbias[j] : 0;
            const double allowed = unit * static_cast<double>(k + 2) * (sizes[i * n + j] + std::abs(first));
            close = close && std::abs(to[i * row + j] - (sums[i * n + j] + first)) <= allowed;
          }
          for (int64_t j = n; j < row; ++j) outside = outside && to[i * row + j] == 123;
        }
        if (close && outside) continue;
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(k);
        CAPTURE(a_transposed);
        CAPTURE(b_transposed);
        CAPTURE(extra);
        CHECK(close);
        CHECK(outside);
      }
    }
  }
  CHECK(true);
}

}  // namespace

TEST_CASE("gemm: odd sizes, transposed operands, accumulate and bias against a plain sum") {
  const Threads one(1);
  for (const std::string& set : instruction_sets()) {
    CAPTURE(set);
    const Instructions used(set);
    for (const int64_t m : {1, 5, 6, 7, 13})
      for (const int64_t n : {1, 5, 15, 16, 17, 31, 33})
        for (const int64_t k : {1, 6, 17}) {
          check_product<float>(m, n, k);
          check_product<double>(m, n, k);
        }
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{97, 33, 31},
                                  {33, 97, 197},
                                  {197, 17, 257},
                                  {5, 300, 300},
                                  {300, 31, 97},
                                  {31, 197, 300},
                                  {1, 257, 33},
                                  {257, 1, 257},
                                  {97, 97, 1},
                                  {16, 7, 1537}}) {
      check_product<float>(m, n, k);
      check_product<double>(m, n, k);
    }
  }
}

TEST_CASE("gemm: parts of rows are whole tiles, equal and never too high") {
  for (int64_t rows = 1; rows <= 2000; ++rows) {
    const int64_t part = cpu::rows_of_part(rows), parts = (rows + part - 1) / part;
    CHECK(part <= cpu::most_rows_of_part);
    CHECK(part % cpu::tile_rows<float>() == 0);
    CHECK(part - (rows + parts - 1) / parts < 2 * 12);  // no part more than the others but for whole tiles
  }
}

TEST_CASE("gemm: on all threads, in one thread, packed before: the same bits") {
  const int64_t m = 197, n = 600, k = 300;
  const Tensor a = normal({m, k}, 0, DType::f32), b = normal({k, n}, 1, DType::f32);
  const cpu::Matrix<float> left{a.data<float>().data(), k, 1}, right{b.data<float>().data(), n, 1};
  const auto run = [&](int threads, int way) {
    const Threads some(threads);
    Tensor c = Tensor::empty({m, n}, DType::f32);
    const cpu::Product<float> x{m, n, k, left, c.mutable_data<float>().data(), n};
    if (way == 0) {
      cpu::multiply<float>(x, right, {});
      return c;
    }
    std::vector<float> packed(cpu::packed_size<float>(k, n));
    cpu::pack<float>(k, n, right, packed.data());
    way == 1 ? cpu::multiply_packed<float>(x, packed.data())
             : cpu::multiply_packed_serially<float>(x, packed.data());
    return c;
  };
  const Tensor reference = run(1, 2);
  for (int threads = 1; threads <= 4; ++threads)
    for (int way = 0; way < 3; ++way) CHECK(same_bits(run(threads, way), reference));
}

TEST_CASE("gemm: equals Eigen's product, in the shapes of transformers") {
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{197, 192, 192}, {50, 576, 192}, {197, 384, 1536}}) {
    const Tensor a = normal({m, k}, 0, DType::f64), b = normal({k, n}, 1, DType::f64);
    const Eigen::Map<const Rows> ea(a.data<double>().data(), m, k), eb(b.data<double>().data(), k, n);
    const Rows expected = ea * eb;
    Tensor c = Tensor::empty({m, n}, DType::f64);
    cpu::multiply<double>({m, n, k, {a.data<double>().data(), k, 1}, c.mutable_data<double>().data(), n},
                          {b.data<double>().data(), n, 1}, {});
    const Eigen::Map<const Rows> got(c.data<double>().data(), m, n);
    CHECK((got - expected).cwiseAbs().maxCoeff() <= 1e-12 * static_cast<double>(k));
  }
}
