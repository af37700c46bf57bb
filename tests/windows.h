// windows.h: window_attention as a plain composition of other ops: its executable definition. Maps are rolled
// and cut by slices, copies and permutations, and what the op finds by arithmetic on places stands in tables.
#pragma once

#include <cmath>
#include <vector>

#include "engine/ops.h"

namespace vitrine::testing {

inline int64_t whole_windows(int64_t length, int64_t window) {
  return (length + window - 1) / window * window;
}

// (w * w, w * w), row by row: the row of the bias table for two places of a window.
inline std::vector<int64_t> relative_index(int64_t window) {
  std::vector<int64_t> out;
  for (int64_t yi = 0; yi < window; ++yi)
    for (int64_t xi = 0; xi < window; ++xi)
      for (int64_t yj = 0; yj < window; ++yj)
        for (int64_t xj = 0; xj < window; ++xj)
          out.push_back((yi - yj + window - 1) * (2 * window - 1) + xi - xj + window - 1);
  return out;
}

// The regions of one rolled axis of `full` places: what came from behind its end is a region of its own, and
// so is what shares a window with it.
inline std::vector<int> axis_regions(int64_t full, int64_t window, int64_t shift) {
  std::vector<int> out;
  for (int64_t i = 0; i < full; ++i) out.push_back(i < full - window ? 0 : i < full - shift ? 1 : 2);
  return out;
}

// x (B, H, W, C) -> begins `shift` rows (columns) later and goes on with those passed over.
inline Variable roll_back(const Variable& x, int axis, int64_t shift) {
  if (shift == 0) return x;
  return concat({slice(x, axis, shift, x.dim(axis)), slice(x, axis, 0, shift)}, axis);
}

// x (B, H, W, C) with copies of `row` (C) behind its end, up to the extent `full`.
inline Variable fill_behind(const Variable& x, int axis, int64_t full, const Variable& row) {
  const int64_t missing = full - x.dim(axis);
  if (missing == 0) return x;
  const Shape shape = x.shape().with(axis, missing);
  return concat({x, reshape(repeat(row, shape.numel() / x.dim(3)), shape)}, axis);
}

// x (B, H, W, C), whole windows -> (B, windows, w * w, C), and back
inline Variable cut(const Variable& x, int64_t w) {
  const int64_t b = x.dim(0), down = x.dim(1) / w, across = x.dim(2) / w, c = x.dim(3);
  return reshape(permute(reshape(x, {b, down, w, across, w, c}), {0, 1, 3, 2, 4, 5}),
                 {b, down * across, w * w, c});
}
inline Variable join(const Variable& x, int64_t w, int64_t height, int64_t width) {
  const int64_t b = x.dim(0), c = x.dim(3);
  return reshape(permute(reshape(x, {b, height / w, width / w, w, w, c}), {0, 1, 3, 2, 4, 5}),
                 {b, height, width, c});
}

// The same as engine/ops.h: window_attention.
inline Variable composed_window_attention(const Variable& qkv, const Variable& table, int64_t heads,
                                          const WindowGrid& grid, const KeyValuePrefix& prefix = {},
                                          const Variable& padding = {}) {
  const int64_t b = qkv.dim(0), d = qkv.dim(2) / 3, p = grid.prompts, w = grid.window, head_width = d / heads;
  const int64_t height = whole_windows(grid.rows, w), width = whole_windows(grid.columns, w);
  const int64_t down = height > w ? grid.shift : 0, right = width > w ? grid.shift : 0;
  const bool fill_first = grid.padding == WindowGrid::Padding::before_roll;
  const Variable row = padding.defined() ? padding : Variable(Tensor::zeros({3 * d}, qkv.dtype()));

  Variable map = reshape(slice(qkv, 1, p, qkv.dim(1)), {b, grid.rows, grid.columns, 3 * d});
  const auto fill = [&] { map = fill_behind(fill_behind(map, 1, height, row), 2, width, row); };
  if (fill_first) fill();
  map = roll_back(roll_back(map, 1, down), 2, right);
  if (!fill_first) fill();
  Variable windows = cut(map, w);  // (B, windows, w w, 3 D)
  const int64_t count = windows.dim(1), slots = w * w;
  windows = concat({permute(repeat(slice(qkv, 1, 0, p), count), {1, 0, 2, 3}), windows}, 2);

  // (3, B windows, heads, P + w w, D / heads)
  const int64_t n = p + slots;
  const Variable split = permute(reshape(windows, {b * count, n, 3, heads, head_width}), {2, 0, 3, 1, 4});
  const auto part = [&](int64_t i) {
    return reshape(slice(split, 0, i, i + 1), {b * count, heads, n, head_width});
  };
  const Variable q = part(0);
  Variable k = part(1), v = part(2);
  int64_t lead = p;  // keys before those of the slots
  if (prefix.defined()) {
    const int64_t further = prefix.keys.dim(-2);
    const auto everywhere = [&](const Variable& rows) {  // (B windows, heads, further, D / heads)
      const Variable own = rows.shape().rank() == 2 ? repeat(rows, b) : rows;
      return permute(
          reshape(permute(repeat(own, count), {1, 0, 2, 3}), {b * count, further, heads, head_width}),
          {0, 2, 1, 3});
    };
    k = concat({everywhere(prefix.keys), k}, 2);
    v = concat({everywhere(prefix.values), v}, 2);
    lead += further;
  }

  // Bias and mask, zero for all that is no token: (heads, n, keys) and (windows, 1, n, keys).
  const DType dtype = qkv.dtype();
  Variable bias = embedding_add(Tensor::zeros({slots * slots, heads}, dtype), table, relative_index(w));
  bias = permute(reshape(bias, {slots, slots, heads}), {2, 0, 1});
  bias = concat({Tensor::zeros({heads, slots, lead}, dtype), bias}, 2);
  bias = concat({Tensor::zeros({heads, p, lead + slots}, dtype), bias}, 1);
  const std::vector<int> rows = axis_regions(height, w, down), columns = axis_regions(width, w, right);
  Tensor labels = Tensor::empty({1, height, width, 1}, DType::f64);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      labels.mutable_data<double>()[y * width + x] = (down ? 3 * rows[y] : 0) + (right ? columns[x] : 0);
  const Tensor regions = cut(labels, w).value();
  Tensor mask = Tensor::zeros({count, 1, n, lead + slots}, DType::f64);
  for (int64_t window = 0; window < count; ++window)
    for (int64_t i = 0; i < slots; ++i)
      for (int64_t j = 0; j < slots; ++j)
        if (regions.data<double>()[window * slots + i] != regions.data<double>()[window * slots + j])
          mask.mutable_data<double>()[(window * n + p + i) * (lead + slots) + lead + j] = -100;

  Variable scores =
      scale(matmul(q, permute(k, {0, 1, 3, 2})), 1 / std::sqrt(static_cast<double>(head_width)));
  scores = reshape(add(scores, bias), {b, count, heads, n, lead + slots});
  scores = reshape(add(scores, mask.to(dtype)), {b * count, heads, n, lead + slots});
  const Variable y = reshape(permute(matmul(softmax(scores), v), {0, 2, 1, 3}), {b, count, n, d});

  map = join(slice(y, 2, p, n), w, height, width);
  const auto crop = [&] { map = slice(slice(map, 1, 0, grid.rows), 2, 0, grid.columns); };
  if (!fill_first) crop();
  map = roll_back(roll_back(map, 1, down ? map.dim(1) - down : 0), 2, right ? map.dim(2) - right : 0);
  if (fill_first) crop();
  return concat({mean(slice(y, 2, 0, p), 1), reshape(map, {b, grid.rows * grid.columns, d})}, 1);
}

}  // namespace vitrine::testing
