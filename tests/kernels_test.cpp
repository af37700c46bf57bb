// kernels_test.cpp: the row kernels of every instruction set against the library's functions in double precision.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/cpu/kernels.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// body() for every set that this processor can run.
template <class Body>
void with_every_set(const Body& body) {
  for (const std::string& set : instruction_sets()) {
    CAPTURE(set);
    const Instructions used(set);
    body();
  }
}

template <class T>
T exp_of(T x) {
  T out;
  cpu::kernels<T>().exp(&x, 1, &out);
  return out;
}

template <class T>
std::vector<T> numbers(int64_t n, double size, int64_t seed) {
  std::vector<T> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<T>(size * std::sin(static_cast<double>(i * 37 + seed))));
  return out;
}

double phi(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0)); }

// s(x) and its derivative of each form, by the textbook.
std::pair<double, double> gelu_factor(cpu::GeluForm form, double x) {
  if (form == cpu::GeluForm::erf) return {std::erfc(-x / std::sqrt(2.0)) / 2, phi(x)};
  const bool tanh = form == cpu::GeluForm::tanh;
  const double a = 2 * std::sqrt(2 / std::acos(-1.0)), b = 0.044715;
  const double s = 1 / (1 + std::exp(-(tanh ? a * (x + b * x * x * x) : 1.702 * x)));
  return {s, s * (1 - s) * (tanh ? a * (1 + 3 * b * x * x) : 1.702)};
}

}  // namespace

TEST_CASE("kernels: exp is within 1.5 units of the last place of f32 over its range, and of 1e-15 in f64") {
  with_every_set([] {
    const double unit = std::numeric_limits<float>::epsilon() / 2;
    double worst = 0, worst_wide = 0;
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float last = sign ? 87 : 88;
      for (uint32_t bits = 0; bits <= std::bit_cast<uint32_t>(last); bits += 997) {
        const float x = std::bit_cast<float>(bits | sign);
        const double truth = std::exp(double{x});
        worst = std::max(worst, std::abs(double{exp_of(x)} - truth) / truth / unit);
        worst_wide = std::max(worst_wide, std::abs(exp_of(double{x}) - truth) / truth);
      }
    }
    CAPTURE(worst);
    CAPTURE(worst_wide);
    CHECK(worst <= 1.5);
    CHECK(worst_wide <= 1e-15);
    CHECK(exp_of(0.0f) == 1);
    CHECK(exp_of(0.0) == 1);
  });
}

TEST_CASE("kernels: exp is bounded on both sides, NaN stays NaN") {
  const auto bounded = [](auto zero) {
    using T = decltype(zero);
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for (const T x : {cpu::exp_least<T> * 2, -infinity}) CHECK(exp_of(x) == exp_of(cpu::exp_least<T>));
    for (const T x : {cpu::exp_most<T> * 2, infinity}) CHECK(exp_of(x) == exp_of(cpu::exp_most<T>));
    CHECK(std::isnormal(exp_of(-infinity)));
    CHECK(std::isnormal(exp_of(infinity)));
    CHECK(std::isnan(exp_of(std::numeric_limits<T>::quiet_NaN())));
  };
  with_every_set([&] {
    bounded(float{});
    bounded(double{});
  });
}

TEST_CASE(
    "kernels: gelu's factor is within 2.5e-7 in f32 and 1e-14 in f64, its slope within ten times that") {
  const auto check_form = [](cpu::GeluForm form, auto zero, double allowed) {
    using T = decltype(zero);
    std::vector<T> x, y, slopes;
    for (double v = -30; v <= 30; v += 1.0 / 512) x.push_back(static_cast<T>(v));
    y.resize(x.size());
    slopes.resize(x.size());
    cpu::kernels<T>().gelu(form, x.data(), static_cast<int64_t>(x.size()), y.data(), slopes.data());
    double worst = 0, worst_slope = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const auto [s, rise] = gelu_factor(form, x[i]);
      if (x[i] != 0) worst = std::max(worst, std::abs(y[i] / double{x[i]} - s));
      worst_slope = std::max(worst_slope, std::abs(slopes[i] - (s + x[i] * rise)));
    }
    CAPTURE(worst);
    CAPTURE(worst_slope);
    CHECK(worst <= allowed);
    CHECK(worst_slope <= 10 * allowed);
  };
  with_every_set([&] {
    for (const cpu::GeluForm form : {cpu::GeluForm::erf, cpu::GeluForm::tanh, cpu::GeluForm::sigmoid}) {
      check_form(form, float{}, 2.5e-7);
      check_form(form, double{}, 1e-14);
    }
  });
}

