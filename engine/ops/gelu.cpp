// gelu.cpp: the Gaussian error linear unit in its three forms.
#include <Eigen/Core>
#include <cmath>
#include <numbers>
#include <unsupported/Eigen/SpecialFunctions>

#include "engine/check.h"
#include "engine/cpu/exp.h"
#include "engine/cpu/rows.h"
#include "engine/ops/gelu.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

template <class T>
using Array = Eigen::Array<T, Eigen::Dynamic, 1>;

constexpr int64_t chunk = 1024;  // temporaries of one chunk stay in the first-level cache

// The factor s(x) of gelu(x) = x s(x), and s'(x) if `slope` is wanted.
template <class T, class In>
void gelu_factor(Gelu form, const In& x, Array<T>& factor, Array<T>* slope) {
  if (form == Gelu::erf) {
    factor = T(0.5) + T(0.5) * (x * T(std::numbers::sqrt2 / 2)).erf();
    if (!slope) return;
    *slope = x.square() * T(-0.5);
    cpu::exp_run(slope->data(), slope->size(), slope->data());
    *slope *= T(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  } else if (form == Gelu::tanh) {
    constexpr T a = T(0.7978845608028654), b = T(0.044715);  // a = sqrt(2 / pi)
    factor = T(0.5) + T(0.5) * (a * (x + b * x.cube())).tanh();
    // s = (1 + t) / 2, t' = 1 - t^2 = 4 s (1 - s)
    if (slope) *slope = T(2) * factor * (T(1) - factor) * (a * (T(1) + T(3) * b * x.square()));
  } else {
    factor = (T(1) + (x * T(-1.702)).exp()).inverse();
    if (slope) *slope = T(1.702) * factor * (T(1) - factor);
  }
}

// Beyond it s is exactly 0 or 1 in every form and type, while x^2 and x^3 may overflow and the least number
// that Eigen's exp gives, which is not 0, may be drawn up to something by a great x.
constexpr double far = 1000;

// x s(x), and s + x s' if `slopes` is defined: backward then needs neither x nor another erf.
template <class T>
Tensor gelu_forward(const Tensor& x, Gelu form, Tensor slopes) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T *to = out.mutable_data<T>().data(), *kept = slopes.defined() ? slopes.mutable_data<T>().data() : nullptr;
  parallel_for((x.numel() + chunk - 1) / chunk, 4, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * chunk, last = std::min(end * chunk, x.numel());
    gelu_run<T>(form, from + first, last - first, to + first, kept ? kept + first : nullptr);
  });
  return out;
}

// dx = dy (s + x s')
template <class T>
Tensor gelu_backward(const Tensor& slopes, const Tensor& dy) {
  Tensor out = cpu::over(dy);
  const T *from = slopes.data<T>().data(), *d = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(dy.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = d[i] * from[i];
  });
  return out;
}

}  // namespace

template <class T>
void gelu_run(Gelu form, const T* x, int64_t n, T* out, T* slopes) {
  Array<T> clamped, factor, slope;
  for (int64_t i = 0; i < n; i += chunk) {
    const int64_t length = std::min(chunk, n - i);
    const Eigen::Map<const Array<T>> given(x + i, length);
    const bool moderate = !slopes || !(given.abs().maxCoeff() > T(far));  // nearly always: a copy would cost
    if (!moderate) clamped = given.max(T(-far)).min(T(far));
    const Eigen::Map<const Array<T>> in(moderate ? x + i : clamped.data(), length);
    gelu_factor<T>(form, in, factor, slopes ? &slope : nullptr);
    if (slopes) Eigen::Map<Array<T>>(slopes + i, length) = factor + in * slope;
    Eigen::Map<Array<T>>(out + i, length) = given * factor;
  }
}

template void gelu_run(Gelu, const float*, int64_t, float*, float*);
template void gelu_run(Gelu, const double*, int64_t, double*, double*);

Variable gelu(const Variable& x, Gelu form) {
  check(x.defined(), "gelu: undefined");
  const Tensor slopes =
      x.wants_gradient() ? Tensor::empty(x.shape(), x.dtype(), x.value().memory()) : Tensor();
  Tensor out = dispatch(x.dtype(), "gelu",
                        [&](auto zero) { return gelu_forward<decltype(zero)>(x.value(), form, slopes); });
  return record(std::move(out), {{x, [slopes](const Tensor& dy) {
                                    return dispatch(dy.dtype(), "gelu", [&](auto zero) {
                                      return gelu_backward<decltype(zero)>(slopes, dy);
                                    });
                                  }}});
}

}  // namespace vitrine
