// attention_tiles_backward.h: attention by products of small bf16 matrices, backward.
//
// A block makes one head of one item. The scores are computed again from the log-sum-exp, twice: a warp owns 16 queries and
// meets all keys (dq), then, behind a barrier, it owns 16 keys and meets all queries (dk, dv); so nothing is added up by
// two warps, and each sum has one order. All rows are in shared memory; where that is too much, in each pass those that
// are met, and of the owned ones 16 of each warp. Blocks go through the items of a slice, and the gradients of a prefix are
// added up in the slice. No gradient lies where another block's rows do.
#pragma once

#include "engine/gpu/attention_tiles.h"

namespace vitrine::gpu::attend {

// What a block has in shared memory. By turns, the rows of one pass take the place of those of the other, and each warp
// has room for 16 rows of its own.
template <int width>
struct BackwardDesk {
  int all_queries, all_keys;
  unsigned char *keys, *values, *asking, *slopes;  // slopes: dy
  unsigned char *own_first, *own_second;           // by turns: the warp's
  float *log_sums, *dots;                          // of base 2
  unsigned char* rest;                             // the bias
  __device__ BackwardDesk(int queries, int n_keys, bool by_turns)
      : all_queries(whole_steps(queries)), all_keys(whole_steps(n_keys)) {
    constexpr int row_bytes = Layout<width>::row_bytes;
    const int warp = static_cast<int>(threadIdx.x) / warp_size,
              rows_of_warps = by_turns ? static_cast<int>(blockDim.x) / warp_size * step_rows : 0;
    const int larger = all_keys > all_queries ? all_keys : all_queries;
    keys = shared_memory();
    values = keys + (by_turns ? larger : all_keys) * row_bytes;
    asking = by_turns ? keys : values + all_keys * row_bytes;
    slopes = by_turns ? values : asking + all_queries * row_bytes;
    unsigned char* end = by_turns ? values + larger * row_bytes : slopes + all_queries * row_bytes;
    own_first = end + warp * step_rows * row_bytes;
    own_second = own_first + rows_of_warps * row_bytes;
    log_sums = reinterpret_cast<float*>(end + 2 * rows_of_warps * row_bytes);
    dots = log_sums + all_queries;
    rest = reinterpret_cast<unsigned char*>(dots + all_queries);
  }
};

// The 16 rows that a warp owns: of queries and dy, or of keys and values.
struct Owned {
  const unsigned char *first, *second;
};

// The first pass for 16 queries: dots, and dq if it is wanted.
template <class Places, class Bias, int width>
__device__ void pass_of_queries(const BackwardDesk<width>& desk, const Owned& own, const Places& places,
                                const Bias& bias, int first, bool wanted) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
  const float root = 1.0f / sqrtf(static_cast<float>(width)), factor = log2_e * root;
  uint32_t slope[width / 16][4];
  load_left<width>(slope, own.second, 0);
  float dot[2] = {}, dy_factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + g + 8 * half;
    const Source<bf16> y = row < places.queries ? places.y(row) : Source<bf16>{};
    dy_factor[half] = places.dy_factor(row);
#pragma unroll
    for (int i = 0; i < width / 8; ++i) {
      const float2 from = y.pair_at(i * 8 + 2 * t), dy = unpack(slope[i / 2][i % 2 * 2 + half]);
      dot[half] += from.x * dy.x + from.y * dy.y;
    }
    dot[half] = dy_factor[half] * quad_sum(dot[half]);
    if (t == 0) desk.dots[row] = dot[half];
  }
  if (!wanted) return;

  uint32_t query[width / 16][4];
  load_left<width>(query, own.first, 0);
  const float log_sums[2] = {desk.log_sums[first + g], desk.log_sums[first + g + 8]};
  const typename Bias::Mark marks[2] = {bias.of_query(first + g), bias.of_query(first + g + 8)};
  float dq[width / 8][4] = {};
  for (int step = 0; step < desk.all_keys; step += step_rows) {
    float scores[2][4] = {}, products[2][4] = {};
    multiply_rows<width>(scores, query, desk.keys, step);
    multiply_rows<width>(products, slope, desk.values, step);
    uint32_t weights[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float pair[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int half = i % 2, at = 2 * half + e, key = step + i / 2 * 8 + 2 * t + e;
        const float score = bias.add(factor * scores[i / 2][at], marks[half], bias.of_key(key));
        const float p = key < places.keys ? exp2_fast(score - log_sums[half]) : 0.0f;
        pair[e] = p * (dy_factor[half] * products[i / 2][at] - dot[half]);
      }
      weights[i] = pack(pair[0], pair[1]);
    }
    add_rows<width>(dq, weights, desk.keys, step);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + g + 8 * half;
    if (row < places.queries) put_row<width>(dq, root, places.dq(row), half);
  }
}

