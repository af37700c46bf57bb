// layout.cpp: ops that move elements without changing them: reshape, permute, slice,
// concat, repeat, convert; and mean. On a device all of them are one kernel, which moves, and one that sums.
#include <algorithm>
#include <array>
#include <cstring>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

int position(const char* op, const Shape& shape, int axis) {
  check(axis >= -shape.rank() && axis < shape.rank(), "{}: no axis {} in {}", op, axis, shape);
  return axis < 0 ? axis + shape.rank() : axis;
}

// Extent i of the result is extent order[i] of x.
Tensor permuted(const Tensor& x, std::span<const int> order) {
  const int rank = x.shape().rank();
  std::array<int64_t, Shape::max_rank> extents{}, strides{};
  for (int i = 0; i < rank; ++i) {
    extents[i] = x.dim(order[i]);
    strides[i] = x.shape().columns_from(order[i] + 1);
  }
  Tensor out = Tensor::empty(Shape(std::span<const int64_t>(extents.data(), rank)), x.dtype(), x.memory());
  if (out.numel() == 0) return out;
  if (device_of(x, "permute") != nullptr) {
    gpu::move(x, out, out.shape(), {{strides.begin(), strides.begin() + rank}});
    return out;
  }
  const int64_t length = rank ? extents[rank - 1] : 1, step = rank ? strides[rank - 1] : 1;
  dispatch(x.dtype(), "permute", [&](auto zero) {
    using T = decltype(zero);
    const T* from = x.data<T>().data();
    T* to = out.mutable_data<T>().data();
    parallel_for(out.numel() / length, (1 << 14) / length + 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t rest = r, at = 0;
        for (int i = rank - 2; i >= 0; --i) {
          at += rest % extents[i] * strides[i];
          rest /= extents[i];
        }
        for (int64_t j = 0; j < length; ++j) to[r * length + j] = from[at + j * step];
      }
    });
  });
  return out;
}

// Copies `count` runs of `bytes` bytes, `from_step` and `to_step` bytes apart.
void copy_runs(const std::byte* from, size_t from_step, std::byte* to, size_t to_step, size_t bytes,
               int64_t count) {
  for (int64_t i = 0; i < count && bytes > 0; ++i) std::memcpy(to + i * to_step, from + i * from_step, bytes);
}

// On a device: x seen as (outer, n, inner), entries [begin, begin + count) of it to those from `to_begin` on of `to`.
void move_entries(const Tensor& x, int64_t begin, int64_t count, Tensor& to, int64_t to_begin, int axis) {
  const int64_t inner = x.shape().columns_from(axis + 1);
  gpu::move(x, to, {x.shape().rows_before(axis), count * inner}, {{x.dim(axis) * inner, 1}, begin * inner},
            {{to.dim(axis) * inner, 1}, to_begin * inner});
}

// Entries [begin, end) along one axis.
Tensor sliced(const Tensor& x, int axis, int64_t begin, int64_t end) {
  if (axis == 0) return x.rows(begin, end);
  Tensor out = Tensor::empty(x.shape().with(axis, end - begin), x.dtype(), x.memory());
  if (out.numel() == 0) return out;  // where entries would begin, there may be no memory
  if (device_of(x, "slice") != nullptr) {
    move_entries(x, begin, end - begin, out, 0, axis);
    return out;
  }
  const size_t entry = static_cast<size_t>(x.shape().columns_from(axis + 1)) * size_of(x.dtype());
  copy_runs(x.raw().data() + begin * entry, x.dim(axis) * entry, out.mutable_raw().data(),
            (end - begin) * entry, (end - begin) * entry, x.shape().rows_before(axis));
  return out;
}

// Writes `part` into the entries from `begin` on of `whole`, along one axis.
void place(const Tensor& part, Tensor& whole, int axis, int64_t begin) {
  if (part.numel() == 0) return;
  if (device_of(whole, "concat") != nullptr) return move_entries(part, 0, part.dim(axis), whole, begin, axis);
  const size_t entry = static_cast<size_t>(whole.shape().columns_from(axis + 1)) * size_of(whole.dtype());
  copy_runs(part.raw().data(), part.dim(axis) * entry, whole.mutable_raw().data() + begin * entry,
            whole.dim(axis) * entry, part.dim(axis) * entry, whole.shape().rows_before(axis));
}

// The sum over one axis times `factor`: x seen as (outer, n, inner) -> (outer, inner), in the order of n.
template <class T>
Tensor summed_here(const Tensor& x, int axis, T factor) {
  const int64_t outer = x.shape().rows_before(axis), n = x.dim(axis),
                inner = x.shape().columns_from(axis + 1);
  Tensor out = Tensor::zeros(x.shape().without(axis), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(outer, (1 << 14) / std::max<int64_t>(n * inner, 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < inner; ++j) to[o * inner + j] += from[(o * n + i) * inner + j];
      for (int64_t j = 0; j < inner; ++j) to[o * inner + j] *= factor;
    }
  });
  return out;
}

Tensor summed(const char* op, const Tensor& x, int axis, double factor) {
  if (device_of(x, op) != nullptr) {
    Tensor out = Tensor::empty(x.shape().without(axis), x.dtype(), x.memory());
    std::vector<bool> kept(x.shape().rank(), true);
    kept[axis] = false;
    gpu::sum(x, out, kept, factor);
    return out;
  }
  return dispatch(x.dtype(), op, [&](auto zero) {
    using T = decltype(zero);
    return summed_here<T>(x, axis, static_cast<T>(factor));
  });
}

