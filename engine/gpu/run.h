// run.h: how ops speak to a device: where a tensor lives, and the entries that several ops use. No public header.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "engine/device.h"
#include "engine/gpu/kernels.h"
#include "engine/parts.h"
#include "engine/tensor.h"

namespace vitrine {

// The device that x lives on; null: the CPU computes. Throws if it does not hold f32 or bf16 there.
const Device* checked_device_of(const Tensor& x, const char* op);
inline const Device* device_of(const Tensor& x, const char* op) {
  return parts::device ? checked_device_of(x, op) : nullptr;
}

namespace gpu {

// The addresses of a tensor's elements for a device's kernel, null if it is undefined. Throws if it lives elsewhere.
const void* in(const Device& device, const Tensor& x);
void* out(const Device& device, Tensor& x);
template <class T>
const T* in(const Device& device, const Tensor& x) {
  check(!x.defined() || x.dtype() == dtype_of<T>(), "device: expected {}, got {}", name_of(dtype_of<T>()),
        name_of(x.dtype()));
  return static_cast<const T*>(in(device, x));
}
template <class T>
T* out(const Device& device, Tensor& x) {
  check(!x.defined() || x.dtype() == dtype_of<T>(), "device: expected {}, got {}", name_of(dtype_of<T>()),
        name_of(x.dtype()));
  return static_cast<T*>(out(device, x));
}

// All of `from`, converted to the type of `to`, times a factor; ones if `from` is undefined.
void move(const Tensor& from, Tensor& to, double factor = 1);
// Element i (of `extents`) of `to` = factor times that of `from` at place from_at + sum i_a from_stride_a. Without
// strides for `to` it is contiguous.
struct Layout {
  std::vector<int64_t> stride;
  int64_t at = 0;
};
void move(const Tensor& from, Tensor& to, const Shape& extents, const Layout& from_layout,
          const Layout& to_layout = {}, double factor = 1);
// to (contiguous) = factor times the sum of `from` (...) over the axes where `kept` is false.
void sum(const Tensor& from, Tensor& to, const std::vector<bool>& kept, double factor = 1);
// The sum over the first axis, (n, ...) -> (...), in its order.
Tensor sum_first(const Tensor& from, DType dtype);

// A product of one matrix each, whose sizes, steps and flags are still to be filled in.
Product product_of(const Device& device, const Tensor& a, const Tensor& b, Tensor& to);

// Throws if a device's attention has no kernel for heads of so many columns.
void check_head_width(const char* op, int64_t width);

// The strides of a contiguous tensor.
std::vector<int64_t> strides_of(const Shape& shape);

}  // namespace gpu

}  // namespace vitrine
