// port.h: the words in which kernels are written, one set for nvcc and one for the emulator.
//
// A kernel includes this header alone and uses CUDA's own keywords, __syncthreads, __syncwarp and what is below. nvcc
// makes PTX of it. For the emulator, which runs each thread on the CPU, the same words check what they are given and
// are late on purpose wherever a GPU may be (emulator/words.h).
//
//   extern shared memory           shared_memory()
//   exchange within a warp         shuffle(value, lane), shuffle_xor(value, mask)
//   16 bytes at once               load_chunk(from), store_chunk(to, chunk)
//   global to shared memory        copy_async(to, from), copy_async_or_zero(to, from, there), commit_copies(),
//                                  wait_for_copies<n>(): all but the n newest groups have come, for this thread
//   8 x 8 matrices of bf16         load_matrices(parts, row), load_matrices_transposed(parts, row)
//   16 x 16 times 16 x 8           multiply_add(sums, a, b0, b1)
//   fast elementary functions      exp2_fast(x), reciprocal_root(x)
//   bf16                           pack(low, high), unpack(pair), widen(x), narrow<T>(x)
//   starting a kernel              launch(queue, kernel, grid, threads, shared_bytes, arguments...)
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/gpu/kernels.h"

#ifdef __CUDACC__
#include "engine/gpu/cuda/words.h"
#else
#include "engine/gpu/emulator/words.h"
#endif

namespace vitrine::gpu {

constexpr int warp_size = 32;

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(bf16 x) { return as_float(static_cast<uint32_t>(x.bits) << 16); }
template <class T>
__device__ T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 narrow<bf16>(float x) {
  return bf16{static_cast<uint16_t>(pack(x, 0.0f))};
}

// The sum (the greatest) of all lanes' values, in every lane.
__device__ inline float warp_sum(float x) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}

// What scores are measured from where `greatest` is the greatest so far: all of them may be -infinity yet.
__device__ inline float finite_level(float greatest) { return greatest == -INFINITY ? 0.0f : greatest; }

// Calls f with a zero of the type that `dtype` names.
template <class F>
Result with_type(DType dtype, const F& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::bf16) return f(bf16{});
  return "expected f32 or bf16";
}

inline int64_t divided_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit; }

}  // namespace vitrine::gpu
