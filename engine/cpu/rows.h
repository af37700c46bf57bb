// rows.h: small things that several ops share: a tensor's elements, temporary memory, the sum over a batch.
#pragma once

#include "engine/parallel.h"
#include "engine/tensor.h"

namespace vitrine::cpu {

// A tensor's elements, null if it is undefined.
template <class T>
T* data_of(Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data<T>().data() : nullptr;
}
template <class T>
const T* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.data<T>().data() : nullptr;
}

// Temporary memory of one task: several arrays cut from one tensor.
template <class T>
class Scratch {
 public:
  Scratch(int64_t elements, const Memory& memory) : all_(Tensor::empty({elements}, dtype_of<T>(), memory)) {}
  T* take(int64_t elements) {
    T* out = all_.mutable_data<T>().data() + used_;
    used_ += elements;
    return out;
  }

 private:
  Tensor all_;
  int64_t used_ = 0;
};

// Where a rule puts a result of x's shape, x being its dy or what it kept: x's own memory if nobody else holds
// it, else new memory.
inline Tensor over(const Tensor& x) {
  return x.unique() ? x : Tensor::empty(x.shape(), x.dtype(), x.memory());
}

// The sum over the batch, in its order: (B, ...) -> (...).
template <class T>
Tensor sum_images(const Tensor& x) {
  const int64_t n = x.shape().columns_from(1);
  Tensor out = Tensor::zeros(x.shape().without(0), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(n, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t i = begin; i < end; ++i) to[i] += from[b * n + i];
  });
  return out;
}

}  // namespace vitrine::cpu
