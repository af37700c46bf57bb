// norm.cpp: layer_norm and softmax.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::kernels;

int64_t rows_per_task(int64_t columns) { return (1 << 13) / std::max<int64_t>(columns, 1) + 1; }

// Means and rstds are kept for backward, (M) each.
template <class T>
Tensor layer_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, T epsilon, Tensor& mean,
                          Tensor& rstd) {
  const int64_t d = x.dim(-1), m = x.shape().rows_before(-1);
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  mean = Tensor::empty({m}, x.dtype(), x.memory());
  rstd = Tensor::empty({m}, x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T *to = out.mutable_data<T>().data(), *means = mean.mutable_data<T>().data(),
    *rstds = rstd.mutable_data<T>().data();
  const T *g = gamma.data<T>().data(), *b = beta.data<T>().data();
  parallel_for(m, rows_per_task(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      kernels<T>().layer_norm(from + i * d, d, g, b, epsilon, to + i * d, means + i, rstds + i);
  });
  return out;
}

template <class T>
Tensor layer_norm_backward_x(const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                             const Tensor& dy, Tensor out) {
  const int64_t d = x.dim(-1);
  const T *from = x.data<T>().data(), *dys = dy.data<T>().data();
  const T *means = mean.data<T>().data(), *rstds = rstd.data<T>().data();
  T* to = out.mutable_data<T>().data();
  const T* g = gamma.data<T>().data();
  parallel_for(mean.numel(), rows_per_task(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      kernels<T>().layer_norm_backward(from + i * d, dys + i * d, d, g, means[i], rstds[i], to + i * d);
  });
  return out;
}

// dgamma = sum over rows of dy xhat
template <class T>
Tensor layer_norm_backward_gamma(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& dy) {
  const int64_t d = x.dim(-1), m = mean.numel();
  Tensor out = Tensor::zeros({d}, x.dtype(), x.memory());
  const T *from = x.data<T>().data(), *dys = dy.data<T>().data();
  const T *means = mean.data<T>().data(), *rstds = rstd.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(d, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = begin; j < end; ++j)
        to[j] += dys[i * d + j] * ((from[i * d + j] - means[i]) * rstds[i]);
  });
  return out;
}

// dbeta = sum over rows of dy
template <class T>
Tensor layer_norm_backward_beta(const Tensor& dy) {
  const int64_t d = dy.dim(-1), m = dy.shape().rows_before(-1);
  Tensor out = Tensor::zeros({d}, dy.dtype(), dy.memory());
  const T* dys = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(d, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = begin; j < end; ++j) to[j] += dys[i * d + j];
  });
  return out;
}

template <class T>
Tensor softmax_forward(const Tensor& x) {
  const int64_t d = x.dim(-1);
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(x.shape().rows_before(-1), rows_per_task(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T *row = to + i * d, greatest;
      std::copy_n(from + i * d, d, row);
      kernels<T>().scale(row, d, T(1) / kernels<T>().softmax_terms(row, d, T(1), &greatest), row);
    }
  });
  return out;
}

// dx = y (dy - sum(y dy))
template <class T>
Tensor softmax_backward(const Tensor& y, const Tensor& dy) {
  const int64_t d = y.dim(-1);
  Tensor out = Tensor::empty(y.shape(), y.dtype(), y.memory());
  const T *ys = y.data<T>().data(), *dys = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(y.shape().rows_before(-1), rows_per_task(d), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T *row = ys + i * d, *dout = dys + i * d;
      std::copy_n(dout, d, to + i * d);
      kernels<T>().softmax_slope(row, d, kernels<T>().dot(row, dout, d), T(1), to + i * d);
    }
  });
  return out;
}

// The same functions, wherever the tensors are. On a device means and rstds are f32.

Tensor layer_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon,
                          Tensor& mean, Tensor& rstd) {
  if (const Device* device = device_of(x, "layer_norm")) {
    const int64_t rows = x.shape().rows_before(-1);
    Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
    mean = Tensor::empty({rows}, DType::f32, x.memory());
    rstd = Tensor::empty({rows}, DType::f32, x.memory());
    device->run(&gpu::Kernels::layer_norm,
                {x.dtype(), rows, x.dim(-1), gpu::in(*device, x), gpu::in(*device, gamma),
                 gpu::in(*device, beta), static_cast<float>(epsilon), gpu::out(*device, out),
                 gpu::out<float>(*device, mean), gpu::out<float>(*device, rstd)});
    return out;
  }
  return dispatch(x.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    return layer_norm_forward<T>(x, gamma, beta, static_cast<T>(epsilon), mean, rstd);
  });
}

// What backward keeps, undefined where nobody wants it.
struct KeptNorm {
  Tensor x, gamma, mean, rstd;
};

