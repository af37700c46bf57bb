// batch_norm.cpp: the columns of a batch to mean 0 and variance 1.
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::data_of;

constexpr int64_t columns_per_task = 16;  // one cache line of f32

// What backward keeps, undefined where nobody wants it.
struct Kept {
  Tensor x, gamma, mean, rstd;
};

// Each task has some columns and goes through the rows in their order.
template <class T>
void batch_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, T epsilon, Tensor& out,
                        Tensor& mean, Tensor& rstd, Tensor& variance) {
  const int64_t n = x.dim(0), d = x.dim(1);
  const T *from = data_of<T>(x), *g = data_of<T>(gamma), *b = data_of<T>(beta);
  T *to = data_of<T>(out), *means = data_of<T>(mean), *rstds = data_of<T>(rstd),
    *variances = data_of<T>(variance);
  const T share = T(1) / static_cast<T>(n);
  parallel_for(d, columns_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) means[j] = variances[j] = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; ++j) means[j] += from[i * d + j];
    for (int64_t j = begin; j < end; ++j) means[j] *= share;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; ++j) {
        const T distance = from[i * d + j] - means[j];
        variances[j] += distance * distance;
      }
    for (int64_t j = begin; j < end; ++j) {
      variances[j] *= share;
      rstds[j] = T(1) / std::sqrt(variances[j] + epsilon);
    }
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; ++j)
        to[i * d + j] = g[j] * ((from[i * d + j] - means[j]) * rstds[j]) + b[j];
  });
}

// With h = (x - mean) rstd: dbeta = sum dy, dgamma = sum dy h, dx = gamma rstd (dy - (dbeta + h dgamma) / N).
template <class T>
void batch_norm_backward(const Kept& k, const Tensor& dy, Tensor& dx, Tensor& dgamma, Tensor& dbeta) {
  const int64_t n = dy.dim(0), d = dy.dim(1);
  const T *from = data_of<T>(k.x), *slopes = data_of<T>(dy), *means = data_of<T>(k.mean),
          *rstds = data_of<T>(k.rstd);
  T *dg = data_of<T>(dgamma), *db = data_of<T>(dbeta);
  const T share = T(1) / static_cast<T>(n);
  parallel_for(d, columns_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) dg[j] = db[j] = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; ++j) {
        dg[j] += slopes[i * d + j] * ((from[i * d + j] - means[j]) * rstds[j]);
        db[j] += slopes[i * d + j];
      }
    if (!dx.defined()) return;
    const T* g = data_of<T>(k.gamma);
    T* to = data_of<T>(dx);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = begin; j < end; ++j) {
        const T h = (from[i * d + j] - means[j]) * rstds[j];
        to[i * d + j] = g[j] * rstds[j] * (slopes[i * d + j] - share * (db[j] + h * dg[j]));
      }
  });
}

std::vector<Tensor> backward_of(const Kept& k, bool wants_x, const Tensor& dy) {
  const auto row = [&] { return Tensor::empty({dy.dim(1)}, dy.dtype(), dy.memory()); };
  Tensor dgamma = row(), dbeta = row(), dx = wants_x ? cpu::over(dy) : Tensor();
  if (const Device* device = device_of(dy, "batch_norm")) {
    device->run(&gpu::Kernels::batch_norm_backward,
                {dy.dtype(), dy.dim(0), dy.dim(1), gpu::in(*device, k.x), gpu::in(*device, dy),
                 gpu::in(*device, k.gamma), gpu::in<float>(*device, k.mean), gpu::in<float>(*device, k.rstd),
                 gpu::out(*device, dx), gpu::out(*device, dgamma), gpu::out(*device, dbeta)});
  } else {
    dispatch(dy.dtype(), "batch_norm",
             [&](auto zero) { batch_norm_backward<decltype(zero)>(k, dy, dx, dgamma, dbeta); });
  }
  return {dx, dgamma, dbeta};
}

}  // namespace

Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                    BatchStatistics* seen) {
  check(x.shape().rank() == 2 && x.dim(0) > 0, "batch_norm: expected x (N, D) with N > 0, got {}", x.shape());
  const Shape row{x.dim(1)};
  check(
      gamma.shape() == row && beta.shape() == row && gamma.dtype() == x.dtype() && beta.dtype() == x.dtype(),
      "batch_norm: expected gamma and beta {} {}, got {} and {}", row, name_of(x.dtype()), gamma.shape(),
      beta.shape());
  check(std::isfinite(epsilon) && epsilon > 0, "batch_norm: expected a finite epsilon > 0, got {}", epsilon);
  const Tensor value = x.value();
  const Device* device = device_of(value, "batch_norm");
  const auto statistic = [&] {
    return Tensor::empty(row, device == nullptr ? x.dtype() : DType::f32, value.memory());
  };
  Tensor out = Tensor::empty(x.shape(), x.dtype(), value.memory()), mean = statistic(), rstd = statistic(),
         variance = statistic();
  if (device != nullptr) {
    device->run(
        &gpu::Kernels::batch_norm,
        {x.dtype(), x.dim(0), x.dim(1), gpu::in(*device, value), gpu::in(*device, gamma.value()),
         gpu::in(*device, beta.value()), static_cast<float>(epsilon), gpu::out(*device, out),
         gpu::out<float>(*device, mean), gpu::out<float>(*device, rstd), gpu::out<float>(*device, variance)});
  } else {
    dispatch(x.dtype(), "batch_norm", [&](auto zero) {
      using T = decltype(zero);
      batch_norm_forward<T>(value, gamma.value(), beta.value(), static_cast<T>(epsilon), out, mean, rstd,
                            variance);
    });
  }
  if (seen != nullptr) *seen = {mean, variance};
  return record_jointly(std::move(out), {x, gamma, beta}, [&](const std::vector<bool>& wanted) -> JointRule {
    const Kept kept{value, wanted[0] ? gamma.value() : Tensor(), mean, rstd};
    return [wanted, kept](Tensor dy) {
      std::vector<Tensor> gradients = backward_of(kept, wanted[0], dy);
      for (size_t i = 0; i < gradients.size(); ++i)
        if (!wanted[i]) gradients[i] = {};
      return gradients;
    };
  });
}

}  // namespace vitrine
