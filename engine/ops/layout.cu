// layout.cu: what moves elements on a device, and what sums them.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"
#include "engine/gpu/layout.h"

namespace vitrine::gpu {

namespace {

template <class From, class To, class Index>
__global__ void __launch_bounds__(element_threads)
    move_elements(Index count, Walk<2> walk, float factor, const From* from, To* to) {
  const Index step = static_cast<Index>(gridDim.x) * element_threads;
  for (Index i = static_cast<Index>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    int64_t at[2];
    walk.find(i, at);
    to[at[1]] = narrow<To>(from == nullptr ? factor : factor * widen(from[at[0]]));
  }
}

// The same for unchanged elements that lie side by side, in units of 16 bytes.
template <class Index>
__global__ void __launch_bounds__(element_threads)
    move_chunks(Index count, Walk<2> walk, const unsigned char* from, unsigned char* to) {
  const Index step = static_cast<Index>(gridDim.x) * element_threads;
  for (Index i = static_cast<Index>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    int64_t at[2];
    walk.find(i, at);
    store_chunk(to + at[1] * 16, load_chunk(from + at[0] * 16));
  }
}

// Turns strides and the innermost extent into units of 16 bytes if all fits.
bool in_chunks(const Move& a, Walk<2>& walk) {
  if (a.from_type != a.to_type || a.factor != 1 || a.from == nullptr || !aligned(a.from) || !aligned(a.to))
    return false;
  const int64_t unit = a.from_type == DType::f32 ? 4 : 8;
  const int last = walk.rank - 1;
  if (walk.stride[0][last] != 1 || walk.stride[1][last] != 1 || walk.extents[last] % unit != 0) return false;
  for (int axis = 0; axis < last; ++axis)
    if (walk.stride[0][axis] % unit != 0 || walk.stride[1][axis] % unit != 0) return false;
  walk.extents[last] /= unit;
  for (int axis = 0; axis < last; ++axis) walk.stride[0][axis] /= unit, walk.stride[1][axis] /= unit;
  return true;
}

template <class From, class To, class Index>
Result start_move(Queue* queue, const Move& a, const Walk<2>& walk, Index count) {
  return launch(queue, move_elements<From, To, Index>,
                blocks_for(static_cast<int64_t>(count), element_threads), element_threads, 0, count, walk,
                a.factor, static_cast<const From*>(a.from), static_cast<To*>(a.to));
}

constexpr int lanes = 32, groups = 8;  // of a block that sums

// Output o is the sum over the summed walk from where o stands. A block has 32 outputs; its eight warps take the terms
// in turn, and their sums are added in the order of the warps. For outputs that lie side by side.
template <class From, class To>
__global__ void __launch_bounds__(lanes* groups)
    sum_beside(int64_t outputs, Walk<1> kept, Walk<1> summed, float factor, const From* from, To* to) {
  auto* parts = reinterpret_cast<float*>(shared_memory());  // (groups, lanes)
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes;
  const int64_t terms = summed.count();
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * lanes; first < outputs;
       first += static_cast<int64_t>(gridDim.x) * lanes) {
    const int64_t o = first + lane;
    float total = 0;
    if (o < outputs) {
      int64_t at[1], term[1];
      kept.find(o, at);
      for (int64_t i = group; i < terms; i += groups) {
        summed.find(i, term);
        total += widen(from[at[0] + term[0]]);
      }
    }
    parts[group * lanes + lane] = total;
    __syncthreads();
    if (group == 0 && o < outputs) {
      total = 0;
      for (int g = 0; g < groups; ++g) total += parts[g * lanes + lane];
      to[o] = narrow<To>(factor * total);
    }
    __syncthreads();
  }
}

// The same with a warp for each output, for terms that lie side by side.
template <class From, class To>
__global__ void __launch_bounds__(lanes* groups)
    sum_along(int64_t outputs, Walk<1> kept, Walk<1> summed, float factor, const From* from, To* to) {
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes;
  const int64_t terms = summed.count();
  for (int64_t o = static_cast<int64_t>(blockIdx.x) * groups + group; o < outputs;
       o += static_cast<int64_t>(gridDim.x) * groups) {
    int64_t at[1], term[1];
    kept.find(o, at);
    float total = 0;
    for (int64_t i = lane; i < terms; i += lanes) {
      summed.find(i, term);
      total += widen(from[at[0] + term[0]]);
    }
    total = warp_sum(total);
    if (lane == 0) to[o] = narrow<To>(factor * total);
  }
}

template <class From, class To>
Result start_sum(Queue* queue, const Sum& a) {
  const int64_t *kept_strides[1] = {a.stride}, *summed_strides[1] = {a.summed_stride};
  const Walk<1> kept = merged<1>(a.rank, a.extents, kept_strides);
  const Walk<1> summed = merged<1>(a.summed_rank, a.summed, summed_strides);
  const int64_t outputs = kept.count();
  const auto* from = static_cast<const From*>(a.from);
  auto* to = static_cast<To*>(a.to);
  const bool along = summed.stride[0][summed.rank - 1] == 1 && summed.extents[summed.rank - 1] >= lanes;
  if (along)
    return launch(queue, sum_along<From, To>, blocks_for(outputs, groups), lanes * groups, 0, outputs, kept,
                  summed, a.factor, from, to);
  return launch(queue, sum_beside<From, To>, blocks_for(outputs, lanes), lanes * groups,
                sizeof(float) * lanes * groups, outputs, kept, summed, a.factor, from, to);
}

// A thread for each piece of a row: 16 bytes, or 1 where rows do not come in chunks.
template <class Piece>
__global__ void __launch_bounds__(element_threads)
    gather_pieces(int64_t count, int64_t pieces, const Piece* table, const int64_t* index, Piece* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const Piece* from = table + index[i / pieces] * pieces + i % pieces;
    if constexpr (sizeof(Piece) == 16) {
      store_chunk(to + i, load_chunk(from));
    } else {
      to[i] = *from;
    }
  }
}

