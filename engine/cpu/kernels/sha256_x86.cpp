// sha256_x86.cpp: SHA-256 by the instructions of x86 (Intel's SHA extensions). CMakeLists.txt names the compiler's options.
#include <immintrin.h>

#include "engine/cpu/sha256.h"

namespace vitrine::cpu {

namespace {

__m128i load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }

// The instructions want the words as (a, b, e, f) and (c, d, g, h), the first one highest. `abef` and `cdgh` change
// their roles with every two rounds.
void take_blocks(uint32_t* state, const unsigned char* blocks, int64_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  constexpr int swap_pairs = 0xb1, upper_half = 0x0e;
  const __m128i badc = _mm_shuffle_epi32(load(state), swap_pairs),
                fehg = _mm_shuffle_epi32(load(state + 4), swap_pairs);
  __m128i abef = _mm_unpacklo_epi64(fehg, badc), cdgh = _mm_unpackhi_epi64(fehg, badc);
  for (; count > 0; --count, blocks += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];  // the last 16 words of the message's schedule
    for (int i = 0; i < 4; ++i) w[i] = _mm_shuffle_epi8(load(blocks + 16 * i), big_endian);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m128i terms = _mm_add_epi32(w[i % 4], load(sha256_constants + 4 * i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, terms);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(terms, upper_half));
      if (i >= 12) continue;
      const __m128i near = w[(i + 3) % 4], middle = _mm_alignr_epi8(near, w[(i + 2) % 4], 4);
      w[i % 4] =
          _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]), middle), near);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i abcd = _mm_unpackhi_epi64(cdgh, abef), efgh = _mm_unpacklo_epi64(cdgh, abef);
  const __m128i dcba = _mm_shuffle_epi32(abcd, swap_pairs), hgfe = _mm_shuffle_epi32(efgh, swap_pairs);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_shuffle_epi32(dcba, 0x4e));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_shuffle_epi32(hgfe, 0x4e));
}

}  // namespace

constinit const Sha256Kernels processor_sha256_kernels{take_blocks};

}  // namespace vitrine::cpu
