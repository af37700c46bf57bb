// gemm.h: c = a b (+ c, + bias) on the CPU, in f32 and f64.
//
// The classic scheme (Goto and van de Geijn, TOMS 2008): b is packed into panels as wide as a tile, a is read in
// place or packed into strips of a few rows, and a register-sized tile of c is summed along a slice of K at a time
// (kernels/gemm.inc). Each element of c is one chain of sums in the order of K, whatever the number of threads.
// Frozen weights are packed once (Tensor::kept_form).
#pragma once

#include <cstdint>

#include "engine/cpu/kernels.h"
#include "engine/tensor.h"

namespace vitrine::cpu {

// The register tile. A product whose M and N are multiples of these runs fastest.
template <class T>
int64_t tile_rows();
template <class T>
int64_t tile_columns();

// The height of equal parts of so many rows: whole tiles, about 96 and at most 120, which the second-level cache holds
// (x 768). Each part reads the whole of b again.
constexpr int64_t most_rows_of_part = 120;
int64_t rows_of_part(int64_t rows);

// The elements that b (K, N) takes when packed. A packed b is for the instruction set in use.
template <class T>
int64_t packed_size(int64_t k, int64_t n);
template <class T>
void pack(int64_t k, int64_t n, Matrix<T> b, T* packed);

// The product with a packed b: on all threads, or in the caller's thread only (for loops that
// are parallel outside).
template <class T>
void multiply_packed(const Product<T>& product, const Panels<T>& packed_b);
template <class T>
void multiply_packed_serially(const Product<T>& product, const Panels<T>& packed_b);
// Packs b on the way; temporary memory comes from `memory`.
template <class T>
void multiply(const Product<T>& product, Matrix<T> b, const Memory& memory);

}  // namespace vitrine::cpu
