// rows.h: small things that several ops share: a tensor's elements, temporary memory, the sum over a batch.
#pragma once

#include <utility>

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

// Temporary memory for the tasks of one parallel_for_threads: `elements` for each thread that there may be. It is
// one block, taken before the loop, whose size knows nothing of the batch or of how many threads come to work: so
// the memory of a step is a matter of sizes and not of moments, and can be told beforehand.
template <class T>
class Scratch {
 public:
  Scratch(int64_t elements, const Memory& memory)
      : each_(checked_multiply((elements + line - 1) / line, line, "scratch")),
        all_(Tensor::empty({checked_multiply(each_, thread_count(), "scratch")}, dtype_of<T>(), memory)),
        data_(all_.template mutable_data<T>().data()) {}

  // Several arrays cut from one thread's part.
  class Part {
   public:
    explicit Part(T* data) : next_(data) {}
    T* take(int64_t elements) { return std::exchange(next_, next_ + elements); }

   private:
    T* next_;
  };
  Part of(int thread) const { return Part(data_ + thread * each_); }

 private:
  static constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));  // threads share no line of the cache
  int64_t each_;
  Tensor all_;
  T* data_;
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
