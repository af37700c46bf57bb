// sha256_arm.cpp: SHA-256 by the instructions of 64-bit ARM. CMakeLists.txt names the compiler's options.
#include <arm_neon.h>

#include "engine/cpu/sha256.h"

namespace vitrine::cpu {

namespace {

void take_blocks(uint32_t* state, const unsigned char* blocks, int64_t count) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; count > 0; --count, blocks += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t w[4];  // the last 16 words of the message's schedule
    for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)));
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const uint32x4_t terms = vaddq_u32(w[i % 4], vld1q_u32(sha256_constants + 4 * i)), first = abcd;
      abcd = vsha256hq_u32(abcd, efgh, terms);
      efgh = vsha256h2q_u32(efgh, first, terms);
      if (i < 12)
        w[i % 4] = vsha256su1q_u32(vsha256su0q_u32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}

}  // namespace

constinit const Sha256Kernels processor_sha256_kernels{take_blocks};

}  // namespace vitrine::cpu
