// attention_plain.h: attention with f32 arithmetic, right for every size: heads of up to 256 columns, any number of
// rows, any alignment.
//
// A block owns 16 rows of one head, 4 of each warp, and walks the rows they meet by tiles of 32: a lane each for their
// products, then the lanes stand side by side along the columns of the weighted sum. Forward and dq own queries and
// meet keys (the softmax is carried on from tile to tile); dk and dv own keys and meet queries. Where rows lie is asked
// of `Places` (attention_places.h, attention_windows.h).
#pragma once

#include <type_traits>

#include "engine/gpu/attention_places.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu::attend {

constexpr int warps = 4, threads = warps * warp_size;
constexpr int rows_of_warp = 4, rows_of_block = warps * rows_of_warp;
constexpr int tile_rows = warp_size;
constexpr int piece_columns = 32, piece_step = piece_columns + 1;  // no two lanes read the same bank
constexpr int64_t most_width = 256;

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
      const float shrink = exp2_fast(before - greatest[r]), weight = exp2_fast(score - greatest[r]);
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

// dots[i] = dy_i . y_i, the mean slope of the scores of query i. A warp for each row; grid: (item, head, 4 rows).
template <class Places>
__global__ void __launch_bounds__(threads) dots_kernel(typename Places::Arguments a, int64_t tiles) {
  const int64_t pair = blockIdx.x / tiles, item = pair / a.forward.heads;
  const Places places(a, item, item, pair % a.forward.heads);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int i = static_cast<int>(blockIdx.x % tiles) * warps + static_cast<int>(threadIdx.x) / warp_size;
  if (i >= places.queries) return;
  const typename Places::T* dy = places.dy(i);
  const auto y = places.y(i);
  float sum = 0;
  for (int c = lane; dy && c < a.forward.width; c += warp_size) sum += widen(dy[c]) * y.at(c);
  sum = warp_sum(sum);
  if (lane == 0) a.dots[places.statistic(i)] = places.dy_factor(i) * sum;
}

// dq, and the gradient of what is added to the scores. Grid: (slice, head, a share of the rows).
template <class Places, int chunks>
__global__ void __launch_bounds__(threads) queries_kernel(typename Places::Arguments a, int64_t tiles) {
  using T = typename Places::T;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t pair = blockIdx.x / tiles, slice = pair / a.forward.heads;
  const int width = static_cast<int>(a.forward.width);
  const float factor = 1.0f / sqrtf(static_cast<float>(width));
  const Desk<T> desk(width, warp);
  const int64_t end = Places::first_item(a, slice + 1);
  for (int64_t item = Places::first_item(a, slice); item < end; ++item) {
    const Places places(a, slice, item, pair % a.forward.heads);
    const int first = static_cast<int>(blockIdx.x % tiles) * rows_of_block + warp * rows_of_warp;
    typename Places::Spot spots[rows_of_warp];
    float log_sums[rows_of_warp], dots[rows_of_warp], dq[rows_of_warp][chunks] = {};
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r) {
      const int i = first + r;
      const bool there = i < places.queries;
      if (there) spots[r] = places.spot_of_query(i);
      log_sums[r] = there ? log2_e * a.forward.log_sum_exp[places.statistic(i)] : INFINITY;
      dots[r] = there ? a.dots[places.statistic(i)] : 0.0f;
      take_own(there ? places.query(i) : nullptr, width, 1.0f, desk.first_own + r * width);
      take_own(there ? places.dy(i) : nullptr, width, there ? places.dy_factor(i) : 0.0f,
               desk.second_own + r * width);
    }
    for (int tile = 0; tile < places.keys; tile += tile_rows) {
      __syncthreads();  // the rows of the last tile have been read
      const int j = tile + lane;
      if (warp == 0) {
        desk.first_rows[lane] = j < places.keys ? places.key(j) : nullptr;
        desk.second_rows[lane] = j < places.keys ? places.value(j) : nullptr;
      }
      float scores[rows_of_warp] = {}, slopes[rows_of_warp] = {};
      multiply(desk.first_own, desk.first_rows, width, desk.piece, scores);
      multiply(desk.second_own, desk.second_rows, width, desk.piece, slopes);
      typename Places::Spot spot;
      if (j < places.keys) spot = places.spot_of_key(j);
#pragma unroll
      for (int r = 0; r < rows_of_warp; ++r) {
        const bool there = first + r < places.queries && j < places.keys;
        const float score = log2_e * (factor * scores[r] + (there ? places.added(spots[r], spot) : 0.0f));
        const float slope = there ? exp2_fast(score - log_sums[r]) * (slopes[r] - dots[r]) : 0.0f;
        if (float* sum = there ? places.dbias(first + r, j) : nullptr)
          *sum = places.later ? *sum + slope : slope;
        desk.first_weights[r * tile_rows + lane] = factor * slope;
      }
      __syncwarp();
      add_weighted(desk.first_weights, desk.first_rows, width, dq);
    }
#pragma unroll
    for (int r = 0; r < rows_of_warp; ++r)
      if (first + r < places.queries) put_row(places.dq(first + r), width, dq[r], 1.0f);
  }
}

