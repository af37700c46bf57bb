// window_attention.cpp: attention within the windows of Swin (arXiv 2103.14030), which may be shifted.
//
// Rolling the map and cutting it into windows is arithmetic on places: a plan says for each slot of each
// window which token stands there. One task is one head of one image; it goes through the windows in their
// order, so that what is summed over windows (gradients of prompts, their mean) has one order. tests/windows.h
// holds the plain composition of rolls, copies and softmax beside this.
#include <cmath>

#include "engine/check.h"
#include "engine/cpu/gemm.h"
#include "engine/cpu/rows.h"
#include "engine/ops/prefix.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::ConstRow;
using cpu::Row;
using cpu::Scratch;

constexpr int64_t query_rows = 72;  // one block of query rows; its scores stay in the cache
// What is less than this before exp stays no part of any sum; without the bound masked scores would become
// denormal numbers, which are slow.
template <class T>
constexpr T least = sizeof(T) == 4 ? T(-87) : T(-700);
constexpr double masked = -100;  // the published models were trained with it, not with infinity

// Which token stands in which slot.
struct Plan {
  int64_t windows = 0, slots = 0;  // slots: of one window, w * w
  std::vector<int64_t> tokens;     // (windows * slots): place on the map, or -1 where it was filled up
  std::vector<uint8_t> regions;    // (windows * slots): tokens of different regions do not see each other
  std::vector<bool> mixed;         // (windows): has more than one region
};

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

