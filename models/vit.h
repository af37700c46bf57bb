// vit.h: the Vision Transformer (arXiv 2010.11929) and its descendants as timm builds them: patch embedding, tokens
// before the patches, position embedding, pre-norm blocks, pooling, head. Tensor names are timm's. docs/backbone.md says
// which descendants there are, and where what their files do not tell comes from.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/prompt.h"

namespace vitrine {

enum class Pooling {
  token,        // norm, then the class token's row; with a distillation token the mean of both rows
  mean,         // the mean of the patch tokens, then fc_norm (timm's "avg", MAE)
  normed_mean,  // norm, then the mean of the patch tokens (timm's "avg" without fc_norm)
  map  // norm, then a learned question to the patch tokens (timm's "map", SigLIP; nn/layers.h: AttentionPool)
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
  bool class_token = true;  // token pooling alone needs one
  Gelu gelu = Gelu::erf;
  double epsilon = 1e-6;  // of all layer norms

  // What descendants have and the first ViT has not.
  bool distillation_token =
      false;              // behind the class token, with a head of its own: head_dist (arXiv 2012.12877)
  int64_t registers = 0;  // R further tokens behind those (arXiv 2309.16588)
  bool prefix_positions = true;  // false: only patches have rows in pos_embed (timm's no_embed_class)
  bool layer_scale = false;      // x + gamma * branch, twice in a block (arXiv 2103.17239)
  bool norm_pre = false;         // a norm before the first block (CLIP)
  bool gated_mlp = false;        // fc2(swiglu(fc1(x))), fc1 (2 M, D): DINOv2's largest
  bool patch_bias = true, qkv_bias = true, head_bias = true;

  int64_t patches() const { return (image_size / patch) * (image_size / patch); }  // N
  // The tokens before the patches: class, distillation, registers.
  int64_t prefix() const { return (class_token ? 1 : 0) + (distillation_token ? 1 : 0) + registers; }
  int64_t tokens() const { return patches() + prefix(); }
  int64_t positions() const { return prefix_positions ? tokens() : patches(); }  // rows of pos_embed
  // So many rows are pooled of those that the last block gives, if it is token pooling; they are the first ones.
  int64_t pooled_tokens() const { return distillation_token ? 2 : 1; }
  int64_t feature_width() const { return width; }
  int64_t blocks() const { return depth; }
  PromptPlaces prompt_places() const { return {{{"", depth, width}}, patch, tokens(), class_token}; }
};

// Throws unless all sizes are positive, the patch divides the image, the heads divide the width, token pooling has its
// class token, and a distillation token has both.
void check_config(const VitConfig& config);

// "vit-ti16", "vit-s8", "vit-b16", "vit-l14", "vit-h32", ...: widths 192 (ti), 384 (s), 512 (m), 768 (b), 1024 (l), 1280
// (h), 1152 (so400m), 1408 (g), 1664 (bigg); patches 8, 14, 16, 32; at 224 pixels with 1000 classes. Throws for other
// names, with the nearest.
VitConfig vit_preset(const std::string& name);
std::vector<std::string> vit_preset_names();
std::string vit_presets_text();  // the same, short: "vit-{ti,s,...}{8,14,...}"

// What names and shapes of a checkpoint in timm's names tell. They do not tell heads, epsilon and gelu's form:
// - heads are `heads` if not 0, or come from the width (the presets' and 1536:24); throws if neither settles them;
// - epsilon is 1e-6, and with norm_pre 1e-5;
// - gelu is erf, and with norm_pre quick: CLIP as OpenAI trained it. Files of others (LAION's are erf, some SigLIPs tanh)
//   say so in their metadata, key "config" (transformer.h: transformer_config_of).
// Throws if a tensor is missing, or if the rows of pos_embed fit two readings.
VitConfig vit_config_of(const TensorFile& checkpoint, int64_t heads = 0);
// As JSON, in which features that are absent are not named. Read back by transformer.h: config_from_json.
std::string config_to_json(const VitConfig& config);

// x + attention(norm1(x)), then x + mlp(norm2(x)).
struct VitBlock {
  LayerNorm norm1, norm2;
  Attention attn;
  Mlp mlp;
  Adapter adapter;
  Variable scale1, scale2;  // (D), named ls1.gamma and ls2.gamma; undefined without LayerScale
  double drop_path_rate = 0;
  uint32_t lane = 0;  // tells this block's noise from the others'
  VitBlock(const VitConfig& config, double drop_path_rate, uint32_t lane, const Scope& scope);

