// swin_names.cpp: a Swin's weights as its authors, timm, torchvision and Hugging Face name them.
#include <array>

#include "engine/check.h"
#include "models/checkpoints/dialects.h"

namespace vitrine {

namespace {

using NameRules = std::vector<NameRule>;

constexpr int most_stages = 8;
const std::string block = "layers.*.blocks.*.";
const std::vector<Ignored> computed = {
    {"layers.*.blocks.*.attn.relative_position_index", "follows from the window's size"},
    {"layers.*.blocks.*.attn_mask", "follows from the sizes of window and picture"}};

// What the authors' names and timm's have in common.
NameRules common() {
  NameRules rules{{"patch_embed.proj.weight", "patch_embed.proj.weight", Form::patch},
                  {"patch_embed.proj.bias", "patch_embed.proj.bias"},
                  {"patch_embed.norm.?", "patch_embed.norm.?"},
                  {"norm.?", "norm.?"}};
  for (const char* name : {"norm1.?", "attn.relative_position_bias_table", "attn.qkv.?", "attn.proj.?",
                           "norm2.?", "mlp.fc1.?", "mlp.fc2.?"})
    rules.push_back({block + name, block + name});
  return rules;
}

// Patches are merged at the end of a stage. SimMIM's files have the prefix "encoder.".
Dialect authors() {
  NameRules rules = common();
  rules.push_back({"layers.*.downsample.norm.?", "layers.*.downsample.norm.?"});
  rules.push_back({"layers.*.downsample.reduction.weight", "layers.*.downsample.reduction.weight"});
  rules.push_back({"head.?", "head.?"});
  rules.push_back({"norm3.?", "norm.?"});  // of detectors, which norm what each stage gives
  std::vector<Ignored> ignored = computed;
  for (const char* name : {"norm0.?", "norm1.?", "norm2.?"}) ignored.push_back({name, "a detector's norm"});
  ignored.push_back({"mask_token", "stands for hidden patches in training"});
  ignored.push_back({"/decoder.**", "the decoder of its training"});
  for (const char* name : {"/neck.**", "/rpn_head.**", "/roi_head.**", "/bbox_head.**", "/mask_head.**",
                           "/decode_head.**", "/auxiliary_head.**"})
    ignored.push_back({name, "a part of a detector behind the backbone"});
  return {.name = "swin",
          .swin = true,
          .signs = {"layers.0.blocks.0."},
          .naming = {"Swin in its authors' names", std::move(rules), std::move(ignored)},
          .facts = {.epsilon = 1e-5, .gelu = Gelu::erf, .preprocess = "swin"}};
}

// Patches are merged at the beginning of a stage.
Dialect timm() {
  NameRules rules = common();
  for (int stage = 1; stage < most_stages; ++stage) {
    const std::string from = text("layers.{}.downsample.", stage),
                      to = text("layers.{}.downsample.", stage - 1);
    rules.push_back({from + "norm.?", to + "norm.?"});
    rules.push_back({from + "reduction.weight", to + "reduction.weight"});
  }
  rules.push_back({"head.fc.?", "head.?"});
  return {.name = "timm-swin",
          .swin = true,
          .signs = {},  // dialects of the authors whose stages merge first: see canonical_form
          .naming = {"Swin in timm's names", std::move(rules), computed},
          .facts = {.epsilon = 1e-5, .gelu = Gelu::erf, .preprocess = "timm-swin"}};
}

Dialect torchvision() {
  NameRules rules{{"features.0.0.weight", "patch_embed.proj.weight", Form::patch},
                  {"features.0.0.bias", "patch_embed.proj.bias"},
                  {"features.0.2.?", "patch_embed.norm.?"},
                  {"norm.?", "norm.?"},
                  {"head.?", "head.?"}};
  std::vector<Ignored> ignored;
  for (int stage = 0; stage < most_stages; ++stage) {
    const std::string from = text("features.{}.*.", 2 * stage + 1), to = text("layers.{}.blocks.*.", stage);
    for (const char* name :
         {"norm1.?", "attn.relative_position_bias_table", "attn.qkv.?", "attn.proj.?", "norm2.?"})
      rules.push_back({from + name, to + name});
    rules.push_back({from + "mlp.0.?", to + "mlp.fc1.?"});
    rules.push_back({from + "mlp.3.?", to + "mlp.fc2.?"});
    ignored.push_back({from + "attn.relative_position_index", "follows from the window's size"});
    const std::string merging = text("features.{}.", 2 * stage + 2),
                      down = text("layers.{}.downsample.", stage);
    rules.push_back({merging + "norm.?", down + "norm.?"});
    rules.push_back({merging + "reduction.weight", down + "reduction.weight"});
  }
  return {.name = "torchvision-swin",
          .swin = true,
          .signs = {"features.1.0."},
          .naming = {"Swin in torchvision's names", std::move(rules), std::move(ignored)},
          .facts = {.epsilon = 1e-5, .gelu = Gelu::erf, .preprocess = "torchvision-swin"}};
}

// The names of files on the hub and those since version 5 of transformers.
Dialect hugging_face() {
  NameRules rules{{"embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight", Form::patch},
                  {"embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"},
                  {"embeddings.norm.?", "patch_embed.norm.?"},
                  {"layernorm.?", "norm.?"},
                  {"/classifier.?", "head.?"}};
  std::vector<Ignored> ignored{{"embeddings.mask_token", "stands for hidden patches in training"},
                               {"/decoder.**", "the decoder of its training"}};
  for (const std::string stage : {"encoder.layers.*.", "layers.*."}) {
    const std::string from = stage + "blocks.*.";
    rules.push_back({from + "layernorm_before.?", block + "norm1.?"});
    rules.push_back({from + "layernorm_after.?", block + "norm2.?"});
    for (const char* ending : {".weight", ".bias"})
      for (const auto& which :
           {std::array{"self.query", "self.key", "self.value"}, std::array{"q_proj", "k_proj", "v_proj"}}) {
        int part = 0;
        for (const char* name : which)
          rules.push_back({text("{}attention.{}{}", from, name, ending), text("{}attn.qkv{}", block, ending),
                           Form::same, part++, 3});
      }
    for (const char* name :
         {"self.relative_position_bias_table", "relative_position_bias.relative_position_bias_table"})
      rules.push_back({from + "attention." + name, block + "attn.relative_position_bias_table"});
    for (const char* name : {"attention.output.dense.?", "attention.o_proj.?"})
      rules.push_back({from + name, block + "attn.proj.?"});
    for (const char* name : {"intermediate.dense.?", "mlp.fc1.?"})
      rules.push_back({from + name, block + "mlp.fc1.?"});
    for (const char* name : {"output.dense.?", "mlp.fc2.?"})
      rules.push_back({from + name, block + "mlp.fc2.?"});
    rules.push_back({stage + "downsample.norm.?", "layers.*.downsample.norm.?"});
    rules.push_back({stage + "downsample.reduction.weight", "layers.*.downsample.reduction.weight"});
    for (const char* name :
         {"self.relative_position_index", "relative_position_bias.relative_position_index"})
      ignored.push_back({from + "attention." + name, "follows from the window's size"});
  }
  return {.name = "hugging-face-swin",
          .swin = true,
          .signs = {"encoder.layers.0.blocks.0.layernorm_before.", "layers.0.blocks.0.layernorm_before.",
                    "encoder.layers.0.blocks.0.attention.", "layers.0.blocks.0.attention."},
          .naming = {"Swin in Hugging Face's names", std::move(rules), std::move(ignored)},
          .facts = {.epsilon = 1e-5, .gelu = Gelu::erf, .preprocess = "swin-transformers"}};
}

}  // namespace

std::vector<Dialect> swin_dialects() { return {hugging_face(), torchvision(), authors(), timm()}; }

}  // namespace vitrine
