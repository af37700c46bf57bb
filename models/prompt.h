// prompt.h: visual prompts (arXiv 2203.12119): the trainable tokens that steer a frozen transformer.
//
// VPT-shallow puts P tokens behind the class token, after the position embedding, and lets them flow through
// all blocks. VPT-deep gives each block its own P tokens; what a block makes of them is thrown away before
// the next. A deep prompt therefore needs no query, no output projection and no MLP: it is one more key
// and one more value, the same for all images. tests/prompt_test.cpp holds the textbook form with full
// tokens beside this one.
#pragma once

#include "models/vit.h"

namespace vitrine {

enum class PromptKind { none, shallow, deep };

struct PromptConfig {
  PromptKind kind = PromptKind::none;
  int64_t count = 0;       // P
  double dropout = 0;      // of prompt values, in training; drawn for each image and layer
  int64_t projection = 0;  // 0: none; else prompts live in this width and one Linear brings them to D
};

class Prompts {
 public:
  Prompts() = default;  // none
  // Asks `scope` for "prompts", (P, D) shallow or (L, P, D) deep, and with a projection (D then being its
  // width) for "prompt_projection". Fresh prompts start U(-v, v), v = sqrt(6 / (3 patch^2 + D)).
  Prompts(const PromptConfig& config, const VitConfig& vit, const Scope& scope);

  const PromptConfig& config() const { return config_; }
  // The prompts of block i (0 for shallow), projected: (P, D), or with dropout (B, P, D) for
  // the batch of `pass`.
  Variable layer(int64_t i, const Pass& pass) const;
  // All of them after projection, as a task file stores them: (P, D) or (L, P, D).
  Tensor product() const;

 private:
  Variable projected(const Variable& prompts) const;
  PromptConfig config_;
  Variable prompts_;
  Linear projection_;
};

// images (B, 3, H, W) -> features (B, D) of the backbone under these prompts. Mean pooling takes
// the patch tokens only.
Variable prompted_features(const Vit& vit, const Prompts& prompts, const Variable& images, const Pass& pass);

// The prompts' parameters, L P D or P D, plus those of a projection.
int64_t parameter_count(const PromptConfig& prompts, const VitConfig& vit);

}  // namespace vitrine
