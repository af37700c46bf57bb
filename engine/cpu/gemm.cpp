#include "engine/cpu/gemm.h"

#include <algorithm>

#include "engine/parallel.h"

namespace vitrine::cpu {

namespace {

// What one thread takes at a time: few enough that all threads end together, enough that a block of a and the
// panels of b are used well once they are in the cache.
constexpr int64_t rows_at_once = 96, columns_at_once = 512;

template <class T>
int64_t panels_of(int64_t n) {
  return (n + tile_columns<T>() - 1) / tile_columns<T>();
}

}  // namespace

template <class T>
int64_t tile_rows() {
  return kernels<T>().tile_rows;
}

template <class T>
int64_t tile_columns() {
  return kernels<T>().tile_columns;
}

int64_t rows_of_part(int64_t rows) {
  constexpr int64_t unit = 12;  // rows of the tallest tile
  // A quarter more costs less than another part.
  const int64_t parts = std::max<int64_t>(1, (rows + rows_at_once * 3 / 4) / rows_at_once);
  return std::max(unit, ((rows + parts - 1) / parts + unit - 1) / unit * unit);
}

template <class T>
int64_t packed_size(int64_t k, int64_t n) {
  return k * panels_of<T>(n) * tile_columns<T>();
}

template <class T>
void pack(int64_t k, int64_t n, Matrix<T> b, T* packed) {
  kernels<T>().pack(k, n, b, packed, 0, panels_of<T>(n));
}

template <class T>
void multiply_packed_serially(const Product<T>& x, const Panels<T>& packed_b) {
  kernels<T>().multiply(x, packed_b, 0, x.m, 0, panels_of<T>(x.n));
}

template <class T>
void multiply_packed(const Product<T>& x, const Panels<T>& packed_b) {
  const int64_t height = rows_of_part(x.m), row_blocks = (x.m + height - 1) / height;
  const int64_t panels = panels_of<T>(x.n),
                panels_at_once = std::max<int64_t>(1, columns_at_once / tile_columns<T>());
  const int64_t column_blocks = (panels + panels_at_once - 1) / panels_at_once;
  parallel_for(row_blocks * column_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i = block / column_blocks * height, panel = block % column_blocks * panels_at_once;
      kernels<T>().multiply(x, packed_b, i, std::min(x.m, i + height), panel,
                            std::min(panels, panel + panels_at_once));
    }
  });
}

template <class T>
void multiply(const Product<T>& x, Matrix<T> b, const Memory& memory) {
  Tensor packed = Tensor::empty({packed_size<T>(x.k, x.n)}, dtype_of<T>(), memory);
  T* to = packed.mutable_data<T>().data();
  parallel_for(panels_of<T>(x.n), 8,
               [&](int64_t begin, int64_t end) { kernels<T>().pack(x.k, x.n, b, to, begin, end); });
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
template void multiply_packed(const Product<float>&, const Panels<float>&);
template void multiply_packed(const Product<double>&, const Panels<double>&);
template void multiply_packed_serially(const Product<float>&, const Panels<float>&);
template void multiply_packed_serially(const Product<double>&, const Panels<double>&);
template void multiply(const Product<float>&, Matrix<float>, const Memory&);
template void multiply(const Product<double>&, Matrix<double>, const Memory&);

}  // namespace vitrine::cpu
