// cost.h: how many multiply-accumulates the matrix products of a pass take, as the nets here compute it. With a
// measured time this tells which share of the machine's peak is used.
#pragma once

#include "models/transformer.h"

namespace vitrine {

struct TuningCost {
  int64_t forward = 0, backward = 0;
  int64_t step() const { return forward + backward; }
};

// Of one step of VPT-deep with `prompts` prompts for each block (0: the head alone is tuned) on `batch` images
// of the configuration's size; config.classes are those of the head. What is spared is not counted: prompts
// are keys and values only, made once for the batch; a ViT with token pooling needs the class token's row alone
// of its last block; frozen weights get no gradient, and neither do the first block's tokens. What is done twice
// is counted twice: attention makes its scores again in backward. Norms, softmax, gelu and sums are no products;
// rows that fill up a tile are no result.
TuningCost tuning_cost(const TransformerConfig& config, int64_t prompts, int64_t batch);

}  // namespace vitrine
