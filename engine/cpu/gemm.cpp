#include "engine/cpu/gemm.h"

#include <algorithm>
#include <vector>

#include "engine/parallel.h"

namespace vitrine::cpu {

namespace {

#if defined(__AVX512F__)
constexpr int64_t register_bytes = 64, strip_height = 12;
#elif defined(__AVX__)
constexpr int64_t register_bytes = 32, strip_height = 6;
#else
constexpr int64_t register_bytes = 16, strip_height = 6;
#endif

// A register tile is `strip_height` rows by two vector registers of columns.
template <class T>
struct Tile {
  static constexpr int64_t width = register_bytes / static_cast<int64_t>(sizeof(T));
  static constexpr int64_t rows = strip_height;
  static constexpr int64_t columns = 2 * width;
  typedef T Vector __attribute__((vector_size(register_bytes), aligned(sizeof(T))));
};

constexpr int64_t slice_of_k = 384;   // a slice of one panel of b stays in the first-level cache
constexpr int64_t rows_at_once = 96;  // a block of a (96 x 384) stays in the second-level cache
constexpr int64_t columns_at_once = 512;

// c = start + the sum over one slice of K, for one register tile. `a` is either a packed strip ([k][rows]) or,
// if `Direct`, the rows of the matrix itself, `a_row` apart.
template <class T, bool Direct>
void multiply_tile(int64_t k, const T* __restrict a, int64_t a_row, const T* __restrict b,
                   const T* __restrict start, int64_t start_row, T* __restrict c, int64_t c_row) {
  using Vector = typename Tile<T>::Vector;
  constexpr int64_t rows = Tile<T>::rows, width = Tile<T>::width;
  Vector sum[rows][2];
#pragma GCC unroll 12
  for (int64_t i = 0; i < rows; ++i) {
    sum[i][0] = *reinterpret_cast<const Vector*>(start + i * start_row);
    sum[i][1] = *reinterpret_cast<const Vector*>(start + i * start_row + width);
    // Its lines are on the way while the sums are made: a store to memory that is not in the cache waits.
    __builtin_prefetch(c + i * c_row, 1);
    __builtin_prefetch(c + i * c_row + 2 * width - 1, 1);
  }
  for (int64_t p = 0; p < k; ++p) {
    const Vector b0 = *reinterpret_cast<const Vector*>(b), b1 = *reinterpret_cast<const Vector*>(b + width);
#pragma GCC unroll 12
    for (int64_t i = 0; i < rows; ++i) {
      const T factor = Direct ? a[i * a_row] : a[i];
      sum[i][0] += b0 * factor;
      sum[i][1] += b1 * factor;
    }
    a += Direct ? 1 : rows;
    b += 2 * width;
  }
#pragma GCC unroll 12
  for (int64_t i = 0; i < rows; ++i) {
    *reinterpret_cast<Vector*>(c + i * c_row) = sum[i][0];
    *reinterpret_cast<Vector*>(c + i * c_row + width) = sum[i][1];
  }
}

// a (m, k) into strips [m / rows][k][rows], zeros where a ends.
template <class T>
void pack_strips(int64_t m, int64_t k, Matrix<T> a, T* out) {
  constexpr int64_t rows = Tile<T>::rows;
  for (int64_t i = 0; i < m; i += rows) {
    const int64_t height = std::min(rows, m - i);
    for (int64_t p = 0; p < k; ++p) {
      const T* from = a.data + i * a.row + p * a.column;
      for (int64_t r = 0; r < height; ++r) out[p * rows + r] = from[r * a.row];
      for (int64_t r = height; r < rows; ++r) out[p * rows + r] = T(0);
    }
    out += k * rows;
  }
}

template <class T>
void pack_panels(int64_t k, int64_t n, Matrix<T> b, T* packed, int64_t first_panel, int64_t last_panel) {
  constexpr int64_t columns = Tile<T>::columns;
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    T* out = packed + panel * k * columns;
    const int64_t j = panel * columns, width = std::min(columns, n - j);
    if (b.column == 1) {
      for (int64_t p = 0; p < k; ++p) {
        const T* from = b.data + p * b.row + j;
        for (int64_t c = 0; c < width; ++c) out[p * columns + c] = from[c];
      }
    } else {
      for (int64_t c = 0; c < width; ++c) {
        const T* from = b.data + (j + c) * b.column;
        for (int64_t p = 0; p < k; ++p) out[p * columns + c] = from[p * b.row];
      }
    }
    for (int64_t p = 0; p < k && width < columns; ++p)
      for (int64_t c = width; c < columns; ++c) out[p * columns + c] = T(0);
  }
}

// Rows [i0, i1) by panels [panel0, panel1) of the product, in this thread.
template <class T>
void multiply_block(const Product<T>& x, const T* packed_b, int64_t i0, int64_t i1, int64_t panel0,
                    int64_t panel1) {
  constexpr int64_t rows = Tile<T>::rows, columns = Tile<T>::columns;
  // Rows that lie in memory as the tile wants them are read in place; only the last, incomplete
  // strip is packed then. With many panels each row is read so often that packing pays.
  const bool direct = x.a.column == 1 && panel1 - panel0 < 16;
  alignas(64) T strips[(rows_at_once + rows) * slice_of_k];
  alignas(64) T edge[rows * columns];
  alignas(64) T first[columns] = {};
  for (int64_t i = i0; i < i1; i += rows_at_once) {
    const int64_t height = std::min(rows_at_once, i1 - i);
    for (int64_t p = 0; p == 0 || p < x.k; p += slice_of_k) {  // an empty sum is a sum, too
      const int64_t depth = std::min(slice_of_k, x.k - p);
      const Matrix<T> slice{x.a.data + i * x.a.row + p * x.a.column, x.a.row, x.a.column};
      const int64_t in_place = direct ? height / rows * rows : 0;
      pack_strips<T>(height - in_place, depth, {slice.data + in_place * slice.row, slice.row, slice.column},
                     strips);
      for (int64_t panel = panel0; panel < panel1; ++panel) {
        const T* b = packed_b + (panel * x.k + p) * columns;
        const int64_t j = panel * columns, width = std::min(columns, x.n - j);
        const bool fresh = p == 0 && !x.accumulate;
        if (fresh && x.bias) std::copy_n(x.bias + j, width, first);
        for (int64_t r = 0; r < height; r += rows) {
          T* c = x.c + (i + r) * x.c_row + j;
          const int64_t tall = std::min(rows, height - r);
          const bool whole = tall == rows && width == columns;
          T* to = whole ? c : edge;
          const int64_t to_row = whole ? x.c_row : columns;
          for (int64_t y = 0; y < tall && !whole && !fresh; ++y)
            std::copy_n(c + y * x.c_row, width, edge + y * columns);
          const T* start = fresh ? first : to;
          const int64_t start_row = fresh ? 0 : to_row;
          if (r < in_place) {
            multiply_tile<T, true>(depth, slice.data + r * slice.row, slice.row, b, start, start_row, to,
                                   to_row);
          } else {
            multiply_tile<T, false>(depth, strips + (r - in_place) * depth, 0, b, start, start_row, to,
                                    to_row);
          }
          for (int64_t y = 0; y < tall && !whole; ++y)
            std::copy_n(edge + y * columns, width, c + y * x.c_row);
        }
      }
    }
  }
}

template <class T>
int64_t panels_of(int64_t n) {
  return (n + Tile<T>::columns - 1) / Tile<T>::columns;
}

}  // namespace

