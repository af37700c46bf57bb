// elements.h: what kernels of elements and rows share: walking over many elements 16 bytes at a time.
#pragma once

#include "engine/gpu/port.h"

namespace vitrine::gpu {

template <class T>
constexpr int per_chunk = 16 / static_cast<int>(sizeof(T));

// 16 bytes as numbers.
template <class T>
struct Numbers {
  float at[per_chunk<T>];
};

__device__ inline void split(Chunk chunk, float (&to)[4]) {
  to[0] = as_float(chunk.x), to[1] = as_float(chunk.y), to[2] = as_float(chunk.z), to[3] = as_float(chunk.w);
}
__device__ inline void split(Chunk chunk, float (&to)[8]) {
  const uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  for (int i = 0; i < 4; ++i) {
    const float2 two = unpack(pairs[i]);
    to[2 * i] = two.x, to[2 * i + 1] = two.y;
  }
}
__device__ inline Chunk join(const float (&from)[4]) {
  return Chunk{as_bits(from[0]), as_bits(from[1]), as_bits(from[2]), as_bits(from[3])};
}
__device__ inline Chunk join(const float (&from)[8]) {
  return Chunk{pack(from[0], from[1]), pack(from[2], from[3]), pack(from[4], from[5]),
               pack(from[6], from[7])};
}

// Numbers i .. i + 3 (7) of an array whose address is a multiple of 16.
template <class T>
__device__ Numbers<T> load_numbers(const T* from) {
  Numbers<T> out;
  split(load_chunk(from), out.at);
  return out;
}
template <class T>
__device__ void store_numbers(T* to, const Numbers<T>& numbers) {
  store_chunk(to, join(numbers.at));
}

inline bool aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

constexpr int element_threads = 256;
inline dim3 blocks_for(int64_t work, int64_t per_block) {
  constexpr int64_t most = 1 << 20;  // what is left, each block does in further rounds
  const int64_t blocks = divided_up(work, per_block);
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

// out[i] = f(x[i], y[i]); y may be null if f does not look at it.
template <class T, class F>
__global__ void __launch_bounds__(element_threads)
    map_elements(int64_t count, F f, const T* x, const T* y, T* out) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = first; i < count; i += step)
    out[i] = narrow<T>(f(widen(x[i]), y == nullptr ? 0.0f : widen(y[i])));
}
// The same for whole chunks.
template <class T, class F>
__global__ void __launch_bounds__(element_threads)
    map_chunks(int64_t chunks, F f, const T* x, const T* y, T* out) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = first; i < chunks; i += step) {
    Numbers<T> a = load_numbers(x + i * per_chunk<T>), b{};
    if (y != nullptr) b = load_numbers(y + i * per_chunk<T>);
    for (int j = 0; j < per_chunk<T>; ++j) a.at[j] = f(a.at[j], b.at[j]);
    store_numbers(out + i * per_chunk<T>, a);
  }
}

template <class T, class F>
Result map_all(Queue* queue, int64_t count, const F& f, const void* x, const void* y, void* out) {
  const auto *px = static_cast<const T*>(x), *py = static_cast<const T*>(y);
  auto* to = static_cast<T*>(out);
  if (count % per_chunk<T> == 0 && aligned(x) && aligned(y) && aligned(out)) {
    const int64_t chunks = count / per_chunk<T>;
    return launch(queue, map_chunks<T, F>, blocks_for(chunks, element_threads), element_threads, 0, chunks, f,
                  px, py, to);
  }
  return launch(queue, map_elements<T, F>, blocks_for(count, element_threads), element_threads, 0, count, f,
                px, py, to);
}

}  // namespace vitrine::gpu
