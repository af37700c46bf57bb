// layers.h: the layers of a transformer. Each asks a Scope for its weights when it is built, by timm's names.
#pragma once

#include <memory>

#include "engine/parts.h"
#include "nn/additions.h"

namespace vitrine {

// One forward pass: whether noise (dropout, drop-path) is on, whose numbers it draws, and what is kept of it for
// backward. What is kept changes no bit, neither of the result nor of a gradient.
struct Pass {
  bool training = false;
  NoiseKey noise{};
  // So many of the first blocks keep their input alone, and are computed again in backward. (The first ones: when
  // backward comes to them, what later blocks kept is gone.)
  int64_t recompute = 0;
  // False: for the result alone. Models give a constant and keep nothing.
  bool history = true;

  // Whether something is left out by chance, which has this probability.
  bool drops(double probability) const { return parts::training && training && probability > 0; }
  bool recomputes(uint32_t block) const {
    return parts::training && history && static_cast<int64_t>(block) < recompute;
  }
  Variable kept(const Variable& x) const { return history ? x : x.detach(); }
};

// x + branch, where in training a share `drop_path` of the images goes without the branch (stochastic depth).
// `lane` tells this branch's noise from the others'. The branch is multiplied by `gamma` (D) first if that is defined
// (LayerScale, arXiv 2103.17239).
Variable residual(const Variable& x, Variable branch, double drop_path, uint32_t lane, const Pass& pass,
                  const Variable& gamma = {});

// A layer that has no bias asks for none, and its `bias` is undefined.
enum class Bias { none, own };

// x (..., in) -> (..., out): x weight^T + bias. Fresh weights start truncated normal(0.02), biases 0.
struct Linear {
  Variable weight;  // (out, in)
  Variable bias;    // (out)
  ScaleShift behind;
  Linear() = default;
  Linear(int64_t in, int64_t out, const Scope& scope, const Init& init = Init::truncated(0.02),
         Bias bias = Bias::own);
  Variable operator()(const Variable& x) const { return behind(linear(x, weight, bias)); }
  // Nothing was added to it: it is the one product, which fused ops may take over.
  bool plain() const { return !behind.defined(); }
};

// Layer normalisation over the last axis.
struct LayerNorm {
  Variable gamma, beta;  // (D), named weight and bias
  double epsilon = 1e-6;
  ScaleShift behind;
  LayerNorm() = default;
  LayerNorm(int64_t width, double epsilon, const Scope& scope);
  Variable operator()(const Variable& x) const { return behind(layer_norm(x, gamma, beta, epsilon)); }
  bool plain() const { return !behind.defined(); }
};

// Batch normalisation of features (N, D) (arXiv 1502.03167). A training pass uses the batch's own mean and variance and
// writes down what it saw; other passes use the statistics.
struct BatchNorm {
  Variable gamma, beta;     // (D), named weight and bias
  Variable mean, variance;  // (D), statistics, which change in place
  double epsilon = 1e-5;
  std::shared_ptr<BatchStatistics> seen = std::make_shared<BatchStatistics>();
  BatchNorm() = default;
  BatchNorm(int64_t width, const Scope& scope);
  Variable operator()(const Variable& x, const Pass& pass) const;
  // Each statistic becomes 0.9 of itself and 0.1 of what a batch of so many images showed (as the variance of those from
  // whom they are drawn: N / (N - 1) of it).
  void settle(int64_t images);
};

// Two linear layers: (..., D) -> (..., D) through `hidden`. Between them stands gelu, or, if the MLP is gated, swiglu:
// fc1 then gives 2 `hidden` numbers.
struct Mlp {
  Linear fc1, fc2;
  Gelu form = Gelu::erf;
  bool gated = false;
  Mlp() = default;
  Mlp(int64_t width, int64_t hidden, Gelu form, const Scope& scope, bool gated = false);
  // x + fc2(gelu(fc1(norm(x)))), the second half of a block; drop-path and gamma as in `residual`. What an adapter makes
  // of the branch, gamma included, takes its place.
  Variable after(const LayerNorm& norm, const Variable& x, double drop_path, uint32_t lane, const Pass& pass,
                 const Variable& gamma = {}, const Adapter& adapter = {}) const;
};

// Multi-head self-attention. The joint projection qkv has the rows of all queries, then keys, then values.
struct Attention {
  Linear qkv, proj;
  Lora query, value;  // beside the joint projection
  int64_t width = 0, heads = 1;
  Attention() = default;
  // `bias`: of the joint projection.
  Attention(int64_t width, int64_t heads, const Scope& scope, Bias bias = Bias::own);