// Each entry of x (outer, inner) n times, times `factor`: (outer, n, inner).
template <class T>
Tensor spread_here(const Tensor& x, const Shape& shape, int axis, T factor) {
  const int64_t outer = shape.rows_before(axis), n = shape.dim(axis), inner = shape.columns_from(axis + 1);
  Tensor out = Tensor::empty(shape, x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < inner; ++j) to[(o * n + i) * inner + j] = factor * from[o * inner + j];
  return out;
}

Tensor spread(const char* op, const Tensor& x, const Shape& shape, int axis, double factor) {
  if (device_of(x, op) != nullptr) {
    Tensor out = Tensor::empty(shape, x.dtype(), x.memory());
    const int64_t inner = shape.columns_from(axis + 1);
    gpu::move(x, out, {shape.rows_before(axis), shape.dim(axis), inner}, {{inner, 0, 1}}, {}, factor);
    return out;
  }
  return dispatch(x.dtype(), op, [&](auto zero) {
    using T = decltype(zero);
    return spread_here<T>(x, shape, axis, static_cast<T>(factor));
  });
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) {
  check(x.defined(), "reshape: undefined");
  return record(x.value().reshape(shape),
                {{x, [from = x.shape()](const Tensor& dy) { return dy.reshape(from); }}});
}

Variable permute(const Variable& x, std::span<const int> order) {
  const int rank = x.shape().rank();
  std::vector<int> inverse(rank, -1);
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] >= 0 && order[i] < rank) inverse[order[i]] = static_cast<int>(i);
  check(x.defined(), "permute: undefined");
  check(static_cast<int>(order.size()) == rank && std::ranges::find(inverse, -1) == inverse.end(),
        "permute: expected an order of the {} axes of {}", rank, x.shape());
  return record(permuted(x.value(), order),
                {{x, [inverse](const Tensor& dy) { return permuted(dy, inverse); }}});
}

Variable permute(const Variable& x, std::initializer_list<int> order) {
  return permute(x, std::span<const int>(order.begin(), order.size()));
}

Variable slice(const Variable& x, int axis, int64_t begin, int64_t end) {
  const int at = position("slice", x.shape(), axis);
  check(0 <= begin && begin <= end && end <= x.dim(at), "slice: [{}, {}) is not inside axis {} of {}", begin,
        end, at, x.shape());
  return record(sliced(x.value(), at, begin, end), {{x, [shape = x.shape(), at, begin](const Tensor& dy) {
                                                       Tensor dx =
                                                           Tensor::zeros(shape, dy.dtype(), dy.memory());
                                                       place(dy, dx, at, begin);
                                                       return dx;
                                                     }}});
}

Variable concat(const std::vector<Variable>& parts, int axis) {
  check(!parts.empty(), "concat: no parts");
  const int at = position("concat", parts[0].shape(), axis);
  int64_t entries = 0;
  std::vector<int64_t> ends;
  for (const Variable& part : parts) {
    check(part.shape().rank() == parts[0].shape().rank() &&
              part.shape().with(at, 0) == parts[0].shape().with(at, 0) && part.dtype() == parts[0].dtype(),
          "concat: {} does not fit {} along axis {}", part.shape(), parts[0].shape(), at);
    ends.push_back(entries = checked_add(entries, part.dim(at), "concat"));
  }
  // A class token from a checkpoint must not draw the tokens behind it out of their memory.
  const Variable& largest = *std::ranges::max_element(parts, {}, &Variable::numel);
  Tensor out = Tensor::empty(parts[0].shape().with(at, entries), parts[0].dtype(), largest.value().memory());
  for (size_t i = 0; i < parts.size(); ++i) place(parts[i].value(), out, at, ends[i] - parts[i].dim(at));
  return record_jointly(std::move(out), parts, [&](const std::vector<bool>& wanted) -> JointRule {
    return [wanted, ends, at](const Tensor& dy) {
      std::vector<Tensor> gradients(ends.size());
      for (size_t i = 0; i < ends.size(); ++i)
        if (wanted[i]) gradients[i] = sliced(dy, at, i ? ends[i - 1] : 0, ends[i]);
      return gradients;
    };
  });
}

Variable repeat(const Variable& x, int64_t count) {
  check(x.defined() && count >= 0, "repeat: expected a count >= 0, got {}", count);
  check(x.shape().rank() < Shape::max_rank, "repeat: {} has no room for one more axis", x.shape());
  std::vector<int64_t> extents{count};
  extents.insert(extents.end(), x.shape().extents().begin(), x.shape().extents().end());
  const Shape shape{std::span<const int64_t>(extents)};
  Tensor out;
  if (x.value().device() != nullptr) {
    out = spread("repeat", x.value(), shape, 0, 1);
  } else {
    out = Tensor::empty(shape, x.dtype(), x.value().memory());
    copy_runs(x.value().raw().data(), 0, out.mutable_raw().data(), x.value().bytes(), x.value().bytes(),
              count);
  }
  return record(std::move(out), {{x, [](const Tensor& dy) { return summed("repeat", dy, 0, 1); }}});
}

Variable mean(const Variable& x, int axis) {
  const int at = position("mean", x.shape(), axis);
  check(x.dim(at) > 0, "mean: axis {} of {} is empty", at, x.shape());
  const double factor = 1.0 / static_cast<double>(x.dim(at));
  return record(summed("mean", x.value(), at, factor),
                {{x, [shape = x.shape(), at, factor](const Tensor& dy) {
                    return spread("mean", dy, shape, at, factor);
                  }}});
}

Variable convert(const Variable& x, DType dtype) {
  check(x.defined(), "convert: undefined");
  if (x.dtype() == dtype) return x;
  return record(x.value().to(dtype), {{x, [from = x.dtype()](const Tensor& dy) { return dy.to(from); }}});
}

}  // namespace vitrine
