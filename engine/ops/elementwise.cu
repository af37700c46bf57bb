// elementwise.cu: combine (add, mul, two slopes), relu and sigmoid on a device.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"
#include "engine/gpu/layout.h"

namespace vitrine::gpu {

namespace {

struct Add {
  __device__ float operator()(float x, float y) const { return x + y; }
};
struct Multiply {
  __device__ float operator()(float x, float y) const { return x * y; }
};
struct WherePositive {
  __device__ float operator()(float x, float y) const { return y > 0 ? x : 0; }
};
struct SigmoidSlope {
  __device__ float operator()(float x, float y) const { return x * y * (1 - y); }
};
struct Positive {
  __device__ float operator()(float x, float) const { return x < 0 ? 0 : x; }
};
struct Sigmoid {
  __device__ float operator()(float x, float) const { return 1 / (1 + expf(-x)); }
};

template <class T, class F, class Index>
__global__ void __launch_bounds__(element_threads)
    combine_elements(Index count, F f, Walk<2> walk, const T* x, const T* y, T* out) {
  const Index step = static_cast<Index>(gridDim.x) * element_threads;
  for (Index i = static_cast<Index>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    int64_t at[2];
    walk.find(i, at);
    out[i] = narrow<T>(f(widen(x[at[0]]), widen(y[at[1]])));
  }
}

template <class T, class F>
Result combine_all(Queue* queue, const Combine& a, const F& f) {
  const int64_t* strides[2] = {a.x_stride, a.y_stride};
  const Walk<2> walk = merged<2>(a.rank, a.extents, strides);
  const int64_t count = walk.count();
  if (walk.rank == 1 && walk.stride[0][0] == 1 && walk.stride[1][0] == 1)
    return map_all<T>(queue, count, f, a.x, a.y, a.out);
  const auto *x = static_cast<const T*>(a.x), *y = static_cast<const T*>(a.y);
  auto* out = static_cast<T*>(a.out);
  const dim3 blocks = blocks_for(count, element_threads);
  if (count < most_of_32_bits)
    return launch(queue, combine_elements<T, F, uint32_t>, blocks, element_threads, 0,
                  static_cast<uint32_t>(count), f, walk, x, y, out);
  return launch(queue, combine_elements<T, F, uint64_t>, blocks, element_threads, 0,
                static_cast<uint64_t>(count), f, walk, x, y, out);
}

}  // namespace

Result combine(Queue* queue, const Combine& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (a.op == Binary::add) return combine_all<T>(queue, a, Add{});
    if (a.op == Binary::multiply) return combine_all<T>(queue, a, Multiply{});
    if (a.op == Binary::where_positive) return combine_all<T>(queue, a, WherePositive{});
    return combine_all<T>(queue, a, SigmoidSlope{});
  });
}

Result map(Queue* queue, const Map& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (a.function == Unary::relu) return map_all<T>(queue, a.count, Positive{}, a.x, nullptr, a.out);
    return map_all<T>(queue, a.count, Sigmoid{}, a.x, nullptr, a.out);
  });
}

}  // namespace vitrine::gpu