Plan make_plan(const WindowGrid& grid) {
  std::vector<int64_t> rows, columns;
  std::vector<uint8_t> row_regions, column_regions;
  plan_axis(grid.rows, grid, rows, row_regions);
  plan_axis(grid.columns, grid, columns, column_regions);
  const auto height = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(columns.size());
  const int64_t w = grid.window;
  Plan plan{height / w * (width / w), w * w, {}, {}, {}};
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

struct Sizes {
  int64_t batch, tokens, prompts, prefix, heads, width, window;  // width: of one head; tokens: with prompts
  int64_t model() const { return heads * width; }
  int64_t slots() const { return window * window; }
  int64_t lead() const { return prefix + prompts; }  // keys before the slots'
  int64_t keys() const { return lead() + slots(); }
  int64_t queries() const { return prompts + slots(); }
};

int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

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
int64_t bias_row(int64_t i, int64_t j, int64_t w) {
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

// A row of one head is short: a call of memcpy would cost more than the copy.
template <class T>
void copy_row(const T* from, int64_t width, T* to) {
  Row<T>(to, width) = ConstRow<T>(from, width);
}

// Where one head of one image finds its rows.
template <class T>
struct Rows {
  const Sizes& s;
  const Plan& plan;
  const T* qkv;      // of this image
  const T* padding;  // or null
  int64_t offset;    // of this head in D

  // The rows of the prompts, then of the slots of one window, (P + w w, width).
  void gather(Part part, int64_t window, T* out) const {
    const int64_t d = s.model(), column = part * d + offset;
    for (int64_t p = 0; p < s.prompts; ++p, out += s.width) copy_row(qkv + p * 3 * d + column, s.width, out);
    for (int64_t i = 0; i < s.slots(); ++i, out += s.width) {
      const int64_t token = plan.tokens[window * s.slots() + i];
      if (token >= 0)
        copy_row(qkv + (s.prompts + token) * 3 * d + column, s.width, out);
      else if (padding && part != queries)
        copy_row(padding + column, s.width, out);
      else
        std::fill_n(out, s.width, T(0));
    }
  }
};

template <class T>
Rows<T> rows_of(const Sizes& s, const Plan& plan, const Inputs& in, int64_t b, int64_t offset) {
  return {s, plan, in.qkv.data<T>().data() + b * s.tokens * 3 * s.model(),
          in.padding.defined() ? in.padding.data<T>().data() : nullptr, offset};
}

// The prefix of one head, (prefix, width).
template <class T>
void gather_prefix(const Sizes& s, const Tensor& prefix, int64_t b, int64_t offset, T* out) {
  if (s.prefix == 0) return;
  const T* from = prefix.data<T>().data() + (prefix.shape().rank() == 3 ? b * s.prefix * s.model() : 0);
  for (int64_t p = 0; p < s.prefix; ++p)
    std::copy_n(from + p * s.model() + offset, s.width, out + p * s.width);
}

// scores = factor * scores + bias, with the mask: row r of the queries of a window, all its whole columns.
template <class T>
void finish_scores(const Sizes& s, const Plan& plan, int64_t window, int64_t r, const T* bias, T factor,
                   Row<T> scores) {
  scores = scores * factor + ConstRow<T>(bias, scores.size());
  if (!plan.mixed[window] || r < s.prompts) return;
  const uint8_t* regions = plan.regions.data() + window * s.slots();
  const uint8_t own = regions[r - s.prompts];
  for (int64_t j = 0; j < s.slots(); ++j)
    scores[s.lead() + j] += regions[j] == own ? T(0) : static_cast<T>(masked);
}

// out (B, P + N, D); log_sum_exp (B, heads, windows, P + w w)
template <class T>
void window_attention_forward(const Sizes& s, const Plan& plan, const Inputs& in, Tensor& out,
                              Tensor& log_sum_exp) {
  const int64_t n_keys = s.keys(), n_queries = s.queries(), width = s.width, d = s.model();
  const int64_t wide = whole_columns<T>(n_keys), tall = whole_rows<T>(std::min(query_rows, n_queries));
  const T factor = T(1) / std::sqrt(static_cast<T>(width)), share = T(1) / static_cast<T>(plan.windows);
  const int64_t packed_k = cpu::packed_size<T>(width, wide), packed_v = cpu::packed_size<T>(n_keys, width);
  const Tensor bias = spread_bias<T>(in.bias, s);
  const T* biases = bias.data<T>().data();
  T *to = out.mutable_data<T>().data(), *lse = log_sum_exp.mutable_data<T>().data();
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    Scratch<T> scratch((2 * wide + n_queries + 2 * tall) * width + packed_k + packed_v + tall * wide,
                       out.memory());
    T *k_rows = scratch.take(wide * width), *v_rows = scratch.take(wide * width);
    T *q = scratch.take((n_queries + tall) * width), *mixed = scratch.take(tall * width);
    T *k = scratch.take(packed_k), *v = scratch.take(packed_v), *scores = scratch.take(tall * wide);
    std::fill_n(k_rows + n_keys * width, (wide - n_keys) * width, T(0));
    std::fill_n(q + n_queries * width, tall * width, T(0));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / s.heads, head = task % s.heads, offset = head * width;
      const Rows<T> rows = rows_of<T>(s, plan, in, b, offset);
      gather_prefix(s, in.prefix_k, b, offset, k_rows);
      gather_prefix(s, in.prefix_v, b, offset, v_rows);
      T* image = to + b * s.tokens * d + offset;
      for (int64_t p = 0; p < s.prompts; ++p) std::fill_n(image + p * d, width, T(0));
      for (int64_t window = 0; window < plan.windows; ++window) {
        rows.gather(queries, window, q);
        rows.gather(keys, window, k_rows + s.prefix * width);
        rows.gather(values, window, v_rows + s.prefix * width);
        cpu::pack<T>(width, wide, {k_rows, 1, width}, k);
        cpu::pack<T>(n_keys, width, {v_rows, width, 1}, v);
        T* window_lse = lse + (task * plan.windows + window) * n_queries;
        for (int64_t i = 0; i < n_queries; i += query_rows) {
          const int64_t n = std::min(query_rows, n_queries - i), m = whole_rows<T>(n);
          cpu::multiply_packed_serially<T>({m, wide, width, {q + i * width, width, 1}, scores, wide}, k);
          T sums[query_rows];
          for (int64_t r = 0; r < n; ++r) {
            Row<T> row(scores + r * wide, wide);
            finish_scores<T>(s, plan, window, i + r, biases + (head * n_queries + i + r) * wide, factor, row);
            const T top = row.maxCoeff();
            row = (row - top).max(least<T>).exp();
            sums[r] = row.sum();
            window_lse[i + r] = top + std::log(sums[r]);
          }
          cpu::multiply_packed_serially<T>({m, width, n_keys, {scores, wide, 1}, mixed, width}, v);
          for (int64_t r = 0; r < n; ++r) {
            const ConstRow<T> result(mixed + r * width, width);
            const int64_t slot = i + r - s.prompts;
            if (slot < 0) {
              Row<T>(image + (i + r) * d, width) += result * (share / sums[r]);
            } else if (const int64_t token = plan.tokens[window * s.slots() + slot]; token >= 0) {
              Row<T>(image + (s.prompts + token) * d, width) = result * (T(1) / sums[r]);
            }
          }
        }
      }
    }
  });
}

