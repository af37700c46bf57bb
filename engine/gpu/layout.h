// layout.h: walking over the elements of several tensors of one shape and different strides.
#pragma once

#include "engine/gpu/port.h"

namespace vitrine::gpu {

constexpr int64_t most_of_32_bits = int64_t{1} << 31;  // dividing 64 bits is slow on a GPU

// Extents, outermost first, and for each of `tensors` tensors how far it moves along them.
template <int tensors>
struct Walk {
  int rank = 0;
  int64_t extents[max_rank] = {};
  int64_t stride[tensors][max_rank] = {};

  __host__ __device__ int64_t count() const {
    int64_t out = 1;
    for (int i = 0; i < rank; ++i) out *= extents[i];
    return out;
  }
  // Where element i of the walk is in each tensor.
  template <class Index>
  __device__ void find(Index i, int64_t (&at)[tensors]) const {
    for (int t = 0; t < tensors; ++t) at[t] = 0;
    for (int axis = rank - 1; axis > 0; --axis) {
      const Index extent = static_cast<Index>(extents[axis]), rest = i / extent;
      const int64_t place = static_cast<int64_t>(i - rest * extent);
      for (int t = 0; t < tensors; ++t) at[t] += place * stride[t][axis];
      i = rest;
    }
    for (int t = 0; t < tensors; ++t) at[t] += static_cast<int64_t>(i) * stride[t][0];
  }
};

// The same walk with as few axes as possible: extents of one are left out, and axes that all tensors go through in one
// go are joined. It has at least one axis.
template <int tensors>
Walk<tensors> merged(int rank, const int64_t* extents, const int64_t* const (&strides)[tensors]) {
  Walk<tensors> out;
  for (int axis = 0; axis < rank; ++axis) {
    if (extents[axis] == 1) continue;
    bool joins = out.rank > 0;
    for (int t = 0; t < tensors && joins; ++t)
      joins = out.stride[t][out.rank - 1] == strides[t][axis] * extents[axis];
    const int at = joins ? out.rank - 1 : out.rank;
    out.extents[at] = joins ? out.extents[at] * extents[axis] : extents[axis];
    for (int t = 0; t < tensors; ++t) out.stride[t][at] = strides[t][axis];
    if (!joins) ++out.rank;
  }
  if (out.rank == 0) {
    out.rank = 1;
    out.extents[0] = 1;
    for (int t = 0; t < tensors; ++t) out.stride[t][0] = 1;
  }
  return out;
}

}  // namespace vitrine::gpu
