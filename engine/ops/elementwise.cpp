// elementwise.cpp: add and mul (with broadcasting), scale, relu, sigmoid.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

constexpr int64_t grain = 1 << 14;

// How the elements of x and y meet: the result's extents, and for each extent how far x and y move along it.
struct Broadcast {
  Shape result;
  std::array<int64_t, Shape::max_rank> x_stride{}, y_stride{};
};

Broadcast broadcast(const char* op, const Shape& x, const Shape& y) {
  Broadcast out;
  const int rank = std::max(x.rank(), y.rank());
  std::array<int64_t, Shape::max_rank> extents{};
  int64_t x_stride = 1, y_stride = 1;
  for (int i = 1; i <= rank; ++i) {
    const int64_t nx = i <= x.rank() ? x.dim(-i) : 1, ny = i <= y.rank() ? y.dim(-i) : 1;
    check(nx == ny || nx == 1 || ny == 1, "{}: {} and {} do not fit each other", op, x, y);
    extents[rank - i] = nx == 1 ? ny : nx;
    out.x_stride[rank - i] = nx == 1 ? 0 : x_stride;
    out.y_stride[rank - i] = ny == 1 ? 0 : y_stride;
    x_stride *= nx;
    y_stride *= ny;
  }
  out.result = Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(rank)));
  return out;
}

// Calls row(result_offset, x_offset, y_offset) for every run along the last extent.
template <class Row>
void for_each_row(const Broadcast& b, int64_t begin, int64_t end, const Row& row) {
  const int rank = b.result.rank();
  const int64_t length = rank ? b.result.dim(-1) : 1;
  for (int64_t r = begin; r < end; ++r) {
    int64_t rest = r, x = 0, y = 0;
    for (int i = rank - 2; i >= 0; --i) {
      const int64_t position = rest % b.result.dim(i);
      rest /= b.result.dim(i);
      x += position * b.x_stride[i];
      y += position * b.y_stride[i];
    }
    row(r * length, x, y);
  }
}

int64_t row_count(const Shape& shape) { return shape.rank() ? shape.rows_before(-1) : 1; }
int64_t row_length(const Shape& shape) { return shape.rank() ? shape.dim(-1) : 1; }

// x op y on a device, into `out` if that is given.
Tensor combine_on(const Device& device, gpu::Binary op, const Broadcast& b, const Tensor& x, const Tensor& y,
                  Tensor out = {}) {
  if (!out.defined()) out = Tensor::empty(b.result, x.dtype(), x.memory());
  gpu::Combine combine{x.dtype(),
                       op,
                       b.result.rank(),
                       {},
                       {},
                       {},
                       gpu::in(device, x),
                       gpu::in(device, y),
                       gpu::out(device, out)};
  for (int i = 0; i < b.result.rank(); ++i) combine.extents[i] = b.result.dim(i);
  std::ranges::copy(b.x_stride, combine.x_stride);
  std::ranges::copy(b.y_stride, combine.y_stride);
  if (out.numel() > 0) device.run(&gpu::Kernels::combine, combine);
  return out;
}

// f(x, y) elementwise, into `out` if that is given: x, y or another of the result's shape.
template <class T, class F>
Tensor combine(const Broadcast& b, const Tensor& x, const Tensor& y, const F& f, Tensor out = {}) {
  if (!out.defined()) out = Tensor::empty(b.result, x.dtype(), x.memory());
  const T *px = x.data<T>().data(), *py = y.data<T>().data();
  T* to = out.mutable_data<T>().data();
  const int64_t length = row_length(b.result);
  const bool x_moves = b.result.rank() && b.x_stride[b.result.rank() - 1] != 0;
  const bool y_moves = b.result.rank() && b.y_stride[b.result.rank() - 1] != 0;
  parallel_for(row_count(b.result), grain / std::max<int64_t>(length, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for_each_row(b, begin, end, [&](int64_t o, int64_t ix, int64_t iy) {
                   if (x_moves && y_moves) {
                     for (int64_t j = 0; j < length; ++j) to[o + j] = f(px[ix + j], py[iy + j]);
                   } else {
                     for (int64_t j = 0; j < length; ++j)
                       to[o + j] = f(px[ix + (x_moves ? j : 0)], py[iy + (y_moves ? j : 0)]);
                   }
                 });
               });
  return out;
}