// What backward keeps, and what it is to find.
struct Kept {
  Sizes sizes;
  Plan plan;
  Inputs in;
  Tensor out, log_sum_exp;  // out: only if the prefix alone is wanted
  bool qkv = false, bias = false, padding = false, prefix_k = false, prefix_v = false;
  bool prefix_alone() const { return !qkv && !bias && !padding && sizes.prompts == 0; }
};

// The same shapes as the inputs, but a slice for each image where images share, (B, ...); undefined
// where not wanted. bias (B, heads, w w, w w).
struct Gradients {
  Tensor qkv, bias, padding, prefix_k, prefix_v;
};

template <class T>
T* data_of(Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data<T>().data() : nullptr;
}

template <class T>
void window_attention_backward(const Kept& kept, const Tensor& dy, Gradients& grad) {
  const Sizes& s = kept.sizes;
  const Plan& plan = kept.plan;
  const bool alone = kept.prefix_alone();
  const int64_t n_keys = alone ? s.prefix : s.keys(), n_queries = s.queries(), width = s.width, d = s.model();
  const int64_t slots = s.slots(), own = n_keys - s.prefix;  // keys that are not the prefix's
  const int64_t wide = whole_columns<T>(n_keys), tall = whole_rows<T>(std::min(query_rows, n_queries));
  const int64_t k_tall_rows = whole_rows<T>(wide);  // of dk and dv
  const T factor = T(1) / std::sqrt(static_cast<T>(width)), share = T(1) / static_cast<T>(plan.windows);
  const int64_t packed_wide = cpu::packed_size<T>(width, wide),
                packed_tall = cpu::packed_size<T>(n_keys, width),
                packed_rows = cpu::packed_size<T>(query_rows, width);
  const Tensor bias = spread_bias<T>(kept.in.bias, s);
  const T *biases = bias.data<T>().data(), *lse = kept.log_sum_exp.data<T>().data();
  const T *dys = dy.data<T>().data(), *ys = alone ? kept.out.data<T>().data() : nullptr;
  T *to_qkv = data_of<T>(grad.qkv), *to_bias = data_of<T>(grad.bias), *to_padding = data_of<T>(grad.padding);
  T *to_prefix_k = data_of<T>(grad.prefix_k), *to_prefix_v = data_of<T>(grad.prefix_v);
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    Scratch<T> scratch((2 * wide + 2 * k_tall_rows + 3 * (n_queries + tall)) * width + 2 * packed_wide +
                           packed_tall + packed_rows + 2 * tall * (wide + cpu::tile_rows<T>()),
                       dy.memory());
    T *k_rows = scratch.take(wide * width), *v_rows = scratch.take(wide * width);
    T *dk = scratch.take(k_tall_rows * width), *dv = scratch.take(k_tall_rows * width);
    T *q = scratch.take((n_queries + tall) * width), *dq = scratch.take((n_queries + tall) * width);
    T* dout = scratch.take((n_queries + tall) * width);
    T *k_wide = scratch.take(packed_wide), *v_wide = scratch.take(packed_wide);
    T *k_tall = scratch.take(packed_tall), *packed = scratch.take(packed_rows);
    T *probabilities = scratch.take(tall * (wide + cpu::tile_rows<T>())),
      *ds = scratch.take(tall * (wide + cpu::tile_rows<T>()));
    for (T* rows : {k_rows, v_rows}) std::fill_n(rows + n_keys * width, (wide - n_keys) * width, T(0));
    for (T* rows : {q, dout}) std::fill_n(rows + n_queries * width, tall * width, T(0));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / s.heads, head = task % s.heads, offset = head * width;
      const Rows<T> rows = rows_of<T>(s, plan, kept.in, b, offset);
      const T* image_dy = dys + b * s.tokens * d + offset;
      gather_prefix(s, kept.in.prefix_k, b, offset, k_rows);
      gather_prefix(s, kept.in.prefix_v, b, offset, v_rows);
      // The rows of dq, dk, dv of this head; those of prompts, padding and prefix are summed over windows.
      T* image_qkv = to_qkv ? to_qkv + b * s.tokens * 3 * d + offset : nullptr;
      const auto add_row = [&](T* to, const T* from) { Row<T>(to, width) += ConstRow<T>(from, width); };
      for (int64_t window = 0; window < plan.windows; ++window) {
        const int64_t* tokens = plan.tokens.data() + window * slots;
        rows.gather(queries, window, q);
        if (!alone) {
          rows.gather(keys, window, k_rows + s.prefix * width);
          rows.gather(values, window, v_rows + s.prefix * width);
        }
        if (!alone || window == 0) {
          cpu::pack<T>(width, wide, {k_rows, 1, width}, k_wide);
          cpu::pack<T>(width, wide, {v_rows, 1, width}, v_wide);
          if (to_qkv) cpu::pack<T>(n_keys, width, {k_rows, width, 1}, k_tall);
        }
        for (int64_t r = 0; r < n_queries; ++r) {
          const int64_t token = r < s.prompts ? r : tokens[r - s.prompts];
          const int64_t place = r < s.prompts ? r : s.prompts + token;
          Row<T> to(dout + r * width, width);
          if (token < 0)
            to.setZero();
          else
            to = ConstRow<T>(image_dy + place * d, width) * (r < s.prompts ? share : T(1));
        }
        for (int64_t i = 0; i < n_queries; i += query_rows) {
          const int64_t n = std::min(query_rows, n_queries - i), m = whole_rows<T>(n);
          const cpu::Matrix<T> q_block{q + i * width, width, 1}, dout_block{dout + i * width, width, 1};
          cpu::multiply_packed_serially<T>({m, wide, width, q_block, probabilities, wide}, k_wide);
          cpu::multiply_packed_serially<T>({m, wide, width, dout_block, ds, wide}, v_wide);  // dP = dO V^T
          for (int64_t r = 0; r < n; ++r) {
            Row<T> probability(probabilities + r * wide, wide), slope(ds + r * wide, wide);
            const T log_sum = lse[(task * plan.windows + window) * n_queries + i + r];
            T mean = 0;
            if (alone) {
              probability = (probability * factor - log_sum).max(least<T>).exp();
              if (tokens[i + r] >= 0)
                mean = (ConstRow<T>(dout + (i + r) * width, width) *
                        ConstRow<T>(ys + (b * s.tokens + tokens[i + r]) * d + offset, width))
                           .sum();
            } else {
              finish_scores<T>(s, plan, window, i + r, biases + (head * n_queries + i + r) * wide, factor,
                               probability);
              probability = (probability - log_sum).max(least<T>).exp();
              mean = (probability * slope).sum();
            }
            slope = probability * (slope - mean);
            if (to_bias && i + r >= s.prompts)
              Row<T>(to_bias + (task * slots + i + r - s.prompts) * slots, slots) +=
                  slope.segment(s.lead(), slots);
            slope *= factor;
          }
          if (to_qkv)
            cpu::multiply_packed_serially<T>({m, width, n_keys, {ds, wide, 1}, dq + i * width, width},
                                             k_tall);
          const int64_t k_rows_whole = whole_rows<T>(n_keys);
          cpu::pack<T>(n, width, q_block, packed);  // dK = dS^T Q
          cpu::multiply_packed_serially<T>({k_rows_whole, width, n, {ds, 1, wide}, dk, width, i > 0}, packed);
          cpu::pack<T>(n, width, dout_block, packed);  // dV = P^T dO
          cpu::multiply_packed_serially<T>(
              {k_rows_whole, width, n, {probabilities, 1, wide}, dv, width, i > 0}, packed);
        }
        for (int64_t p = 0; p < s.prefix; ++p) {
          if (to_prefix_k) add_row(to_prefix_k + (b * s.prefix + p) * d + offset, dk + p * width);
          if (to_prefix_v) add_row(to_prefix_v + (b * s.prefix + p) * d + offset, dv + p * width);
        }
        for (int64_t j = 0; j < own; ++j) {
          const T *from_q = dq + j * width, *from_k = dk + (s.prefix + j) * width,
                  *from_v = dv + (s.prefix + j) * width;
          const bool prompt = j < s.prompts;
          const int64_t token = prompt ? j : tokens[j - s.prompts];
          if (token < 0) {
            if (!to_padding) continue;
            add_row(to_padding + b * 3 * d + d + offset, from_k);
            add_row(to_padding + b * 3 * d + 2 * d + offset, from_v);
          } else if (image_qkv) {
            T* to = image_qkv + (prompt ? token : s.prompts + token) * 3 * d;
            if (prompt && window > 0) {
              add_row(to, from_q);
              add_row(to + d, from_k);
              add_row(to + 2 * d, from_v);
            } else {
              copy_row(from_q, width, to);
              copy_row(from_k, width, to + d);
              copy_row(from_v, width, to + 2 * d);
            }
          }
        }
      }
    }
  });
}