// dk and dv. Grid: (slice, head, a share of the rows); the share is all of them where the padding's gradient is wanted,
// which rows of different tiles have in common.
template <class Places, int chunks>
__global__ void __launch_bounds__(threads) keys_kernel(typename Places::Arguments a, int64_t tiles) {
  using T = typename Places::T;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int64_t pair = blockIdx.x / tiles, slice = pair / a.forward.heads;
  const int width = static_cast<int>(a.forward.width);
  const float factor = 1.0f / sqrtf(static_cast<float>(width));
  const Desk<T> desk(width, warp);
  float padding_k[chunks] = {}, padding_v[chunks] = {};
  const int64_t begin = Places::first_item(a, slice), end = Places::first_item(a, slice + 1);
  for (int64_t item = begin; item < end; ++item) {
    const Places places(a, slice, item, pair % a.forward.heads);
    for (int start = static_cast<int>(blockIdx.x % tiles) * rows_of_block; start < places.keys;
         start += static_cast<int>(tiles) * rows_of_block) {
      const int first = start + warp * rows_of_warp;
      typename Places::Spot spots[rows_of_warp];
      float dk[rows_of_warp][chunks] = {}, dv[rows_of_warp][chunks] = {};
#pragma unroll
      for (int r = 0; r < rows_of_warp; ++r) {
        const int j = first + r;
        if (j < places.keys) spots[r] = places.spot_of_key(j);
        take_own(j < places.keys ? places.key(j) : nullptr, width, 1.0f, desk.first_own + r * width);
        take_own(j < places.keys ? places.value(j) : nullptr, width, 1.0f, desk.second_own + r * width);
      }
      for (int tile = 0; tile < places.queries; tile += tile_rows) {
        __syncthreads();  // the rows of the last tile have been read
        const int i = tile + lane;
        const bool asks = i < places.queries;
        if (warp == 0) {
          desk.first_rows[lane] = asks ? places.query(i) : nullptr;
          desk.second_rows[lane] = asks ? places.dy(i) : nullptr;
        }
        float scores[rows_of_warp] = {}, slopes[rows_of_warp] = {};
        multiply(desk.first_own, desk.first_rows, width, desk.piece, scores);
        multiply(desk.second_own, desk.second_rows, width, desk.piece, slopes);
        typename Places::Spot spot;
        float log_sum = INFINITY, dot = 0, dy_factor = 0;
        if (asks) {
          spot = places.spot_of_query(i);
          log_sum = log2_e * a.forward.log_sum_exp[places.statistic(i)];
          dot = a.dots[places.statistic(i)];
          dy_factor = places.dy_factor(i);
        }
#pragma unroll
        for (int r = 0; r < rows_of_warp; ++r) {
          const bool there = asks && first + r < places.keys;
          const float score = log2_e * (factor * scores[r] + (there ? places.added(spot, spots[r]) : 0.0f));
          const float weight = there ? exp2_fast(score - log_sum) : 0.0f;
          desk.first_weights[r * tile_rows + lane] = factor * weight * (dy_factor * slopes[r] - dot);
          desk.second_weights[r * tile_rows + lane] = dy_factor * weight;
        }
        __syncwarp();
        add_weighted(desk.first_weights, desk.first_rows, width, dk);
        add_weighted(desk.second_weights, desk.second_rows, width, dv);
      }
#pragma unroll
      for (int r = 0; r < rows_of_warp; ++r) {
        if (first + r >= places.keys) continue;
        const Target<T> to_k = places.dk(first + r), to_v = places.dv(first + r);
        put_row(to_k, width, dk[r], 1.0f);
        put_row(to_v, width, dv[r], 1.0f);
        for (int c = 0; to_k.padding && c < chunks; ++c) padding_k[c] += dk[r][c], padding_v[c] += dv[r][c];
      }
    }
  }
  const Places places(a, slice, begin, pair % a.forward.heads);
  if (!places.dpadding(0)) return;
  __syncthreads();                                               // all warps are done with their rows
  float* shares = desk.first_own - warp * rows_of_warp * width;  // (warps, 2, width)
  put_row(Target<T>{nullptr, shares + 2 * warp * width}, width, padding_k, 1.0f);
  put_row(Target<T>{nullptr, shares + (2 * warp + 1) * width}, width, padding_v, 1.0f);
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < width; c += threads) {
    float sum_k = 0, sum_v = 0;
    for (int w = 0; w < warps; ++w) {
      sum_k += shares[2 * w * width + c];
      sum_v += shares[(2 * w + 1) * width + c];
    }
    places.dpadding(0)[c] = 0;  // a place without a token asks nobody
    places.dpadding(1)[c] = sum_k;
    places.dpadding(2)[c] = sum_v;
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
  if (e.width > most_width) return "attention: a head has more than 256 columns";
  const int64_t tiles = divided_up(e.queries, rows_of_block), pairs = e.items * e.heads;
  if (too_many(pairs, tiles)) return "attention: more rows than a grid can hold";
  const dim3 grid(static_cast<unsigned>(pairs * tiles));
  return with_chunks(e.width, [&](auto chunks) {
    return launch(queue, forward_kernel<Places, chunks()>, grid, threads, desk_bytes(e.width), a, tiles);
  });
}

