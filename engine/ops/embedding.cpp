// embedding.cpp: embedding_add, x plus chosen rows of a table.
#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

// y[b, n] = x[b, n] + table[rows[n]]
template <class T>
Tensor embedding_add_forward(const Tensor& x, const Tensor& table, const std::vector<int64_t>& rows) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const int64_t d = x.dim(-1), n = x.dim(-2);
  const T *from = x.data<T>().data(), *entries = table.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(x.shape().rows_before(-1), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* entry = entries + rows[i % n] * d;
      for (int64_t j = 0; j < d; ++j) to[i * d + j] = from[i * d + j] + entry[j];
    }
  });
  return out;
}

// dtable[r] = the sum of dy over all places that took row r, in their order
template <class T>
Tensor embedding_add_backward(const Tensor& dy, const Shape& table, const std::vector<int64_t>& rows) {
  Tensor out = Tensor::zeros(table, dy.dtype(), dy.memory());
  const int64_t d = dy.dim(-1), n = dy.dim(-2);
  const T* from = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (int64_t i = 0; i < dy.shape().rows_before(-1); ++i)
    for (int64_t j = 0; j < d; ++j) to[rows[i % n] * d + j] += from[i * d + j];
  return out;
}

// The list of chosen rows for a device.
Tensor rows_on(const Tensor& x, const std::vector<int64_t>& rows) {
  return Tensor::of<int64_t>({static_cast<int64_t>(rows.size())}, rows, x.memory());
}

Tensor embedding_add_forward(const Tensor& x, const Tensor& table, const std::vector<int64_t>& rows,
                             bool chosen) {
  if (const Device* device = device_of(x, "embedding_add")) {
    Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
    const Tensor index = chosen ? rows_on(x, rows) : Tensor();
    device->run(&gpu::Kernels::embedding_add,
                {x.dtype(), x.shape().rows_before(-2), x.dim(-2), x.dim(-1), gpu::in(*device, x),
                 gpu::in(*device, table), gpu::in<int64_t>(*device, index), gpu::out(*device, out)});
    return out;
  }
  return dispatch(x.dtype(), "embedding_add",
                  [&](auto zero) { return embedding_add_forward<decltype(zero)>(x, table, rows); });
}

Tensor embedding_add_backward(const Tensor& dy, const Shape& table, const std::vector<int64_t>& rows,
                              bool chosen) {
  if (const Device* device = device_of(dy, "embedding_add")) {
    Tensor out = Tensor::empty(table, dy.dtype(), dy.memory());
    const Tensor index = chosen ? rows_on(dy, rows) : Tensor();
    device->run(&gpu::Kernels::embedding_sum,
                {dy.dtype(), dy.shape().rows_before(-2), dy.dim(-2), dy.dim(-1), table.dim(0),
                 gpu::in(*device, dy), gpu::in<int64_t>(*device, index), gpu::out(*device, out)});
    return out;
  }
  return dispatch(dy.dtype(), "embedding_add",
                  [&](auto zero) { return embedding_add_backward<decltype(zero)>(dy, table, rows); });
}

}  // namespace

Variable embedding_add(const Variable& x, const Variable& table, std::span<const int64_t> rows) {
  check(x.shape().rank() >= 2 && table.shape().rank() == 2 && table.dim(1) == x.dim(-1) &&
            table.dtype() == x.dtype(),
        "embedding_add: expected x (..., N, D) and table (R, D), got {} and {}", x.shape(), table.shape());
  std::vector<int64_t> taken(rows.begin(), rows.end());
  const bool chosen = !taken.empty();
  if (!chosen) {
    check(table.dim(0) == x.dim(-2), "embedding_add: expected table ({}, {}), got {}", x.dim(-2), x.dim(-1),
          table.shape());
    for (int64_t i = 0; i < x.dim(-2); ++i) taken.push_back(i);
  }
  check(static_cast<int64_t>(taken.size()) == x.dim(-2), "embedding_add: expected {} rows, got {}", x.dim(-2),
        taken.size());
  for (const int64_t row : taken)
    check(row >= 0 && row < table.dim(0), "embedding_add: row {} is not inside table {}", row, table.shape());
  return record(embedding_add_forward(x.value(), table.value(), taken, chosen),
                {{x, [](const Tensor& dy) { return dy; }},
                 {table, [shape = table.shape(), taken, chosen](const Tensor& dy) {
                    return embedding_add_backward(dy, shape, taken, chosen);
                  }}});
}

}  // namespace vitrine
