// presets.cpp: how the families of published checkpoints had their pictures prepared.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

struct Normal {
  std::array<float, 3> mean, std;
};
constexpr Normal imagenet{{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
constexpr Normal half{{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};  // to -1 .. 1
constexpr Normal clip{{0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};
constexpr Normal none{{0, 0, 0}, {1, 1, 1}};  // 0 .. 1

// Shorter side to `resize`, then the central square.
constexpr Preprocess cut(int size, int resize, Filter filter, const Normal& normal) {
  return {.size = size, .resize = resize, .filter = filter, .mean = normal.mean, .std = normal.std};
}
constexpr Preprocess squash(int size, Filter filter, const Normal& normal) {
  return {
      .size = size, .resize = size, .squash = true, .filter = filter, .mean = normal.mean, .std = normal.std};
}
// Of which the net sees whole patches alone.
constexpr Preprocess seen(Preprocess p, int size) {
  p.lost = p.size - size;
  p.size = size;
  return p;
}
constexpr Preprocess cut_squashed(int size, int resize, Filter filter, const Normal& normal) {
  Preprocess p = cut(size, resize, filter, normal);
  p.squash = p.crop_squashed = true;
  return p;
}

// timm states a share of the shorter side, crop_pct: 0.875 of 256 and 0.9 of 248 (rounded down) are 224, 1 is all.
constexpr auto bilinear = Filter::bilinear, bicubic = Filter::bicubic;
constexpr PreprocessPreset presets[] = {
    {"deit", "the DeiT repository (crop_pct 0.875)", cut(224, 256, bicubic, imagenet)},
    {"deit-384", "the DeiT repository at 384", cut(384, 438, bicubic, imagenet)},
    {"deit-transformers", "facebook/deit-* in transformers", cut_squashed(224, 256, bicubic, imagenet)},
    {"timm-deit", "timm's deit_* (crop_pct 0.9)", cut(224, 248, bicubic, imagenet), 0.9},
    {"timm-deit-384", "timm's deit_*_384 (crop_pct 1)", cut(384, 384, bicubic, imagenet)},
    {"timm-vit", "timm's augreg, original and sam ViTs (crop_pct 0.9)", cut(224, 248, bicubic, half), 0.9},
    {"timm-vit-384", "the same at 384 (crop_pct 1)", cut(384, 384, bicubic, half)},
    {"google-vit", "google/vit-*-224 in transformers", squash(224, bilinear, half)},
    {"google-vit-384", "google/vit-*-384 in transformers", squash(384, bilinear, half)},
    {"dino", "the DINO repository", cut(224, 256, bicubic, imagenet)},
    {"timm-dino", "timm's DINO ViTs (crop_pct 0.9)", cut(224, 248, bicubic, imagenet), 0.9},
    {"dinov2", "DINOv2's linear evaluation, transformers' DINOv2", cut(224, 256, bicubic, imagenet)},
    {"timm-dinov2", "timm's DINOv2 ViTs (crop_pct 1)", cut(518, 518, bicubic, imagenet)},
    {"mae", "the MAE repository", cut(224, 256, bicubic, imagenet)},
    {"moco-v3", "the MoCo v3 repository", cut(224, 256, bilinear, imagenet)},
    {"clip", "OpenAI's CLIP", cut(224, 224, bicubic, clip)},
    {"clip-336", "OpenAI's CLIP at 336", cut(336, 336, bicubic, clip)},
    {"timm-clip", "timm's CLIP ViTs of crop_pct 0.9", cut(224, 248, bicubic, clip), 0.9},
    {"siglip", "google/siglip-*-224 in transformers", squash(224, bicubic, half)},
    {"siglip-256", "google/siglip-*-256 in transformers", squash(256, bicubic, half)},
    {"siglip-384", "google/siglip-*-384 in transformers", squash(384, bicubic, half)},
    {"siglip-378", "google/siglip-so400m-patch14-384 in transformers", seen(squash(384, bicubic, half), 378)},
    {"timm-siglip", "timm's SigLIP ViTs of crop_pct 0.9", cut(224, 248, bicubic, half), 0.9},
    {"miil", "MIIL's ImageNet-21k ViTs", cut(224, 256, bilinear, none)},
    {"swin", "Microsoft's Swin repository", cut(224, 256, bicubic, imagenet)},
    {"swin-384", "Microsoft's Swin repository at 384", cut(384, 438, bicubic, imagenet)},
    {"swin-transformers", "microsoft/swin-*-224 in transformers", squash(224, bicubic, imagenet)},
    {"swin-transformers-384", "microsoft/swin-*-384 in transformers", squash(384, bicubic, imagenet)},
    {"timm-swin", "timm's swin_* (crop_pct 0.9)", cut(224, 248, bicubic, imagenet), 0.9},
    {"timm-swin-384", "timm's swin_*_384 (crop_pct 1)", cut(384, 384, bicubic, imagenet)},
    {"torchvision-vit", "torchvision's ViT-B and L/32, IMAGENET1K_V1", cut(224, 256, bilinear, imagenet)},
    {"torchvision-vit-l-16", "torchvision's ViT-L/16, IMAGENET1K_V1", cut(224, 242, bilinear, imagenet)},
    {"torchvision-vit-swag-384", "torchvision's ViT-B/16, SWAG_E2E", cut(384, 384, bicubic, imagenet)},
    {"torchvision-vit-swag-512", "torchvision's ViT-L/16, SWAG_E2E", cut(512, 512, bicubic, imagenet)},
    {"torchvision-vit-swag-518", "torchvision's ViT-H/14, SWAG_E2E", cut(518, 518, bicubic, imagenet)},
    {"torchvision-vit-swag-linear", "torchvision's SWAG_LINEAR", cut(224, 224, bicubic, imagenet)},
    {"torchvision-swin-t", "torchvision's Swin-T", cut(224, 232, bicubic, imagenet)},
    {"torchvision-swin-s", "torchvision's Swin-S", cut(224, 246, bicubic, imagenet)},
    {"torchvision-swin-b", "torchvision's Swin-B", cut(224, 238, bicubic, imagenet)},
};

}  // namespace

std::span<const PreprocessPreset> preprocess_presets() { return presets; }

Preprocess preprocess_preset(std::string_view name) {
  std::vector<std::string_view> names;
  for (const PreprocessPreset& preset : presets) {
    if (name == preset.name) return preset.preprocess;
    names.emplace_back(preset.name);
  }
  const std::string meant = nearest(name, names);
  fail(Fault::input, "preprocess: unknown preset {}{}", quote(name),
       meant.empty() ? "" : text("; did you mean '{}'?", meant));
}

std::optional<Preprocess> preprocess_preset_at(std::string_view name, int64_t size) {
  // What "deit-384" says of 224 pixels is what "deit" says.
  const auto is_preset = [](std::string_view n) {
    return std::any_of(std::begin(presets), std::end(presets), [&](const auto& p) { return n == p.name; });
  };
  if (const size_t dash = name.rfind('-');
      dash != std::string_view::npos && is_preset(name) &&
      name.find_first_not_of("0123456789", dash + 1) == std::string_view::npos &&
      is_preset(name.substr(0, dash)))
    name = name.substr(0, dash);
  const std::string sized = text("{}-{}", name, size);
  for (const PreprocessPreset& preset : presets)
    if (sized == preset.name) return preset.preprocess;
  for (const PreprocessPreset& preset : presets) {
    if (name != preset.name) continue;
    Preprocess p = at_size(preset.preprocess, size);
    if (preset.share > 0 && size != preset.preprocess.size)
      p.resize = resize_before_crop(p.size, preset.share);
    return p;
  }
  return std::nullopt;
}

int resize_before_crop(int size, double share) {
  check(size >= 1 && share > 0 && share <= 1,
        "preprocess: expected a size of at least 1 and a share in (0, 1], got {} and {}", size, share);
  const double side = std::floor(size / share);
  check(side <= 8192, "preprocess: {} as a share of {} would be cut out of more than 8192 pixels", size,
        share);
  return static_cast<int>(side);
}

}  // namespace vitrine
