// linear_pass.h: linear forward and backward, for tests of what its weight is packed into.
#pragma once

#include "tests/op_checks.h"

namespace vitrine::testing {

struct Passed {
  Tensor y, dx;
};

inline Passed linear_pass(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy) {
  const Variable leaf = Variable::leaf(x);
  const Variable y = linear(leaf, Variable(weight), Variable(bias));
  backward(y, dy);
  return {y.value(), leaf.gradient()};
}
inline Passed linear_pass(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return linear_pass(x, weight, bias, make_dy({x.dim(0), weight.dim(0)}, x.dtype()));
}

// Whether what a weight multiplies is rounded as the weight is, and is added up in pairs (precision.h).
inline bool multiplies_pairs(const std::string& instruction_set, Precision precision) {
  return instruction_set == "avx512_bf16" && precision == Precision::bf16;
}

}  // namespace vitrine::testing