// Which of the two passes are wanted.
struct Wanted {
  bool queries, keys;
  bool all_rows;  // a block of the second takes all rows
};

template <class Places>
Result plain_backward(Queue* queue, const typename Places::Arguments& a, const Wanted& wanted) {
  const Extent e = Places::extent(a);
  if (e.width > most_width) return "attention: a head has more than 256 columns";
  const int64_t dot_tiles = divided_up(e.queries, warps), query_tiles = divided_up(e.queries, rows_of_block);
  const int64_t key_tiles = wanted.all_rows ? 1 : divided_up(e.keys, rows_of_block);
  if (too_many(e.items * e.heads, dot_tiles) || too_many(e.items * e.heads, key_tiles))
    return "attention: more rows than a grid can hold";
  if (e.items == 0) return nullptr;
  const dim3 dot_grid(static_cast<unsigned>(e.items * e.heads * dot_tiles));
  if (Result error = launch(queue, dots_kernel<Places>, dot_grid, threads, 0, a, dot_tiles)) return error;

  const int64_t pairs = a.slices * e.heads;
  return with_chunks(e.width, [&](auto chunks) -> Result {
    if (wanted.queries) {
      const dim3 grid(static_cast<unsigned>(pairs * query_tiles));
      const Result error =
          launch(queue, queries_kernel<Places, chunks()>, grid, threads, desk_bytes(e.width), a, query_tiles);
      if (error) return error;
    }
    if (!wanted.keys) return nullptr;
    const dim3 grid(static_cast<unsigned>(pairs * key_tiles));
    return launch(queue, keys_kernel<Places, chunks()>, grid, threads, desk_bytes(e.width), a, key_tiles);
  });
}

}  // namespace vitrine::gpu::attend
