// windows.h: where the rows of windows are: the plan of a grid, and moving rows between tokens and windows.
// Private to the window attention.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/cpu/gemm.h"
#include "engine/cpu/rows.h"
#include "engine/ops.h"

namespace vitrine::windows {

constexpr int64_t most_bands = 4;  // of one image

// Which token stands in which slot.
struct Plan {
  int64_t windows = 0;
  std::vector<int64_t> tokens;   // (windows * w w): place on the map, or -1 where it was filled up
  std::vector<uint8_t> regions;  // (windows * w w): tokens of different regions do not see each other
  std::vector<bool> mixed;       // (windows): has more than one region

  int64_t bands() const { return std::min(windows, most_bands); }
  int64_t first_of(int64_t band) const { return windows * band / bands(); }  // its first window
};

Plan make_plan(const WindowGrid& grid);

struct Sizes {
  int64_t batch, tokens, prompts, prefix, heads, width, window;  // width: of one head; tokens: with prompts
  int64_t model() const { return heads * width; }
  int64_t slots() const { return window * window; }
  int64_t lead() const { return prefix + prompts; }  // keys before the slots'
  int64_t keys() const { return lead() + slots(); }
  int64_t queries() const { return prompts + slots(); }
};

inline int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// Matrices of scores have whole tiles: the product runs fastest on them, and exp has no odd ends. What stands
// in rows and columns too many is finite or nobody reads it.
template <class T>
int64_t whole_rows(int64_t rows) {
  return round_up(rows, cpu::tile_rows<T>());
}
template <class T>
int64_t whole_columns(int64_t columns) {
  return round_up(columns, cpu::tile_columns<T>());
}

// The row of the table for slots i and j.
inline int64_t bias_row(int64_t i, int64_t j, int64_t w) {
  return (i / w - j / w + w - 1) * (2 * w - 1) + i % w - j % w + w - 1;
}

// What is added to the scores: ((2 w - 1)^2, heads) -> (heads, queries, whole columns of keys), zeros where a
// prompt asks or is asked, and in the columns too many what exp makes nothing of.
template <class T>
Tensor spread_bias(const Tensor& table, const Sizes& s) {
  constexpr T nothing = T(-1e30);
  const int64_t slots = s.slots(), wide = whole_columns<T>(s.keys());
  Tensor out = Tensor::zeros({s.heads, s.queries(), wide}, table.dtype(), table.memory());
  const T* from = table.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(s.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head)
      for (int64_t r = 0; r < s.queries(); ++r) {
        T* row = to + (head * s.queries() + r) * wide;
        for (int64_t j = 0; j < slots && r >= s.prompts; ++j)
          row[s.lead() + j] = from[bias_row(r - s.prompts, j, s.window) * s.heads + head];
        std::fill(row + s.keys(), row + wide, nothing);
      }
  });
  return out;
}

struct Inputs {
  Tensor qkv, bias, padding, prefix_k, prefix_v;  // bias: the table
};

enum Part { queries, keys, values };

// A row of one head is short: calls and odd ends would cost more than the copy.
template <class T>
void copy_row(const T* from, int64_t width, T* to) {
  constexpr int64_t step = 32 / static_cast<int64_t>(sizeof(T));
  typedef T Vector __attribute__((vector_size(32), aligned(sizeof(T))));
  int64_t i = 0;
  for (; i + step <= width; i += step)
    *reinterpret_cast<Vector*>(to + i) = *reinterpret_cast<const Vector*>(from + i);
  for (; i < width; ++i) to[i] = from[i];
}

// The same added to what is there.
template <class T>
void add_row(const T* from, int64_t width, T* to) {
  for (int64_t i = 0; i < width; ++i) to[i] += from[i];
}

// One head of one window, and the one whose turn is next. A head's rows are short pieces of long ones, which
// the processor does not foresee; so their cache lines are asked for one turn ahead.
struct Turn {
  int64_t window, head, offset, next_offset;                // offset: of the head in D
  const int64_t *tokens = nullptr, *next_tokens = nullptr;  // in the slots of the window
};

// Turn `at` of the heads of the windows that end before window `last`.
inline Turn turn_of(const Sizes& s, const Plan& plan, int64_t at, int64_t last) {
  const int64_t next = std::min(at + 1, last * s.heads - 1);
  const auto tokens = [&](int64_t window) { return plan.tokens.data() + window * s.slots(); };
  return {at / s.heads,         at % s.heads,          at % s.heads * s.width, next % s.heads * s.width,
          tokens(at / s.heads), tokens(next / s.heads)};
}

