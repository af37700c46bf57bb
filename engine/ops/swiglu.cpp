// swiglu.cpp: a gate of SiLU, between the layers of a gated MLP.
#include <algorithm>
#include <array>

#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::data_of;
using cpu::kernels;

constexpr int64_t at_once = 256;  // numbers whose sigmoids wait in the first cache
constexpr int64_t grain = 1 << 13;

// Calls body(from, to, sigmoids) for parts [from, to) of the row `a` of `h` numbers.
template <class T, class Body>
void for_parts(const T* a, int64_t h, const Body& body) {
  std::array<T, at_once> sigmoids;
  for (int64_t from = 0; from < h; from += at_once) {
    const int64_t to = std::min(from + at_once, h);
    kernels<T>().scale(a + from, to - from, T(-1), sigmoids.data());
    kernels<T>().exp(sigmoids.data(), to - from, sigmoids.data());
    for (int64_t j = 0; j < to - from; ++j) sigmoids[j] = T(1) / (T(1) + sigmoids[j]);
    body(from, to, sigmoids.data());
  }
}

template <class T>
void swiglu_forward(const Tensor& x, Tensor& out) {
  const int64_t h = out.dim(-1);
  const T* from = data_of<T>(x);
  T* to = data_of<T>(out);
  parallel_for(out.shape().rows_before(-1), grain / std::max<int64_t>(h, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const T *a = from + r * 2 * h, *b = a + h;
                   T* y = to + r * h;
                   for_parts(a, h, [&](int64_t first, int64_t last, const T* s) {
                     for (int64_t j = first; j < last; ++j) y[j] = a[j] * s[j - first] * b[j];
                   });
                 }
               });
}

// With s = sigmoid(a): silu'(a) = s (1 + a (1 - s)).
template <class T>
void swiglu_backward(const Tensor& x, const Tensor& dy, Tensor& dx) {
  const int64_t h = dy.dim(-1);
  const T *from = data_of<T>(x), *slopes = data_of<T>(dy);
  T* to = data_of<T>(dx);
  parallel_for(dy.shape().rows_before(-1), grain / std::max<int64_t>(h, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const T *a = from + r * 2 * h, *b = a + h, *d = slopes + r * h;
                   T *da = to + r * 2 * h, *db = da + h;
                   for_parts(a, h, [&](int64_t first, int64_t last, const T* s) {
                     for (int64_t j = first; j < last; ++j) {
                       const T open = s[j - first];
                       da[j] = d[j] * b[j] * open * (T(1) + a[j] * (T(1) - open));
                       db[j] = d[j] * a[j] * open;
                     }
                   });
                 }
               });
}

// On a device: out = the gate of x, or with dy the gradient of x.
void swiglu_on(const Device& device, const Tensor& x, const Tensor& dy, Tensor& out) {
  if (out.numel() > 0)
    device.run(&gpu::Kernels::swiglu, {x.dtype(), x.shape().rows_before(-1), x.dim(-1) / 2,
                                       gpu::in(device, x), gpu::in(device, dy), gpu::out(device, out)});
}

}  // namespace

Variable swiglu(const Variable& x) {
  check(x.defined(), "swiglu: undefined");
  check(x.shape().rank() >= 1 && x.dim(-1) % 2 == 0, "swiglu: expected x (..., 2 H), got {}", x.shape());
  const Tensor value = x.value();
  Tensor out = Tensor::empty(x.shape().with(-1, x.dim(-1) / 2), x.dtype(), value.memory());
  if (const Device* device = device_of(value, "swiglu")) {
    swiglu_on(*device, value, {}, out);
  } else {
    dispatch(x.dtype(), "swiglu", [&](auto zero) { swiglu_forward<decltype(zero)>(value, out); });
  }
  return record(std::move(out), {{x, [value](const Tensor& dy) {
                                    Tensor dx = Tensor::empty(value.shape(), dy.dtype(), dy.memory());
                                    if (const Device* home = dy.device()) {
                                      swiglu_on(*home, value, dy, dx);
                                    } else {
                                      dispatch(dy.dtype(), "swiglu", [&](auto zero) {
                                        swiglu_backward<decltype(zero)>(value, dy, dx);
                                      });
                                    }
                                    return dx;
                                  }}});
}

}  // namespace vitrine