  // x (B, T, D) -> (B, T, D); prompts (P, D) or (B, P, D), or undefined, take part as keys and values only.
  Variable operator()(const Variable& x, const Variable& prompts, const Pass& pass) const;
  // The same where the prompts' keys and values are known, (P, D) or (B, P, D), and x's queries, keys and values perhaps, too:
  // (B, T, 3 D) of norm1(x), or undefined.
  Variable with_prefix(const Variable& x, const KeyValuePrefix& prefix, const Variable& joint,
                       const Pass& pass) const;
  // What prompts (..., D) are to the tokens.
  KeyValuePrefix prefix(const Variable& prompts) const;
  // The first token's row alone: (B, T, D) -> (B, 1, D).
  Variable first_token(const Variable& x, const Variable& prompts, const Pass& pass) const;
  // The first `count` rows: (B, T, D) -> (B, count, D).
  Variable first_tokens(int64_t count, const Variable& x, const Variable& prompts, const Pass& pass) const;

 private:
  Variable whole(const Variable& x, const KeyValuePrefix& prefix, const Pass& pass) const;
};

class Vit {
 public:
  // Asks `scope` for every weight; with config.classes > 0 also for the head. Drop-path rates grow linearly
  // with depth from 0 to `drop_path`, as in timm; they act in training passes only.
  Vit(const VitConfig& config, const Scope& scope, double drop_path = 0);

  const VitConfig& config() const { return config_; }
  const std::vector<VitBlock>& blocks() const { return blocks_; }
  const LayerNorm& norm() const { return norm_; }
  const AttentionPool& attention_pool() const { return attn_pool_; }  // of Pooling::map

  // images (B, 3, H, W) -> tokens (B, T, D): class token, distillation token and registers, then patches, with position
  // embedding.
  Variable embed(const Variable& images) const;
  // The prompts of a block as rows (P, D), or (B, P, D), of that type: pixels behind the patch embedding.
  Variable prompt_rows(const Prompts& prompts, int64_t block, DType dtype, const Pass& pass) const;
  // tokens (B, T, D) after the last block -> features (B, D). With token pooling T may be as few as are pooled.
  // `prompts` stand behind the tokens before the patches; the second argument says what is pooled.
  Variable pool(const Variable& tokens, PromptPooling pooling = PromptPooling::backbone,
                int64_t prompts = 0) const;
  // images (B, 3, H, W) -> features (B, D) under these prompts (arXiv 2203.12119, section 3.2). Shallow prompts
  // stand behind the tokens before the patches; pooling does not look at them, unless their configuration says so.
  Variable features(const Variable& images, const Prompts& prompts = {}, const Pass& pass = {}) const {
    return features_behind(pass.kept(embed(images)), prompts, pass);
  }
  // The same from what `embed` gives.
  Variable features_behind(const Variable& tokens, const Prompts& prompts, const Pass& pass) const;
  // Of several members at once, each under prompts of its own: tokens (B, T, D) as `embed` gives them -> (E B, D), member
  // after member. The first block's queries, keys and values of the tokens are computed once, those of prompts once
  // for a member. All prompts must be deep, beside the tokens of all blocks, and of one count; throws otherwise.
  Variable features_of(const Variable& tokens, const std::vector<const Prompts*>& members) const;
  // images -> logits (B, classes) of the backbone's own head; throws if it has none. With a distillation token the mean
  // of what head makes of the class token and head_dist of the other.
  Variable logits(const Variable& images) const;

 private:
  // What the last block gives and pooling needs: (B, T, D) or less, with so many prompts among them.
  std::pair<Variable, int64_t> encode(Variable x, const Prompts& prompts, const Pass& pass) const;
  VitConfig config_;
  PatchEmbedding patch_embed_;
  Variable cls_token_, dist_token_, reg_token_, pos_embed_;
  LayerNorm norm_pre_;
  std::vector<VitBlock> blocks_;
  LayerNorm norm_;
  AttentionPool attn_pool_;
  Linear head_, head_dist_;
};

// The parameters of a ViT without building it. The first ViT's are
// 3 p^2 D + D + D + T D + L (4 D^2 + 2 D M + 9 D + M) + 2 D (+ (D + 1) C).
int64_t parameter_count(const VitConfig& config);
// Multiply-accumulates of one forward pass of one image.
int64_t multiply_accumulates(const VitConfig& config);

}  // namespace vitrine
