// weight.h: the packed forms of a weight, which linear and row_layers share. Private to the ops.
#pragma once

#include "engine/cpu/gemm.h"
#include "engine/tensor.h"

namespace vitrine {

enum PackedForm { for_forward = 0, for_backward = 1 };

// weight (N, K) packed as the right side of x (M, K) w^T or of dy (M, N) w. A sealed weight is packed once for
// all and keeps the form; another one's is made anew in `memory`.
template <class T>
Tensor packed_weight(const Tensor& weight, PackedForm form, const Memory& memory) {
  const int64_t n = weight.dim(0), k = weight.dim(1);
  const auto make = [&](const Memory& where) {
    const bool forward = form == for_forward;
    const int64_t rows = forward ? k : n, columns = forward ? n : k;
    const cpu::Matrix<T> right{weight.data<T>().data(), forward ? 1 : k, forward ? k : 1};
    Tensor made = Tensor::empty({cpu::packed_size<T>(rows, columns)}, weight.dtype(), where);
    cpu::pack<T>(rows, columns, right, made.mutable_data<T>().data());
    return made;
  };
  return weight.sealed() ? weight.kept_form(form, [&] { return make(weight.memory()); }) : make(memory);
}

}  // namespace vitrine
