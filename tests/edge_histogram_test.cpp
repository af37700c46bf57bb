// edge_histogram_test.cpp: directions, weights and symmetries of data/edge_histogram.h,
// from their definition.
#include "data/edge_histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/check.h"
#include "engine/random.h"

using namespace vitrine;

namespace {

constexpr int side = 16, cell = 4, cells = side / cell, bins = 8;

// The three channels of value(x, y).
template <class Value>
std::vector<uint8_t> picture(const Value& value) {
  std::vector<uint8_t> rgb;
  for (int channel = 0; channel < 3; ++channel)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) rgb.push_back(static_cast<uint8_t>(value(x, y)));
  return rgb;
}

std::vector<float> histogram(const std::vector<uint8_t>& rgb) {
  std::vector<float> out(static_cast<size_t>(bins * cells * cells), -1.0f);
  edge_histogram(rgb, side, cell, bins, out);
  return out;
}

float at(const std::vector<float>& h, int bin, int row, int column) {
  return h[static_cast<size_t>((bin * cells + row) * cells + column)];
}

std::vector<uint8_t> noise() {
  Random random(7, Purpose::formula, 0, 0, 0);
  std::vector<uint8_t> rgb(3 * side * side);
  for (uint8_t& value : rgb) value = static_cast<uint8_t>(random.uniform() * 255);
  return rgb;
}

}  // namespace

TEST_CASE("edge histogram: a ramp fills the bin of its direction with its slope, a plain picture none") {
  for (const float value : histogram(picture([](int, int) { return 77; }))) CHECK(value == 0);
  const auto across = histogram(picture([](int x, int) { return 10 * x; }));
  const auto down = histogram(picture([](int, int y) { return 10 * y; }));
  const auto diagonal = histogram(picture([](int x, int y) { return 6 * x + 6 * y; }));
  const auto other = histogram(picture([](int x, int y) { return 90 + 6 * x - 6 * y; }));
  for (int bin = 0; bin < bins; ++bin) {
    const auto expected = [&](int full, double slope) { return bin == full ? std::sqrt(slope / 255) : 0.0; };
    CAPTURE(bin);
    CHECK(at(across, bin, 1, 2) == doctest::Approx(expected(0, 10)));
    CHECK(at(down, bin, 1, 2) == doctest::Approx(expected(bins / 2, 10)));
    CHECK(at(diagonal, bin, 1, 2) == doctest::Approx(expected(bins / 4, 6 * std::sqrt(2.0))));
    CHECK(at(other, bin, 1, 2) == doctest::Approx(expected(3 * bins / 4, 6 * std::sqrt(2.0))));
  }
}

TEST_CASE("edge histogram: squares of entries add up to the gradients' lengths") {
  const auto rgb = noise();
  const auto h = histogram(rgb);
  for (int row = 0; row < cells; ++row)
    for (int column = 0; column < cells; ++column) {
      double expected = 0, got = 0;
      for (int y = row * cell; y < (row + 1) * cell; ++y)
        for (int x = column * cell; x < (column + 1) * cell; ++x) {
          double longest = 0;
          for (int c = 0; c < 3; ++c) {
            const auto value = [&](int py, int px) {
              return rgb[static_cast<size_t>((c * side + std::clamp(py, 0, side - 1)) * side +
                                             std::clamp(px, 0, side - 1))] /
                     255.0;
            };
            longest = std::max(
                longest,
                std::hypot(value(y, x + 1) - value(y, x - 1), value(y + 1, x) - value(y - 1, x)) / 2);
          }
          expected += longest / (cell * cell);
        }
      for (int bin = 0; bin < bins; ++bin) got += std::pow(at(h, bin, row, column), 2);
      CHECK(got == doctest::Approx(expected).epsilon(1e-5));
    }
}

TEST_CASE("edge histogram: a quarter turn of the picture turns cells and moves bins by half their number") {
  const auto rgb = noise();
  std::vector<uint8_t> turned(rgb.size());  // (x, y) -> (side - 1 - y, x)
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)
        turned[static_cast<size_t>((c * side + x) * side + side - 1 - y)] =
            rgb[static_cast<size_t>((c * side + y) * side + x)];
  const auto before = histogram(rgb), after = histogram(turned);
  for (int bin = 0; bin < bins; ++bin)
    for (int row = 0; row < cells; ++row)
      for (int column = 0; column < cells; ++column)
        CHECK(at(after, (bin + bins / 2) % bins, column, cells - 1 - row) ==
              doctest::Approx(at(before, bin, row, column)).epsilon(1e-4));
}

TEST_CASE("edge histogram: sizes that do not fit are refused") {
  const auto rgb = noise();
  std::vector<float> out(static_cast<size_t>(bins * cells * cells));
  CHECK_THROWS_AS(edge_histogram(rgb, side, 3, bins, out), Error);
  CHECK_THROWS_AS(edge_histogram(rgb, side, cell, 0, out), Error);
  CHECK_THROWS_AS(edge_histogram(rgb, side, cell, bins + 1, out), Error);
  CHECK_THROWS_AS(edge_histogram(std::span(rgb).first(10), side, cell, bins, out), Error);
}
