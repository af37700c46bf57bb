// emulator_arrays.h: what a test gives to the GPU's kernels and finds in what they wrote.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/dtype.h"
#include "engine/random.h"

namespace vitrine::testing {

using Doubles = std::vector<double>;

// ‖got - expected‖ / ‖expected‖; what is no number is infinitely wrong.
inline double error_of(const Doubles& expected, const Doubles& got) {
  REQUIRE(expected.size() == got.size());
  double off = 0, all = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
    off += (got[i] - expected[i]) * (got[i] - expected[i]);
    all += expected[i] * expected[i];
  }
  return all > 0 ? std::sqrt(off / all) : off > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}

// Device memory of f32 or bf16 elements, poisoned; aligned as a device aligns.
class Array {
 public:
  Array() = default;
  Array(DType dtype, int64_t count) : dtype_(dtype), count_(count) {
    bytes_.resize(static_cast<size_t>(count) * (dtype == DType::f32 ? 4 : 2) + alignment, 0xff);
  }
  static Array of(DType dtype, const Doubles& values) {
    Array to(dtype, static_cast<int64_t>(values.size()));
    for (int64_t i = 0; i < to.count_; ++i) {
      const auto x = static_cast<float>(values[static_cast<size_t>(i)]);
      if (dtype == DType::f32) {
        std::memcpy(to.at(i), &x, 4);
      } else {
        const bf16 rounded = vitrine::to_bf16(x);
        std::memcpy(to.at(i), &rounded, 2);
      }
    }
    return to;
  }
  unsigned char* at(int64_t i = 0) {
    if (count_ == 0) return nullptr;
    const auto begin = reinterpret_cast<uintptr_t>(bytes_.data());
    const size_t lead = (alignment - begin % alignment) % alignment;
    return bytes_.data() + lead + i * (dtype_ == DType::f32 ? 4 : 2);
  }
  float* floats() { return reinterpret_cast<float*>(at()); }
  Doubles values() {
    Doubles out(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) {
      if (dtype_ == DType::f32) {
        float x = 0;
        std::memcpy(&x, at(i), 4);
        out[static_cast<size_t>(i)] = x;
      } else {
        bf16 x;
        std::memcpy(&x, at(i), 2);
        out[static_cast<size_t>(i)] = vitrine::to_float(x);
      }
    }
    return out;
  }

 private:
  static constexpr size_t alignment = 256;
  DType dtype_ = DType::f32;
  int64_t count_ = 0;
  std::vector<unsigned char> bytes_;
};

inline Doubles random_values(int64_t count, Random& random, DType dtype) {
  Doubles out(static_cast<size_t>(count));
  for (double& x : out) x = random.normal();
  return Array::of(dtype, out).values();  // what the dtype can hold
}

struct Tolerance {
  double out, log_sum_exp, tokens, prefix;
};
// Relative, of attention's kernels. bf16: of inputs that are rounded already.
inline Tolerance tolerance_of(DType dtype) {
  return dtype == DType::f32 ? Tolerance{1e-5, 1e-5, 1e-5, 1e-5} : Tolerance{6e-3, 1e-5, 1e-2, 1e-2};
}

}  // namespace vitrine::testing
