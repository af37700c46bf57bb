// matmul.cpp: matmul and linear.
#include <algorithm>

#include "engine/check.h"
#include "engine/cpu/gemm.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/ops/weight.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::Matrix;

// One or `batch` products: x (batch, m, k) y (k, n) or (batch, k, n) -> (batch, m, n). Strides
// tell transposed operands.
template <class T>
Tensor product(const Shape& shape, int64_t batch, int64_t m, int64_t n, int64_t k, const Tensor& x,
               bool x_transposed, const Tensor& y, bool y_transposed) {
  Tensor out = Tensor::empty(shape, x.dtype(), x.memory());
  const T *px = x.data<T>().data(), *py = y.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (int64_t b = 0; b < batch; ++b) {
    const Matrix<T> left = x_transposed ? Matrix<T>{px + b * m * k, 1, m} : Matrix<T>{px + b * m * k, k, 1};
    const Matrix<T> right = y_transposed ? Matrix<T>{py + b * k * n, 1, k} : Matrix<T>{py + b * k * n, n, 1};
    cpu::multiply<T>({m, n, k, left, to + b * m * n, n}, right, x.memory());
  }
  return out;
}

Tensor product(const Shape& shape, int64_t batch, int64_t m, int64_t n, int64_t k, const Tensor& x,
               bool x_transposed, const Tensor& y, bool y_transposed) {
  if (const Device* device = device_of(x, "matmul")) {
    Tensor out = Tensor::empty(shape, x.dtype(), x.memory());
    gpu::Product p = gpu::product_of(*device, x, y, out);
    p.batch = batch, p.m = m, p.n = n, p.k = k;
    p.a.step = x_transposed ? m : k, p.a.image = m * k, p.a.transposed = x_transposed;
    p.b.step = y_transposed ? k : n, p.b.image = k * n, p.b.transposed = y_transposed;
    p.out_step = n, p.out_image = m * n;
    device->run(&gpu::Kernels::product, p);
    return out;
  }
  return dispatch(x.dtype(), "matmul", [&](auto zero) {
    return product<decltype(zero)>(shape, batch, m, n, k, x, x_transposed, y, y_transposed);
  });
}

// y (M, N) = x (M, K) w^T + b
template <class T>
Tensor linear_forward_here(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t n = weight.dim(0), k = weight.dim(1), m = k ? x.numel() / k : x.shape().rows_before(-1);
  Tensor out = Tensor::empty(x.shape().with(-1, n), x.dtype(), x.memory());
  cpu::Product<T> p{m, n, k, {x.data<T>().data(), k, 1}, out.mutable_data<T>().data(), n};
  if (bias.defined()) p.bias = bias.data<T>().data();
  const PackedWeight<T> packed = packed_weight<T>(weight, for_forward, x.memory());
  cpu::multiply_packed<T>(p, packed.panels);
  return out;
}

// `added` only on a device, where the product takes it along.
Tensor linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& added = {}) {
  if (const Device* device = device_of(x, "linear")) {
    const int64_t n = weight.dim(0), k = weight.dim(1), m = x.shape().rows_before(-1);
    Tensor out = Tensor::empty(x.shape().with(-1, n), x.dtype(), x.memory());
    gpu::Product p = gpu::product_of(*device, x, weight, out);
    p.m = m, p.n = n, p.k = k;
    p.a.step = k, p.b.step = k, p.b.transposed = true, p.out_step = n;
    p.bias = gpu::in(*device, bias);
    p.added = gpu::in(*device, added);
    device->run(&gpu::Kernels::product, p);
    return out;
  }
  return dispatch(x.dtype(), "linear",
                  [&](auto zero) { return linear_forward_here<decltype(zero)>(x, weight, bias); });
}

// dx (M, K) = dy (M, N) w
template <class T>
Tensor linear_backward_x_here(const Tensor& weight, const Tensor& dy) {
  const int64_t n = weight.dim(0), k = weight.dim(1), m = dy.shape().rows_before(-1);
  Tensor out = Tensor::empty(dy.shape().with(-1, k), dy.dtype(), dy.memory());
  const PackedWeight<T> packed = packed_weight<T>(weight, for_backward, dy.memory());
  cpu::multiply_packed<T>({m, k, n, {dy.data<T>().data(), n, 1}, out.mutable_data<T>().data(), k},
                          packed.panels);
  return out;
}

