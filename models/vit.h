// vit.h: the Vision Transformer (arXiv 2010.11929) as timm builds it: patch embedding, class token, position
// embedding, pre-norm blocks, final norm, head. Tensor names are timm's.
#pragma once

#include <string>
#include <vector>

#include "models/prompt.h"

namespace vitrine {

enum class Pooling {
  token,  // norm, then the class token's row
  mean    // the mean of the patch tokens, then fc_norm (timm's "avg", MAE)
};

struct VitConfig {
  int64_t image_size = 224;
  int64_t patch = 16;
  int64_t width = 768;  // D
  int64_t depth = 12;   // L
  int64_t heads = 12;
  int64_t mlp_width = 3072;  // M
  int64_t classes = 0;       // of the backbone's own head; 0: it has none
  Pooling pooling = Pooling::token;
  bool class_token = true;  // mean pooling may go without
  Gelu gelu = Gelu::erf;
  double epsilon = 1e-6;  // of all layer norms

  int64_t patches() const { return (image_size / patch) * (image_size / patch); }  // N
  int64_t tokens() const { return patches() + (class_token ? 1 : 0); }
  int64_t feature_width() const { return width; }
  int64_t blocks() const { return depth; }
  PromptPlaces prompt_places() const { return {{{"", depth, width}}, patch}; }
};

// Throws unless all sizes are positive, the patch divides the image, the heads divide the width, and token
// pooling has its class token.
void check_config(const VitConfig& config);

// "vit-ti16", "vit-s8", "vit-b16", "vit-l14", "vit-h32", ...: widths 192, 384, 768, 1024, 1280;
// patches 8, 14, 16, 32; at 224 pixels with 1000 classes. Throws for other names, with the nearest.
VitConfig vit_preset(const std::string& name);
std::vector<std::string> vit_preset_names();

// What the shapes of a checkpoint in timm's names tell. Heads are `heads` if not 0, or come from the width
// (192:3, 384:6, 768:12, 1024:16, 1280:16); throws if neither settles them, or if a tensor is missing.
VitConfig vit_config_of(const TensorFile& checkpoint, int64_t heads = 0);
std::string config_to_json(const VitConfig& config);  // read back by transformer.h: config_from_json

// x + attention(norm1(x)), then x + mlp(norm2(x)).
struct VitBlock {
  LayerNorm norm1, norm2;
  Attention attn;
  Mlp mlp;
  double drop_path_rate = 0;
  uint32_t lane = 0;  // tells this block's noise from the others'
  VitBlock(const VitConfig& config, double drop_path_rate, uint32_t lane, const Scope& scope);

  // x (B, T, D) -> (B, T, D); prompts (P, D) or (B, P, D), or undefined, take part as keys and values only.
  Variable operator()(const Variable& x, const Variable& prompts, const Pass& pass) const;
  // The first token's row alone: (B, T, D) -> (B, 1, D).
  Variable first_token(const Variable& x, const Variable& prompts, const Pass& pass) const;

 private:
  KeyValuePrefix prefix(const Variable& prompts) const;
  Variable whole(const Variable& x, const KeyValuePrefix& prefix, const Pass& pass) const;
};

class Vit {
 public:
  // Asks `scope` for every weight; with config.classes > 0 also for the head. Drop-path rates grow linearly
  // with depth from 0 to `drop_path`, as in timm; they act in training passes only.
  Vit(const VitConfig& config, const Scope& scope, double drop_path = 0);

  const VitConfig& config() const { return config_; }
  const std::vector<VitBlock>& blocks() const { return blocks_; }

  // images (B, 3, H, W) -> tokens (B, T, D) with class token (first) and position embedding.
  Variable embed(const Variable& images) const;
  // tokens (B, T, D) after the last block -> features (B, D). With token pooling T may be 1.
  Variable pool(const Variable& tokens) const;
  // images (B, 3, H, W) -> features (B, D) under these prompts (arXiv 2203.12119, section 3.2). Shallow prompts
  // stand behind the class token; mean pooling takes the patch tokens only.
  Variable features(const Variable& images, const Prompts& prompts = {}, const Pass& pass = {}) const;
  // images -> logits (B, classes) of the backbone's own head; throws if it has none.
  Variable logits(const Variable& images) const;

 private:
  VitConfig config_;
  PatchEmbedding patch_embed_;
  Variable cls_token_, pos_embed_;
  std::vector<VitBlock> blocks_;
  LayerNorm norm_;
  Linear head_;
};

// The parameters of a ViT without building it:
// 3 p^2 D + D + D + T D + L (4 D^2 + 2 D M + 9 D + M) + 2 D (+ (D + 1) C).
int64_t parameter_count(const VitConfig& config);
// Multiply-accumulates of one forward pass of one image.
int64_t multiply_accumulates(const VitConfig& config);

}  // namespace vitrine
