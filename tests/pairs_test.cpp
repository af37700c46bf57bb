// pairs_test.cpp: the product of bf16 pairs, which few processors have, with their one instruction written out.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/dtype.h"
#include "tests/op_checks.h"

// The kernels as they are compiled for such a processor, but for the width of its registers and that instruction.
namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 16, strip_height = 6;
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
    for (const int extra : {0, 1, 2}) {  // nothing, accumulate, bias
      CAPTURE(m);
      CAPTURE(k);
      CAPTURE(extra);
      const Tensor a = normal({m, k}, 0, DType::f32), b = normal({k, n}, 1, DType::f32),
                   bias = normal({n}, 2, DType::f32);
      const auto pa = a.data<float>(), pb = b.data<float>(), pbias = bias.data<float>();
      const int64_t panels = (n + columns - 1) / columns, pairs = (k + 1) / 2;
      std::vector<bf16> packed(panels * pairs * columns * 2);
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j)
          packed[((j / columns * pairs + p / 2) * columns + j % columns) * 2 + p % 2] =
              to_bf16(pb[p * n + j]);
      std::vector<float> c(m * (n + 1), 3.0f);
      kernels.multiply(
          {m, n, k, {pa.data(), k, 1}, c.data(), n + 1, extra == 1, extra == 2 ? pbias.data() : nullptr},
          {packed.data(), Precision::bf16}, 0, m, 0, panels);
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

TEST_CASE("pairs: numbers are rounded as to_bf16 rounds them") {
  for (const float x :
       {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -3.14159f, 1e-40f, 3.4e38f, INFINITY, -INFINITY, NAN})
    CHECK(cpu::upper_half(x) == static_cast<uint32_t>(to_bf16(x).bits) << 16);
}
