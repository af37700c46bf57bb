// operands.h: what kernels are measured on: tensors of random numbers on a device.
#pragma once

#include <algorithm>
#include <memory>

#include "engine/device.h"
#include "engine/gpu/run.h"
#include "engine/random.h"
#include "engine/tensor.h"

namespace vitrine::bench {

class Operands {
 public:
  // `period`: after so many numbers they come again.
  Operands(std::shared_ptr<const Device> device, int64_t period)
      : device_(std::move(device)),
        memory_(device_->memory()),
        numbers_(random_numbers(period).copied_to(memory_)) {}

  const Device& device() const { return *device_; }
  Tensor empty(const Shape& shape, DType dtype) const { return Tensor::empty(shape, dtype, memory_); }
  Tensor filled(const Shape& shape, double value, DType dtype) const {
    return Tensor::full(shape, value, DType::f64).to(dtype).copied_to(memory_);
  }
  // Normal numbers of this deviation.
  Tensor random(const Shape& shape, DType dtype, double deviation = 1) const {
    Tensor out = empty(shape, dtype);
    const int64_t period = numbers_.numel(), times = out.numel() / period, rest = out.numel() % period;
    gpu::move(numbers_, out, {times, period}, {{0, 1}}, {}, deviation);
    gpu::move(numbers_, out, {rest}, {{1}}, {{1}, times * period}, deviation);
    return out;
  }
  // Labels and the like, below `end`.
  Tensor whole_numbers(const Shape& shape, uint32_t end) const {
    Tensor out = Tensor::empty(shape, DType::i64);
    Random random(1, Purpose::test);
    for (int64_t& value : out.mutable_data<int64_t>()) value = random.below(end);
    return out.copied_to(memory_);
  }

 private:
  static Tensor random_numbers(int64_t count) {
    Tensor out = Tensor::empty({count}, DType::f32);
    Random random(0, Purpose::test);
    for (float& value : out.mutable_data<float>()) value = static_cast<float>(random.normal());
    return out;
  }

  std::shared_ptr<const Device> device_;
  Memory memory_;
  Tensor numbers_;
};

}  // namespace vitrine::bench
