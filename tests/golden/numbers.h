// numbers.h: the rule by which the tests and golden/make_vit.py make the same weights, images and prompts.
#pragma once

#include <cstdint>
#include <string>

#include "engine/tensor.h"

namespace vitrine::testing {

// Number k of the tensor `name`: 24 bits of a hash of both, as a fraction, less 1/2; gains are around 1, matrices half.
inline Tensor numbers(const std::string& name, const Shape& shape, DType dtype = DType::f64) {
  uint32_t seed = 2166136261U;
  for (const char letter : name) seed = (seed ^ static_cast<uint8_t>(letter)) * 16777619U;
  const bool gain = shape.rank() == 1 && (name.ends_with(".weight") || name.ends_with(".gamma"));
  Tensor out = Tensor::empty(shape, DType::f64);
  uint32_t k = 0;
  for (double& value : out.mutable_data<double>()) {
    uint32_t x = k++ * 0x9E3779B9U + seed;
    x = (x ^ (x >> 16)) * 0x7FEB352DU;
    x = (x ^ (x >> 15)) * 0x846CA68BU;
    x ^= x >> 16;
    value = static_cast<double>(x >> 8) / (1 << 24) - 0.5;
    value = gain ? value + 1 : shape.rank() > 1 ? value / 2 : value;
  }
  return out.to(dtype);
}

}  // namespace vitrine::testing
