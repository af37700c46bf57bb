// mixed.h: images of several tasks in one pass through a frozen net, each under the prompts of its own task.
//
// Norms, projections and MLPs treat each token by itself, so the tokens of all images go through them as the rows of one
// matrix, whosever they are. Attention alone asks who belongs together: it is called once for each form of prompts (their kind
// and count), with the keys and values of each image's own. docs/task_sets.md says what that costs.
#pragma once

#include <span>
#include <vector>

#include "models/transformer.h"

namespace vitrine {

// A task's prompts as a frozen net needs them, computed once. Shared by all images of the task.
struct PreparedPrompts {
  PromptKind kind = PromptKind::none;
  int64_t count = 0;  // P
  // Deep ones: their keys and values (P, D) in each block where that is all they are (a Swin's: all but the last).
  std::vector<KeyValuePrefix> blocks;
  // Shallow ones before the first block (P, D), deep ones before the last: a ViT's pooled token wants them so, and in a Swin
  // they are full tokens there.
  Variable rows;
  size_t bytes() const;
};

// Whether images under such prompts can share a pass with others: there are none, or they stand beside the tokens, before the
// first block (also as pixels) or before each, without gates, and what is pooled is what the backbone pools.
bool shares_pass(const PromptConfig& config, const TransformerConfig& backbone);

// Throws unless they can. `dtype`: of the net's tokens.
PreparedPrompts prepare_prompts(const Transformer& net, const Prompts& prompts, DType dtype);

// So many images, one after the other, of one task.
struct PromptedImages {
  const PreparedPrompts* prompts;
  int64_t images;
};

// The features (B, D) of B images as `embed` gives them, those of the first entry first, without history. Each image's are those
// that `Transformer::features` gives under its prompts. Entries of one form that follow each other share their calls of
// attention, so they should be in an order of forms (`same_form`, `form_before`). Throws unless the images are B together.
Variable mixed_features(const Transformer& net, const Embedded& embedded,
                        std::span<const PromptedImages> batch);

bool same_form(const PreparedPrompts& a, const PreparedPrompts& b);
bool form_before(const PreparedPrompts& a, const PreparedPrompts& b);

}  // namespace vitrine
