// kernels.h: what a GPU does for the engine: the table of entries, and the arguments of each.
//
// It is the border between the engine and a device library, which is opened at run time (engine/device.h): plain data
// only, and no word of CUDA. Pointers are memory of the device where nothing else is said. Each entry returns null, or
// a sentence that says what went wrong. Work is done in the order of the calls, maybe after they have returned. Sums
// are f32 in a fixed order, so that equal calls give equal bits. `dtype` is f32 or bf16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/dtype.h"

namespace vitrine::gpu {

struct Queue;  // a device opened by its library: stream, workspace, plans
struct Graph;  // a recorded sequence of work

using Result = const char*;  // null, or what went wrong

constexpr int max_rank = 8;

struct Options {
  int device = 0;     // of several
  bool tf32 = false;  // f32 products may round their factors to 10 bits
};

// --- data ---------------------------------------------------------------------------------------------------

// to[sum i_a to_stride_a] = factor from[sum i_a from_stride_a], over all i below `extents`: conversion, permutation,
// parts, repetition. Strides are in elements. Without `from` there are ones.
struct Move {
  DType from_type, to_type;
  int rank;
  int64_t extents[max_rank], from_stride[max_rank], to_stride[max_rank];
  float factor;
  const void* from;
  void* to;
};

enum class Binary : int {
  add,
  multiply,
  where_positive,  // x where y > 0, else 0
  sigmoid_slope    // x y (1 - y)
};
// out = x op y; out (contiguous) may be x or y if that is as large and contiguous.
struct Combine {
  DType dtype;
  Binary op;
  int rank;
  int64_t extents[max_rank], x_stride[max_rank], y_stride[max_rank];
  const void *x, *y;
  void* out;
};

// to (contiguous, extents) = factor times the sum of `from` over `summed`.
struct Sum {
  DType from_type, to_type;
  int rank, summed_rank;
  int64_t extents[max_rank], stride[max_rank];
  int64_t summed[max_rank], summed_stride[max_rank];
  float factor;
  const void* from;
  void* to;
};

// Row i of `to` = row index[i] of `table`, rows of `row_bytes` bytes.
struct Gather {
  int64_t rows, row_bytes;
  const void* table;
  const int64_t* index;
  void* to;
};

// Planes from interleaved bytes: to (images, channels, places) = values[c * 256 + from[(image * places + i) * channels + c]].
struct Planes {
  DType dtype;  // of `to`
  int64_t images, places, channels;
  const uint8_t* from;
  const float* values;
  void* to;
};

// --- elementwise ---------------------------------------------------------------------------------------------

enum class Unary : int {
  relu,  // NaN stays NaN
  sigmoid
};
struct Map {  // out = f(x)
  DType dtype;
  Unary function;
  int64_t count;
  const void* x;
  void* out;
};

enum class GeluForm : int { erf, tanh, quick };
struct Gelu {
  DType dtype;
  GeluForm form;
  int64_t count;
  const void* x;
  void* out;  // may be x
};
struct GeluBackward {  // dx = dy gelu'(x)
  DType dtype;
  GeluForm form;
  int64_t count;
  const void *x, *dy;
  void* dx;  // may be dy
};

struct Swiglu {  // out (rows, width) = a sigmoid(a) b of x (rows, 2 width) = [a, b]
  DType dtype;
  int64_t rows, width;
  const void *x, *dy;  // dy (rows, width) null, or out (rows, 2 width) is the gradient of x
  void* out;
};

// x (images, per_image): each group of so many neighbours is zeroed with the given probability, others divided by
// 1 - probability. Image b draws from Random(seed, purpose, key[0], key[1 + b], lane).
struct Dropout {
  DType dtype;
  int64_t images, per_image, group;
  double probability;
  uint64_t seed;
  uint32_t purpose, lane;
  const int64_t* key;  // epoch, samples (images)
  const void* x;
  void* out;
};

// --- rows ----------------------------------------------------------------------------------------------------

struct LayerNorm {
  DType dtype;
  int64_t rows, width;
  const void *x, *gamma, *beta;
  float epsilon;
  void* y;
  float *mean, *rstd;  // (rows) each, or null
};
struct LayerNormBackward {
  DType dtype;
  int64_t rows, width;
  const void *x, *dy, *gamma;
  const float *mean, *rstd;
  const void* residual;  // added to dx, or null
  void* dx;              // may be dy or residual
};
struct LayerNormWeights {
  DType dtype;
  int64_t rows, width;
  const void *x, *dy;
  const float *mean, *rstd;
  void *dgamma, *dbeta;  // (width); null where not wanted
};

// Columns of x (rows, width) to mean 0 and variance 1, then times gamma plus beta. mean, rstd and variance: f32 (width).
struct BatchNorm {
  DType dtype;
  int64_t rows, width;
  const void *x, *gamma, *beta;
  float epsilon;
  void* y;
  float *mean, *rstd, *variance;
};
struct BatchNormBackward {
  DType dtype;
  int64_t rows, width;
  const void *x, *dy, *gamma;
  const float *mean, *rstd;
  void *dx, *dgamma, *dbeta;  // null where not wanted; dx may be dy
};

struct Softmax {  // y = softmax(factor x) along rows
  DType dtype;
  int64_t rows, width;
  float factor;
  const void* x;
  void* y;  // may be x
};
struct SoftmaxBackward {  // dx = factor y (dy - sum(y dy))
  DType dtype;
  int64_t rows, width;
  float factor;
  const void *y, *dy;
  void* dx;  // may be dy
};

// out (images, rows, width) = x + table[index[row]] (index: i64, or null: row n takes entry n)
struct EmbeddingAdd {
  DType dtype;
  int64_t images, rows, width;
  const void *x, *table;
  const int64_t* index;
  void* out;
};
// dtable (entries, width): entry e = the sum of dy over all rows that took e
struct EmbeddingSum {
  DType dtype;
  int64_t images, rows, width, entries;
  const void* dy;
  const int64_t* index;
  void* dtable;
};

// --- products ------------------------------------------------------------------------------------------------

struct Matrix {
  const void* data;
  DType dtype;
  int64_t step;     // elements from one row, as stored, to the next
  int64_t image;    // from one matrix of the batch to the next
  bool transposed;  // stored with rows and columns exchanged
};

enum class Epilogue : int {
  none,
  gelu,          // out = gelu(z), and `inner` = z
  gelu_backward  // out = z gelu'(inner)
};

// For each of `batch`: z (m, n) = a (m, k) b (k, n) + bias (n) + added; out = epilogue(z).
struct Product {
  int64_t batch, m, n, k;
  Matrix a, b;  // of one type
  void* out;
  DType out_type;  // f32, or that of a
  int64_t out_step, out_image;
  const void* bias;   // of the type of a, or null
  const void* added;  // of out's type and layout, maybe out itself, or null
  Epilogue epilogue;
  GeluForm form;
  void* inner;  // (batch m, n) contiguous, of out's type
};

// --- attention -----------------------------------------------------------------------------------------------

// Rows of heads * width elements.
struct Rows {
  const void* data;    // null: none, or not wanted
  int64_t image, row;  // elements from one image or token to the next; image 0: all images share
};
struct MutableRows {
  void* data;
  int64_t image, row;
};

// out (B, Tq, D) = softmax(q k^T / sqrt(width)) v for each head; the keys are prefix, then tokens.
struct Attention {
  DType dtype;
  int64_t batch, heads, width, queries, tokens, prefix;
  Rows q, k, v, prefix_k, prefix_v;
  void* out;
  float* log_sum_exp;  // (B, heads, Tq), of base e; null: not wanted
};
struct AttentionBackward {
  Attention forward;  // with `out` and `log_sum_exp` as forward left them
  const void* dy;     // (B, Tq, D)
  // None lies over an operand. Null where not wanted; if all three are, k and v of `forward` are null, too.
  MutableRows dq, dk, dv;
  // Sums over images in `slices` parts, each (slices, P, D) or null. With a prefix per image, part b is image b's.
  float *dprefix_k, *dprefix_v;
  int64_t slices;
  float* dots;  // working space (B, heads, Tq)
};

// Swin's windows (engine/ops.h: WindowGrid). D = heads * width; places that were filled up take `padding`.
struct WindowAttention {
  DType dtype;
  int64_t batch, tokens, prompts, heads, width, prefix;  // tokens: prompts and map
  int64_t rows, columns, window, shift;  // of the map; shift 0 where one window covers an axis
  bool filled_after_roll;
  const void* qkv;      // (B, tokens, 3 D); if only the prefix is wanted in backward, (B, tokens, D): queries
  const void* bias;     // ((2 w - 1)^2, heads)
  const void* padding;  // (3 D) or null: zeros
  Rows prefix_k, prefix_v;
  void* out;           // (B, tokens, D); the rows of prompts are not written
  float* prompts_out;  // (B, windows, prompts, D): to be averaged over the windows
  float* log_sum_exp;  // (B, windows, heads, prompts + w w), or null
};
struct WindowAttentionBackward {
  WindowAttention forward;
  const void* dy;   // (B, tokens, D)
  void* dqkv;       // (B, tokens, 3 D) but for the rows of prompts; null: not wanted
  float* dprompts;  // (B, windows, prompts, 3 D): to be summed over the windows
  // Sums over windows in `slices` parts; null where not wanted. With a prefix per image, image b's parts are
  // [b slices / B, (b + 1) slices / B).
  float* dbias;                  // (slices, heads, w w, w w)
  float* dpadding;               // (slices, 3 D)
  float *dprefix_k, *dprefix_v;  // (slices, prefix, D)
  int64_t slices;
  float* dots;  // working space (B, windows, heads, prompts + w w)
};
// dtable ((2 w - 1)^2, heads) = sums of dbias (heads, w w, w w) over pairs of the same distance
struct WindowTable {
  DType dtype;
  int64_t heads, window;
  const float* dbias;
  void* dtable;
};

// --- loss and steps ------------------------------------------------------------------------------------------

// loss = sum of rows / weight, weight = the sum of the labels' class weights (engine/ops.h: CrossEntropy). A label that
// is no class makes the loss NaN.
struct CrossEntropy {
  DType dtype;
  int64_t batch, classes;
  const void* logits;
  const int64_t* labels;
  const void* class_weights;  // (classes) or null: ones
  double smoothing;
  void* loss;            // one element
  float* probabilities;  // (batch, classes)
  float* weights;        // two elements: of the labels, of all classes
};
struct CrossEntropyBackward {
  CrossEntropy forward;
  const void* dloss;
  void* dlogits;
};

// One step of the optimizer for all parameters at once (nn/optimizer.h). f32.
struct StepItem {
  float* value;
  float* gradient;
  float *first, *second;  // momentum and none, or the two moments
  int64_t count;
  float decay;
};
struct OptimizerStep {
  bool adamw;
  int64_t items;
  const StepItem* list;  // in main memory, free to use when the call returns
  float momentum, beta1, beta2, epsilon;
  const float* rates;  // of the device: learning rate, 1 / (1 - beta1^steps), 1 / (1 - beta2^steps)
};
// sum = the sum of the squares of all gradients, in double and in the order of the list
struct SquareSum {
  int64_t items;
  const StepItem* list;  // as above; of each only gradient and count
  double* sum;           // one element
  double* parts;         // working space: square_sum_parts for each item
};
constexpr int64_t square_sum_parts = 64;
// All gradients times largest / norm if norm = sqrt(sum) is finite and greater than that.
struct ClipGradients {
  int64_t items;
  const StepItem* list;
  const double* sum;
  float largest;
};

// --- the table -----------------------------------------------------------------------------------------------

constexpr int64_t most_head_width = 256;  // of attention

struct Kernels {
  const char* kind;  // "cuda" or "emulator"
  // A device that is there and works, or a reason why there is none.
  Result (*open)(const Options& options, Queue** queue);
  void (*close)(Queue* queue);
  const char* (*describe)(Queue* queue);  // its name, memory and libraries; lives as long as the queue

