// pairs_test.cpp: the product as a processor with AVX-512 and bf16 pairs makes it, which few machines have: registers
// as wide, the one instruction for pairs written out.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/dtype.h"
#include "tests/op_checks.h"

namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 64, strip_height = 12;
constexpr bool multiplies_pairs = true;
template <class V, class Bits>
V hardware_dot_pairs(V sum, Bits a, Bits b) {
  const auto odd = [](Bits pair) { return reinterpret_cast<V>(pair & 0xffff0000u); };
  const auto even = [](Bits pair) { return reinterpret_cast<V>(pair << 16); };
  return sum + odd(a) * odd(b) + even(a) * even(b);
}
}  // namespace
}  // namespace vitrine::cpu
#include "engine/cpu/kernels/table.inc"

using namespace vitrine;
using namespace vitrine::testing;

TEST_CASE(
    "pairs: the product of bf16 pairs is that of both sides rounded, for odd sizes, bias and accumulation") {
  const cpu::Kernels<float>& kernels = cpu::table<float>;
  const int64_t columns = kernels.tile_columns;
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{1, 1, 1}, {7, 5, 3}, {49, 33, 16}, {100, 17, 769}, {13, 40, 1537}})
    for (const int extra : {0, 1, 2, 3}) {  // nothing, accumulate, bias; the transpose was packed
      CAPTURE(m);
      CAPTURE(k);
      CAPTURE(extra);
      const Tensor a = normal({m, k}, 0, DType::f32), b = normal({k, n}, 1, DType::f32),
                   bias = normal({n}, 2, DType::f32);
      const auto pa = a.data<float>(), pb = b.data<float>(), pbias = bias.data<float>();
      const int64_t panels = (n + columns - 1) / columns;
      // What is packed (R, C): b, or b transposed.
      const bool turned = extra == 3;
      const int64_t in_panel = turned ? n : k, pairs = (in_panel + 1) / 2, across = turned ? k : n;
      std::vector<bf16> packed((across + columns - 1) / columns * pairs * columns * 2);
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j) {
          const int64_t row = turned ? j : p, column = turned ? p : j;
          packed[((column / columns * pairs + row / 2) * columns + column % columns) * 2 + row % 2] =
              to_bf16(pb[p * n + j]);
        }
      cpu::Panels<float> right;
      right.data = packed.data();
      right.precision = Precision::bf16;
      right.turned = turned;
      std::vector<float> c(m * (n + 1), 3.0f);
      kernels.multiply(
          {m, n, k, {pa.data(), k, 1}, c.data(), n + 1, extra == 1, extra == 2 ? pbias.data() : nullptr},
          right, 0, m, 0, panels);
      double worst = 0;
      bool outside = true;
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double sum = extra == 1 ? 3 : extra == 2 ? pbias[j] : 0, size = std::abs(sum);
          for (int64_t p = 0; p < k; ++p) {
            const double term = double{to_float(to_bf16(pa[i * k + p]))} * to_float(to_bf16(pb[p * n + j]));
            sum += term;
            size += std::abs(term);
          }
          worst = std::max(worst, std::abs(c[i * (n + 1) + j] - sum) / size);
        }
        outside = outside && c[i * (n + 1) + n] == 3;
      }
      CHECK(worst <= static_cast<double>(k + 2) * std::numeric_limits<float>::epsilon());
      CHECK(outside);
    }
}

TEST_CASE("pairs: the product in f32 with registers as wide, as packed and turned") {
  const cpu::Kernels<float>& kernels = cpu::table<float>;
  const int64_t columns = kernels.tile_columns;
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{1, 1, 1}, {25, 70, 33}, {100, 17, 769}, {13, 40, 1537}}) {
    const Tensor a = normal({m, k}, 0, DType::f32), b = normal({k, n}, 1, DType::f32);
    const float *pa = a.data<float>().data(), *pb = b.data<float>().data();
    const auto panels_of = [&](int64_t width) { return (width + columns - 1) / columns; };
    std::vector<float> packed(panels_of(n) * k * columns), flipped(panels_of(k) * n * columns);
    kernels.pack(k, n, {pb, n, 1}, packed.data(), 0, panels_of(n));
    kernels.pack(n, k, {pb, 1, n}, flipped.data(), 0, panels_of(k));
    cpu::Panels<float> turned(flipped.data());
    turned.turned = true;
    std::vector<float> c(m * n), d(m * n);
    kernels.multiply({m, n, k, {pa, k, 1}, c.data(), n}, packed.data(), 0, m, 0, panels_of(n));
    kernels.multiply({m, n, k, {pa, k, 1}, d.data(), n}, turned, 0, m, 0, panels_of(n));
    CHECK(c == d);
    double worst = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (int64_t p = 0; p < k; ++p) {
          sum += double{pa[i * k + p]} * pb[p * n + j];
          size += std::abs(double{pa[i * k + p]} * pb[p * n + j]);
        }
        worst = std::max(worst, std::abs(c[i * n + j] - sum) / size);
      }
    CHECK(worst <= static_cast<double>(k + 2) * std::numeric_limits<float>::epsilon());
  }
}

TEST_CASE("pairs: numbers are rounded as to_bf16 rounds them") {
  for (const float x :
       {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -3.14159f, 1e-40f, 3.4e38f, INFINITY, -INFINITY, NAN})
    CHECK(cpu::upper_half(x) == static_cast<uint32_t>(to_bf16(x).bits) << 16);
}
