// portable.cpp: the kernels for the architecture's baseline. CMakeLists.txt names the compiler's options.
#include <cstdint>

namespace vitrine::cpu {
namespace {
constexpr int64_t register_bytes = 16, strip_height = 6;
constexpr bool multiplies_pairs = false;
}  // namespace
}  // namespace vitrine::cpu

#include "engine/cpu/kernels/table.inc"

namespace vitrine::cpu {
constinit const KernelSet portable_kernels = set_named("portable");
}
