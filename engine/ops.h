// ops.h: every differentiable operation, one declaration and one formula each.
//
// All ops take f32 or f64 (one type per call; on a device f32 or bf16, with sums in f32), check their arguments, throw Error{Fault::input} that
// begins with the op's name, and allocate their result where their first argument lives. "Constant" below
// means: wants no gradient.
#pragma once

#include <span>
#include <vector>

#include "engine/autograd.h"
#include "engine/random.h"

namespace vitrine {

// --- elementwise -------------------------------------------------------------------------------------------

// x + y and x * y. The smaller operand is repeated along extents that it lacks (leading) or
// has as 1, as NumPy does.
// `add` writes its result over an operand that nobody else holds, such as another op's result given directly.
Variable add(Variable x, Variable y);
Variable mul(const Variable& x, const Variable& y);
Variable scale(const Variable& x, double factor);  // factor * x
Variable relu(const Variable& x);                  // max(x, 0); the gradient at 0 is 0
Variable sigmoid(const Variable& x);               // 1 / (1 + exp(-x))

// The Gaussian error linear unit (arXiv 1606.08415) and its two approximations:
// erf: x (1 + erf(x / sqrt 2)) / 2;
// tanh: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2;
// quick: x sigmoid(1.702 x).
enum class Gelu { erf, tanh, quick };
Variable gelu(const Variable& x, Gelu form = Gelu::erf);
// x (..., 2 H) -> (..., H): a sigmoid(a) b for the halves a and b of each row, first and second: the gate of a gated
// MLP (arXiv 2002.05202).
Variable swiglu(const Variable& x);

// --- products ----------------------------------------------------------------------------------------------

// x (..., M, K) y (K, N) -> (..., M, N), or y (..., K, N) with the same leading extents as x.
Variable matmul(const Variable& x, const Variable& y);
// x (..., K) weight (N, K), bias (N) and added (..., N) or undefined -> (..., N): x weight^T + bias + added. A constant
// weight keeps no activation.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {},
                const Variable& added = {});

// --- normalisation -----------------------------------------------------------------------------------------

// x (..., D), gamma (D), beta (D): gamma (x - mean) / sqrt(variance + epsilon) + beta over the last
// axis (arXiv 1607.06450).
// Epsilon must be finite and >= 0.
Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon);

// What batch_norm saw of a batch, (D) each, f32 on a device; the variance divides by N.
struct BatchStatistics {
  Tensor mean, variance;
};
// x (N, D), gamma (D), beta (D): gamma (x - mean) / sqrt(variance + epsilon) + beta, where mean and variance are those of
// each column over the N rows (arXiv 1502.03167). N must be positive, epsilon finite and > 0. `seen`, if given, receives
// the statistics, through which no gradient flows.
Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                    BatchStatistics* seen = nullptr);

// Layers that treat each row of x (..., K) by itself, in this order; what is undefined is left out (not w1).
struct RowLayers {
  Variable gamma{}, beta{};  // (K) each: layer_norm
  double epsilon = 0;
  Variable w1{}, b1{};    // (H, K), (H): linear
  Gelu form = Gelu::erf;  // between the two
  Variable w2{}, b2{};    // (N, H), (N): linear
};
// x (..., K) -> (..., N), or (..., H) without w2: linear(gelu(linear(layer_norm(x)))); with `residual`, x is added.
// With constant weights it takes a few rows at a time through all layers while they are in the cache, and
// keeps only x and gelu's slopes; otherwise it is that composition.
Variable row_layers(const Variable& x, const RowLayers& layers, bool residual = false);

// exp(x - max) / sum along the last axis.
Variable softmax(const Variable& x);

// --- attention ---------------------------------------------------------------------------------------------

// Further keys and values that stand before the tokens' own: (P, D), shared by the batch, or (B, P, D).
struct KeyValuePrefix {
  Variable keys, values;
  bool defined() const { return keys.defined(); }
};

// Multi-head attention (arXiv 1706.03762): per head softmax(q k^T / sqrt(D / heads)) v, heads side by side
// in D. q (B, Tq, D), k and v (B, T, D) -> (B, Tq, D). The scores are never kept: backward computes them
// again from the log-sum-exp of each row.
Variable attention(const Variable& q, const Variable& k, const Variable& v, int64_t heads,
                   const KeyValuePrefix& = {});
// The same from one tensor qkv (B, T, 3 D) whose last axis holds q, then k, then v.
Variable self_attention(const Variable& qkv, int64_t heads, const KeyValuePrefix& = {});

