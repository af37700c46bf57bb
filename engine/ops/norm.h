// norm.h: layer_norm of one row, which row_layers uses on rows that are in the cache. Private to the ops.
#pragma once

#include <cmath>

#include "engine/cpu/rows.h"

namespace vitrine {

// to = gamma (x - mean) rstd + beta; mean and rstd (1 / standard deviation) are kept for backward.
template <class T>
void layer_norm_row(const T* x, int64_t d, const T* gamma, const T* beta, T epsilon, T* to, T& mean,
                    T& rstd) {
  const cpu::ConstRow<T> row(x, d), g(gamma, d), b(beta, d);
  mean = cpu::sum_of(row) / static_cast<T>(d);
  rstd = T(1) / std::sqrt((row - mean).square().sum() / static_cast<T>(d) + epsilon);
  cpu::Row<T>(to, d) = (row - mean) * rstd * g + b;
}

// to = rstd (g - mean(g) - xhat mean(g xhat)) with g = gamma dy and xhat = (x - mean) rstd; `to` may be dy.
template <class T>
void layer_norm_row_backward(const T* x, const T* dy, int64_t d, const T* gamma, T mean, T rstd, T* to) {
  const cpu::ConstRow<T> row(x, d), dout(dy, d), g(gamma, d);
  const T mean_g = (g * dout).sum() / static_cast<T>(d);
  const T mean_gx = (g * dout * (row - mean)).sum() * rstd / static_cast<T>(d);
  cpu::Row<T>(to, d) = rstd * (g * dout - mean_g - (row - mean) * (rstd * mean_gx));
}

}  // namespace vitrine
