// op_checks.h: what the tests of the ops share: input tensors, values as doubles, comparison.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/op_cases.h"

namespace vitrine::testing {

using Doubles = std::vector<double>;

inline Tensor normal(const Shape& shape, uint32_t lane, DType dtype = DType::f64) {
  return random_tensor(shape, dtype, lane);
}

inline Doubles values(const Variable& x) {
  const Tensor wide = x.value().to(DType::f64);
  return {wide.data<double>().begin(), wide.data<double>().end()};
}

// Of two f64 tensors of one shape.
inline double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double largest = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    largest = std::max(largest, std::abs(a.data<double>()[i] - b.data<double>()[i]));
  return largest;
}

// |got - expected| <= tolerance (|expected| + root mean square of all that is expected), everywhere.
inline void check_close(const Doubles& got, const Doubles& expected, double tolerance) {
  REQUIRE(got.size() == expected.size());
  double squares = 0;
  for (const double e : expected) squares += e * e;
  const double size = expected.empty() ? 0 : std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::abs(got[i] - expected[i]) <= tolerance * (std::abs(expected[i]) + size) + 1e-300) continue;
    CAPTURE(i);
    CAPTURE(tolerance);
    CHECK(got[i] == expected[i]);
    return;
  }
  CHECK(true);
}

// f must throw an Error{Fault::input} that begins with the op's name.
inline void refused(const std::string& op, const std::function<Variable()>& f) {
  CAPTURE(op);
  std::string message = "nothing was thrown";
  Fault fault = Fault::resources;
  try {
    f();
  } catch (const Error& error) {
    message = error.what();
    fault = error.fault();
  }
  CAPTURE(message);
  CHECK(message.starts_with(op + ": "));
  CHECK(fault == Fault::input);
}

}  // namespace vitrine::testing
