// linear_pass.h: linear forward and backward, for tests of what its weight is packed into.
#pragma once

#include "tests/op_checks.h"

namespace vitrine::testing {

struct Passed {
  Tensor y, dx;
};

inline Passed linear_pass(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Variable leaf = Variable::leaf(x);
  const Variable y = linear(leaf, Variable(weight), Variable(bias));
  backward(y, make_dy(y.shape(), y.dtype()));
  return {y.value(), leaf.gradient()};
}

}  // namespace vitrine::testing