// The second pass for 16 keys: dk and dv.
template <class Places, class Bias, int width>
__device__ void pass_of_keys(const BackwardDesk<width>& desk, const Owned& own, const Places& places,
                             const Bias& bias, int first) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
  const float root = 1.0f / sqrtf(static_cast<float>(width)), factor = log2_e * root;
  uint32_t key[width / 16][4], value[width / 16][4];
  load_left<width>(key, own.first, 0);
  load_left<width>(value, own.second, 0);
  const typename Bias::Mark marks[2] = {bias.of_key(first + g), bias.of_key(first + g + 8)};
  float dk[width / 8][4] = {}, dv[width / 8][4] = {};
  for (int step = 0; step < desk.all_queries; step += step_rows) {
    float scores[2][4] = {}, products[2][4] = {};
    multiply_rows<width>(scores, key, desk.asking, step);
    multiply_rows<width>(products, value, desk.slopes, step);
    uint32_t weights[4], slopes[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float p[2], ds[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int half = i % 2, at = 2 * half + e, query = step + i / 2 * 8 + 2 * t + e;
        const float score = bias.add(factor * scores[i / 2][at], bias.of_query(query), marks[half]);
        const float dy_factor = places.dy_factor(query);
        const float weight = exp2_fast(score - desk.log_sums[query]);  // zero for rows that are none
        p[e] = dy_factor * weight;
        ds[e] = weight * (dy_factor * products[i / 2][at] - desk.dots[query]);
      }
      weights[i] = pack(p[0], p[1]);
      slopes[i] = pack(ds[0], ds[1]);
    }
    add_rows<width>(dv, weights, desk.slopes, step);
    add_rows<width>(dk, slopes, desk.asking, step);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + g + 8 * half;
    if (row >= places.keys) continue;
    put_row<width>(dk, root, places.dk(row), half);
    put_row<width>(dv, 1.0f, places.dv(row), half);
  }
}

// The warp's own 16 rows: where they stand already, or brought to its room.
template <int width, class F, class G>
__device__ Owned own_rows(const BackwardDesk<width>& desk, bool by_turns, const unsigned char* first_rows,
                          const unsigned char* second_rows, int first, const F& first_of,
                          const G& second_of) {
  constexpr int row_bytes = Layout<width>::row_bytes;
  if (!by_turns) return {first_rows + first * row_bytes, second_rows + first * row_bytes};
  __syncwarp();  // the last ones have been read
  copy_rows<width>(one_warp(), desk.own_first, 0, step_rows, [&](int i) { return first_of(first + i); });
  copy_rows<width>(one_warp(), desk.own_second, 0, step_rows, [&](int i) { return second_of(first + i); });
  commit_copies();
  wait_for_copies<0>();
  __syncwarp();
  return {desk.own_first, desk.own_second};
}

