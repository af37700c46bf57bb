#include "engine/gpu/run.h"

#include <algorithm>

#include "engine/check.h"

namespace vitrine {

const Device* checked_device_of(const Tensor& x, const char* op) {
  const Device* device = x.device();
  if (device != nullptr)
    check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "{}: expected f32 or bf16 on {}, got {}", op,
          device->name(), name_of(x.dtype()));
  return device;
}

namespace gpu {

namespace {

void check_home(const Device& device, const Tensor& x) {
  check(x.device() == &device, "device: expected {} on {}, but it is {}", x.shape(), device.name(),
        x.device() == nullptr ? "in main memory" : "on another device");
}

// Fills what an entry has as arrays.
void fill(std::span<const int64_t> from, int64_t* to) {
  std::fill_n(to, max_rank, 1);
  std::ranges::copy(from, to);
}

}  // namespace

const void* in(const Device& device, const Tensor& x) {
  if (!x.defined()) return nullptr;
  check_home(device, x);
  return x.address();
}

void* out(const Device& device, Tensor& x) {
  if (!x.defined()) return nullptr;
  check_home(device, x);
  return x.mutable_address();
}

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> out;
  for (int i = 0; i < shape.rank(); ++i) out.push_back(shape.columns_from(i + 1));
  return out;
}

void move(const Tensor& from, Tensor& to, double factor) {
  const Layout line{{1}};
  move(from, to, Shape{to.numel()}, line, line, factor);
}

void move(const Tensor& from, Tensor& to, const Shape& extents, const Layout& from_layout,
          const Layout& to_layout, double factor) {
  if (extents.numel() == 0) return;
  const Device& device = *to.device();
  const auto* source = static_cast<const std::byte*>(in(device, from));  // null: ones
  auto* target = static_cast<std::byte*>(out(device, to));
  Move move{.from_type = from.dtype(),
            .to_type = to.dtype(),
            .rank = extents.rank(),
            .extents = {},
            .from_stride = {},
            .to_stride = {},
            .factor = static_cast<float>(factor),
            .from = source == nullptr ? nullptr
                                      : source + from_layout.at * static_cast<int64_t>(size_of(from.dtype())),
            .to = target + to_layout.at * static_cast<int64_t>(size_of(to.dtype()))};
  fill(extents.extents(), move.extents);
  fill(from_layout.stride, move.from_stride);
  fill(to_layout.stride.empty() ? strides_of(extents) : to_layout.stride, move.to_stride);
  device.run(&Kernels::move, move);
}

void sum(const Tensor& from, Tensor& to, const std::vector<bool>& kept, double factor) {
  if (to.numel() == 0) return;
  const Device& device = *to.device();
  Sum sum{.from_type = from.dtype(),
          .to_type = to.dtype(),
          .rank = 0,
          .summed_rank = 0,
          .extents = {},
          .stride = {},
          .summed = {},
          .summed_stride = {},
          .factor = static_cast<float>(factor),
          .from = in(device, from),
          .to = out(device, to)};
  const std::vector<int64_t> strides = strides_of(from.shape());
  for (int i = 0; i < from.shape().rank(); ++i) {
    int& rank = kept[i] ? sum.rank : sum.summed_rank;
    (kept[i] ? sum.extents : sum.summed)[rank] = from.dim(i);
    (kept[i] ? sum.stride : sum.summed_stride)[rank++] = strides[i];
  }
  device.run(&Kernels::sum, sum);
}

Product product_of(const Device& device, const Tensor& a, const Tensor& b, Tensor& to) {
  const auto matrix = [&](const Tensor& x) { return Matrix{in(device, x), x.dtype(), 0, 0, false}; };
  return {.batch = 1,
          .m = 0,
          .n = 0,
          .k = 0,
          .a = matrix(a),
          .b = matrix(b),
          .out = out(device, to),
          .out_type = to.dtype(),
          .out_step = 0,
          .out_image = 0,
          .bias = nullptr,
          .added = nullptr,
          .epilogue = Epilogue::none,
          .form = GeluForm::erf,
          .inner = nullptr};
}

void check_head_width(const char* op, int64_t width) {
  check(width <= most_head_width, "{}: on a device a head has at most {} columns, got {}", op,
        most_head_width, width);
}

Tensor sum_first(const Tensor& from, DType dtype) {
  Tensor to = Tensor::empty(from.shape().without(0), dtype, from.memory());
  std::vector<bool> kept(from.shape().rank(), true);
  kept[0] = false;
  sum(from, to, kept);
  return to;
}

}  // namespace gpu

}  // namespace vitrine
