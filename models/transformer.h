// transformer.h: a backbone is a ViT or a Swin. What tuning, task files and programs need to know of it is the
// same for both and stands here; everything else is in vit.h and swin.h.
#pragma once

#include <string>
#include <variant>

#include "models/swin.h"
#include "models/vit.h"

namespace vitrine {

using TransformerConfig = std::variant<VitConfig, SwinConfig>;

// The preset of that name: "vit-b16", "swin-t", ... (vit_preset, swin_preset). Throws for others.
TransformerConfig preset(const std::string& name);
// The name of the preset of this form, whatever its image size and classes; empty if there is none.
std::string preset_name(const TransformerConfig& config);
// "ViT, width 192, depth 12, 3 heads, patch 16, 224 pixels (vit-ti16)"
std::string describe(const TransformerConfig& config);

// What the metadata (key "config") of a checkpoint, or else its names and shapes tell: vit_config_of,
// swin_config_of. `heads`, if not 0, are a ViT's attention heads; a Swin's stand in its tables. Throws if
// neither settles the configuration.
TransformerConfig transformer_config_of(const TensorFile& checkpoint, int64_t heads = 0);
std::string config_to_json(const TransformerConfig& config);
TransformerConfig config_from_json(const std::string& json);

void check_config(const TransformerConfig& config);
int64_t image_size(const TransformerConfig& config);
// Throws unless the model takes images of `side` pixels: a ViT those of its own size, a Swin any.
void check_image_size(const TransformerConfig& config, int64_t side);
int64_t feature_width(const TransformerConfig& config);
int64_t block_count(const TransformerConfig& config);
int64_t class_count(const TransformerConfig& config);  // of its own head; 0: it has none
TransformerConfig with_classes(TransformerConfig config, int64_t classes);
// The attention heads of a ViT, which a file of weights need not tell; 0 for a Swin.
int64_t untold_heads(const TransformerConfig& config);
PromptPlaces prompt_places(const TransformerConfig& config);
int64_t parameter_count(const TransformerConfig& config);
int64_t multiply_accumulates(const TransformerConfig& config);

// Images behind the patch embedding: tokens (B, T, D), and for a Swin the map on which they lie.
struct Embedded {
  Variable tokens;
  WindowGrid grid{};
};

// The bytes of one image's tokens there, in f32, if it has so many pixels a side.
size_t embedded_bytes(const TransformerConfig& config, int64_t side);

// The net itself: Vit or Swin.
class Transformer {
 public:
  Transformer(const TransformerConfig& config, const Scope& scope, double drop_path = 0);
  TransformerConfig config() const;
  // images (B, 3, H, W) -> features (B, D)
  Variable features(const Variable& images, const Prompts& prompts = {}, const Pass& pass = {}) const;
  // Its two halves: what is the same for all prompts, and the rest.
  Embedded embed(const Variable& images) const;
  Variable features(const Embedded& embedded, const Prompts& prompts, const Pass& pass) const;
  // Members that go through the net as one: those without prompts, whose features are the same, and those with deep
  // prompts of one count beside all of a ViT's blocks, which share the first block's queries, keys and values (vit.h).
  // Every other one is a group of its own.
  struct Group {
    std::vector<size_t> members;
    bool same = false;  // they have no prompts
  };
  std::vector<Group> groups_of(const std::vector<const Prompts*>& members) const;
  // The features of several members, each under prompts of its own, without history: (E B, D), member after member, in
  // one pass for each group.
  Variable features_of(const Embedded& embedded, const std::vector<const Prompts*>& members) const;
  // images -> logits (B, classes) of the backbone's own head; throws if it has none.
  Variable logits(const Variable& images) const;
  const std::variant<Vit, Swin>& net() const { return net_; }

 private:
  std::variant<Vit, Swin> net_;
};

}  // namespace vitrine
