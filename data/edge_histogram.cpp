#include "data/edge_histogram.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/check.h"

namespace vitrine {

void edge_histogram(std::span<const uint8_t> rgb, int side, int cell, int bins, std::span<float> out) {
  check(side > 0 && cell > 0 && side % cell == 0 && bins > 0,
        "edge histogram: cells of {} pixels and {} bins do not fit a side of {}", cell, bins, side);
  const auto n = static_cast<size_t>(side), cells = static_cast<size_t>(side / cell),
             step = static_cast<size_t>(cell);
  check(rgb.size() == 3 * n * n && out.size() == static_cast<size_t>(bins) * cells * cells,
        "edge histogram: expected {} values and room for {}, got {} and {}", 3 * n * n,
        static_cast<size_t>(bins) * cells * cells, rgb.size(), out.size());
  std::ranges::fill(out, 0.0f);
  for (size_t y = 0; y < n; ++y) {
    for (size_t x = 0; x < n; ++x) {
      int dx = 0, dy = 0;  // twice 255 times the gradient
      for (size_t channel = 0; channel < 3; ++channel) {
        const auto at = [&](size_t row, size_t column) -> int {
          return rgb[(channel * n + row) * n + column];
        };
        const int a = at(y, std::min(x + 1, n - 1)) - at(y, x == 0 ? 0 : x - 1);
        const int b = at(std::min(y + 1, n - 1), x) - at(y == 0 ? 0 : y - 1, x);
        if (a * a + b * b > dx * dx + dy * dy) dx = a, dy = b;
      }
      if (dx == 0 && dy == 0) continue;
      const float length = std::sqrt(static_cast<float>(dx * dx + dy * dy)) / (2 * 255.0f);
      const float turns =
          std::atan2(static_cast<float>(dy), static_cast<float>(dx)) / std::numbers::pi_v<float>;
      const float place = (turns - std::floor(turns)) * static_cast<float>(bins);  // [0, bins]
      const int low = static_cast<int>(place);
      const float share = place - static_cast<float>(low);
      const auto add = [&](int bin, float amount) {
        out[(static_cast<size_t>(bin % bins) * cells + y / step) * cells + x / step] += amount;
      };
      add(low, length * (1 - share));
      add(low + 1, length * share);
    }
  }
  for (float& value : out) value = std::sqrt(value / static_cast<float>(cell * cell));
}

}  // namespace vitrine
