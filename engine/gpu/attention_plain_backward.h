// attention_plain_backward.h: the gradients of attention with f32 arithmetic, right for every size.
//
// The steps are those of attention_plain.h: blocks of dq own queries and meet keys, blocks of dk and dv own keys and
// meet queries. They go through the items of a slice.
#pragma once

#include "engine/gpu/attention_plain.h"

namespace vitrine::gpu::attend {

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
  // In place of the warps' first rows: all warps have read them, for the last product was that of their second ones.
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

// Which of the two passes are wanted.
struct Wanted {
  bool queries, keys;
  bool all_rows;  // a block of the second takes all rows
};

template <class Places>
Result plain_backward(Queue* queue, const typename Places::Arguments& a, const Wanted& wanted) {
  const Extent e = Places::extent(a);
  if (e.width > most_head_width) return "attention: a head has more than 256 columns";
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