// (B, heads, w w, w w) -> ((2 w - 1)^2, heads), images in their order.
template <class T>
Tensor gather_bias(const Tensor& spread, const Sizes& s) {
  const int64_t slots = s.slots(), side = 2 * s.window - 1;
  Tensor out = Tensor::zeros({side * side, s.heads}, spread.dtype(), spread.memory());
  const T* from = spread.data<T>().data();
  T* to = out.mutable_data<T>().data();
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t head = 0; head < s.heads; ++head)
      for (int64_t i = 0; i < slots; ++i)
        for (int64_t j = 0; j < slots; ++j)
          to[bias_row(i, j, s.window) * s.heads + head] +=
              from[((b * s.heads + head) * slots + i) * slots + j];
  return out;
}

// In the order of the inputs: qkv, bias, padding, prefix keys, prefix values.
template <class T>
std::vector<Tensor> gradients_of(const Kept& kept, const Tensor& dy) {
  const Sizes& s = kept.sizes;
  const int64_t d = s.model();
  const auto zeros = [&](bool wanted, const Shape& shape) {
    return wanted ? Tensor::zeros(shape, dy.dtype(), dy.memory()) : Tensor();
  };
  Gradients grad;
  if (kept.qkv) grad.qkv = Tensor::empty(kept.in.qkv.shape(), dy.dtype(), dy.memory());
  grad.bias = zeros(kept.bias, {s.batch, s.heads, s.slots(), s.slots()});
  grad.padding = zeros(kept.padding, {s.batch, 3 * d});
  grad.prefix_k = zeros(kept.prefix_k, {s.batch, s.prefix, d});
  grad.prefix_v = zeros(kept.prefix_v, {s.batch, s.prefix, d});
  window_attention_backward<T>(kept, dy, grad);
  const bool shared = kept.in.prefix_k.defined() && kept.in.prefix_k.shape().rank() == 2;
  return {grad.qkv, kept.bias ? gather_bias<T>(grad.bias, s) : Tensor(),
          kept.padding ? cpu::sum_images<T>(grad.padding) : Tensor(),
          kept.prefix_k && shared ? cpu::sum_images<T>(grad.prefix_k) : grad.prefix_k,
          kept.prefix_v && shared ? cpu::sum_images<T>(grad.prefix_v) : grad.prefix_v};
}

