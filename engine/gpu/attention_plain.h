// attention_plain.h: attention with f32 arithmetic, right for every size: heads of up to 256 columns, any number of
// rows, any alignment.
//
// A block owns 16 rows of one head, 4 of each warp, and walks the rows they meet by tiles of 32: a lane each for their
// products, then the lanes stand side by side along the columns of the weighted sum. Forward, here, owns queries and
// meets keys (the softmax is carried on from tile to tile). Where rows lie is asked of `Places` (attention_places.h,
// attention_windows.h).
#pragma once

#include <type_traits>

#include "engine/gpu/attention_places.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu::attend {

constexpr int warps = 4, threads = warps * warp_size;
constexpr int rows_of_warp = 4, rows_of_block = warps * rows_of_warp;
constexpr int tile_rows = warp_size;
constexpr int piece_columns = 32, piece_step = piece_columns + 1;  // no two lanes read the same bank

// Shared memory of a block.
template <class T>
struct Desk {
  const T** first_rows;   // (tile_rows): the rows of the tile, null: zeros
  const T** second_rows;  // (tile_rows)
  float* piece;           // (tile_rows, piece_step): some columns of them
  float* first_weights;   // (rows_of_block, tile_rows)
  float* second_weights;
  float* first_own;  // (rows_of_block, width)
  float* second_own;

  __device__ Desk(int width, int warp) {
    unsigned char* at = shared_memory();
    first_rows = reinterpret_cast<const T**>(at);
    second_rows = first_rows + tile_rows;
    piece = reinterpret_cast<float*>(second_rows + tile_rows);
    // From here on, the warp's own parts.
    first_weights = piece + tile_rows * piece_step + warp * rows_of_warp * tile_rows;
    second_weights = first_weights + rows_of_block * tile_rows;
    first_own = piece + tile_rows * piece_step + 2 * rows_of_block * tile_rows + warp * rows_of_warp * width;
    second_own = first_own + rows_of_block * width;
  }
};
inline size_t desk_bytes(int64_t width) {
  const int64_t floats = tile_rows * piece_step + 2 * rows_of_block * tile_rows + 2 * rows_of_block * width;
  return 2 * tile_rows * sizeof(void*) + static_cast<size_t>(floats) * sizeof(float);
}

// A row of a warp as f32, times `factor`; null: zeros.
template <class T>
__device__ void take_own(const T* row, int width, float factor, float* to) {
  for (int c = static_cast<int>(threadIdx.x) % warp_size; c < width; c += warp_size)
    to[c] = row ? factor * widen(row[c]) : 0.0f;
}

// products[r] += own row r times the lane's row of the tile. A step of the whole block; before it, `rows` may be
// written without a wait.
template <class T>
__device__ void multiply(const float* own, const T* const* rows, int width, float* piece,
                         float (&products)[rows_of_warp]) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  for (int first = 0; first < width; first += piece_columns) {
    __syncthreads();  // the last piece has been read, and all rows are known
    for (int i = static_cast<int>(threadIdx.x); i < tile_rows * piece_columns; i += threads) {
      const int row = i / piece_columns, c = i % piece_columns;
      piece[row * piece_step + c] = rows[row] && first + c < width ? widen(rows[row][first + c]) : 0.0f;
    }
    __syncthreads();
    const float* x = piece + lane * piece_step;
    const int columns = width - first < piece_columns ? width - first : piece_columns;
    for (int c = 0; c < columns; ++c)
#pragma unroll
      for (int r = 0; r < rows_of_warp; ++r) products[r] += own[r * width + first + c] * x[c];
  }
}

// sums[r] += weights (rows_of_warp, tile_rows) times the rows of the tile; column lane + 32 c is sums[r][c].
template <class T, int chunks>
__device__ void add_weighted(const float* weights, const T* const* rows, int width,
                             float (&sums)[rows_of_warp][chunks]) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  for (int j = 0; j < tile_rows; ++j) {
    const T* row = rows[j];
    if (!row) continue;
#pragma unroll
    for (int c = 0; c < chunks; ++c) {
      const int column = lane + warp_size * c;
      const float x = column < width ? widen(row[column]) : 0.0f;
#pragma unroll
      for (int r = 0; r < rows_of_warp; ++r) sums[r][c] += weights[r * tile_rows + j] * x;
    }
  }
}

