// avx512_bf16.cpp: the kernels for AVX-512 with dot products of bf16 pairs. CMakeLists.txt names the compiler's options.
#include <immintrin.h>

#include <cstdint>

namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 64, strip_height = 12;
constexpr bool multiplies_pairs = true;

template <class V, class Bits>
V hardware_dot_pairs(V sum, Bits a, Bits b) {
  return reinterpret_cast<V>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a),
                                              reinterpret_cast<__m512bh>(b)));
}
}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/kernels/table.inc"

namespace vitrine::cpu {
constinit const KernelSet avx512_bf16_kernels = set_named("avx512_bf16");
}
