// exp_test.cpp: the exp of softmax and gelu against the library's in double precision.
#include "engine/cpu/exp.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

using namespace vitrine;

namespace {

template <class T>
T exp_of(T x) {
  T out;
  cpu::exp_run(&x, 1, &out);
  return out;
}

}  // namespace

TEST_CASE("exp: within 1.5 units of the last place of f32 over its range") {
  const double unit = std::numeric_limits<float>::epsilon() / 2;
  double worst = 0;
  for (const uint32_t sign : {0u, 0x80000000u}) {
    const float last = sign ? 87 : 88;
    for (uint32_t bits = 0; bits <= std::bit_cast<uint32_t>(last); bits += 997) {
      const float x = std::bit_cast<float>(bits | sign);
      const double truth = std::exp(double{x});
      worst = std::max(worst, std::abs(double{exp_of(x)} - truth) / truth / unit);
    }
  }
  CAPTURE(worst);
  CHECK(worst <= 1.5);
  CHECK(exp_of(0.0f) == 1);
}

TEST_CASE("exp: bounded on both sides, NaN stays NaN") {
  const auto bounded = [](auto zero) {
    using T = decltype(zero);
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for (const T x : {cpu::exp_least<T> * 2, -infinity}) CHECK(exp_of(x) == exp_of(cpu::exp_least<T>));
    for (const T x : {cpu::exp_most<T> * 2, infinity}) CHECK(exp_of(x) == exp_of(cpu::exp_most<T>));
    CHECK(std::isnormal(exp_of(-infinity)));
    CHECK(std::isnormal(exp_of(infinity)));
    CHECK(std::isnan(exp_of(std::numeric_limits<T>::quiet_NaN())));
  };
  bounded(float{});
  bounded(double{});
}

TEST_CASE("exp: each number of a run by itself, also in place") {
  for (int64_t n = 0; n <= 35; ++n) {
    std::vector<float> x(static_cast<size_t>(n)), out(static_cast<size_t>(n) + 1, 7.0f);
    for (int64_t i = 0; i < n; ++i) x[i] = -0.37f * static_cast<float>(i * i % 91);
    cpu::exp_run(x.data(), n, out.data());
    CHECK(out[n] == 7);
    for (int64_t i = 0; i < n; ++i) CHECK(out[i] == exp_of(x[i]));
    cpu::exp_run(x.data(), n, x.data());
    out.pop_back();
    CHECK(x == out);
  }
}