// What self-attention gives the first of x's tokens (B, T, D) -> (B, 1, D), each of which also sees the prompts
// (P, D), shared by the batch, or (B, P, D). `layers` are a norm and the joint projection, w1 (3 D, D): row 0 of
//   self_attention(row_layers(x, layers), heads, {k, v})
// with k and v the last two thirds of row_layers(prompts, layers). With constant weights no token is projected
// to a key or a value: with X = norm([prompts, x]), q the query, and W_k, W_v, b_v a head's part of the weight and
// bias, the head's weights are a = softmax(X W_k^T q / sqrt(D / heads)), and it gives W_v (sum_j a_j X_j) + b_v.
// Equal up to rounding. Kept are x, the prompts, and per head D numbers and one for each of the rows.
Variable first_token_attention(const Variable& x, const RowLayers& layers, int64_t heads,
                               const Variable& prompts = {});

// The windows of Swin (arXiv 2103.14030) on a map of `rows` x `columns` tokens, which is filled up at the
// bottom and right to whole windows of w x w. Shifted windows begin `shift` rows and columns further down and
// right and wrap around (0 <= shift < w); an axis that one window covers is not shifted.
struct WindowGrid {
  int64_t rows = 0, columns = 0, window = 7, shift = 0;
  enum class Padding {
    before_roll,  // the map is filled up, then rolled (torchvision, Hugging Face)
    after_roll    // the map is rolled, then filled up (timm)
  } padding = Padding::before_roll;
  // So many leading tokens are prompts: they belong to every window and ask and answer there, without bias and
  // mask; what the windows of an image make of a prompt is averaged.
  int64_t prompts = 0;
};

// Self-attention within each window of the grid: qkv (B, P + rows columns, 3 D), tokens row by row, ->
// (B, P + rows columns, D). The score of two tokens gains the entry of `bias` ((2 w - 1)^2, heads) for their
// distance, row ((yi - yj) + w - 1) (2 w - 1) + (xi - xj) + w - 1, and -100 if wrapping brought them together.
// `padding` (3 D) is what stands for q, k and v where the map was filled up, zeros if undefined. The prefix
// belongs to every window, without bias and mask. No score, mask or index is kept.
Variable window_attention(const Variable& qkv, const Variable& bias, int64_t heads, const WindowGrid& grid,
                          const KeyValuePrefix& prefix = {}, const Variable& padding = {});

// --- shapes ------------------------------------------------------------------------------------------------

Variable reshape(const Variable& x, const Shape& shape);
// extent i of the result is extent order[i] of x
Variable permute(const Variable& x, std::span<const int> order);
Variable permute(const Variable& x, std::initializer_list<int> order);
Variable slice(const Variable& x, int axis, int64_t begin, int64_t end);
Variable concat(const std::vector<Variable>& parts, int axis);  // lives where the largest part lives
Variable repeat(const Variable& x, int64_t count);              // x (...) -> (count, ...)
Variable mean(const Variable& x, int axis);                     // (..., n, ...) -> (..., ...)
Variable convert(const Variable& x, DType dtype);  // to another floating-point type; dy comes back

// --- lookup ------------------------------------------------------------------------------------------------

// x (..., N, D) + table[rows[n]] (R, D) for each n; `rows` has N entries in 0 .. R-1, or none
// when N = R and row n is n.
Variable embedding_add(const Variable& x, const Variable& table, std::span<const int64_t> rows = {});

// pixels (B, H, W, C) u8, values (C, 256) f32 -> (B, C, H, W), in f32 or, on a device, bf16: entry values[c, byte] for
// each byte. How pictures become what a net sees, where they lie. No gradient flows.
Tensor planes(const Tensor& pixels, const Tensor& values, DType dtype = DType::f32);

// --- noise -------------------------------------------------------------------------------------------------

// Names the random numbers of one batch: batch row b draws from Random(seed, purpose, epoch, samples[b],
// lane), so a sample's noise does not depend on its place in the batch.
struct NoiseKey {
  uint64_t seed = 0;
  uint32_t epoch = 0;
  std::vector<int64_t> samples;
  uint32_t lane = 0;
  // For a step that is recorded (recording.h): epoch and samples (1 + B) i64 on the device, which are read there in each
  // replay in place of those above. May be undefined.
  Tensor on_device{};
};

// x (B, ...): each element is zeroed with the given probability (below 1), the others are divided
// by 1 - probability.
Variable dropout(const Variable& x, double probability, const NoiseKey& key,
                 Purpose purpose = Purpose::dropout);
// x (B, ...): the same for whole batch rows (stochastic depth, arXiv 1603.09382).
Variable drop_path(const Variable& x, double probability, const NoiseKey& key);

// --- loss --------------------------------------------------------------------------------------------------

struct CrossEntropy {
  double smoothing = 0;  // label smoothing in [0, 1): the target is (1 - s) one-hot + s / C
  // (C), of the logits' type, or undefined; sample n weighs class_weights[label n]
  Tensor class_weights = {};
};
// logits (B, C), labels (B) i64 in 0 .. C-1 -> scalar: the weighted mean over the batch of
// -sum(target * log softmax). With smoothing, weights apply per class inside the sum and the mean divides by
// the labels' weights, as PyTorch does.
Variable cross_entropy(const Variable& logits, const Tensor& labels, const CrossEntropy& options = {});

}  // namespace vitrine
