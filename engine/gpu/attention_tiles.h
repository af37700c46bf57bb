// attention_tiles.h: attention by products of small bf16 matrices, for images whose rows fit into shared memory.
//
// A block holds all rows of one head of one image. Forward: a warp owns 16 queries and meets the keys by 32, carrying
// the softmax on. Backward computes the scores again from the log-sum-exp, twice: a warp owns 16 queries (dq), then,
// behind a barrier, 16 keys (dk, dv); so nothing is added up by two warps, and each sum has one order. Its blocks go
// through the images of a slice, and the gradients of a prefix are added up in the slice. All rows are in shared memory
// before the first gradient is written, and no other block reads them.
//
// Names of sizes: a matrix's parts in a warp are those of multiply_add (port.h), with g = lane / 4 and t = lane % 4.
#pragma once

#include "engine/gpu/attention_places.h"

namespace vitrine::gpu::attend {

constexpr int step_rows = 16;  // of queries or keys
constexpr int most_tile_threads = 256;
constexpr int steps_at_once = 2;  // of keys in forward: more would not fit into 128 registers at width 80

__host__ __device__ constexpr int whole_steps(int64_t rows) {
  return static_cast<int>((rows + step_rows - 1) / step_rows * step_rows);
}

// How rows lie in shared memory: eight rows' chunks of the same columns are in eight different groups of banks, as their
// places are turned, or as a row has an odd number of chunks.
template <int width>
struct Layout {
  static_assert(width % 16 == 0);
  static constexpr int chunks = width / 8, chunk_bytes = 16;
  static constexpr bool turned = chunks % 8 == 0;
  static constexpr int row_bytes = (turned ? chunks : chunks | 1) * chunk_bytes;
  __device__ static int place(int row, int chunk) {
    return row * row_bytes + (turned ? chunk ^ (row & 7) : chunk) * chunk_bytes;
  }
};

// Rows [first, first + count) of `to` become those of `from`, when they have been waited for.
template <int width>
__device__ void copy_rows(unsigned char* to, int first, int64_t count, const bf16* from, int64_t step) {
  using L = Layout<width>;
  for (int i = static_cast<int>(threadIdx.x); i < count * L::chunks; i += static_cast<int>(blockDim.x)) {
    const int row = i / L::chunks, chunk = i % L::chunks;
    copy_async(to + L::place(first + row, chunk), from + row * step + chunk * 8);
  }
}
template <int width>
__device__ void clear_rows(unsigned char* to, int first, int end) {
  using L = Layout<width>;
  for (int i = static_cast<int>(threadIdx.x); i < (end - first) * L::chunks;
       i += static_cast<int>(blockDim.x))
    store_chunk(to + L::place(first + i / L::chunks, i % L::chunks), Chunk{0, 0, 0, 0});
}

// 16 rows as the left factor of a product over their columns.
template <int width>
__device__ void load_left(uint32_t (&left)[width / 16][4], const unsigned char* rows, int first) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
  for (int k = 0; k < width / 16; ++k)
    load_matrices(left[k], rows + Layout<width>::place(first + lane % 16, 2 * k + lane / 16));
}

// sums (16, 16) += left (16, width) times the transposed rows (16, width).
template <int width>
__device__ void multiply_rows(float (&sums)[2][4], const uint32_t (&left)[width / 16][4],
                              const unsigned char* rows, int first) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
  for (int k = 0; k < width / 16; ++k) {
    uint32_t right[4];
    load_matrices(right, rows + Layout<width>::place(first + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
    multiply_add(sums[0], left[k], right[0], right[1]);
    multiply_add(sums[1], left[k], right[2], right[3]);
  }
}

// sums (16, width) += weights (16, 16) times the rows (16, width).
template <int width>
__device__ void add_rows(float (&sums)[width / 8][4], const uint32_t (&weights)[4], const unsigned char* rows,
                         int first) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
  for (int c = 0; c < width / 16; ++c) {
    uint32_t right[4];
    load_matrices_transposed(right, rows + Layout<width>::place(first + lane % 16, 2 * c + lane / 16));
    multiply_add(sums[2 * c], weights, right[0], right[1]);
    multiply_add(sums[2 * c + 1], weights, right[2], right[3]);
  }
}