Sizes checked_sizes(const Variable& qkv, const Variable& bias, int64_t heads, const WindowGrid& grid,
                    const KeyValuePrefix& prefix, const Variable& padding) {
  constexpr const char* op = "window_attention";
  check(qkv.shape().rank() == 3 && heads > 0 && qkv.dim(2) % 3 == 0 && qkv.dim(2) / 3 % heads == 0, op,
        ": expected qkv (B, T, 3 D) with D a multiple of ", heads, " heads, got ", qkv.shape());
  const int64_t w = grid.window, d = qkv.dim(2) / 3;
  check(grid.rows > 0 && grid.columns > 0 && grid.prompts >= 0 &&
            checked_add(checked_multiply(grid.rows, grid.columns, op), grid.prompts, op) == qkv.dim(1),
        op, ": a map of ", grid.rows, " x ", grid.columns, " and ", grid.prompts, " prompts are not the ",
        qkv.dim(1), " tokens of ", qkv.shape());
  check(w > 0 && w <= 1 << 12 && grid.shift >= 0 && grid.shift < w, op,
        ": expected a window of 1 to 4096 and a shift below it, got ", w, " and ", grid.shift);
  check(bias.shape() == Shape{(2 * w - 1) * (2 * w - 1), heads} && bias.dtype() == qkv.dtype(), op,
        ": expected a bias table (", (2 * w - 1) * (2 * w - 1), ", ", heads, "), got ", bias.shape());
  check(!padding.defined() || (padding.shape() == Shape{3 * d} && padding.dtype() == qkv.dtype()), op,
        ": expected padding (", 3 * d, "), got ", padding.shape());
  return {qkv.dim(0), qkv.dim(1), grid.prompts, check_prefix(op, prefix, qkv.dim(0), d, qkv.dtype()), heads,
          d / heads,  w};
}

}  // namespace

