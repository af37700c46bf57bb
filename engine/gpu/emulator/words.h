// words.h: the words of port.h for the emulator, and CUDA's keywords as far as kernels may use them.
//
// They mean what cuda/words.h says, check what they are given, and know where they are called. What a GPU may do at any
// time happens at the worst one: an asynchronous copy spoils its destination at once and brings the bytes when
// the thread waits for its group.
#pragma once

#include <bit>
#include <cmath>
#include <type_traits>

#include "engine/gpu/emulator/queue.h"
#include "engine/gpu/emulator/simt.h"
#include "engine/gpu/kernels.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

void __syncthreads(const vitrine::gpu::emulator::Site& site = vitrine::gpu::emulator::Site::current());
void __syncwarp(const vitrine::gpu::emulator::Site& site = vitrine::gpu::emulator::Site::current());

namespace vitrine::gpu {

using emulator::Site;

inline unsigned char* shared_memory() { return emulator::worker->shared(); }

inline float as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t as_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float2 unpack(uint32_t pair) { return {as_float(pair << 16), as_float(pair & 0xffff0000u)}; }
inline uint32_t pack(float low, float high) {
  const auto round = [](float x) -> uint32_t {
    const uint32_t bits = as_bits(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  };
  return round(low) | round(high) << 16;
}

inline float exp2_fast(float x) { return std::exp2(x); }
inline float reciprocal_root(float x) { return 1.0f / std::sqrt(x); }

float shuffle(float x, int lane, const Site& site = Site::current());
float shuffle_xor(float x, int mask, const Site& site = Site::current());

using Chunk = uint4;
Chunk load_chunk(const void* from, const Site& site = Site::current());
void store_chunk(void* to, Chunk chunk, const Site& site = Site::current());

void copy_async_or_zero(void* to, const void* from, bool there, const Site& site = Site::current());
inline void copy_async(void* to, const void* from, const Site& site = Site::current()) {
  copy_async_or_zero(to, from, true, site);
}
void commit_copies();
void wait_for_copies(int newest, const Site& site);
template <int newest>
void wait_for_copies(const Site& site = Site::current()) {
  static_assert(newest >= 0);
  wait_for_copies(newest, site);
}

void load_matrices(uint32_t parts[4], const void* row, const Site& site = Site::current());
void load_matrices_transposed(uint32_t parts[4], const void* row, const Site& site = Site::current());
void multiply_add(float sums[4], const uint32_t a[4], uint32_t b0, uint32_t b1,
                  const Site& site = Site::current());

template <class... Parameters, class... Arguments>
Result launch(Queue* queue, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes,
              const Arguments&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...),
                "a kernel's parameters are copied as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "CUDA takes no more bytes of parameters");
  return emulator::launch(queue, {grid, threads, shared_bytes,
                                  [kernel, ... values = Parameters(arguments)] { kernel(values...); }});
}

}  // namespace vitrine::gpu
