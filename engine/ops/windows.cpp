#include "engine/ops/windows.h"

namespace vitrine::windows {

namespace {

// One axis: the place on the map of each place on the rolled and filled-up axis, and its region.
void plan_axis(int64_t length, const WindowGrid& grid, std::vector<int64_t>& place,
               std::vector<uint8_t>& region) {
  const int64_t w = grid.window, full = (length + w - 1) / w * w, shift = full > w ? grid.shift : 0;
  for (int64_t i = 0; i < full; ++i) {
    int64_t at = (i + shift) % full;
    if (grid.padding == WindowGrid::Padding::after_roll) at = i < length ? (i + shift) % length : length;
    place.push_back(at < length ? at : -1);
    region.push_back(shift == 0 || i < full - w ? 0 : i < full - shift ? 1 : 2);
  }
}

}  // namespace

Plan make_plan(const WindowGrid& grid) {
  std::vector<int64_t> rows, columns;
  std::vector<uint8_t> row_regions, column_regions;
  plan_axis(grid.rows, grid, rows, row_regions);
  plan_axis(grid.columns, grid, columns, column_regions);
  const auto height = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(columns.size());
  const int64_t w = grid.window;
  Plan plan{height / w * (width / w), {}, {}, {}};
  for (int64_t top = 0; top < height; top += w)
    for (int64_t left = 0; left < width; left += w) {
      const size_t first = plan.regions.size();
      for (int64_t y = top; y < top + w; ++y)
        for (int64_t x = left; x < left + w; ++x) {
          const bool inside = rows[y] >= 0 && columns[x] >= 0;
          plan.tokens.push_back(inside ? rows[y] * grid.columns + columns[x] : -1);
          plan.regions.push_back(static_cast<uint8_t>(3 * row_regions[y] + column_regions[x]));
        }
      plan.mixed.push_back(plan.regions[first] != plan.regions.back());
    }
  return plan;
}

}  // namespace vitrine::windows
