// devices.h: the device on which tests run what a GPU runs: the emulator, or what VITRINE_TEST_DEVICE names.
#pragma once

#include <cstdlib>
#include <memory>

#include "engine/device.h"
#include "engine/tensor.h"

namespace vitrine::testing {

inline std::shared_ptr<const Device> open_test_device() {
  const char* name = std::getenv("VITRINE_TEST_DEVICE");
  return Device::open(name == nullptr ? "emulator" : name);
}

// Whole numbers (labels) stay in main memory.
inline std::vector<Tensor> brought_to(const Memory& memory, const std::vector<Tensor>& tensors) {
  std::vector<Tensor> out;
  for (const Tensor& x : tensors) out.push_back(x.dtype() == DType::i64 ? x : x.copied_to(memory));
  return out;
}

}  // namespace vitrine::testing