template <class T, int chunks>
__device__ void put_row(const Target<T>& to, int width, const float (&sums)[chunks], float factor) {
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    const int column = static_cast<int>(threadIdx.x) % warp_size + warp_size * c;
    if (column < width) to.put(column, factor * sums[c]);
  }
}

// Grid: (item, head, 16 rows) in one axis.
template <class Places, int chunks>
__global__ void __launch_bounds__(threads) forward_kernel(typename Places::Arguments a, int64_t tiles) {
  using T = typename Places::T;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t pair = blockIdx.x / tiles, item = pair / a.forward.heads;
  const Places places(a, item, item, pair % a.forward.heads);
  const int width = static_cast<int>(a.forward.width);
  const int first = static_cast<int>(blockIdx.x % tiles) * rows_of_block + warp * rows_of_warp;
  const float factor = 1.0f / sqrtf(static_cast<float>(width));
  const Desk<T> desk(width, warp);

  typename Places::Spot spots[rows_of_warp];
  float greatest[rows_of_warp], sums[rows_of_warp] = {}, out[rows_of_warp][chunks] = {};
#pragma unroll
  for (int r = 0; r < rows_of_warp; ++r) {
    const int i = first + r;
    greatest[r] = -INFINITY;
    if (i < places.queries) spots[r] = places.spot_of_query(i);
    take_own(i < places.queries ? places.query(i) : nullptr, width, 1.0f, desk.first_own + r * width);
  }
  for (int tile = 0; tile < places.keys; tile += tile_rows) {
    __syncthreads();  // the rows of the last tile have been read
    const int j = tile + lane;
    if (warp == 0) {
      desk.first_rows[lane] = j < places.keys ? places.key(j) : nullptr;
      desk.second_rows[lane] = j < places.keys ? places.value(j) : nullptr;
    }
    float scores[rows_of_warp] = {};
    multiply(desk.first_own, desk.first_rows, width, desk.piece, scores);
    typename Places::Spot spot;
    if (j < places.keys) spot = places.spot_of_key(j);
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) {
      const float score =
          j < places.keys ? log2_e * (factor * scores[r] + places.added(spots[r], spot)) : -INFINITY;
      const float before = greatest[r];
      greatest[r] = fmaxf(before, warp_max(score));
      const float level = finite_level(greatest[r]);
      const float shrink = exp2_fast(before - level), weight = exp2_fast(score - level);
      sums[r] = sums[r] * shrink + weight;
#pragma unroll
      for (int c = 0; c < chunks; ++c) out[r][c] *= shrink;
      desk.first_weights[r * tile_rows + lane] = weight;
    }
    __syncwarp();
    add_weighted(desk.first_weights, desk.second_rows, width, out);
  }
#pragma unroll
  for (int r = 0; r < rows_of_warp; ++r) {
    const int i = first + r;
    const float sum = warp_sum(sums[r]);
    if (i >= places.queries) continue;
    put_row(places.out(i), width, out[r], 1.0f / sum);
    if (lane == 0 && a.forward.log_sum_exp)
      a.forward.log_sum_exp[places.statistic(i)] = (greatest[r] + log2f(sum)) * ln_2;
  }
}

// Calls f with the 32-column chunks of a row, as a constant.
template <class F>
Result with_chunks(int64_t width, const F& f) {
  if (width <= 32) return f(std::integral_constant<int, 1>{});
  if (width <= 64) return f(std::integral_constant<int, 2>{});
  if (width <= 128) return f(std::integral_constant<int, 4>{});
  return f(std::integral_constant<int, 8>{});
}

// The grid of so many blocks, in one axis, as a sentence knows it.
inline bool too_many(int64_t pairs, int64_t tiles) { return tiles > 0 && pairs > 0x7fffffff / tiles; }

template <class Places>
Result plain_forward(Queue* queue, const typename Places::Arguments& a) {
  const Extent e = Places::extent(a);
  if (e.width > most_head_width) return "attention: a head has more than 256 columns";
  const int64_t tiles = divided_up(e.queries, rows_of_block), pairs = e.items * e.heads;
  if (too_many(pairs, tiles)) return "attention: more rows than a grid can hold";
  const dim3 grid(static_cast<unsigned>(pairs * tiles));
  return with_chunks(e.width, [&](auto chunks) {
    return launch(queue, forward_kernel<Places, chunks()>, grid, threads, desk_bytes(e.width), a, tiles);
  });
}

}  // namespace vitrine::gpu::attend