// The sum, the greatest, over the four lanes that share a row.
__device__ inline float quad_sum(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
__device__ inline float quad_max(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}

// The rows of one head of one image.
struct Head {
  const Attention& a;
  int64_t image, offset;
  __device__ Head(const Attention& arguments, int64_t of_image, int64_t head)
      : a(arguments), image(of_image), offset(head * a.width) {}
  __device__ const bf16* first(const Rows& rows) const {
    return static_cast<const bf16*>(rows.data) + image * rows.image + offset;
  }
  __device__ bf16* first(const MutableRows& rows) const {
    return rows.data ? static_cast<bf16*>(rows.data) + image * rows.image + offset : nullptr;
  }
  __device__ int64_t out_step() const { return a.heads * a.width; }
  __device__ int64_t out() const { return image * a.queries * out_step() + offset; }  // of (B, Tq, D)
  __device__ int64_t statistic() const { return (image * a.heads + offset / a.width) * a.queries; }
};

template <int width>
__global__ void __launch_bounds__(most_tile_threads, 2) tile_forward(Attention a) {
  using L = Layout<width>;
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
  const Head head(a, blockIdx.x / a.heads, blockIdx.x % a.heads);
  const int queries = static_cast<int>(a.queries), prefix = static_cast<int>(a.prefix);
  const int n_keys = prefix + static_cast<int>(a.tokens);
  const int all_queries = whole_steps(queries), all_keys = whole_steps(n_keys);
  unsigned char *keys = shared_memory(), *values = keys + all_keys * L::row_bytes,
                *asking = values + all_keys * L::row_bytes;
  copy_rows<width>(asking, 0, queries, head.first(a.q), a.q.row);
  copy_rows<width>(keys, 0, prefix, head.first(a.prefix_k), a.prefix_k.row);
  copy_rows<width>(keys, prefix, a.tokens, head.first(a.k), a.k.row);
  copy_rows<width>(values, 0, prefix, head.first(a.prefix_v), a.prefix_v.row);
  copy_rows<width>(values, prefix, a.tokens, head.first(a.v), a.v.row);
  commit_copies();
  clear_rows<width>(values, n_keys, all_keys);  // of other rows that are none, nothing reaches the result
  wait_for_copies<0>();
  __syncthreads();

  const float factor = log2_e / sqrtf(static_cast<float>(width));
  for (int first = static_cast<int>(threadIdx.x) / warp_size * step_rows; first < all_queries;
       first += static_cast<int>(blockDim.x) / warp_size * step_rows) {
    uint32_t query[width / 16][4];
    load_left<width>(query, asking, first);
    float out[width / 8][4] = {}, greatest[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int from = 0; from < all_keys; from += steps_at_once * step_rows) {
      float scores[steps_at_once][2][4] = {}, now[2] = {greatest[0], greatest[1]};
#pragma unroll
      for (int s = 0; s < steps_at_once; ++s) {
        const int step = from + s * step_rows;
        if (step < all_keys) multiply_rows<width>(scores[s], query, keys, step);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int key = step + i / 4 * 8 + 2 * t + i % 2;
          float& score = scores[s][i / 4][i % 4];
          score = key < n_keys ? factor * score : -INFINITY;
          now[i / 2 % 2] = fmaxf(now[i / 2 % 2], score);
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        now[half] = quad_max(now[half]);
        const float shrink = exp2_fast(greatest[half] - now[half]);
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
          const float low = exp2_fast(scores[s][i / 2][2 * half] - greatest[half]),
                      high = exp2_fast(scores[s][i / 2][2 * half + 1] - greatest[half]);
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
      if (t == 0 && row < queries && a.log_sum_exp)
        a.log_sum_exp[head.statistic() + row] = (greatest[half] + log2f(sum)) * ln_2;
#pragma unroll
      for (int c = 0; c < width / 8; ++c)
        *reinterpret_cast<uint32_t*>(asking + L::place(row, c) + 4 * t) =
            pack(share * out[c][2 * half], share * out[c][2 * half + 1]);
    }
    __syncwarp();
    bf16* to = static_cast<bf16*>(a.out) + head.out();
    for (int i = lane; i < step_rows * L::chunks; i += warp_size) {
      const int row = first + i / L::chunks, chunk = i % L::chunks;
      if (row < queries)
        store_chunk(to + row * head.out_step() + chunk * 8, load_chunk(asking + L::place(row, chunk)));
    }
  }
}

// What a block of backward has in shared memory.
template <int width>
struct BackwardDesk {
  int all_queries, all_keys;
  unsigned char *keys, *values, *asking, *slopes;  // slopes: dy
  float *log_sums, *dots;                          // of base 2
  __device__ BackwardDesk(int queries, int n_keys)
      : all_queries(whole_steps(queries)), all_keys(whole_steps(n_keys)) {
    keys = shared_memory();
    values = keys + all_keys * Layout<width>::row_bytes;
    asking = values + all_keys * Layout<width>::row_bytes;
    slopes = asking + all_queries * Layout<width>::row_bytes;
    log_sums = reinterpret_cast<float*>(slopes + all_queries * Layout<width>::row_bytes);
    dots = log_sums + all_queries;
  }
};

// Row g, or in half 1 row g + 8, of a warp's rows (16, width), times `factor`, to the row `to`.
template <int width>
__device__ void put_row(const float (&sums)[width / 8][4], float factor, bf16* to, int half) {
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int c = 0; c < width / 8; ++c)
    *reinterpret_cast<uint32_t*>(to + c * 8 + 2 * t) =
        pack(factor * sums[c][2 * half], factor * sums[c][2 * half + 1]);
}
// The same in f32, maybe added to what is there.
template <int width>
__device__ void put_sums(const float (&sums)[width / 8][4], float factor, float* to, bool add, int half) {
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int c = 0; c < width / 8; ++c) {
    float2& x = *reinterpret_cast<float2*>(to + c * 8 + 2 * t);
    const float2 before = add ? x : make_float2(0, 0);
    x = make_float2(before.x + factor * sums[c][2 * half], before.y + factor * sums[c][2 * half + 1]);
  }
}

