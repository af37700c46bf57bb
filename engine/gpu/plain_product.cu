#include "engine/gpu/plain_product.h"

#include <algorithm>

#include "engine/gpu/entries.h"
#include "engine/gpu/port.h"

namespace vitrine::gpu {

namespace {

constexpr int threads = 256;
constexpr int tile = 32;       // rows, columns and terms
constexpr int row = tile + 1;  // floats, so that a column of a tile lies in all banks
constexpr int rows_at_once = threads / tile;
constexpr int own_rows = tile / rows_at_once;

// Elements of `matrix` (rows, columns) from (first_row, first_column) on into a tile, zeros beyond. Neighbouring
// threads read neighbours.
template <class T>
__device__ void load_tile(const Matrix& matrix, int64_t image, int64_t rows, int64_t columns,
                          int64_t first_row, int64_t first_column, float* to) {
  const T* from = static_cast<const T*>(matrix.data) + image * matrix.image;
  for (int i = threadIdx.x; i < tile * tile; i += threads) {
    const int r = matrix.transposed ? i % tile : i / tile, c = matrix.transposed ? i / tile : i % tile;
    const int64_t at_row = first_row + r, at_column = first_column + c;
    float x = 0.0f;
    if (at_row < rows && at_column < columns) {
      x = widen(
          from[matrix.transposed ? at_column * matrix.step + at_row : at_row * matrix.step + at_column]);
    }
    to[r * row + c] = x;
  }
}

template <class T, class R>
__device__ float start_of(const Sums& sums, int64_t image, int64_t i, int64_t j) {
  float start = 0.0f;
  if (sums.product.bias != nullptr) start = widen(static_cast<const T*>(sums.product.bias)[j]);
  if (sums.product.added != nullptr) {
    start +=
        widen(static_cast<const R*>(sums.product.added)[image * sums.added_image + i * sums.added_step + j]);
  }
  return start;
}

// Each block makes tiles of the result, thread (r, c) of it the elements (r, c), (r + 8, c), ...
template <class T, class R>
__global__ void plain_sums_kernel(Sums sums) {
  const Product& p = sums.product;
  float* a = reinterpret_cast<float*>(shared_memory());
  float* b = a + tile * row;
  const int64_t down = (p.m + tile - 1) / tile, across = (p.n + tile - 1) / tile;
  const int r = threadIdx.x / tile, c = threadIdx.x % tile;
  for (int64_t block = blockIdx.x; block < p.batch * down * across; block += gridDim.x) {
    const int64_t image = block / (down * across);
    const int64_t first_row = block / across % down * tile, first_column = block % across * tile;
    float total[own_rows] = {};
    for (int64_t term = 0; term < p.k; term += tile) {
      load_tile<T>(p.a, image, p.m, p.k, first_row, term, a);
      load_tile<T>(p.b, image, p.k, p.n, term, first_column, b);
      __syncthreads();
      for (int t = 0; t < tile; ++t) {
        for (int i = 0; i < own_rows; ++i) total[i] += a[(r + i * rows_at_once) * row + t] * b[t * row + c];
      }
      __syncthreads();
    }
    for (int i = 0; i < own_rows; ++i) {
      const int64_t at_row = first_row + r + i * rows_at_once, at_column = first_column + c;
      if (at_row >= p.m || at_column >= p.n) continue;
      R* out = static_cast<R*>(p.out) + image * p.out_image + at_row * p.out_step + at_column;
      *out = narrow<R>(total[i] + start_of<T, R>(sums, image, at_row, at_column));
    }
  }
}

template <class T, class R>
__global__ void start_sums_kernel(Sums sums) {
  const Product& p = sums.product;
  const int64_t all = p.batch * p.m * p.n, stride = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; at < all; at += stride) {
    const int64_t j = at % p.n, i = at / p.n % p.m, image = at / p.n / p.m;
    static_cast<R*>(p.out)[image * p.out_image + i * p.out_step + j] =
        narrow<R>(start_of<T, R>(sums, image, i, j));
  }
}

template <class T, class R>
struct Types {
  using operand = T;
  using result = R;
};

// Calls f with the types of the operands and of the result.
template <class F>
Result with_types(const Product& p, const F& f) {
  if (p.a.dtype != p.b.dtype) return "product: expected factors of one type";
  if (p.a.dtype == DType::bf16 && p.out_type == DType::bf16) return f(Types<bf16, bf16>{});
  if (p.a.dtype == DType::bf16 && p.out_type == DType::f32) return f(Types<bf16, float>{});
  if (p.a.dtype == DType::f32 && p.out_type == DType::f32) return f(Types<float, float>{});
  return "product: expected f32, or bf16 with a result of bf16 or f32";
}

unsigned grid_for(int64_t blocks) {
  constexpr int64_t most = 1 << 20;  // each block goes on to others
  return static_cast<unsigned>(std::min(blocks, most));
}

}  // namespace

Sums sums_of(const Product& a) {
  Sums sums{a, a.out_step, a.out_image};
  sums.product.epilogue = Epilogue::none;
  sums.product.inner = nullptr;
  if (a.epilogue == Epilogue::gelu) {
    sums.product.out = a.inner;
    sums.product.out_step = a.n;
    sums.product.out_image = a.m * a.n;
  }
  return sums;
}

Result run_epilogue(Queue* queue, const Product& a) {
  if (a.epilogue == Epilogue::none) return nullptr;
  // `inner` is contiguous; `out` is so in one piece, in one for each image, or in one for each row.
  const bool rows_touch = a.m == 1 || a.out_step == a.n;
  const bool images_touch = a.batch == 1 || a.out_image == a.m * a.n;
  const int64_t count = !rows_touch ? a.n : images_touch ? a.batch * a.m * a.n : a.m * a.n;
  const int64_t pieces = a.batch * a.m * a.n / count, in_image = rows_touch ? 1 : a.m;
  const int64_t size = static_cast<int64_t>(a.out_type == DType::bf16 ? sizeof(bf16) : sizeof(float));
  for (int64_t piece = 0; piece < pieces; ++piece) {
    char* inner = static_cast<char*>(a.inner) + piece * count * size;
    char* out =
        static_cast<char*>(a.out) + (piece / in_image * a.out_image + piece % in_image * a.out_step) * size;
    const Result wrong = a.epilogue == Epilogue::gelu
                             ? gelu(queue, {a.out_type, a.form, count, inner, out})
                             : gelu_backward(queue, {a.out_type, a.form, count, inner, out, out});
    if (wrong != nullptr) return wrong;
  }
  return nullptr;
}

Result start_sums(Queue* queue, const Sums& sums) {
  const Product& p = sums.product;
  return with_types(p, [&](auto types) {
    using Both = decltype(types);
    return launch(queue, start_sums_kernel<typename Both::operand, typename Both::result>,
                  dim3(grid_for(divided_up(p.batch * p.m * p.n, threads))), threads, 0, sums);
  });
}

Result plain_sums(Queue* queue, const Sums& sums) {
  const Product& p = sums.product;
  return with_types(p, [&](auto types) {
    using Both = decltype(types);
    return launch(queue, plain_sums_kernel<typename Both::operand, typename Both::result>,
                  dim3(grid_for(p.batch * divided_up(p.m, tile) * divided_up(p.n, tile))), threads,
                  2 * tile * row * sizeof(float), sums);
  });
}

Result plain_product(Queue* queue, const Product& a) {
  if (a.batch == 0 || a.m == 0 || a.n == 0) return nullptr;
  if (Result wrong = plain_sums(queue, sums_of(a))) return wrong;
  return run_epilogue(queue, a);
}

}  // namespace vitrine::gpu
