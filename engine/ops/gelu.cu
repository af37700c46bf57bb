// gelu.cu: the Gaussian error linear unit on a device, in its three forms.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

// How far x is let through: gelu(x) = x gate(x).
template <GeluForm form>
__device__ float gate(float x) {
  constexpr float root_half = 0.70710678118654752f, root_2_over_pi = 0.79788456080286536f;
  if constexpr (form == GeluForm::erf) return 0.5f * (1 + erff(x * root_half));
  if constexpr (form == GeluForm::tanh)
    return 0.5f * (1 + tanhf(root_2_over_pi * (x + 0.044715f * x * x * x)));
  return 1 / (1 + expf(-1.702f * x));
}

// gelu'(x) = gate(x) + x gate'(x)
template <GeluForm form>
__device__ float slope(float x) {
  const float open = gate<form>(x);
  if (open == 0 || open == 1) return open;  // x alone may be too great for what follows
  if constexpr (form == GeluForm::erf) return open + x * 0.39894228040143268f * expf(-0.5f * x * x);
  if constexpr (form == GeluForm::tanh) {
    // with t = 2 gate - 1: gate' = (1 - t^2) / 2 times the derivative of what tanh is taken of
    const float t = 2 * open - 1;
    return open + x * 0.5f * (1 - t * t) * 0.79788456080286536f * (1 + 3 * 0.044715f * x * x);
  }
  return open + x * 1.702f * open * (1 - open);
}

template <GeluForm form>
struct Forward {
  __device__ float operator()(float x, float) const { return x * gate<form>(x); }
};
template <GeluForm form>
struct Backward {
  __device__ float operator()(float x, float dy) const { return dy * slope<form>(x); }
};

template <template <GeluForm> class F>
Result run(Queue* queue, DType dtype, GeluForm form, int64_t count, const void* x, const void* y, void* out) {
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    if (form == GeluForm::erf) return map_all<T>(queue, count, F<GeluForm::erf>{}, x, y, out);
    if (form == GeluForm::tanh) return map_all<T>(queue, count, F<GeluForm::tanh>{}, x, y, out);
    return map_all<T>(queue, count, F<GeluForm::quick>{}, x, y, out);
  });
}

}  // namespace

Result gelu(Queue* queue, const Gelu& a) {
  return run<Forward>(queue, a.dtype, a.form, a.count, a.x, nullptr, a.out);
}

Result gelu_backward(Queue* queue, const GeluBackward& a) {
  return run<Backward>(queue, a.dtype, a.form, a.count, a.x, a.dy, a.dx);
}

}  // namespace vitrine::gpu