template <class T>
int64_t tile_rows() {
  return Tile<T>::rows;
}

template <class T>
int64_t tile_columns() {
  return Tile<T>::columns;
}

template <class T>
int64_t packed_size(int64_t k, int64_t n) {
  return k * panels_of<T>(n) * Tile<T>::columns;
}

template <class T>
void pack(int64_t k, int64_t n, Matrix<T> b, T* packed) {
  pack_panels(k, n, b, packed, 0, panels_of<T>(n));
}

template <class T>
void multiply_packed_serially(const Product<T>& x, const T* packed_b) {
  multiply_block(x, packed_b, 0, x.m, 0, panels_of<T>(x.n));
}

template <class T>
void multiply_packed(const Product<T>& x, const T* packed_b) {
  const int64_t row_blocks = (x.m + rows_at_once - 1) / rows_at_once;
  const int64_t panels = panels_of<T>(x.n),
                panels_at_once = std::max<int64_t>(1, columns_at_once / Tile<T>::columns);
  const int64_t column_blocks = (panels + panels_at_once - 1) / panels_at_once;
  parallel_for(row_blocks * column_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i = block / column_blocks * rows_at_once, panel = block % column_blocks * panels_at_once;
      multiply_block(x, packed_b, i, std::min(x.m, i + rows_at_once), panel,
                     std::min(panels, panel + panels_at_once));
    }
  });
}

template <class T>
void multiply(const Product<T>& x, Matrix<T> b, const Memory& memory) {
  Tensor packed = Tensor::empty({packed_size<T>(x.k, x.n)}, dtype_of<T>(), memory);
  T* to = packed.mutable_data<T>().data();
  parallel_for(panels_of<T>(x.n), 8,
               [&](int64_t begin, int64_t end) { pack_panels(x.k, x.n, b, to, begin, end); });
  multiply_packed<T>(x, to);
}

template int64_t tile_rows<float>();
template int64_t tile_rows<double>();
template int64_t tile_columns<float>();
template int64_t tile_columns<double>();
template int64_t packed_size<float>(int64_t, int64_t);
template int64_t packed_size<double>(int64_t, int64_t);
template void pack(int64_t, int64_t, Matrix<float>, float*);
template void pack(int64_t, int64_t, Matrix<double>, double*);
template void multiply_packed(const Product<float>&, const float*);
template void multiply_packed(const Product<double>&, const double*);
template void multiply_packed_serially(const Product<float>&, const float*);
template void multiply_packed_serially(const Product<double>&, const double*);
template void multiply(const Product<float>&, Matrix<float>, const Memory&);
template void multiply(const Product<double>&, Matrix<double>, const Memory&);

}  // namespace vitrine::cpu