TEST_CASE("kernels: each number of a row by itself, also in place") {
  with_every_set([] {
    for (int64_t n = 0; n <= 35; ++n) {
      std::vector<float> x = numbers<float>(n, 20, 3), out(static_cast<size_t>(n) + 1, 7.0f);
      cpu::kernels<float>().exp(x.data(), n, out.data());
      CHECK(out[n] == 7);
      for (int64_t i = 0; i < n; ++i) CHECK(out[i] == exp_of(x[i]));
      cpu::kernels<float>().exp(x.data(), n, x.data());
      out.pop_back();
      CHECK(x == out);
    }
  });
}

TEST_CASE("kernels: norm, softmax and their gradients for rows of every length against the formulas") {
  const auto check_rows = [](auto zero, double allowed) {
    using T = decltype(zero);
    const cpu::Kernels<T>& kernels = cpu::kernels<T>();
    for (const int64_t n : {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 197, 768}) {
      CAPTURE(n);
      const std::vector<T> x = numbers<T>(n, 2, 1), g = numbers<T>(n, 1, 2), b = numbers<T>(n, 1, 5),
                           dy = numbers<T>(n, 1, 9);
      const Doubles wide(x.begin(), x.end());
      Doubles want(wide.size());
      const auto close =
          [&](const std::vector<T>& got) {  // of the greatest in the row: differences may vanish
            double size = 1, worst = 0;
            for (int64_t i = 0; i < n; ++i) size = std::max(size, std::abs(want[i]));
            for (int64_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(double{got[i]} - want[i]));
            CHECK(worst <= allowed * size);
          };
      const auto mean_of = [&](auto&& f) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += f(i);
        return sum / static_cast<double>(n);
      };
      const double epsilon = 1e-3, mean = mean_of([&](int64_t i) { return wide[i]; }),
                   variance = mean_of([&](int64_t i) { return (wide[i] - mean) * (wide[i] - mean); }),
                   rstd = 1 / std::sqrt(variance + epsilon);
      std::vector<T> got(x.size());
      T got_mean, got_rstd;
      kernels.layer_norm(x.data(), n, g.data(), b.data(), static_cast<T>(epsilon), got.data(), &got_mean,
                         &got_rstd);
      for (int64_t i = 0; i < n; ++i) want[i] = (wide[i] - mean) * rstd * g[i] + b[i];
      close(got);
      const double mean_g = mean_of([&](int64_t i) { return double{g[i]} * dy[i]; }),
                   mean_gx =
                       mean_of([&](int64_t i) { return double{g[i]} * dy[i] * (wide[i] - mean) * rstd; });
      kernels.layer_norm_backward(x.data(), dy.data(), n, g.data(), got_mean, got_rstd, got.data());
      for (int64_t i = 0; i < n; ++i)
        want[i] = rstd * (double{g[i]} * dy[i] - mean_g - (wide[i] - mean) * rstd * mean_gx);
      close(got);

      const double factor = 0.3;
      double sum = 0, top = -1e300;
      for (const double v : wide) top = std::max(top, factor * v);
      for (const double v : wide) sum += std::exp(factor * v - top);
      T greatest;
      got = x;
      const T got_sum = kernels.softmax_terms(got.data(), n, static_cast<T>(factor), &greatest);
      for (int64_t i = 0; i < n; ++i) want[i] = std::exp(factor * wide[i] - top);
      close(got);
      check_close({double{got_sum}, double{greatest}}, {sum, top}, allowed);
      got = x;
      kernels.softmax_again(got.data(), n, static_cast<T>(factor), static_cast<T>(top + std::log(sum)));
      for (int64_t i = 0; i < n; ++i) want[i] = std::exp(factor * wide[i] - top) / sum;
      close(got);
      double inner = 0;
      for (int64_t i = 0; i < n; ++i) inner += want[i] * dy[i];
      check_close({double{kernels.dot(got.data(), dy.data(), n)}}, {inner}, allowed);
      std::vector<T> slope = dy;
      kernels.softmax_slope(got.data(), n, static_cast<T>(inner), static_cast<T>(factor), slope.data());
      for (int64_t i = 0; i < n; ++i) want[i] *= (dy[i] - inner) * factor;
      close(slope);
    }
  };
  with_every_set([&] {
    check_rows(float{}, 1e-5);
    check_rows(double{}, 1e-13);
  });
}

TEST_CASE("instruction sets: the best is in use, an unknown one is refused by naming those there are") {
  CHECK(instruction_set() == instruction_sets().front());
  CHECK(instruction_sets().back() == "portable");
  CHECK_THROWS_WITH(use_instruction_set("avx3"), doctest::Contains("portable"));
}
