// builtin.h: the small pretrained backbones that the program carries inside (library vitrine_builtin).
#pragma once

#include <cstddef>
#include <span>

namespace vitrine {

// The bytes of a safetensors file: a ViT for 32 x 32 pictures, pretrained on formula-driven pictures
// (docs/backbone.md).
std::span<const std::byte> builtin_vit();
// The same with a Swin.
std::span<const std::byte> builtin_swin();

}  // namespace vitrine
