// position.h: a ViT's position embedding for pictures of another size, resampled as the program that its file comes from
// does it. docs/checkpoints.md says which program does what.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.h"
#include "models/vit.h"

namespace vitrine {

// How a grid of g x g rows becomes one of n x n. Unless said otherwise the middle of new row i lies at old row
// (i + 1/2) g / n - 1/2, and rows beyond the border are as the last one.
enum class PositionFilter {
  bicubic,            // four rows around it, Keys' cubic with a = -3/4: DeiT, MAE, transformers
  bicubic_antialias,  // Keys' with a = -1/2, stretched by g / n when shrinking, rows inside of the border alone: timm
  bicubic_offset,   // bicubic at (i + 1/2) g / (n + 0.1) - 1/2: DINO, and DINOv2 without registers
  bicubic_corners,  // bicubic with first upon first and last upon last, at i (g - 1) / (n - 1): torchvision
  bilinear,         // two rows around it: timm with Google's files
  bilinear_corners  // first upon first and last upon last: Google's own programs
};
constexpr std::array<PositionFilter, 6> all_position_filters{
    PositionFilter::bicubic,         PositionFilter::bicubic_antialias, PositionFilter::bicubic_offset,
    PositionFilter::bicubic_corners, PositionFilter::bilinear,          PositionFilter::bilinear_corners};
const char* name_of(PositionFilter filter);  // "bicubic", "bicubic-antialias", ...
std::optional<PositionFilter> position_filter_named(std::string_view name);

// One new row as a sum of old ones: `weights[k]` of old row `first + k`. They sum to 1.
struct Taps {
  int64_t first = 0;
  std::vector<double> weights;
};
// For each of `count` new rows out of `old_count`. Throws unless both are positive.
std::vector<Taps> taps(PositionFilter filter, int64_t old_count, int64_t count);

// embedding (1, P + g g, D) of any floating-point type -> (1, P + n n, D) f32, sealed: the first P rows as they are.
// Sums are made in f64 and rounded once. Throws unless the other rows are a square.
Tensor resampled(const Tensor& embedding, int64_t prefix, int64_t count, PositionFilter filter);

// The checkpoint, in canonical names, for pictures of `size` pixels: "pos_embed" and the metadata "config" are new.
// Throws unless the patch divides the size.
TensorFile with_image_size(TensorFile checkpoint, const VitConfig& config, int64_t size,
                           PositionFilter filter);

}  // namespace vitrine
