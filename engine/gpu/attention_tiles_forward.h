// attention_tiles_forward.h: attention by products of small bf16 matrices, forward.
//
// A block holds all keys and values of one head of one item, and goes through the items of a slice. A warp owns 16
// queries and meets the keys by 32, carrying the softmax on. The queries are in shared memory, too, all of them or, where
// that is too much, by turns.
#pragma once

#include "engine/gpu/attention_tiles.h"

namespace vitrine::gpu::attend {

constexpr int steps_at_once = 2;  // of keys: more would not fit into 128 registers at width 80

// 16 queries from `first` on, which are the first rows of `asking`; they are written over with the result.
template <class Places, int width>
__device__ void answer(const Places& places, const typename Places::Bias& bias, unsigned char* asking,
                       const unsigned char* keys, const unsigned char* values, int first) {
  using L = Layout<width>;
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
  const float factor = log2_e / sqrtf(static_cast<float>(width));
  const int all_keys = whole_steps(places.keys);
  const typename Places::Bias::Mark marks[2] = {bias.of_query(first + g), bias.of_query(first + g + 8)};
  uint32_t query[width / 16][4];
  load_left<width>(query, asking, 0);
  float out[width / 8][4] = {}, greatest[2] = {-INFINITY, -INFINITY}, total[2] = {};
  for (int from = 0; from < all_keys; from += steps_at_once * step_rows) {
    float scores[steps_at_once][2][4] = {}, now[2] = {greatest[0], greatest[1]};
#pragma unroll
    for (int s = 0; s < steps_at_once; ++s) {
      const int step = from + s * step_rows;
      if (step < all_keys) multiply_rows<width>(scores[s], query, keys, step);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int key = step + i / 4 * 8 + 2 * t + i % 2, half = i / 2 % 2;
        float& score = scores[s][i / 4][i % 4];
        score = key < places.keys ? bias.add(factor * score, marks[half], bias.of_key(key)) : -INFINITY;
        now[half] = fmaxf(now[half], score);
      }
    }
    float level[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      now[half] = quad_max(now[half]);
      level[half] = finite_level(now[half]);
      const float shrink = exp2_fast(greatest[half] - level[half]);
      greatest[half] = now[half];
      total[half] *= shrink;
#pragma unroll
      for (int c = 0; c < width / 8; ++c) out[c][2 * half] *= shrink, out[c][2 * half + 1] *= shrink;
    }
#pragma unroll
    for (int s = 0; s < steps_at_once; ++s) {
      const int step = from + s * step_rows;
      if (step >= all_keys) continue;
      uint32_t weights[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // part i: rows of half i % 2, columns of half i / 2
        const int half = i % 2;
        const float low = exp2_fast(scores[s][i / 2][2 * half] - level[half]),
                    high = exp2_fast(scores[s][i / 2][2 * half + 1] - level[half]);
        total[half] += low + high;
        weights[i] = pack(low, high);
      }
      add_rows<width>(out, weights, values, step);
    }
  }
  // Through the rows of the queries, so that whole chunks are stored: the warp alone reads them, and has done so.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + g + 8 * half;
    const float sum = quad_sum(total[half]), share = 1.0f / sum;
    if (t == 0 && row < places.queries && places.a.forward.log_sum_exp)
      places.a.forward.log_sum_exp[places.statistic(row)] = (greatest[half] + log2f(sum)) * ln_2;
    put_row<width>(out, share, {nullptr, row < places.queries ? places.out(row).sums : nullptr}, half);
#pragma unroll
    for (int c = 0; c < width / 8; ++c)
      *reinterpret_cast<uint32_t*>(asking + L::place(g + 8 * half, c) + 4 * t) =
          pack(share * out[c][2 * half], share * out[c][2 * half + 1]);
  }
  __syncwarp();
  for (int i = lane; i < step_rows * L::chunks; i += warp_size) {
    const int row = first + i / L::chunks, chunk = i % L::chunks;
    bf16* to = row < places.queries ? places.out(row).elements : nullptr;
    if (to) store_chunk(to + chunk * 8, load_chunk(asking + L::place(i / L::chunks, chunk)));
  }
}

// Grid: (slice, head). `by_turns`: a warp has room for 16 queries.
template <class Places, int width>
__global__ void __launch_bounds__(most_tile_threads, 2)
    tile_forward_kernel(typename Places::Arguments a, bool by_turns) {
  constexpr int row_bytes = Layout<width>::row_bytes;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            rows_at_once = static_cast<int>(blockDim.x) / warp_size * step_rows;
  const int64_t slice = blockIdx.x / a.forward.heads, head = blockIdx.x % a.forward.heads;
  const int64_t begin = Places::first_item(a, slice), end = Places::first_item(a, slice + 1);
  const Places any(a, slice, begin, head);  // all items are of one size
  const int all_queries = whole_steps(any.queries), all_keys = whole_steps(any.keys);
  unsigned char *keys = shared_memory(), *values = keys + all_keys * row_bytes,
                *asking = values + all_keys * row_bytes;
  typename Places::Bias bias(a, head, asking + (by_turns ? rows_at_once : all_queries) * row_bytes);
  for (int64_t item = begin; item < end; ++item) {
    const Places places(a, slice, item, head);
    const auto query = [&](int i) { return i < places.queries ? places.query(i) : nullptr; };
    if (!by_turns) copy_rows<width>(whole_block(), asking, 0, all_queries, query);
    copy_rows<width>(whole_block(), keys, 0, all_keys,
                     [&](int j) { return j < places.keys ? places.key(j) : nullptr; });
    copy_rows<width>(whole_block(), values, 0, all_keys,
                     [&](int j) { return j < places.keys ? places.value(j) : nullptr; });
    commit_copies();
    bias.mark_rows(places);
    wait_for_copies<0>();
    __syncthreads();
    for (int first = warp * step_rows; first < all_queries; first += rows_at_once) {
      unsigned char* own = asking + (by_turns ? warp * step_rows : first) * row_bytes;
      if (by_turns) {
        __syncwarp();  // the last ones have been stored
        copy_rows<width>(one_warp(), own, 0, step_rows, [&](int i) { return query(first + i); });
        commit_copies();
        wait_for_copies<0>();
        __syncwarp();
      }
      answer<Places, width>(places, bias, own, keys, values, first);
    }
    __syncthreads();  // all rows have been read, before those of the next item come
  }
}

// False: it was not started, for there is no kernel for such sizes or places.
template <class Places>
bool tile_forward(Queue* queue, const typename Places::Arguments& a, Result& result) {
  const Extent e = Places::extent(a);
  const int64_t keys = whole_steps(e.keys), more = Places::Bias::bytes(a);
  const int wanted = tile_threads(e.queries);
  const Room rooms[] = {{2 * keys + whole_steps(e.queries), more, wanted, false},
                        {2 * keys + wanted / warp_size * step_rows, more, wanted, true},
                        {2 * keys + 2 * step_rows, more, 2 * warp_size, true}};
  const Room* room = room_in_tiles<Places>(queue, "attention", a, rooms);
  return room != nullptr && with_tile_width(e.width, [&](auto width) {
           const dim3 grid(static_cast<unsigned>(a.slices * e.heads));
           result =
               launch(queue, tile_forward_kernel<Places, width()>, grid, room->threads,
                      static_cast<size_t>(room->rows * Layout<width()>::row_bytes + more), a, room->by_turns);
         });
}

}  // namespace vitrine::gpu::attend
