// weight.h: the packed forms of a weight, which several ops share. No public header.
#pragma once

#include "engine/cpu/gemm.h"
#include "engine/tensor.h"

namespace vitrine {

enum PackedForm { for_forward = 0, for_backward = 1 };

// Some rows of a packed weight (N, K), and where it is packed as int8, the scales of its rows.
template <class T>
struct PackedWeight {
  Tensor numbers, scales;
  cpu::Panels<T> panels;
};

// weight (N, K) packed as the right side of x (M, K) w^T or of dy (M, N) w. A sealed weight is packed once for
// all, in its own precision, and keeps the form; rows of it are found in the form of the whole. One that keeps one form
// is turned for backward while it is used (Tensor::with_one_form). Another one's is made anew in `memory`.
template <class T>
PackedWeight<T> packed_weight(const Tensor& weight, PackedForm form, const Memory& memory);

}  // namespace vitrine