// Sums dy over the extents along which an operand of `shape` was repeated. `stride` says
// how that operand moves.
template <class T>
Tensor sum_to(const Tensor& dy, const Shape& shape, const std::array<int64_t, Shape::max_rank>& stride) {
  if (dy.shape() == shape) return dy;
  Tensor out = Tensor::zeros(shape, dy.dtype(), dy.memory());
  const T* from = dy.data<T>().data();
  T* to = out.mutable_data<T>().data();
  Broadcast walk{dy.shape(), stride, {}};
  const int64_t length = row_length(dy.shape());
  const bool moves = dy.shape().rank() && stride[dy.shape().rank() - 1] != 0;
  for_each_row(walk, 0, row_count(dy.shape()), [&](int64_t o, int64_t i, int64_t) {
    if (moves) {
      for (int64_t j = 0; j < length; ++j) to[i + j] += from[o + j];
    } else {
      for (int64_t j = 0; j < length; ++j) to[i] += from[o + j];
    }
  });
  return out;
}

Tensor sum_to(const Tensor& dy, const Shape& shape, const std::array<int64_t, Shape::max_rank>& stride) {
  if (device_of(dy, "add") != nullptr) {
    if (dy.shape() == shape) return dy;
    std::vector<bool> kept;
    for (int i = 0; i < dy.shape().rank(); ++i) kept.push_back(stride[i] != 0 || dy.dim(i) == 1);
    Tensor out = Tensor::empty(shape, dy.dtype(), dy.memory());
    gpu::sum(dy, out, kept);
    return out;
  }
  return dispatch(dy.dtype(), "add", [&](auto zero) { return sum_to<decltype(zero)>(dy, shape, stride); });
}

Tensor multiply(const Broadcast& b, const Tensor& x, const Tensor& y) {
  if (const Device* device = device_of(x, "mul")) return combine_on(*device, gpu::Binary::multiply, b, x, y);
  return dispatch(x.dtype(), "mul", [&](auto zero) {
    using T = decltype(zero);
    return combine<T>(b, x, y, [](T p, T q) { return p * q; });
  });
}

// f(x) elementwise.
template <class T, class F>
Tensor map(const Tensor& x, const F& f) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(x.numel(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = f(from[i]);
  });
  return out;
}

Tensor scaled(const Tensor& x, double factor) {
  if (device_of(x, "scale") != nullptr) {
    Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
    gpu::move(x, out, factor);
    return out;
  }
  return dispatch(x.dtype(), "scale", [&](auto zero) {
    using T = decltype(zero);
    return map<T>(x, [f = static_cast<T>(factor)](T v) { return f * v; });
  });
}

// x + y, into `over` if that is given.
Tensor added(const Broadcast& b, const Tensor& x, const Tensor& y, const Tensor& over) {
  if (const Device* device = device_of(x, "add")) return combine_on(*device, gpu::Binary::add, b, x, y, over);
  return dispatch(x.dtype(), "add", [&](auto zero) {
    using T = decltype(zero);
    return combine<T>(
        b, x, y, [](T p, T q) { return p + q; }, over);
  });
}

Tensor map_on(const Device& device, gpu::Unary function, const Tensor& x) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  if (out.numel() > 0)
    device.run(&gpu::Kernels::map,
               {x.dtype(), function, x.numel(), gpu::in(device, x), gpu::out(device, out)});
  return out;
}

// max(x, 0), written so that NaN stays NaN.
Tensor relu_forward(const Tensor& x) {
  if (const Device* device = device_of(x, "relu")) return map_on(*device, gpu::Unary::relu, x);
  return dispatch(x.dtype(), "relu", [&](auto zero) {
    using T = decltype(zero);
    return map<T>(x, [](T v) { return v < T(0) ? T(0) : v; });
  });
}