Tensor layer_norm_backward_x(const KeptNorm& k, const Tensor& dy) {
  Tensor out = cpu::over(dy);
  if (const Device* device = device_of(dy, "layer_norm")) {
    device->run(&gpu::Kernels::layer_norm_backward,
                {dy.dtype(), dy.shape().rows_before(-1), dy.dim(-1), gpu::in(*device, k.x),
                 gpu::in(*device, dy), gpu::in(*device, k.gamma), gpu::in<float>(*device, k.mean),
                 gpu::in<float>(*device, k.rstd), nullptr, gpu::out(*device, out)});
    return out;
  }
  return dispatch(dy.dtype(), "layer_norm", [&](auto zero) {
    return layer_norm_backward_x<decltype(zero)>(k.x, k.gamma, k.mean, k.rstd, dy, out);
  });
}

// dgamma and dbeta, undefined where not wanted
std::array<Tensor, 2> layer_norm_backward_weights(const KeptNorm& k, bool gamma, bool beta,
                                                  const Tensor& dy) {
  std::array<Tensor, 2> out;
  if (const Device* device = device_of(dy, "layer_norm")) {
    if (gamma) out[0] = Tensor::empty({dy.dim(-1)}, dy.dtype(), dy.memory());
    if (beta) out[1] = Tensor::empty({dy.dim(-1)}, dy.dtype(), dy.memory());
    device->run(&gpu::Kernels::layer_norm_weights,
                {dy.dtype(), dy.shape().rows_before(-1), dy.dim(-1), gpu::in(*device, k.x),
                 gpu::in(*device, dy), gpu::in<float>(*device, k.mean), gpu::in<float>(*device, k.rstd),
                 gpu::out(*device, out[0]), gpu::out(*device, out[1])});
    return out;
  }
  dispatch(dy.dtype(), "layer_norm", [&](auto zero) {
    using T = decltype(zero);
    if (gamma) out[0] = layer_norm_backward_gamma<T>(k.x, k.mean, k.rstd, dy);
    if (beta) out[1] = layer_norm_backward_beta<T>(dy);
  });
  return out;
}

Tensor softmax_forward(const Tensor& x) {
  if (const Device* device = device_of(x, "softmax")) {
    Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
    device->run(&gpu::Kernels::softmax, {x.dtype(), x.shape().rows_before(-1), x.dim(-1), 1,
                                         gpu::in(*device, x), gpu::out(*device, out)});
    return out;
  }
  return dispatch(x.dtype(), "softmax", [&](auto zero) { return softmax_forward<decltype(zero)>(x); });
}

Tensor softmax_backward(const Tensor& y, const Tensor& dy) {
  if (const Device* device = device_of(dy, "softmax")) {
    Tensor out = cpu::over(dy);
    device->run(&gpu::Kernels::softmax_backward,
                {dy.dtype(), dy.shape().rows_before(-1), dy.dim(-1), 1, gpu::in(*device, y),
                 gpu::in(*device, dy), gpu::out(*device, out)});
    return out;
  }
  return dispatch(dy.dtype(), "softmax", [&](auto zero) { return softmax_backward<decltype(zero)>(y, dy); });
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon) {
  check(x.shape().rank() >= 1 && x.dim(-1) > 0, "layer_norm: expected x (..., D), got {}", x.shape());
  const Shape row{x.dim(-1)};
  check(
      gamma.shape() == row && beta.shape() == row && gamma.dtype() == x.dtype() && beta.dtype() == x.dtype(),
      "layer_norm: expected gamma and beta {} {}, got {} and {}", row, name_of(x.dtype()), gamma.shape(),
      beta.shape());
  check(std::isfinite(epsilon) && epsilon >= 0, "layer_norm: expected a finite epsilon >= 0, got {}",
        epsilon);
  const Tensor value = x.value(), g = gamma.value();
  Tensor mean, rstd;
  Tensor out = layer_norm_forward(value, g, beta.value(), epsilon, mean, rstd);
  return record_jointly(std::move(out), {x, gamma, beta}, [&](const std::vector<bool>& wanted) -> JointRule {
    // dbeta alone needs nothing but dy.
    KeptNorm kept;
    if (wanted[0] || wanted[1]) kept = {value, {}, mean, rstd};
    if (wanted[0]) kept.gamma = g;
    return [wanted, kept](Tensor dy) {
      auto [dgamma, dbeta] = layer_norm_backward_weights(kept, wanted[1], wanted[2], dy);
      // Last, for it may overwrite dy.
      return std::vector<Tensor>{wanted[0] ? layer_norm_backward_x(kept, dy) : Tensor(), dgamma, dbeta};
    };
  });
}

Variable softmax(const Variable& x) {
  check(x.shape().rank() >= 1 && x.dim(-1) > 0, "softmax: expected x (..., D), got {}", x.shape());
  const Tensor y = softmax_forward(x.value());
  return record(y, {{x, [y](const Tensor& dy) { return softmax_backward(y, dy); }}});
}

}  // namespace vitrine
