#include "models/builtin.h"

extern "C" {
extern const std::byte vitrine_builtin_vit_begin[];
extern const std::byte vitrine_builtin_vit_end[];
extern const std::byte vitrine_builtin_swin_begin[];
extern const std::byte vitrine_builtin_swin_end[];
}

namespace vitrine {

std::span<const std::byte> builtin_vit() { return {vitrine_builtin_vit_begin, vitrine_builtin_vit_end}; }
std::span<const std::byte> builtin_swin() { return {vitrine_builtin_swin_begin, vitrine_builtin_swin_end}; }

}  // namespace vitrine