Tensor relu_backward(const Tensor& x, const Tensor& dy) {
  const Broadcast b = broadcast("relu", dy.shape(), x.shape());
  if (const Device* device = device_of(x, "relu"))
    return combine_on(*device, gpu::Binary::where_positive, b, dy, x);
  return dispatch(dy.dtype(), "relu", [&](auto zero) {
    using T = decltype(zero);
    return combine<T>(b, dy, x, [](T d, T v) { return v > T(0) ? d : T(0); });
  });
}

Tensor sigmoid_forward(const Tensor& x) {
  if (const Device* device = device_of(x, "sigmoid")) return map_on(*device, gpu::Unary::sigmoid, x);
  return dispatch(x.dtype(), "sigmoid", [&](auto zero) {
    using T = decltype(zero);
    return map<T>(x, [](T v) { return T(1) / (T(1) + std::exp(-v)); });
  });
}

// dx = dy y (1 - y)
Tensor sigmoid_backward(const Tensor& y, const Tensor& dy) {
  const Broadcast b = broadcast("sigmoid", dy.shape(), y.shape());
  if (const Device* device = device_of(y, "sigmoid"))
    return combine_on(*device, gpu::Binary::sigmoid_slope, b, dy, y);
  return dispatch(dy.dtype(), "sigmoid", [&](auto zero) {
    using T = decltype(zero);
    return combine<T>(b, dy, y, [](T d, T v) { return d * v * (T(1) - v); });
  });
}

void check_types(const char* op, const Variable& x, const Variable& y) {
  check(x.defined() && y.defined(), "{}: undefined", op);
  check(x.dtype() == y.dtype(), "{}: expected one type, got {} and {}", op, name_of(x.dtype()),
        name_of(y.dtype()));
}

}  // namespace

Variable add(Variable x, Variable y) {
  check_types("add", x, y);
  const Broadcast b = broadcast("add", x.shape(), y.shape());
  Tensor over;
  for (const Variable* v : {&y, &x})
    if (v->shape() == b.result && v->value().unique()) over = v->value();
  return record(added(b, x.value(), y.value(), over),
                {{x, [b, shape = x.shape()](const Tensor& dy) { return sum_to(dy, shape, b.x_stride); }},
                 {y, [b, shape = y.shape()](const Tensor& dy) { return sum_to(dy, shape, b.y_stride); }}});
}

Variable mul(const Variable& x, const Variable& y) {
  check_types("mul", x, y);
  const Broadcast b = broadcast("mul", x.shape(), y.shape());
  const Tensor vx = x.value(), vy = y.value();
  return record(multiply(b, vx, vy),
                {{x,
                  [b, vy, shape = x.shape()](const Tensor& dy) {
                    const Tensor product = multiply(broadcast("mul", dy.shape(), vy.shape()), dy, vy);
                    return sum_to(product, shape, b.x_stride);
                  }},
                 {y, [b, vx, shape = y.shape()](const Tensor& dy) {
                    const Tensor product = multiply(broadcast("mul", dy.shape(), vx.shape()), dy, vx);
                    return sum_to(product, shape, b.y_stride);
                  }}});
}

Variable scale(const Variable& x, double factor) {
  check(x.defined(), "scale: undefined");
  return record(scaled(x.value(), factor), {{x, [factor](const Tensor& dy) { return scaled(dy, factor); }}});
}

Variable relu(const Variable& x) {
  check(x.defined(), "relu: undefined");
  const Tensor value = x.value();
  return record(relu_forward(value), {{x, [value](const Tensor& dy) { return relu_backward(value, dy); }}});
}

Variable sigmoid(const Variable& x) {
  check(x.defined(), "sigmoid: undefined");
  const Tensor y = sigmoid_forward(x.value());
  return record(y, {{x, [y](const Tensor& dy) { return sigmoid_backward(y, dy); }}});
}

}  // namespace vitrine
