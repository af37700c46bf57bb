// words.h: the words of port.h for nvcc. PTX stands here and nowhere else.
#pragma once

#include <cuda_runtime.h>

#include "engine/gpu/kernels.h"

namespace vitrine::gpu {

// Of cuda/queue.cu.
cudaStream_t stream_of(Queue* queue);  // makes its device this thread's
Result allow_shared_bytes(Queue* queue, const void* kernel,
                          size_t bytes);  // beyond what every kernel may have

__device__ inline unsigned char* shared_memory() {
  extern __shared__ __align__(1024) unsigned char shared[];
  return shared;
}

__device__ inline float as_float(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t as_bits(float x) { return __float_as_uint(x); }
__device__ inline float2 unpack(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
__device__ inline uint32_t pack(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float reciprocal_root(float x) { return rsqrtf(x); }

__device__ inline float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
__device__ inline float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }

using Chunk = uint4;
__device__ inline Chunk load_chunk(const void* from) { return *static_cast<const Chunk*>(from); }
__device__ inline void store_chunk(void* to, Chunk chunk) { *static_cast<Chunk*>(to) = chunk; }

__device__ inline unsigned shared_address(const void* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}
__device__ inline void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ inline void copy_async_or_zero(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int newest>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(newest) : "memory");
}

// Four 8 x 8 matrices; lane l names row l % 8 of matrix l / 8. Part i is matrix i: lane l gets columns 2 (l % 4) and
// the next of row l / 4.
__device__ inline void load_matrices(uint32_t parts[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same of the transposed matrices.
__device__ inline void load_matrices_transposed(uint32_t parts[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row))
               : "memory");
}
// sums (16, 8) += a (16, 16) b (16, 8), the parts as mma.m16n8k16 has them: with g = lane / 4 and t = lane % 4, sums
// hold rows g, g, g + 8, g + 8 and columns 2 t, 2 t + 1 of each; a holds pairs of columns 2 t at rows g and g + 8, then
// those of columns 2 t + 8; b0 and b1 hold the pairs of rows 2 t and 2 t + 8 of column g.
__device__ inline void multiply_add(float sums[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Starts the kernel in the queue's stream.
template <class... Parameters, class... Arguments>
Result launch(Queue* queue, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
              const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return nullptr;
  const cudaStream_t stream = stream_of(queue);
  constexpr size_t without_asking = 48 << 10;
  if (shared_bytes > without_asking) {
    if (Result wrong = allow_shared_bytes(queue, reinterpret_cast<const void*>(kernel), shared_bytes)) {
      return wrong;
    }
  }
  kernel<<<grid, static_cast<unsigned>(threads), shared_bytes, stream>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace vitrine::gpu
