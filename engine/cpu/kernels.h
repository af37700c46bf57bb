// kernels.h: the loops that decide the speed. They are written once (kernels/*.inc), compiled for each instruction
// set (kernels/<set>.cpp) and chosen at run time, so that one binary serves every machine.
//
// This header is part of those files, too: nothing of the standard library that could leave an inline function in
// them may be included here, or a linker may keep the copy that an older machine cannot run.
#pragma once

#include <cstdint>

#include "engine/precision.h"

namespace vitrine::cpu {

// A matrix in memory by its strides, in elements: element (i, j) is data[i * row + j * column].
template <class T>
struct Matrix {
  const T* data;
  int64_t row, column;
  Matrix transposed() const { return {data, column, row}; }
};

// c (M, N) with rows `c_row` apart = a (M, K) b (K, N). If `accumulate`, c is added to; else if `bias` is not
// null, the result starts from bias (N).
template <class T>
struct Product {
  int64_t m, n, k;
  Matrix<T> a;
  T* c;
  int64_t c_row;
  bool accumulate = false;
  const T* bias = nullptr;
};

// b (K, N) as it was packed: panels of T, or for T = float of narrower numbers, which are expanded a slice at a time
// while they are used. bf16: [K / 2][tile_columns] pairs of numbers, of an even row (low half) and the next one, zeros
// where K ends. int8: [K][tile_columns], with scales.
template <class T>
struct Panels {
  Panels() = default;
  Panels(const T* plain) : data(plain) {}
  const void* data = nullptr;
  Precision precision = Precision::f32;
  // Of int8: for each column of what was packed, or if `scaled_rows` for each row.
  const float* scales = nullptr;
  bool scaled_rows = false;
  bool turned = false;  // what was packed is b's transpose (N, K), to be transposed a slice at a time
  int64_t rows = 0;     // that lie in a panel, where they are more than the product's; even for bf16
};

enum class GeluForm : uint8_t { erf, tanh, sigmoid };

// What exp does with arguments below (above): they count as these, so that no result is infinite, nor so small that
// processors are slow.
template <class T>
inline constexpr T exp_least = sizeof(T) == 4 ? T(-87) : T(-700);
template <class T>
inline constexpr T exp_most = sizeof(T) == 4 ? T(88) : T(700);

// Rows may lie anywhere; a result may lie over an argument. A row's bits depend on its numbers and its length.
template <class T>
struct Kernels {
  // The register tile of the product.
  int64_t tile_rows, tile_columns;
  // b (K, N) into panels as wide as a tile, each [K][tile_columns], zeros where b ends: panels [first, last).
  void (*pack)(int64_t k, int64_t n, Matrix<T> b, T* packed, int64_t first, int64_t last);
  // Rows [i0, i1) by panels [panel0, panel1) of the product.
  void (*multiply)(const Product<T>& x, const Panels<T>& b, int64_t i0, int64_t i1, int64_t panel0,
                   int64_t panel1);

  // to = exp(x), bounded as above; NaN stays NaN. In f32 at most 1.5 units of the last place off.
  void (*exp)(const T* x, int64_t n, T* to);
  // to = x s(x) and, if `slopes` is not null, slopes = s(x) + x s'(x).
  void (*gelu)(GeluForm form, const T* x, int64_t n, T* to, T* slopes);
  // to = gamma (x - mean) rstd + beta; mean and rstd (1 / standard deviation) are results, too.
  void (*layer_norm)(const T* x, int64_t n, const T* gamma, const T* beta, T epsilon, T* to, T* mean,
                     T* rstd);
  // to = rstd (g - mean(g) - xhat mean(g xhat)) with g = gamma dy and xhat = (x - mean) rstd.
  void (*layer_norm_backward)(const T* x, const T* dy, int64_t n, const T* gamma, T mean, T rstd, T* to);
  // x = exp(scale x - the greatest scale x), scale > 0, n > 0. Returns the sum; `greatest` is that scale x.
  T (*softmax_terms)(T* x, int64_t n, T scale, T* greatest);
  // x = exp(scale x - log_sum): a softmax again, from the log of its sum.
  void (*softmax_again)(T* x, int64_t n, T scale, T log_sum);
  // slope = scale p (slope - mean): the gradient of a softmax's arguments.
  void (*softmax_slope)(const T* p, int64_t n, T mean, T scale, T* slope);
  T (*dot)(const T* x, const T* y, int64_t n);
  void (*scale)(const T* x, int64_t n, T factor, T* to);                   // to = factor x
  void (*add)(const T* x, const T* y, int64_t n, T* to);                   // to = x + y
  void (*multiply_rows)(const T* x, const T* y, int64_t n, T* to);         // to = x y
  void (*add_scaled)(const T* x, int64_t n, T factor, const T* y, T* to);  // to = factor x + y
};

struct KernelSet {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
};

extern const KernelSet portable_kernels, avx2_kernels, avx512_kernels, avx512_bf16_kernels;

// Those in use (engine/instruction_set.h).
template <class T>
const Kernels<T>& kernels();

}  // namespace vitrine::cpu
