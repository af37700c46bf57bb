// noise.cpp: dropout and drop_path. The mask is never kept: backward draws the same numbers again.
#include <cmath>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

void check_noise(const char* op, const Variable& x, double probability, const NoiseKey& key) {
  check(probability >= 0 && probability < 1, "{}: expected a probability in [0, 1), got {}", op, probability);
  check(x.shape().rank() >= 1 && static_cast<int64_t>(key.samples.size()) == x.dim(0),
        "{}: expected {} samples in the key, got {}", op, x.shape().rank() ? x.dim(0) : 0,
        key.samples.size());
  check(!key.on_device.defined() || key.on_device.shape() == Shape{1 + x.dim(0)},
        "{}: expected a key ({}) on the device, got {}", op, 1 + x.dim(0), key.on_device.shape());
  check(!key.on_device.defined() || key.on_device.device() == x.value().device(),
        "{}: expected a key where x is", op);
}

Random stream(const NoiseKey& key, Purpose purpose, int64_t b) {
  return {key.seed, purpose, key.epoch, static_cast<uint32_t>(key.samples[b]), key.lane};
}

// Keeps each group of `group` neighbouring elements with probability 1 - p, divided by 1 - p.
template <class T>
Tensor masked(const Tensor& x, double probability, const NoiseKey& key, Purpose purpose, int64_t group) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  const int64_t per_sample = x.shape().columns_from(1);
  const T factor = static_cast<T>(1.0 / (1.0 - probability));
  const T* from = x.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(x.dim(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Random random = stream(key, purpose, b);
      for (int64_t i = 0; i < per_sample; i += group) {
        const T keep = random.chance(probability) ? T(0) : factor;
        for (int64_t j = b * per_sample + i; j < b * per_sample + i + group; ++j) to[j] = keep * from[j];
      }
    }
  });
  return out;
}

Tensor masked_on(const Device& device, const Tensor& x, double probability, const NoiseKey& key,
                 Purpose purpose, int64_t group) {
  Tensor out = Tensor::empty(x.shape(), x.dtype(), x.memory());
  Tensor own = key.on_device;
  if (!own.defined()) {
    std::vector<int64_t> numbers{key.epoch};
    numbers.insert(numbers.end(), key.samples.begin(), key.samples.end());
    own = Tensor::of<int64_t>({static_cast<int64_t>(numbers.size())}, numbers, x.memory());
  }
  device.run(&gpu::Kernels::dropout,
             {x.dtype(), x.dim(0), x.shape().columns_from(1), group, probability, key.seed,
              static_cast<uint32_t>(purpose), key.lane, gpu::in<int64_t>(device, own), gpu::in(device, x),
              gpu::out(device, out)});
  return out;
}

Variable noise(const char* op, const Variable& x, double probability, const NoiseKey& key, Purpose purpose,
               int64_t group) {
  check_noise(op, x, probability, key);
  if (probability == 0 || x.numel() == 0) return x;
  const auto apply = [op, probability, key, purpose, group](const Tensor& t) {
    if (const Device* device = device_of(t, op))
      return masked_on(*device, t, probability, key, purpose, group);
    return dispatch(t.dtype(), op,
                    [&](auto zero) { return masked<decltype(zero)>(t, probability, key, purpose, group); });
  };
  return record(apply(x.value()), {{x, apply}});
}

}  // namespace

Variable dropout(const Variable& x, double probability, const NoiseKey& key, Purpose purpose) {
  return noise("dropout", x, probability, key, purpose, 1);
}

Variable drop_path(const Variable& x, double probability, const NoiseKey& key) {
  return noise("drop_path", x, probability, key, Purpose::drop_path, x.shape().columns_from(1));
}

}  // namespace vitrine