Tensor linear_backward_x(const Tensor& weight, const Tensor& dy) {
  if (dy.device() != nullptr) {
    const int64_t n = weight.dim(0), k = weight.dim(1);
    return product(dy.shape().with(-1, k), 1, dy.shape().rows_before(-1), k, n, dy, false, weight, false);
  }
  return dispatch(dy.dtype(), "linear",
                  [&](auto zero) { return linear_backward_x_here<decltype(zero)>(weight, dy); });
}

// db (N) = the sum of the rows of dy
template <class T>
Tensor linear_backward_bias_here(const Tensor& dy) {
  const int64_t n = dy.dim(-1), m = dy.shape().rows_before(-1);
  Tensor out = Tensor::zeros({n}, dy.dtype(), dy.memory());
  T* to = out.mutable_data<T>().data();
  const T* from = dy.data<T>().data();
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = begin; j < end; ++j) to[j] += from[i * n + j];
  });
  return out;
}

Tensor linear_backward_bias(const Tensor& dy) {
  if (device_of(dy, "linear") != nullptr)
    return gpu::sum_first(dy.reshape({dy.shape().rows_before(-1), dy.dim(-1)}), dy.dtype());
  return dispatch(dy.dtype(), "linear",
                  [&](auto zero) { return linear_backward_bias_here<decltype(zero)>(dy); });
}

}  // namespace

Variable matmul(const Variable& x, const Variable& y) {
  const Shape &sx = x.shape(), &sy = y.shape();
  check(sx.rank() >= 2 && sy.rank() >= 2 && sx.dim(-1) == sy.dim(-2) && x.dtype() == y.dtype() &&
            (sy.rank() == 2 ||
             (sx.rank() == sy.rank() &&
              std::ranges::equal(sx.extents().first(sx.rank() - 2), sy.extents().first(sy.rank() - 2)))),
        "matmul: {} {} and {} {} do not fit each other", sx, name_of(x.dtype()), sy, name_of(y.dtype()));
  // A shared right side sees one tall left side.
  const int64_t batch = sy.rank() == 2 ? 1 : sy.rows_before(-2);
  const int64_t k = sx.dim(-1), n = sy.dim(-1), m = sx.rows_before(-1) / std::max<int64_t>(batch, 1);
  const Tensor vx = x.value(), vy = y.value();
  return record(
      product(sx.with(-1, n), batch, m, n, k, vx, false, vy, false),
      {{x, [=, shape = sx](const Tensor& dy) { return product(shape, batch, m, k, n, dy, false, vy, true); }},
       {y,
        [=, shape = sy](const Tensor& dy) { return product(shape, batch, k, n, m, vx, true, dy, false); }}});
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, const Variable& added) {
  check(x.shape().rank() >= 1, "linear: expected x (..., K), got {}", x.shape());
  check(weight.shape().rank() == 2 && weight.dim(1) == x.dim(-1), "linear: expected weight (out, {}), got {}",
        x.dim(-1), weight.shape());
  check(weight.dtype() == x.dtype(), "linear: expected a weight of {}, got {}", name_of(x.dtype()),
        name_of(weight.dtype()));
  check(!bias.defined() || bias.shape() == Shape{weight.dim(0)}, "linear: expected bias ({}), got {}",
        weight.dim(0), bias.shape());
  check(!bias.defined() || bias.dtype() == x.dtype(), "linear: expected a bias of {}, got {}",
        name_of(x.dtype()), name_of(bias.dtype()));
  check(
      !added.defined() || (added.shape() == x.shape().with(-1, weight.dim(0)) && added.dtype() == x.dtype()),
      "linear: expected what is added {} {}, got {}", x.shape().with(-1, weight.dim(0)), name_of(x.dtype()),
      added.shape());
  if (added.defined() && x.value().device() == nullptr) return add(added, linear(x, weight, bias));
  const Tensor vx = x.value(), w = weight.value();
  return record(linear_forward(vx, w, bias.value(), added.value()),
                {{x, [w](const Tensor& dy) { return linear_backward_x(w, dy); }},
                 {weight,
                  [vx](const Tensor& dy) {  // dw (N, K) = dy^T x
                    const int64_t n = dy.dim(-1), k = vx.dim(-1), m = dy.shape().rows_before(-1);
                    return product({n, k}, 1, n, k, m, dy, true, vx, false);
                  }},
                 {bias, [](const Tensor& dy) { return linear_backward_bias(dy); }},
                 {added, [](const Tensor& dy) { return dy; }}});
}

}  // namespace vitrine
