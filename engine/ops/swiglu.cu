// swiglu.cu: a gate of SiLU on a device.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

// a sigmoid(a), and where it is wanted the slope.
__device__ float silu(float a, float& slope) {
  const float open = 1 / (1 + expf(-a));
  slope = open * (1 + a * (1 - open));
  return a * open;
}

// Element i of the result is at place i + row * width of x, and its factor one `width` further.
template <class T>
__global__ void __launch_bounds__(element_threads)
    swiglu_elements(int64_t count, int64_t width, const T* x, T* y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const int64_t at = i + i / width * width;
    float unused;
    y[i] = narrow<T>(silu(widen(x[at]), unused) * widen(x[at + width]));
  }
}

template <class T>
__global__ void __launch_bounds__(element_threads)
    swiglu_backward_elements(int64_t count, int64_t width, const T* x, const T* dy, T* dx) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const int64_t at = i + i / width * width;
    float slope;
    const float gate = silu(widen(x[at]), slope), d = widen(dy[i]);
    dx[at] = narrow<T>(d * widen(x[at + width]) * slope);
    dx[at + width] = narrow<T>(d * gate);
  }
}

}  // namespace

Result swiglu(Queue* queue, const Swiglu& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t count = a.rows * a.width;
    const dim3 blocks = blocks_for(count, element_threads);
    const auto *x = static_cast<const T*>(a.x), *dy = static_cast<const T*>(a.dy);
    auto* out = static_cast<T*>(a.out);
    if (dy == nullptr)
      return launch(queue, swiglu_elements<T>, blocks, element_threads, 0, count, a.width, x, out);
    return launch(queue, swiglu_backward_elements<T>, blocks, element_threads, 0, count, a.width, x, dy, out);
  });
}

}  // namespace vitrine::gpu
