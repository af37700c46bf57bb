// builtin.h: the small pretrained backbones that the program carries inside (library vitrine_builtin).
#pragma once

#include <cstddef>
#include <span>

namespace vitrine {

extern "C" {
extern const std::byte vitrine_builtin_vit_begin[], vitrine_builtin_vit_end[];
extern const std::byte vitrine_builtin_swin_begin[], vitrine_builtin_swin_end[];
}

// The bytes of a safetensors file: a ViT for 32 x 32 pictures, pretrained on formula-driven pictures
// (docs/backbone.md).
inline std::span<const std::byte> builtin_vit() {
  return {vitrine_builtin_vit_begin, vitrine_builtin_vit_end};
}
// The same with a Swin.
inline std::span<const std::byte> builtin_swin() {
  return {vitrine_builtin_swin_begin, vitrine_builtin_swin_end};
}

}  // namespace vitrine