  // x + proj(attention(norm(x))), x (B, T, D), the first half of a block; every token also sees the prefix. Drop-path
  // and gamma as in `residual`.
  Variable after(const LayerNorm& norm, const Variable& x, const KeyValuePrefix& prefix, double drop_path,
                 uint32_t lane, const Pass& pass, const Variable& gamma = {}) const;
  // x + proj(attended), the same way.
  Variable project(const Variable& x, const Variable& attended, double drop_path, uint32_t lane,
                   const Pass& pass, const Variable& gamma = {}) const;
  // Only what the first token finds: (B, T, D) -> (B, 1, D), not projected. It also sees the prompts, (P, D) or (B, P, D), which
  // pass the norm like the tokens.
  Variable first_token(const LayerNorm& norm, const Variable& x, const Variable& prompts = {}) const;
  // What the first `count` tokens find: (B, T, D) -> (B, count, D), not projected; the others are asked only.
  Variable first_tokens(int64_t count, const LayerNorm& norm, const Variable& x,
                        const KeyValuePrefix& prefix) const;
  // The queries, keys and values of norm(x): (..., D) -> (..., 3 D).
  Variable joint(const LayerNorm& norm, const Variable& x) const;
  // The keys and values of tokens that ask no question themselves: (..., D) -> twice (..., D).
  KeyValuePrefix keys_values(const Variable& x) const;
  // What the joint projection makes of zeros: (3 D), undefined if that is zeros.
  Variable filling() const;

 private:
  bool plain(const LayerNorm& norm) const { return norm.plain() && qkv.plain() && !query.defined(); }
  Variable third(int64_t i, const Variable& x) const;  // of the joint projection: (..., D) -> (..., D)
};

// A learned question to all tokens and an MLP over what it finds (SigLIP; timm's "map" pooling): (B, T, D) -> (B, D),
//   y = proj(attention(q(latent), kv(x))), then y + mlp(norm(y)).
// The joint projection kv has the rows of all keys, then values.
struct AttentionPool {
  Variable latent;  // (1, 1, D)
  Linear q, kv, proj;
  LayerNorm norm;
  Mlp mlp;
  int64_t width = 0, heads = 1;
  AttentionPool() = default;
  AttentionPool(int64_t width, int64_t heads, int64_t hidden, Gelu form, double epsilon, const Scope& scope);
  Variable operator()(const Variable& x) const;
};

// Multi-head self-attention within the windows of Swin (arXiv 2103.14030), with a bias for each distance.
struct WindowAttention {
  Attention attention;  // its qkv, proj
  Variable bias;        // ((2 w - 1)^2, heads), named relative_position_bias_table
  int64_t window = 0;
  WindowAttention() = default;
  WindowAttention(int64_t width, int64_t heads, int64_t window, const Scope& scope);

  // As Attention has it, x (B, P + rows columns, D); `grid` says where the windows are. What fills up the map are zeros
  // before the joint projection, as in the published models.
  Variable after(const LayerNorm& norm, const Variable& x, const WindowGrid& grid,
                 const KeyValuePrefix& prefix, double drop_path, uint32_t lane, const Pass& pass) const;
};

// images (B, 3, H, W) -> (B, N, D): non-overlapping patches in row-major order, each flattened as
// (channel, y, x), converted to the weight's type and projected. The weight has a convolution's shape
// (D, 3, p, p). p must be positive, H and W multiples of it; throws otherwise.
struct PatchEmbedding {
  Variable weight, bias;  // named proj.weight and proj.bias
  int64_t patch = 1;
  ScaleShift behind;
  PatchEmbedding() = default;
  PatchEmbedding(int64_t patch, int64_t width, const Scope& scope, Bias bias = Bias::own);
  Variable operator()(const Variable& images) const;
  // Patches that are cut already: (..., 3 p p) -> (..., D).
  Variable project(const Variable& patches) const;
};

}  // namespace vitrine
