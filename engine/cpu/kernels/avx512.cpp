// avx512.cpp: the kernels for AVX-512 (F, BW, DQ, VL). CMakeLists.txt names the compiler's options.
#include <cstdint>

namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 64, strip_height = 12;
constexpr bool multiplies_pairs = false;
}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/kernels/table.inc"

namespace vitrine::cpu {
constinit const KernelSet avx512_kernels = set_named("avx512");
}