// Grid: (slice, head). `prefix_alone`: no token wants a gradient, and no token's key is touched.
template <class Places, int width, bool prefix_alone>
__global__ void __launch_bounds__(most_tile_threads, 1)
    tile_backward_kernel(typename Places::Arguments a, bool by_turns) {
  using Bias = std::conditional_t<prefix_alone, NoBias, typename Places::Bias>;
  const int from = static_cast<int>(threadIdx.x) / warp_size * step_rows,
            rows_at_once = static_cast<int>(blockDim.x) / warp_size * step_rows;
  const int64_t slice = blockIdx.x / a.forward.heads, head = blockIdx.x % a.forward.heads;
  const int64_t begin = Places::first_item(a, slice), end = Places::first_item(a, slice + 1);
  const Places any(a, slice, begin, head);  // all items are of one size
  const BackwardDesk<width> desk(any.queries, any.keys, by_turns);
  Bias bias(a, head, desk.rest);
  for (int i = any.queries + static_cast<int>(threadIdx.x); i < desk.all_queries;
       i += static_cast<int>(blockDim.x))
    desk.log_sums[i] = INFINITY;
  for (int64_t item = begin; item < end; ++item) {
    const Places places(a, slice, item, head);
    const auto query = [&](int i) { return i < places.queries ? places.query(i) : nullptr; };
    const auto slope = [&](int i) { return i < places.queries ? places.dy(i) : nullptr; };
    const auto key = [&](int j) { return j < places.keys ? places.key(j) : nullptr; };
    const auto value = [&](int j) { return j < places.keys ? places.value(j) : nullptr; };
    const auto bring_queries = [&] {
      copy_rows<width>(whole_block(), desk.asking, 0, desk.all_queries, query);
      copy_rows<width>(whole_block(), desk.slopes, 0, desk.all_queries, slope);
    };
    if (!by_turns) bring_queries();
    // Where each image has its own prefix, each has its own slices, too.
    const int first_key = item == begin || by_turns ? 0 : static_cast<int>(a.forward.prefix);
    copy_rows<width>(whole_block(), desk.keys, first_key, desk.all_keys, key);
    copy_rows<width>(whole_block(), desk.values, first_key, desk.all_keys, value);
    commit_copies();
    bias.mark_rows(places);
    for (int i = static_cast<int>(threadIdx.x); i < places.queries; i += static_cast<int>(blockDim.x))
      desk.log_sums[i] = log2_e * a.forward.log_sum_exp[places.statistic(i)];
    wait_for_copies<0>();
    __syncthreads();

    const bool queries_asked = !prefix_alone && places.queries_asked();
    for (int first = from; first < desk.all_queries; first += rows_at_once) {
      const Owned own = own_rows<width>(desk, by_turns, desk.asking, desk.slopes, first, query, slope);
      pass_of_queries<Places, Bias, width>(desk, own, places, bias, first, queries_asked);
    }
    __syncthreads();  // every dot is there
    if (by_turns) {
      bring_queries();
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();
    }

    const int keys_asked = places.keys_asked();
    for (int first = from; first < keys_asked; first += rows_at_once) {
      const Owned own = own_rows<width>(desk, by_turns, desk.keys, desk.values, first, key, value);
      pass_of_keys<Places, Bias, width>(desk, own, places, bias, first);
    }
    __syncthreads();  // all rows have been read, before those of the next item come
  }
}

// False: it was not started, for there is no kernel for such sizes or places.
template <class Places>
bool tile_backward(Queue* queue, const typename Places::Arguments& a, bool prefix_alone, Result& result) {
  const Extent e = Places::extent(a);
  const int64_t queries = whole_steps(e.queries),
                keys = whole_steps(prefix_alone ? a.forward.prefix : e.keys);
  const int64_t more = 2 * queries * int64_t{sizeof(float)} + (prefix_alone ? 0 : Places::Bias::bytes(a));
  const int64_t larger = queries > keys ? queries : keys;
  const int wanted = tile_threads(larger);
  const Room rooms[] = {{2 * queries + 2 * keys, more, wanted, false},
                        {2 * larger + 2 * wanted / warp_size * step_rows, more, wanted, true},
                        {2 * larger + 2 * 2 * step_rows, more, 2 * warp_size, true}};
  const Room* room = room_in_tiles<Places>(queue, "attention's backward", a, rooms);
  return room != nullptr && with_tile_width(e.width, [&](auto width) {
           const auto kernel = prefix_alone ? tile_backward_kernel<Places, width(), true>
                                            : tile_backward_kernel<Places, width(), false>;
           const dim3 grid(static_cast<unsigned>(a.slices * e.heads));
           result =
               launch(queue, kernel, grid, room->threads,
                      static_cast<size_t>(room->rows * Layout<width()>::row_bytes + more), a, room->by_turns);
         });
}

}  // namespace vitrine::gpu::attend