Variable window_attention(const Variable& qkv, const Variable& bias, int64_t heads, const WindowGrid& grid,
                          const KeyValuePrefix& prefix, const Variable& padding) {
  Kept kept{checked_sizes(qkv, bias, heads, grid, prefix, padding),
            make_plan(grid),
            {qkv.value(), bias.value(), padding.value(), prefix.keys.value(), prefix.values.value()},
            {},
            {}};
  const Sizes& s = kept.sizes;
  const Memory memory = qkv.value().memory();
  Tensor out = Tensor::empty({s.batch, s.tokens, s.model()}, qkv.dtype(), memory);
  kept.log_sum_exp = Tensor::empty({s.batch, s.heads, kept.plan.windows, s.queries()}, qkv.dtype(), memory);
  dispatch(qkv.dtype(), "window_attention", [&](auto zero) {
    window_attention_forward<decltype(zero)>(s, kept.plan, kept.in, out, kept.log_sum_exp);
  });
  return record_jointly(out, {qkv, bias, padding, prefix.keys, prefix.values},
                        [&](const std::vector<bool>& wanted) -> JointRule {
                          kept.qkv = wanted[0];
                          kept.bias = wanted[1];
                          kept.padding = wanted[2];
                          kept.prefix_k = wanted[3];
                          kept.prefix_v = wanted[4];
                          if (kept.prefix_alone()) kept.out = out;
                          return [kept = std::move(kept)](const Tensor& dy) {
                            return dispatch(dy.dtype(), "window_attention", [&](auto zero) {
                              return gradients_of<decltype(zero)>(kept, dy);
                            });
                          };
                        });
}

}  // namespace vitrine