  Result (*allocate)(Queue* queue, size_t bytes, void** to);  // null without a word: no memory left
  void (*release)(Queue* queue, void* block);
  // Told of each block that is handed out again, to spoil what it holds; null if nothing is to be done.
  void (*spoil)(Queue* queue, void* block, size_t bytes);
  // `from` and `to` of upload and download are host memory, free to use when the call returns.
  Result (*upload)(Queue* queue, void* to, const void* from, size_t bytes);
  Result (*download)(Queue* queue, void* to, const void* from, size_t bytes);
  // An upload beside the work that was asked for before, which must not touch `to`; later work waits for it.
  Result (*upload_ahead)(Queue* queue, void* to, const void* from, size_t bytes);
  Result (*copy)(Queue* queue, void* to, const void* from, size_t bytes);
  Result (*clear)(Queue* queue, void* to, size_t bytes);  // to zeros
  Result (*wait)(Queue* queue);                           // until all work is done
  size_t (*free_memory)(Queue* queue);                    // bytes of the device that nobody has taken
  // What a user should know of how the work was done, a sentence at a time and each once; null: no more of them.
  const char* (*take_note)(Queue* queue);

  // Between the two, work is recorded and not done.
  Result (*begin_record)(Queue* queue);
  Result (*end_record)(Queue* queue, Graph** graph);
  Result (*replay)(Queue* queue, Graph* graph);
  void (*drop)(Queue* queue, Graph* graph);