// The first pass for 16 queries: dots, and dq if `to` is not null.
template <int width>
__device__ void pass_of_queries(const BackwardDesk<width>& desk, const bf16* out, int64_t out_step,
                                int queries, int n_keys, int first, bf16* to, int64_t to_step) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
  const float root = 1.0f / sqrtf(static_cast<float>(width)), factor = log2_e * root;
  uint32_t slope[width / 16][4];
  load_left<width>(slope, desk.slopes, first);
  float dot[2] = {};
#pragma unroll
  for (int k = 0; k < width / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = first + g + i % 2 * 8;
      if (row >= queries) continue;
      const float2 y = unpack(
                       *reinterpret_cast<const uint32_t*>(out + row * out_step + k * 16 + i / 2 * 8 + 2 * t)),
                   dy = unpack(slope[k][i]);
      dot[i % 2] += y.x * dy.x + y.y * dy.y;
    }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    dot[half] = quad_sum(dot[half]);
    if (t == 0) desk.dots[first + g + 8 * half] = dot[half];
  }
  if (!to) return;

  uint32_t query[width / 16][4];
  load_left<width>(query, desk.asking, first);
  const float log_sums[2] = {desk.log_sums[first + g], desk.log_sums[first + g + 8]};
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
        const float p = key < n_keys ? exp2_fast(factor * scores[i / 2][at] - log_sums[half]) : 0.0f;
        pair[e] = p * (products[i / 2][at] - dot[half]);
      }
      weights[i] = pack(pair[0], pair[1]);
    }
    add_rows<width>(dq, weights, desk.keys, step);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + g + 8 * half;
    if (row < queries) put_row<width>(dq, root, to + row * to_step, half);
  }
}

// The second pass for 16 keys: their dk and dv.
template <int width>
__device__ void pass_of_keys(const BackwardDesk<width>& desk, int first, float (&dk)[width / 8][4],
                             float (&dv)[width / 8][4]) {
  const int t = static_cast<int>(threadIdx.x) % 4;
  const float factor = log2_e / sqrtf(static_cast<float>(width));
  uint32_t key[width / 16][4], value[width / 16][4];
  load_left<width>(key, desk.keys, first);
  load_left<width>(value, desk.values, first);
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
        const int at = 2 * (i % 2) + e, query = step + i / 2 * 8 + 2 * t + e;
        p[e] = exp2_fast(factor * scores[i / 2][at] - desk.log_sums[query]);  // zero for rows that are none
        ds[e] = p[e] * (products[i / 2][at] - desk.dots[query]);
      }
      weights[i] = pack(p[0], p[1]);
      slopes[i] = pack(ds[0], ds[1]);
    }
    add_rows<width>(dv, weights, desk.slopes, step);
    add_rows<width>(dk, slopes, desk.asking, step);
  }
}

