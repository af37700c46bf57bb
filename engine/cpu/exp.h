// exp.h: exp of a run of numbers, for softmax and gelu.
#pragma once

#include <cstdint>

namespace vitrine::cpu {

// Arguments below (above) count as these, so that no result is infinite, nor so small that processors are slow.
template <class T>
inline constexpr T exp_least = sizeof(T) == 4 ? T(-87) : T(-700);
template <class T>
inline constexpr T exp_most = sizeof(T) == 4 ? T(88) : T(700);

// to = exp(x) of n numbers, bounded as above; `to` may be x. NaN stays NaN. In f32 at most 1.5 units of the last
// place off.
void exp_run(const float* x, int64_t n, float* to);
void exp_run(const double* x, int64_t n, double* to);

}  // namespace vitrine::cpu