enum class For { reading, writing };

// Asks for the cache lines of the next turn's row of `slot`; `first` is where token 0's row begins, and rows
// are `step` apart.
template <For purpose, class T>
inline void fetch_ahead(const Turn& turn, int64_t slot, const T* first, int64_t step, int64_t width) {
  const T* row = first + std::max<int64_t>(turn.next_tokens[slot], 0) * step + turn.next_offset;
  for (int64_t i = 0; i < width; i += 64 / static_cast<int64_t>(sizeof(T)))
    __builtin_prefetch(row + i, purpose == For::writing);
}

// Where one head of one image finds its rows.
template <class T>
struct Rows {
  const Sizes& s;
  const Turn& turn;
  const T* qkv;      // of this image
  int64_t step;      // from one token's row to the next: 3 D, or D if only queries are there
  const T* padding;  // or null

  // The rows of the prompts, then of the slots of one window, (P + w w, width).
  void gather(Part part, T* out) const {
    const int64_t d = s.model(), width = s.width, slots = s.slots();
    const T *piece = qkv + part * d, *tokens = piece + s.prompts * step;
    for (int64_t p = 0; p < s.prompts; ++p, out += width)
      copy_row(piece + p * step + turn.offset, width, out);
    for (int64_t i = 0; i < slots; ++i, out += width) {
      fetch_ahead<For::reading>(turn, i, tokens, step, width);
      if (turn.tokens[i] >= 0)
        copy_row(tokens + turn.tokens[i] * step + turn.offset, width, out);
      else if (padding && part != queries)
        copy_row(padding + part * d + turn.offset, width, out);
      else
        std::fill_n(out, width, T(0));
    }
  }
};

template <class T>
Rows<T> rows_of(const Sizes& s, const Turn& turn, const Inputs& in, int64_t b) {
  const int64_t step = in.qkv.dim(2);
  return {s, turn, in.qkv.data<T>().data() + b * s.tokens * step, step,
          in.padding.defined() ? in.padding.data<T>().data() : nullptr};
}

// The prefix of one head, (prefix, width).
template <class T>
void gather_prefix(const Sizes& s, const Tensor& prefix, int64_t b, int64_t offset, T* out) {
  if (s.prefix == 0) return;
  const T* from = prefix.data<T>().data() + (prefix.shape().rank() == 3 ? b * s.prefix * s.model() : 0);
  for (int64_t p = 0; p < s.prefix; ++p) copy_row(from + p * s.model() + offset, s.width, out + p * s.width);
}

// (B bands, ...) -> (B, ...): the sum over the bands, in their order.
template <class T>
Tensor sum_bands(const Tensor& parts, const Sizes& s) {
  const int64_t bands = parts.dim(0) / std::max<int64_t>(s.batch, 1);
  if (bands == 1) return parts;
  const int64_t n = parts.shape().columns_from(1);
  Tensor out = Tensor::empty(parts.shape().with(0, s.batch), parts.dtype(), parts.memory());
  const T* from = parts.data<T>().data();
  T* to = out.mutable_data<T>().data();
  parallel_for(s.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      std::copy_n(from + b * bands * n, n, to + b * n);
      for (int64_t band = 1; band < bands; ++band) add_row(from + (b * bands + band) * n, n, to + b * n);
    }
  });
  return out;
}

// Writes rows (B, P, columns) over the first P rows of x (B, T, columns): the prompts'.
template <class T>
void place_prompts(const Tensor& rows, Tensor& x) {
  const int64_t n = rows.shape().columns_from(1), image = x.shape().columns_from(1);
  const T* from = rows.data<T>().data();
  T* to = x.mutable_data<T>().data();
  for (int64_t b = 0; b < rows.dim(0); ++b) std::copy_n(from + b * n, n, to + b * image);
}

// (B bands, heads, w w, w w) -> ((2 w - 1)^2, heads), in the order of images and bands.
template <class T>
Tensor gather_bias(const Tensor& spread, const Sizes& s) {
  const int64_t slots = s.slots(), side = 2 * s.window - 1;
  Tensor out = Tensor::zeros({side * side, s.heads}, spread.dtype(), spread.memory());
  const T* from = spread.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (int64_t b = 0; b < spread.dim(0); ++b)
    for (int64_t head = 0; head < s.heads; ++head)
      for (int64_t i = 0; i < slots; ++i)
        for (int64_t j = 0; j < slots; ++j)
          to[bias_row(i, j, s.window) * s.heads + head] +=
              from[((b * s.heads + head) * slots + i) * slots + j];
  return out;
}

}  // namespace vitrine::windows
