// prompt.h: visual prompts (arXiv 2203.12119): the trainable tokens that steer a frozen transformer.
//
// VPT-shallow puts P tokens beside those of the image, after patch and position embedding, and lets them flow
// through all blocks. VPT-deep gives each block its own P tokens; what a block makes of them is thrown away
// before the next. A deep prompt therefore needs no query, no output projection and no MLP: it is one more key
// and one more value, the same for all images. tests/prompt_test.cpp and tests/swin_prompt_test.cpp hold the
// textbook forms with full tokens beside the fast ones of models/vit.cpp and models/swin.cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace vitrine {

enum class PromptKind { none, shallow, deep };

struct PromptConfig {
  PromptKind kind = PromptKind::none;
  int64_t count = 0;       // P
  double dropout = 0;      // of prompt values, in training; drawn for each image and layer
  int64_t projection = 0;  // 0: none; else prompts live in this width and one Linear a group brings them to D
};

// Where a model takes prompts.
struct PromptPlaces {
  // Blocks of one width D, first to last: all of a ViT's, or one stage of a Swin's.
  struct Group {
    std::string suffix;  // of the names: "" or ".0", ".1", ...
    int64_t layers, width;
  };
  std::vector<Group> groups;
  int64_t patch = 16;  // its side, which the size of fresh prompts depends on
};

class Prompts {
 public:
  Prompts() = default;  // none
  // Asks `scope` for "prompts<suffix>" of each group, (L, P, D) deep or (P, D) shallow (the first group
  // alone), and with a projection (D then being its width) for "prompt_projection<suffix>". Fresh prompts start
  // U(-v, v), v = sqrt(6 / (3 patch^2 + D)) with the first group's D.
  Prompts(const PromptConfig& config, const PromptPlaces& places, const Scope& scope);

  const PromptConfig& config() const { return config_; }
  bool shallow() const { return config_.kind == PromptKind::shallow; }
  bool deep() const { return config_.kind == PromptKind::deep; }
  // The prompts of block i of all blocks (0 for shallow), projected: (P, D), or with dropout (B, P, D) for the
  // batch of `pass`.
  Variable layer(int64_t i, const Pass& pass) const;
  // The same as full tokens of `images` images: (B, P, D).
  Variable tokens(int64_t i, int64_t images, const Pass& pass) const;
  // All of them after projection, by name, as a task file stores them.
  std::map<std::string, Tensor> product() const;

 private:
  struct Group {
    std::string name;
    Variable prompts;  // (L, P, D) or (P, D)
    Linear projection;
  };
  Variable projected(const Group& group, const Variable& prompts) const;
  PromptConfig config_;
  std::vector<Group> groups_;
};

// The prompts' parameters, P D summed over all layers (shallow: of the first), plus those of projections.
int64_t parameter_count(const PromptConfig& prompts, const PromptPlaces& places);

}  // namespace vitrine
