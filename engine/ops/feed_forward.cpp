// feed_forward.cpp: two linear layers with gelu between them, as one op for frozen weights.
//
// The hidden row of a transformer's MLP is four times as wide as the others: writing it, reading it for gelu,
// writing and reading it again costs more memory traffic than all else in a block. Here a task is some rows of
// x: their hidden rows are made, bent and used while they are in the cache. Nothing of them is kept but the
// slopes of gelu, and those only if x wants a gradient.
#include "engine/check.h"
#include "engine/cpu/rows.h"
#include "engine/ops/gelu.h"
#include "engine/ops/weight.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

struct Layers {
  Tensor w1, b1, w2, b2;
  Gelu form;
};

// Rows of one task: enough to use a weight well that comes from memory, few enough for every thread to have
// some. A row's numbers do not depend on it.
int64_t rows_at_once(int64_t rows) {
  constexpr int64_t most = 96, least = 12;
  const int64_t share = (rows + thread_count() - 1) / thread_count();
  return std::clamp((share + least - 1) / least * least, least, most);
}

// out (M, N), slopes (M, H) or undefined
template <class T>
void feed_forward_forward(const Tensor& x, const Layers& l, Tensor& out, Tensor& slopes) {
  const int64_t h = l.w1.dim(0), k = l.w1.dim(1), n = l.w2.dim(0), m = x.shape().rows_before(-1);
  const Tensor first = packed_weight<T>(l.w1, for_forward, x.memory()),
               second = packed_weight<T>(l.w2, for_forward, x.memory());
  const T *from = x.data<T>().data(), *b1 = l.b1.data<T>().data(), *b2 = l.b2.data<T>().data();
  T *to = out.mutable_data<T>().data(), *kept = slopes.defined() ? slopes.mutable_data<T>().data() : nullptr;
  const int64_t at_once = rows_at_once(m);
  parallel_for((m + at_once - 1) / at_once, 1, [&](int64_t begin, int64_t end) {
    cpu::Scratch<T> scratch(at_once * h, x.memory());
    T* hidden = scratch.take(at_once * h);
    for (int64_t i = begin * at_once; i < std::min(end * at_once, m); i += at_once) {
      const int64_t rows = std::min(at_once, m - i);
      cpu::multiply_packed_serially<T>({rows, h, k, {from + i * k, k, 1}, hidden, h, false, b1},
                                       first.data<T>().data());
      for (int64_t r = 0; r < rows; ++r)
        gelu_run<T>(l.form, hidden + r * h, h, hidden + r * h, kept ? kept + (i + r) * h : nullptr);
      cpu::multiply_packed_serially<T>({rows, n, h, {hidden, h, 1}, to + i * n, n, false, b2},
                                       second.data<T>().data());
    }
  });
}

// dx = ((dy w2) * slopes) w1
template <class T>
Tensor feed_forward_backward(const Layers& l, const Tensor& slopes, const Tensor& dy) {
  const int64_t h = l.w1.dim(0), k = l.w1.dim(1), n = l.w2.dim(0), m = dy.shape().rows_before(-1);
  const Tensor first = packed_weight<T>(l.w1, for_backward, dy.memory()),
               second = packed_weight<T>(l.w2, for_backward, dy.memory());
  Tensor out = Tensor::empty(dy.shape().with(-1, k), dy.dtype(), dy.memory());
  const T *from = dy.data<T>().data(), *slope = slopes.data<T>().data();
  T* to = out.mutable_data<T>().data();
  const int64_t at_once = rows_at_once(m);
  parallel_for((m + at_once - 1) / at_once, 1, [&](int64_t begin, int64_t end) {
    cpu::Scratch<T> scratch(at_once * h, dy.memory());
    T* hidden = scratch.take(at_once * h);
    for (int64_t i = begin * at_once; i < std::min(end * at_once, m); i += at_once) {
      const int64_t rows = std::min(at_once, m - i);
      cpu::multiply_packed_serially<T>({rows, h, n, {from + i * n, n, 1}, hidden, h},
                                       second.data<T>().data());
      for (int64_t j = 0; j < rows * h; ++j) hidden[j] *= slope[i * h + j];
      cpu::multiply_packed_serially<T>({rows, k, h, {hidden, h, 1}, to + i * k, k}, first.data<T>().data());
    }
  });
  return out;
}

}  // namespace

Variable feed_forward(const Variable& x, const Variable& w1, const Variable& b1, const Variable& w2,
                      const Variable& b2, Gelu form) {
  for (const Variable* v : {&w1, &b1, &w2, &b2})
    if (v->wants_gradient() || !v->defined()) return linear(gelu(linear(x, w1, b1), form), w2, b2);
  check(x.shape().rank() >= 1 && w1.shape().rank() == 2 && w1.dim(1) == x.dim(-1) &&
            b1.shape() == Shape{w1.dim(0)} && w2.shape().rank() == 2 && w2.dim(1) == w1.dim(0) &&
            b2.shape() == Shape{w2.dim(0)},
        "feed_forward: expected x (..., K), w1 (H, K), b1 (H), w2 (N, H), b2 (N), got ", x.shape(), ", ",
        w1.shape(), ", ", b1.shape(), ", ", w2.shape(), ", ", b2.shape());
  for (const Variable* v : {&w1, &b1, &w2, &b2})
    check(v->dtype() == x.dtype(), "feed_forward: expected ", name_of(x.dtype()), ", got ",
          name_of(v->dtype()));
  const Layers layers{w1.value(), b1.value(), w2.value(), b2.value(), form};
  const Memory memory = x.value().memory();
  Tensor out = Tensor::empty(x.shape().with(-1, w2.dim(0)), x.dtype(), memory);
  Tensor slopes =
      x.wants_gradient() ? Tensor::empty(x.shape().with(-1, w1.dim(0)), x.dtype(), memory) : Tensor();
  dispatch(x.dtype(), "feed_forward",
           [&](auto zero) { feed_forward_forward<decltype(zero)>(x.value(), layers, out, slopes); });
  return record(std::move(out), {{x, [layers, slopes](const Tensor& dy) {
                                    return dispatch(dy.dtype(), "feed_forward", [&](auto zero) {
                                      return feed_forward_backward<decltype(zero)>(layers, slopes, dy);
                                    });
                                  }}});
}

}  // namespace vitrine
