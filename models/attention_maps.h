// attention_maps.h: what the tokens of an image look at, to be seen.
//
// The fast forms never have these numbers (engine/ops.h: attention keeps no scores), and deep prompts ask no question
// there (docs/architecture.md, Prompts). So this is the textbook form of the whole net: every prompt is a full token with
// a query of its own, and scores are a matrix. Its features are those of TunedModel up to rounding, which is how one
// knows that the maps are the model's (tests/attention_maps_test.cpp).
#pragma once

#include <vector>

#include "models/tuned.h"

namespace vitrine {

// The attention of one block. Its T tokens stand in this order: those before the patches (a ViT's class token,
// distillation token and registers), prompts, patches row by row (of a Swin: the map of its stage).
struct AttentionMap {
  int64_t block = 0;  // of all blocks, from 0
  // (B, heads, T, T): entry (i, j) is the weight with which token i takes the value of token j,
  // softmax(q_i k_j / sqrt(D / heads) [+ bias and mask of Swin]). A row sums to 1; a Swin's together with `filled`.
  // A Swin's tokens see their own window alone, zeros elsewhere; a prompt asks in every window, and its row is the mean
  // over them, as its result is.
  Tensor weights;
  // (B, heads, T), of a Swin: the weight that goes to what fills the map up to whole windows. Undefined for a ViT.
  Tensor filled;
  int64_t prefix = 0, prompts = 0;  // how many tokens stand before the patches
  int64_t rows = 0, columns = 0;    // of patches
  // Pooling takes the tokens [pooled_begin, pooled_end) of what this block's stream becomes: a ViT's class token (and
  // distillation token), or its patches; all of a Swin's tokens, prompts among them.
  int64_t pooled_begin = 0, pooled_end = 0;
};

struct AttentionPass {
  std::vector<AttentionMap> maps;  // of the last blocks, in their order
  // (B, heads, N), of a ViT that pools by a learned question (Pooling::map): what that looks at among the patches.
  Tensor pool;
  Tensor features;  // (B, D): what follows from the maps
};

// images (B, 3, H, W), as TunedModel takes them. Maps of the last `blocks` blocks (1 or more; at most all). The model must be in
// main memory, its images of its type; throws otherwise, and for numbers of blocks that make no sense. For one image of
// T tokens a map has heads T^2 numbers.
AttentionPass attention_maps(const TunedModel& model, const Tensor& images, int64_t blocks = 1);

// What tokens [begin, end) look at, mean over them and over heads: (B, T), of the weights' type.
Tensor mean_attention(const AttentionMap& map, int64_t begin, int64_t end);

}  // namespace vitrine