// Grid: (slice, head). `prefix_alone`: no token wants a gradient, and no token's key is touched.
template <int width, bool prefix_alone>
__global__ void __launch_bounds__(most_tile_threads, 1) tile_backward(AttentionBackward a) {
  const Attention& f = a.forward;
  const int warp = static_cast<int>(threadIdx.x) / warp_size,
            lane = static_cast<int>(threadIdx.x) % warp_size;
  const int rows_at_once = static_cast<int>(blockDim.x) / warp_size * step_rows;
  const int queries = static_cast<int>(f.queries), prefix = static_cast<int>(f.prefix);
  const int n_keys = prefix + (prefix_alone ? 0 : static_cast<int>(f.tokens));
  const int64_t slice = blockIdx.x / f.heads, head_index = blockIdx.x % f.heads;
  const float root = 1.0f / sqrtf(static_cast<float>(width));
  const BackwardDesk<width> desk(queries, n_keys);
  clear_rows<width>(desk.asking, queries, desk.all_queries);
  clear_rows<width>(desk.slopes, queries, desk.all_queries);
  clear_rows<width>(desk.keys, n_keys, desk.all_keys);
  clear_rows<width>(desk.values, n_keys, desk.all_keys);
  for (int i = queries + static_cast<int>(threadIdx.x); i < desk.all_queries;
       i += static_cast<int>(blockDim.x))
    desk.log_sums[i] = INFINITY;
  const int64_t begin = f.batch * slice / a.slices, end = f.batch * (slice + 1) / a.slices;
  for (int64_t image = begin; image < end; ++image) {
    const Head head(f, image, head_index);
    const int64_t out_step = head.out_step();
    copy_rows<width>(desk.asking, 0, queries, head.first(f.q), f.q.row);
    copy_rows<width>(desk.slopes, 0, queries, static_cast<const bf16*>(a.dy) + head.out(), out_step);
    if (image == begin) {  // where each image has its own, each has its slice, too
      copy_rows<width>(desk.keys, 0, prefix, head.first(f.prefix_k), f.prefix_k.row);
      copy_rows<width>(desk.values, 0, prefix, head.first(f.prefix_v), f.prefix_v.row);
    }
    if (!prefix_alone) {
      copy_rows<width>(desk.keys, prefix, f.tokens, head.first(f.k), f.k.row);
      copy_rows<width>(desk.values, prefix, f.tokens, head.first(f.v), f.v.row);
    }
    commit_copies();
    for (int i = static_cast<int>(threadIdx.x); i < queries; i += static_cast<int>(blockDim.x))
      desk.log_sums[i] = log2_e * f.log_sum_exp[head.statistic() + i];
    wait_for_copies<0>();
    __syncthreads();

    bf16* dq = prefix_alone ? nullptr : head.first(a.dq);
    for (int first = warp * step_rows; first < desk.all_queries; first += rows_at_once)
      pass_of_queries<width>(desk, static_cast<const bf16*>(f.out) + head.out(), out_step, queries, n_keys,
                             first, dq, a.dq.row);
    __syncthreads();  // every dot is there

    bf16 *to_k = prefix_alone ? nullptr : head.first(a.dk), *to_v = prefix_alone ? nullptr : head.first(a.dv);
    const int last_key = to_k || to_v ? n_keys : a.dprefix_k || a.dprefix_v ? prefix : 0;
    for (int first = warp * step_rows; first < last_key; first += rows_at_once) {
      float dk[width / 8][4] = {}, dv[width / 8][4] = {};
      pass_of_keys<width>(desk, first, dk, dv);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int key = first + lane / 4 + 8 * half;
        if (key < prefix) {
          const int64_t at = (slice * prefix + key) * out_step + head.offset;
          if (a.dprefix_k) put_sums<width>(dk, root, a.dprefix_k + at, image > begin, half);
          if (a.dprefix_v) put_sums<width>(dv, 1.0f, a.dprefix_v + at, image > begin, half);
        } else if (key < n_keys) {
          if (to_k) put_row<width>(dk, root, to_k + (key - prefix) * a.dk.row, half);
          if (to_v) put_row<width>(dv, 1.0f, to_v + (key - prefix) * a.dv.row, half);
        }
      }
    }
    __syncthreads();  // all rows have been read, before those of the next image come
  }
}

}  // namespace vitrine::gpu::attend
