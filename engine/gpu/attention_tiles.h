// attention_tiles.h: small matrices of bf16 for attention: rows in shared memory, and products of 16 of them.
//
// attention_tiles_forward.h and attention_tiles_backward.h make attention of them, for items (images, windows) whose
// rows fit into shared memory. Where rows lie is asked of `Places` (attention_places.h, attention_windows.h).
//
// Names of sizes: a matrix's parts in a warp are those of multiply_add (port.h), with g = lane / 4 and t = lane % 4.
#pragma once

#include <string>
#include <type_traits>

#include "engine/gpu/attention_places.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu::attend {

constexpr int step_rows = 16;  // of queries or keys
constexpr int most_tile_threads = 256;

__host__ __device__ constexpr int whole_steps(int64_t rows) {
  return static_cast<int>((rows + step_rows - 1) / step_rows * step_rows);
}

// How rows lie in shared memory: eight rows' chunks of the same columns are in eight different groups of banks, as their
// places are turned, or as a row has an odd number of chunks.
__host__ __device__ constexpr bool turned_rows(int64_t width) { return width / 8 % 8 == 0; }
__host__ __device__ constexpr int bytes_of_row(int64_t width) {
  return static_cast<int>(turned_rows(width) ? width / 8 : width / 8 | 1) * 16;
}
template <int width>
struct Layout {
  static_assert(width % 16 == 0);
  static constexpr int chunks = width / 8, chunk_bytes = 16;
  static constexpr bool turned = turned_rows(width);
  static constexpr int row_bytes = bytes_of_row(width);
  __device__ static int place(int row, int chunk) {
    return row * row_bytes + (turned ? chunk ^ (row & 7) : chunk) * chunk_bytes;
  }
};

// Who copies rows: a thread, and the distance to its next piece.
struct Copier {
  int thread, threads;
};
__device__ inline Copier whole_block() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
}
__device__ inline Copier one_warp() { return {static_cast<int>(threadIdx.x) % warp_size, warp_size}; }

// Rows [first, end) of `to` become what row_of(row) points to, when they have been waited for; zeros where it is null.
template <int width, class F>
__device__ void copy_rows(const Copier& by, unsigned char* to, int first, int end, const F& row_of) {
  using L = Layout<width>;
  for (int i = by.thread; i < (end - first) * L::chunks; i += by.threads) {
    const int row = first + i / L::chunks, chunk = i % L::chunks;
    const bf16* from = row_of(row);
    if (from)
      copy_async(to + L::place(row, chunk), from + chunk * 8);
    else
      store_chunk(to + L::place(row, chunk), Chunk{0, 0, 0, 0});
  }
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

// Row g, or in half 1 row g + 8, of a warp's rows (16, width), times `factor`.
template <int width>
__device__ void put_row(const float (&rows)[width / 8][4], float factor, const Target<bf16>& to, int half) {
  const int t = static_cast<int>(threadIdx.x) % 4;
  if (to.elements)
#pragma unroll
    for (int c = 0; c < width / 8; ++c)
      *reinterpret_cast<uint32_t*>(to.elements + c * 8 + 2 * t) =
          pack(factor * rows[c][2 * half], factor * rows[c][2 * half + 1]);
  if (to.sums)
#pragma unroll
    for (int c = 0; c < width / 8; ++c) {
      float2& x = *reinterpret_cast<float2*>(to.sums + c * 8 + 2 * t);
      const float2 before = to.add ? x : make_float2(0, 0);
      x = make_float2(before.x + factor * rows[c][2 * half], before.y + factor * rows[c][2 * half + 1]);
    }
}

// Calls f with the width as a constant if there are kernels for it; false: there are none.
template <class F>
bool with_tile_width(int64_t width, const F& f) {
  switch (width) {
    case 16:
      return f(std::integral_constant<int, 16>{}), true;
    case 32:
      return f(std::integral_constant<int, 32>{}), true;
    case 48:
      return f(std::integral_constant<int, 48>{}), true;
    case 64:
      return f(std::integral_constant<int, 64>{}), true;
    case 80:
      return f(std::integral_constant<int, 80>{}), true;
    default:
      return false;
  }
}

// So many warps that each has the same number of turns, as far as that goes.
inline int tile_threads(int64_t rows) {
  const int64_t steps = divided_up(rows, step_rows), most = most_tile_threads / warp_size;
  const int64_t turns = divided_up(steps, most);
  return static_cast<int>(turns > 0 ? divided_up(steps, turns) : 1) * warp_size;
}

// What a block has in shared memory.
struct Room {
  int64_t rows, more;  // rows of heads, and bytes beside them
  int threads;
  // Rows that a warp alone reads are there by turns, 16 of each warp.
  bool by_turns;
};

// The first room that a block can have. `rooms` go from the fastest way to the smallest.
template <class Places, size_t count>
const Room* room_in_tiles(Queue* queue, const char* what, const typename Places::Arguments& a,
                          const Room (&rooms)[count]) {
  const Extent e = Places::extent(a);
  if (a.forward.dtype != DType::bf16 || e.queries == 0) return nullptr;
  const char* reason = nullptr;
  if (!with_tile_width(e.width, [](auto) {}))
    reason = "heads have 16, 32, 48, 64 or 80 columns there";
  else if (!Places::aligned(a))
    reason = "rows begin at multiples of 16 bytes there";
  else if (e.heads > 0 && e.items > 0x7fffffff / e.heads)
    reason = "a grid holds fewer";
  const int64_t row = bytes_of_row(e.width);
  const auto most = static_cast<int64_t>(most_shared_bytes(queue));
  for (const Room& room : rooms)
    if (reason == nullptr && room.rows <= most / row && room.rows * row + room.more <= most) return &room;
  note(queue, std::string(what) + " of " + std::to_string(e.queries) + " queries and " +
                  std::to_string(e.keys) + " keys of " + std::to_string(e.width) +
                  " columns goes by plain kernels, not by those of small matrices, and takes longer: " +
                  (reason != nullptr ? reason : "there they exceed the shared memory of a block"));
  return nullptr;
}

}  // namespace vitrine::gpu::attend
