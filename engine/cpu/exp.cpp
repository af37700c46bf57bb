#include "engine/cpu/exp.h"

#include <algorithm>
#include <bit>

#include "engine/cpu/rows.h"

namespace vitrine::cpu {

namespace {

using Floats = float __attribute__((vector_size(32), aligned(sizeof(float))));

// exp(x) = 2^n exp(r) with n the integer nearest to x / ln 2, so |r| <= ln(2) / 2: the polynomial differs from
// exp(r) by at most 3.1e-9 of it (fitted to the least greatest relative error), roundings add one unit of the
// last place and a half.
Floats exp_bounded(Floats x) {
  using Bits = uint32_t __attribute__((vector_size(32)));
  x = x < exp_least<float> ? exp_least<float> - Floats{} : x;
  x = x > exp_most<float> ? exp_most<float> - Floats{} : x;
  constexpr float magic = 12582912;  // 1.5 * 2^23: added to it, a small number is rounded to an integer
  const Floats shifted = x * 1.44269504f + magic, n = shifted - magic;
  // ln 2 in two parts, the first with so few digits that n times it is exact.
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats q = 0x1.6a2352p-10f * r + 0x1.123a6cp-7f;
  q = q * r + 0x1.5558f4p-5f;
  q = q * r + 0x1.555490p-3f;
  q = q * r + 0x1.fffffcp-2f;
  const Floats p = q * (r * r) + r + 1.0f;
  // The low bits of `shifted` are n; 127 is the bias of the exponent.
  return p * std::bit_cast<Floats>((std::bit_cast<Bits>(shifted) + 127u) << 23);
}

}  // namespace

void exp_run(const float* x, int64_t n, float* to) {
  constexpr int64_t step = sizeof(Floats) / sizeof(float);
  int64_t i = 0;
  for (; i + step <= n; i += step)
    *reinterpret_cast<Floats*>(to + i) = exp_bounded(*reinterpret_cast<const Floats*>(x + i));
  if (i == n) return;
  Floats rest{};
  std::copy_n(x + i, n - i, reinterpret_cast<float*>(&rest));
  rest = exp_bounded(rest);
  std::copy_n(reinterpret_cast<const float*>(&rest), n - i, to + i);
}

void exp_run(const double* x, int64_t n, double* to) {
  // Blocks of its own, always whole: each number takes the same way, wherever it stands.
  Eigen::Array<double, 16, 1> block = Eigen::Array<double, 16, 1>::Zero();
  for (int64_t i = 0; i < n; i += block.size()) {
    const int64_t some = std::min<int64_t>(block.size(), n - i);
    std::copy_n(x + i, some, block.data());
    block = block.max(exp_least<double>).min(exp_most<double>).exp().eval();
    std::copy_n(block.data(), some, to + i);
  }
}

}  // namespace vitrine::cpu
