#include "models/cost.h"

#include "engine/check.h"

namespace vitrine {

namespace {

// Attention's products: scores and weighted sum; in backward the scores again, and the gradients of weights,
// queries, keys and values. Those of a prefix alone need no gradient of queries.
constexpr int64_t forward_products = 2, backward_products = 5, prefix_products = 4;

// A linear layer with a frozen weight; `wanted`: its input wants a gradient.
void add_linear(TuningCost& cost, int64_t rows, int64_t in, int64_t out, bool wanted) {
  cost.forward += rows * in * out;
  if (wanted) cost.backward += rows * in * out;
}

// The head is always trained.
void add_head(TuningCost& cost, int64_t rows, int64_t in, int64_t out, bool wanted) {
  add_linear(cost, rows, in, out, wanted);
  cost.backward += rows * in * out;
}

// `pairs` of queries and other tokens, of which the first block's want no gradient; `prefix_pairs` of queries
// and prompts.
void add_attention(TuningCost& cost, int64_t pairs, int64_t prefix_pairs, int64_t width, bool tokens_wanted) {
  cost.forward += forward_products * (pairs + prefix_pairs) * width;
  cost.backward += tokens_wanted ? backward_products * (pairs + prefix_pairs) * width
                                 : prefix_products * prefix_pairs * width;
}

// The last block's attention of one question per image (first_token_attention): no token is projected to a key or a
// value; each head multiplies the `keys` rows themselves, of width d.
void add_first_token(TuningCost& cost, const VitConfig& c, int64_t batch, int64_t prompts,
                     bool tokens_wanted) {
  const int64_t d = c.width,
                projections = 3 * d * d;  // the query, what it asks of the rows, the sums' values
  const int64_t keys = c.tokens() + prompts, over_rows = c.heads * keys * d;
  cost.forward += batch * (projections + 2 * over_rows);  // scores and sums
  if (tokens_wanted)  // of the weights, of the question, and twice of the rows
    cost.backward += batch * (projections + 4 * over_rows);
  else if (prompts > 0)
    cost.backward += batch * (d * d + over_rows + 2 * c.heads * prompts * d);
}

// The second half of a block on so many rows.
void add_mlp(TuningCost& cost, const VitConfig& c, int64_t rows, bool gated, bool wanted) {
  add_linear(cost, rows, c.width, gated ? 2 * c.mlp_width : c.mlp_width, wanted);
  add_linear(cost, rows, c.mlp_width, c.width, wanted);
}

TuningCost cost_of(const VitConfig& c, int64_t prompts, int64_t batch) {
  const int64_t d = c.width, tokens = c.tokens();
  TuningCost cost;
  add_linear(cost, batch * c.patches(), 3 * c.patch * c.patch, d, false);
  for (int64_t i = 0; i < c.depth; ++i) {
    const bool deep = prompts > 0, tokens_wanted = deep && i > 0;
    const bool few = i + 1 == c.depth && c.pooling == Pooling::token;
    const int64_t queries = few ? c.pooled_tokens() : tokens;
    if (few && queries == 1) {
      add_first_token(cost, c, batch, prompts, tokens_wanted);
    } else {
      add_linear(cost, batch * tokens, d, 2 * d, tokens_wanted);
      add_linear(cost, batch * queries, d, d, tokens_wanted);
      add_linear(cost, prompts, d, 2 * d, deep);
      add_attention(cost, batch * queries * tokens, batch * queries * prompts, d, tokens_wanted);
    }
    add_linear(cost, batch * queries, d, d, deep);
    add_mlp(cost, c, batch * queries, c.gated_mlp, deep);
  }
  if (c.pooling == Pooling::map) {
    const bool deep = prompts > 0;
    add_linear(cost, 1, d, d, false);  // the question, the same for all images
    add_linear(cost, batch * c.patches(), d, 2 * d, deep);
    add_attention(cost, batch * c.patches(), 0, d, deep);
    add_linear(cost, batch, d, d, deep);
    add_mlp(cost, c, batch, false, deep);
  }
  add_head(cost, batch, d, c.classes, prompts > 0);
  return cost;
}

TuningCost cost_of(const SwinConfig& c, int64_t prompts, int64_t batch) {
  const bool deep = prompts > 0;
  const int64_t last = c.blocks() - 1;
  int64_t side = (c.image_size + c.patch - 1) / c.patch, at = 0;
  TuningCost cost;
  add_linear(cost, batch * side * side, 3 * c.patch * c.patch, c.width, false);
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t d = c.stage_width(s), w = c.window_of(s), slots = w * w, across = (side + w - 1) / w;
    const int64_t windows = batch * across * across;
    for (int64_t i = 0; i < c.depths[s]; ++i, ++at) {
      // The last block's prompts are full tokens; those of the others are keys and values.
      const int64_t full = at == last ? prompts : 0, prefix = at == last ? 0 : prompts;
      const int64_t rows = batch * (side * side + full), queries = slots + full;
      const bool tokens_wanted = deep && (at > 0 || full > 0);
      add_linear(cost, rows, d, 3 * d, tokens_wanted);
      add_linear(cost, prefix, d, 2 * d, deep);
      add_attention(cost, windows * queries * queries, windows * queries * prefix, d, tokens_wanted);
      add_linear(cost, rows, d, d, deep);
      add_linear(cost, rows, d, c.mlp_ratio * d, deep);
      add_linear(cost, rows, c.mlp_ratio * d, d, deep);
    }
    if (s + 1 == c.stages()) break;
    side = (side + 1) / 2;
    add_linear(cost, batch * side * side, 4 * d, 2 * d, deep);
  }
  add_head(cost, batch, c.feature_width(), c.classes, deep);
  return cost;
}

}  // namespace

TuningCost tuning_cost(const TransformerConfig& config, int64_t prompts, int64_t batch) {
  check_config(config);
  check(prompts >= 0 && batch >= 0, "tuning cost: expected no negative prompts and batch, got {} and {}",
        prompts, batch);
  return std::visit([&](const auto& c) { return cost_of(c, prompts, batch); }, config);
}

}  // namespace vitrine
