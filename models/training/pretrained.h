// pretrained.h: opening the checkpoint that somebody has: its tensors, and what stands beside them.
#pragma once

#include <string>
#include <vector>

#include "data/preprocess.h"
#include "models/backbone.h"
#include "models/checkpoints/checkpoint.h"

namespace vitrine {

// What a user tells of a checkpoint, because its file does not.
struct BackboneHints {
  int64_t heads = 0;  // of a ViT; 0: as the file tells
  // The name of its family (checkpoint.h: family_names), or the path of its config.json; or empty.
  std::string config{};
  // How its pictures were prepared: a preset's name (data/preprocess.h) or that of its family, or the path of a
  // preprocessor_config.json.
  std::string pictures{};
  // Of a ViT: the side of the pictures that it is to see, in pixels (0: as it was trained), and how its position
  // embedding is resampled for them (none: as the file's own program does it).
  int64_t image_size = 0;
  std::optional<PositionFilter> positions{};
  // The configuration that it had when a task was tuned on it and how its positions were resampled (tuned.h), if nobody
  // tells better.
  std::string known{}, known_positions{};
  // The positions as they are stored, also of a net that is used at the size of its pictures: for writing it anew.
  bool as_stored = false;
  // What nobody tells is no error, but stands in Pretrained::unsettled; the net computes something else then.
  bool only_look = false;
};

struct Pretrained {
  Backbone backbone;
  std::string dialect;                 // "ViT in Hugging Face's names"
  std::vector<std::string> told_by;    // what beside the tensors told of it, "config.json" for example
  std::vector<std::string> read;       // of these, the paths of files
  std::vector<LeftOut> left_out;       // tensors that the net has no use for
  std::string positions;               // "14 x 14, resampled to 24 x 24 as bicubic"; empty: a Swin
  std::vector<Unsettled> unsettled{};  // with only_look: what nobody tells
};

// A backbone in whatever dialect (checkpoint.h: canonical_form), and from the folder of `source`, if they are there,
// Hugging Face's config.json (or timm's) and preprocessor_config.json, the latter from the folder of the config.json
// that `hints` name, if they do. `hints` go before what these tell. Its
// metadata then holds "dialect", "preprocess" if that is known (preprocess_of asks for it otherwise), with "pictures", the
// preset that it is, or timm's share, and "class_names",
// a JSON list, if config.json names the classes of its head, and "head" if that is a "projection" (backbone.h). A ViT's says how its program resamples positions
// ("positions") and, if they were resampled, how that was done ("resampled"). Transformers' DINOv2 resamples them for
// whatever picture comes, and its processor makes smaller ones than those of its training: such a net ("any_size") is
// used at the size of its pictures unless `hints` say otherwise. A Swin takes pictures of any size, so
// `image_size` changes nothing of it. Files of Vitrine's own are complete: a config and pictures are refused.
// Throws as canonical_form and make_backbone do, if anything is unsettled, and if a file that was named or stands beside
// is not as it must be or contradicts the weights.
// `memory` is what make_backbone converts into.
Pretrained make_pretrained(TensorFile file, const std::string& source, const BackboneHints& hints = {},
                           const Memory& memory = {});

// What a config.json says that the weights say as well.
struct Claim {
  std::string field, said;  // as it stands there: "mlp_ratio", "4"
  std::string key, value;   // as config_to_json has it, as JSON: "mlp_width", "3072"
};

// What a config.json tells: of transformers (ViT, DeiT, ViT-MAE, ViT-MSN, DINOv2, CLIP, SigLIP, Swin) or of timm.
struct HubConfig {
  // "model_type", which is transformers' ("clip_vision_model", where only one tower of two is meant), or "architecture",
  // which is timm's; and what it says.
  std::string kind_field, kind;
  bool usual_heads = false;  // are transformers' where nobody says how many, not the file's own
  Facts facts;
  std::vector<Claim> claims;
  std::string preprocess;                // as JSON (data/preprocess.h), if timm's tells it, else empty
  std::string pictures;                  // what stands in the metadata then (pictures_at)
  std::vector<std::string> class_names;  // by number; empty if it has none of its own
};
// Throws, beginning with `who`, for other models and malformed values.
HubConfig hub_config_from_json(std::string_view json, const std::string& who);

// Throws, naming the field, if the checkpoint is no net of such a kind, or if its shapes are not as a field has them. A
// config.json that stands `beside` the file is of the program whose names the file has; one that a user names may be
// another program's.
void check_agreement(const HubConfig& hub, bool beside, const Checkpoint& checkpoint, const std::string& who);

}  // namespace vitrine
