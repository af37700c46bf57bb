// swin.h: the Swin Transformer (arXiv 2103.14030), version 1: attention within windows that are shifted in
// every other block, and stages between which four neighbouring tokens become one of twice the width. Tensor
// names are the ones of the authors' checkpoints.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/prompt.h"

namespace vitrine {

struct SwinConfig {
  int64_t image_size = 224;  // of the pictures it was trained on; it takes any size
  int64_t patch = 4;
  int64_t width = 96;                          // C of the first stage; stage s has 2^s C
  std::vector<int64_t> depths = {2, 2, 6, 2};  // blocks of each stage
  std::vector<int64_t> heads = {3, 6, 12, 24};
  int64_t window = 7;
  // Of each stage, if they are not all alike: where a map is smaller than the window of a net, its authors' program and
  // timm's make the window, and with it the table, as small. Else empty.
  std::vector<int64_t> windows{};
  int64_t mlp_ratio = 4;
  int64_t classes = 0;  // of the backbone's own head; 0: it has none
  // How a map is filled up to whole windows: before it is rolled, or after.
  WindowGrid::Padding padding = WindowGrid::Padding::before_roll;
  Gelu gelu = Gelu::erf;
  double epsilon = 1e-5;  // of all layer norms

  int64_t stages() const { return static_cast<int64_t>(depths.size()); }
  int64_t stage_width(int64_t stage) const { return width << stage; }
  int64_t window_of(int64_t stage) const { return windows.empty() ? window : windows[stage]; }
  int64_t feature_width() const { return stage_width(stages() - 1); }
  int64_t blocks() const;
  PromptPlaces prompt_places() const;
};

// Throws unless all sizes are positive and the heads divide the widths.
void check_config(const SwinConfig& config);

// "swin-t", "swin-s", "swin-b", "swin-l" (window 7, 224 pixels), "swin-b384", "swin-l384" (window 12, 384
// pixels), with 1000 classes. Throws for other names.
SwinConfig swin_preset(const std::string& name);
std::vector<std::string> swin_preset_names();

// What the shapes of a checkpoint in its authors' names tell. The image size is taken to be the one whose last
// map is one window of the last stage, as in the published models, and where windows are as small as maps. Throws if a tensor is missing.
SwinConfig swin_config_of(const TensorFile& checkpoint);
std::string config_to_json(const SwinConfig& config);  // read back by transformer.h: config_from_json

// x + attention(norm1(x)) within windows, then x + mlp(norm2(x)).
struct SwinBlock {
  LayerNorm norm1, norm2;
  WindowAttention attn;
  Mlp mlp;
  Adapter adapter;
  int64_t shift = 0;  // half a window in every other block
  double drop_path_rate = 0;
  uint32_t lane = 0;  // tells this block's noise from the others'
  SwinBlock(const SwinConfig& config, int64_t stage, int64_t index, const Scope& scope);

  // x (B, P + rows * columns, C) -> the same shape. `grid` gives the map and P, the prompts among the tokens;
  // `prompts` (P', C) or (B, P', C), or undefined, take part as keys and values only.
  Variable operator()(const Variable& x, WindowGrid grid, const Variable& prompts, const Pass& pass) const;

 private:
  Variable whole(const Variable& x, const WindowGrid& grid, const KeyValuePrefix& prefix,
                 const Pass& pass) const;
};

// Four neighbours side by side, in the order (0, 0), (1, 0), (0, 1), (1, 1) of (row, column), then norm and
// reduction: (B, P + H W, C) -> (B, P + H W / 4, 2 C). An odd map is filled up with zeros. Prompts among the
// tokens stand in for their own neighbours: four copies of each (the paper's code).
struct PatchMerging {
  LayerNorm norm;
  Variable reduction;  // (2 C, 4 C), named reduction.weight
  ScaleShift behind;
  PatchMerging(const SwinConfig& config, int64_t stage, const Scope& scope);
  Variable operator()(const Variable& x, const WindowGrid& grid) const;
};

class Swin {
 public:
  struct Stage {
    std::vector<SwinBlock> blocks;
    std::vector<PatchMerging> downsample;  // one, or none in the last stage
  };

  // Asks `scope` for every weight; with config.classes > 0 also for the head. Drop-path rates grow linearly
  // with depth from 0 to `drop_path`, as in the authors' code; they act in training passes only.
  Swin(const SwinConfig& config, const Scope& scope, double drop_path = 0);

  const SwinConfig& config() const { return config_; }
  const std::vector<Stage>& stages() const { return stages_; }

  // images (B, 3, H, W) of any size -> tokens (B, rows columns, C) after their norm, and the map they lie on.
  std::pair<Variable, WindowGrid> embed(const Variable& images) const;
  // tokens (B, T, D) after the last block, so many prompts before the others -> features (B, D): the mean after the norm, of
  // all of them or of some.
  Variable pool(const Variable& tokens, PromptPooling pooling = PromptPooling::backbone,
                int64_t prompts = 0) const;
  // images (B, 3, H, W) of any size -> features (B, D), D = feature_width, under these prompts (arXiv
  // 2203.12119, section 3.3): they join every window without bias and mask, what an image's windows make of
  // them is averaged, and they take part in the final mean. Deep prompts are keys and values only wherever
  // what becomes of them is thrown away: in all blocks but the last.
  Variable features(const Variable& images, const Prompts& prompts = {}, const Pass& pass = {}) const {
    const auto [tokens, grid] = embed(images);
    return features_behind(pass.kept(tokens), grid, prompts, pass);
  }
  // The same from what `embed` gives.
  Variable features_behind(Variable x, WindowGrid grid, const Prompts& prompts, const Pass& pass) const;
  // images -> logits (B, classes) of the backbone's own head; throws if it has none.
  Variable logits(const Variable& images) const;

 private:
  SwinConfig config_;
  PatchEmbedding patch_embed_;
  LayerNorm patch_norm_;
  std::vector<Stage> stages_;
  LayerNorm norm_;
  Linear head_;
};

// The parameters of a Swin without building it.
int64_t parameter_count(const SwinConfig& config);
// Multiply-accumulates of one forward pass of one image.
int64_t multiply_accumulates(const SwinConfig& config);

}  // namespace vitrine
