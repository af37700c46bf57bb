// weight.h: the packed forms of a weight, which several ops share. Private to the ops.
#pragma once

#include "engine/cpu/gemm.h"
#include "engine/tensor.h"

namespace vitrine {

enum PackedForm { for_forward = 0, for_backward = 1 };

// A packed weight and, where it is packed as int8, the scales of the weight's rows.
template <class T>
struct PackedWeight {
  Tensor numbers, scales;
  Precision precision = Precision::f32;
  PackedForm form = for_forward;

  cpu::Panels<T> panels() const {
    // The rows of the weight are the columns of the right side that forward multiplies by, and the rows of backward's.
    return {numbers.raw().data(), precision, scales.defined() ? scales.data<float>().data() : nullptr,
            form == for_backward};
  }
};

// weight (N, K) packed as the right side of x (M, K) w^T or of dy (M, N) w. A sealed weight is packed once for
// all, in its own precision, and keeps the form; another one's is made anew in `memory`.
template <class T>
PackedWeight<T> packed_weight(const Tensor& weight, PackedForm form, const Memory& memory);

}  // namespace vitrine
