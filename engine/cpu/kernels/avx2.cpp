// avx2.cpp: the kernels for AVX2 with fused multiply-add. CMakeLists.txt names the compiler's options.
#include <cstdint>

namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 32, strip_height = 6;
constexpr bool multiplies_pairs = false;
}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/kernels/table.inc"

namespace vitrine::cpu {
constinit const KernelSet avx2_kernels = set_named("avx2");
}