  Result (*move)(Queue*, const Move&);
  Result (*combine)(Queue*, const Combine&);
  Result (*sum)(Queue*, const Sum&);
  Result (*gather)(Queue*, const Gather&);
  Result (*planes)(Queue*, const Planes&);
  Result (*map)(Queue*, const Map&);
  Result (*gelu)(Queue*, const Gelu&);
  Result (*gelu_backward)(Queue*, const GeluBackward&);
  Result (*swiglu)(Queue*, const Swiglu&);
  Result (*dropout)(Queue*, const Dropout&);
  Result (*layer_norm)(Queue*, const LayerNorm&);
  Result (*layer_norm_backward)(Queue*, const LayerNormBackward&);
  Result (*layer_norm_weights)(Queue*, const LayerNormWeights&);
  Result (*batch_norm)(Queue*, const BatchNorm&);
  Result (*batch_norm_backward)(Queue*, const BatchNormBackward&);
  Result (*softmax)(Queue*, const Softmax&);
  Result (*softmax_backward)(Queue*, const SoftmaxBackward&);
  Result (*embedding_add)(Queue*, const EmbeddingAdd&);
  Result (*embedding_sum)(Queue*, const EmbeddingSum&);
  Result (*product)(Queue*, const Product&);
  Result (*attention)(Queue*, const Attention&);
  int64_t (*attention_slices)(Queue*, const AttentionBackward&);  // how many it wants, and must get
  Result (*attention_backward)(Queue*, const AttentionBackward&);
  Result (*window_attention)(Queue*, const WindowAttention&);
  int64_t (*window_attention_slices)(Queue*, const WindowAttentionBackward&);
  Result (*window_attention_backward)(Queue*, const WindowAttentionBackward&);
  Result (*window_table)(Queue*, const WindowTable&);
  Result (*cross_entropy)(Queue*, const CrossEntropy&);
  Result (*cross_entropy_backward)(Queue*, const CrossEntropyBackward&);
  Result (*optimizer_step)(Queue*, const OptimizerStep&);
  Result (*square_sum)(Queue*, const SquareSum&);
  Result (*clip_gradients)(Queue*, const ClipGradients&);
};

}  // namespace vitrine::gpu

// The one symbol of a device library. Null if it was built from another version of this header: `border` must be its
// digest, which CMake gives to both sides (VITRINE_GPU_BORDER).
extern "C" const vitrine::gpu::Kernels* vitrine_device_library(const char* border);