template <class Piece>
Result start_gather(Queue* queue, const Gather& a) {
  const int64_t pieces = a.row_bytes / static_cast<int64_t>(sizeof(Piece)), count = a.rows * pieces;
  return launch(queue, gather_pieces<Piece>, blocks_for(count, element_threads), element_threads, 0, count,
                pieces, static_cast<const Piece*>(a.table), a.index, static_cast<Piece*>(a.to));
}

}  // namespace

Result gather(Queue* queue, const Gather& a) {
  if (a.row_bytes % 16 == 0 && aligned(a.table) && aligned(a.to)) return start_gather<Chunk>(queue, a);
  return start_gather<uint8_t>(queue, a);
}

Result move(Queue* queue, const Move& a) {
  const int64_t* strides[2] = {a.from_stride, a.to_stride};
  Walk<2> walk = merged<2>(a.rank, a.extents, strides);
  if (in_chunks(a, walk)) {
    const int64_t count = walk.count();
    const auto* from = static_cast<const unsigned char*>(a.from);
    auto* to = static_cast<unsigned char*>(a.to);
    const dim3 blocks = blocks_for(count, element_threads);
    if (count < most_of_32_bits)
      return launch(queue, move_chunks<uint32_t>, blocks, element_threads, 0, static_cast<uint32_t>(count),
                    walk, from, to);
    return launch(queue, move_chunks<uint64_t>, blocks, element_threads, 0, static_cast<uint64_t>(count),
                  walk, from, to);
  }
  const int64_t count = walk.count();
  return with_type(a.from_type, [&](auto from) {
    return with_type(a.to_type, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      return count < most_of_32_bits ? start_move<From, To>(queue, a, walk, static_cast<uint32_t>(count))
                                     : start_move<From, To>(queue, a, walk, static_cast<uint64_t>(count));
    });
  });
}

Result sum(Queue* queue, const Sum& a) {
  return with_type(a.from_type, [&](auto from) {
    return with_type(a.to_type, [&](auto to) { return start_sum<decltype(from), decltype(to)>(queue, a); });
  });
}

}  // namespace vitrine::gpu
