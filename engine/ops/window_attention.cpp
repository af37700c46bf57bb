// window_attention.cpp: attention within the windows of Swin (arXiv 2103.14030), which may be shifted.
//
// Rolling the map and cutting it into windows is arithmetic on places: a plan says for each slot of each
// window which token stands there. One task is a band of windows of one image, all heads of a window after
// each other: so memory is read row by row. What is summed over windows (the mean of prompts, gradients of
// prompts, prefix, padding and table) is summed for each band and then over the bands, which do not depend on
// the number of threads. tests/windows.h holds the plain composition of rolls, copies and softmax beside this.
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops/prefix.h"
#include "engine/ops/windows.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using namespace windows;
using cpu::data_of;
using cpu::kernels;
using cpu::Scratch;

constexpr int64_t query_rows = 72;  // one block of query rows; its scores stay in the cache
constexpr double masked = -100;     // the published models were trained with it, not with infinity

// scores = factor * scores + bias, with the mask: row r of the queries of a window, all its whole columns.
template <class T>
void finish_scores(const Sizes& s, const Plan& plan, int64_t window, int64_t r, const T* bias, T factor,
                   T* scores, int64_t wide) {
  kernels<T>().add_scaled(scores, wide, factor, bias, scores);
  if (!plan.mixed[window] || r < s.prompts) return;
  const uint8_t* regions = plan.regions.data() + window * s.slots();
  const uint8_t own = regions[r - s.prompts];
  for (int64_t j = 0; j < s.slots(); ++j)
    scores[s.lead() + j] += regions[j] == own ? T(0) : static_cast<T>(masked);
}

// out (B, P + N, D); log_sum_exp (B, windows, heads, P + w w)
template <class T>
void window_attention_forward(const Sizes& s, const Plan& plan, const Inputs& in, Tensor& out,
                              Tensor& log_sum_exp) {
  if (s.batch == 0) return;
  const int64_t n_keys = s.keys(), n_queries = s.queries(), width = s.width, d = s.model();
  const int64_t wide = whole_columns<T>(n_keys), tall = whole_rows<T>(std::min(query_rows, n_queries));
  const T factor = T(1) / std::sqrt(static_cast<T>(std::max<int64_t>(width, 1))),
          share = T(1) / static_cast<T>(plan.windows);
  const int64_t packed_k = cpu::packed_size<T>(width, wide), packed_v = cpu::packed_size<T>(n_keys, width);
  const Tensor bias = spread_bias<T>(in.bias, s);
  const T* biases = bias.data<T>().data();
  const int64_t bands = plan.bands();
  Tensor prompts = Tensor::zeros({s.batch * bands, s.prompts, d}, out.dtype(), out.memory());
  T *to = out.mutable_data<T>().data(), *to_prompts = prompts.mutable_data<T>().data();
  T* lse = log_sum_exp.mutable_data<T>().data();
  const Scratch<T> all((2 * wide + n_queries + 2 * tall) * width + packed_k + packed_v + tall * wide,
                       out.memory());
  parallel_for_threads(s.batch * bands, 1, [&](int thread, int64_t begin, int64_t end) {
    typename Scratch<T>::Part scratch = all.of(thread);
    T *k_rows = scratch.take(wide * width), *v_rows = scratch.take(wide * width);
    T *q = scratch.take((n_queries + tall) * width), *mixed = scratch.take(tall * width);
    T *k = scratch.take(packed_k), *v = scratch.take(packed_v), *scores = scratch.take(tall * wide);
    std::fill_n(k_rows + n_keys * width, (wide - n_keys) * width, T(0));
    std::fill_n(q + n_queries * width, tall * width, T(0));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / bands, first = plan.first_of(task % bands),
                    last = plan.first_of(task % bands + 1);
      for (int64_t at = first * s.heads; at < last * s.heads; ++at) {
        const Turn turn = turn_of(s, plan, at, last);
        const int64_t window = turn.window, head = turn.head, offset = turn.offset;
        const Rows<T> rows = rows_of<T>(s, turn, in, b);
        T *image = to + b * s.tokens * d, *band = to_prompts + task * s.prompts * d + offset;
        gather_prefix(s, in.prefix_k, b, offset, k_rows);
        gather_prefix(s, in.prefix_v, b, offset, v_rows);
        rows.gather(queries, q);
        rows.gather(keys, k_rows + s.prefix * width);
        rows.gather(values, v_rows + s.prefix * width);
        cpu::pack<T>(width, wide, {k_rows, 1, width}, k);
        cpu::pack<T>(n_keys, width, {v_rows, width, 1}, v);
        T* window_lse = lse + ((b * plan.windows + window) * s.heads + head) * n_queries;
        for (int64_t i = 0; i < n_queries; i += query_rows) {
          const int64_t n = std::min(query_rows, n_queries - i), m = whole_rows<T>(n);
          cpu::multiply_packed_serially<T>({m, wide, width, {q + i * width, width, 1}, scores, wide}, k);
          T sums[query_rows];
          for (int64_t r = 0; r < n; ++r) {
            T *row = scores + r * wide, greatest;
            finish_scores<T>(s, plan, window, i + r, biases + (head * n_queries + i + r) * wide, factor, row,
                             wide);
            sums[r] = kernels<T>().softmax_terms(row, wide, T(1), &greatest);
            window_lse[i + r] = greatest + std::log(sums[r]);
          }
          cpu::multiply_packed_serially<T>({m, width, n_keys, {scores, wide, 1}, mixed, width}, v);
          for (int64_t r = 0; r < n; ++r) {
            const T* result = mixed + r * width;
            const int64_t slot = i + r - s.prompts;
            if (slot < 0) {
              T* mean = band + (i + r) * d;
              kernels<T>().add_scaled(result, width, share / sums[r], mean, mean);
            } else if (const int64_t token = turn.tokens[slot]; token >= 0) {
              kernels<T>().scale(result, width, T(1) / sums[r], image + (s.prompts + token) * d + offset);
              fetch_ahead<For::writing>(turn, slot, image + s.prompts * d, d, width);
            }
          }
        }
      }
    }
  });
  if (s.prompts) place_prompts<T>(sum_bands<T>(prompts, s), out);
}

// What backward keeps, and what it is to find.
struct Kept {
  Sizes sizes;
  Plan plan;
  Inputs in;
  Tensor out, log_sum_exp;  // out: only if the prefix alone is wanted, or on a device
  WindowGrid grid{};        // for a device, which needs no plan
  Tensor prompts_out{};     // on a device: what each window made of its prompts
  bool qkv = false, bias = false, padding = false, prefix_k = false, prefix_v = false;
  bool prefix_alone() const { return !qkv && !bias && !padding && sizes.prompts == 0; }
};

// qkv has its shape, and may lie over it: a turn gathers its rows before it writes their gradients. The others
// are sums over windows, with one slice for each band: prompts (B bands, P, 3 D), bias (B bands, heads, w w,
// w w), padding (B bands, 3 D), prefix (B bands, P, D). Undefined where not wanted.
struct Gradients {
  Tensor qkv, prompts, bias, padding, prefix_k, prefix_v;
};

template <class T>
void window_attention_backward(const Kept& kept, const Tensor& dy, Gradients& grad) {
  const Sizes& s = kept.sizes;
  const Plan& plan = kept.plan;
  if (s.batch == 0) return;
  const bool alone = kept.prefix_alone();
  const int64_t n_keys = alone ? s.prefix : s.keys(), n_queries = s.queries(), width = s.width, d = s.model();
  const int64_t slots = s.slots(), own = n_keys - s.prefix;  // keys that are not the prefix's
  const int64_t wide = whole_columns<T>(n_keys), tall = whole_rows<T>(std::min(query_rows, n_queries));
  const int64_t k_tall_rows = whole_rows<T>(wide);  // of dk and dv
  const T factor = T(1) / std::sqrt(static_cast<T>(std::max<int64_t>(width, 1))),
          share = T(1) / static_cast<T>(plan.windows);
  const int64_t packed_wide = cpu::packed_size<T>(width, wide),
                packed_tall = cpu::packed_size<T>(n_keys, width),
                packed_rows = cpu::packed_size<T>(query_rows, width);
  const Tensor bias = alone ? Tensor() : spread_bias<T>(kept.in.bias, s);
  const T *biases = alone ? nullptr : bias.data<T>().data(), *lse = kept.log_sum_exp.data<T>().data();
  const T *dys = dy.data<T>().data(), *ys = alone ? kept.out.data<T>().data() : nullptr;
  T *to_qkv = data_of<T>(grad.qkv), *to_bias = data_of<T>(grad.bias), *to_padding = data_of<T>(grad.padding);
  T *to_prefix_k = data_of<T>(grad.prefix_k), *to_prefix_v = data_of<T>(grad.prefix_v);
  T* to_prompts = data_of<T>(grad.prompts);
  const int64_t bands = plan.bands();
  const Scratch<T> all((2 * wide + 2 * k_tall_rows + 3 * (n_queries + tall)) * width + 2 * packed_wide +
                           packed_tall + packed_rows + 2 * tall * (wide + cpu::tile_rows<T>()),
                       dy.memory());
  parallel_for_threads(s.batch * bands, 1, [&](int thread, int64_t begin, int64_t end) {
    typename Scratch<T>::Part scratch = all.of(thread);
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
      const int64_t b = task / bands, first = plan.first_of(task % bands),
                    last = plan.first_of(task % bands + 1);
      for (int64_t at = first * s.heads; at < last * s.heads; ++at) {
        const Turn turn = turn_of(s, plan, at, last);
        const int64_t window = turn.window, head = turn.head, offset = turn.offset;
        const int64_t* tokens = turn.tokens;
        const Rows<T> rows = rows_of<T>(s, turn, kept.in, b);
        const T* image_dy = dys + b * s.tokens * d;
        rows.gather(queries, q);
        gather_prefix(s, kept.in.prefix_k, b, offset, k_rows);
        gather_prefix(s, kept.in.prefix_v, b, offset, v_rows);
        if (!alone) {
          rows.gather(keys, k_rows + s.prefix * width);
          rows.gather(values, v_rows + s.prefix * width);
        }
        cpu::pack<T>(width, wide, {k_rows, 1, width}, k_wide);
        cpu::pack<T>(width, wide, {v_rows, 1, width}, v_wide);
        if (to_qkv) cpu::pack<T>(n_keys, width, {k_rows, width, 1}, k_tall);
        for (int64_t r = 0; r < n_queries; ++r) {
          const int64_t token = r < s.prompts ? r : tokens[r - s.prompts];
          const int64_t place = r < s.prompts ? r : s.prompts + token;
          T* row = dout + r * width;
          if (token < 0)
            std::fill_n(row, width, T(0));
          else
            kernels<T>().scale(image_dy + place * d + offset, width, r < s.prompts ? share : T(1), row);
          if (r >= s.prompts)
            fetch_ahead<For::reading>(turn, r - s.prompts, image_dy + s.prompts * d, d, width);
        }
        for (int64_t i = 0; i < n_queries; i += query_rows) {
          const int64_t n = std::min(query_rows, n_queries - i), m = whole_rows<T>(n);
          const cpu::Matrix<T> q_block{q + i * width, width, 1}, dout_block{dout + i * width, width, 1};
          cpu::multiply_packed_serially<T>({m, wide, width, q_block, probabilities, wide}, k_wide);
          cpu::multiply_packed_serially<T>({m, wide, width, dout_block, ds, wide}, v_wide);  // dP = dO V^T
          for (int64_t r = 0; r < n; ++r) {
            T *probability = probabilities + r * wide, *slope = ds + r * wide;
            const T log_sum = lse[((b * plan.windows + window) * s.heads + head) * n_queries + i + r];
            T mean = 0;
            if (alone) {
              kernels<T>().softmax_again(probability, wide, factor, log_sum);
              if (tokens[i + r] >= 0)
                mean = kernels<T>().dot(dout + (i + r) * width,
                                        ys + (b * s.tokens + tokens[i + r]) * d + offset, width);
            } else {
              finish_scores<T>(s, plan, window, i + r, biases + (head * n_queries + i + r) * wide, factor,
                               probability, wide);
              kernels<T>().softmax_again(probability, wide, T(1), log_sum);
              mean = kernels<T>().dot(probability, slope, wide);
            }
            kernels<T>().softmax_slope(probability, wide, mean, T(1), slope);
            if (to_bias && i + r >= s.prompts)
              add_row(slope + s.lead(), slots,
                      to_bias + ((task * s.heads + head) * slots + i + r - s.prompts) * slots);
            kernels<T>().scale(slope, wide, factor, slope);
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
          const int64_t place = (task * s.prefix + p) * d + offset;
          if (to_prefix_k) add_row(dk + p * width, width, to_prefix_k + place);
          if (to_prefix_v) add_row(dv + p * width, width, to_prefix_v + place);
        }
        for (int64_t j = 0; j < own; ++j) {
          const std::array<const T*, 3> found{dq + j * width, dk + (s.prefix + j) * width,
                                              dv + (s.prefix + j) * width};
          const int64_t token = j < s.prompts ? j : tokens[j - s.prompts];
          for (int64_t part = 0; part < 3; ++part) {
            const int64_t column = part * d + offset;
            if (token < 0) {
              if (to_padding && part != queries)
                add_row(found[part], width, to_padding + task * 3 * d + column);
            } else if (j < s.prompts) {
              if (to_prompts)
                add_row(found[part], width, to_prompts + (task * s.prompts + j) * 3 * d + column);
            } else if (to_qkv) {
              T* piece = to_qkv + (b * s.tokens + s.prompts) * 3 * d + part * d;
              copy_row(found[part], width, piece + token * 3 * d + offset);
              fetch_ahead<For::writing>(turn, j - s.prompts, piece, 3 * d, width);
            }
          }
        }
      }
    }
  });
}

// In the order of the inputs: qkv, bias, padding, prefix keys, prefix values.
template <class T>
std::vector<Tensor> gradients_of(const Kept& kept, const Tensor& dy) {
  const Sizes& s = kept.sizes;
  const int64_t d = s.model();
  const int64_t slices = s.batch * kept.plan.bands();
  const auto zeros = [&](bool wanted, const Shape& shape) {
    return wanted ? Tensor::zeros(shape, dy.dtype(), dy.memory()) : Tensor();
  };
  Gradients grad;
  if (kept.qkv) grad.qkv = cpu::over(kept.in.qkv);
  grad.prompts = zeros(kept.qkv && s.prompts > 0, {slices, s.prompts, 3 * d});
  grad.bias = zeros(kept.bias, {slices, s.heads, s.slots(), s.slots()});
  grad.padding = zeros(kept.padding, {slices, 3 * d});
  grad.prefix_k = zeros(kept.prefix_k, {slices, s.prefix, d});
  grad.prefix_v = zeros(kept.prefix_v, {slices, s.prefix, d});
  window_attention_backward<T>(kept, dy, grad);
  if (grad.prompts.defined()) place_prompts<T>(sum_bands<T>(grad.prompts, s), grad.qkv);
  const auto of_prefix = [&](bool wanted, const Tensor& parts) {
    if (!wanted) return Tensor();
    const bool shared = kept.in.prefix_k.shape().rank() == 2;
    return shared ? cpu::sum_images<T>(parts) : sum_bands<T>(parts, s);
  };
  return {grad.qkv, kept.bias ? gather_bias<T>(grad.bias, s) : Tensor(),
          kept.padding ? cpu::sum_images<T>(grad.padding) : Tensor(), of_prefix(kept.prefix_k, grad.prefix_k),
          of_prefix(kept.prefix_v, grad.prefix_v)};
}

// What the entries of a device are told of both directions; `qkv` may be the queries alone.
gpu::WindowAttention arguments_on(const Device& device, const Sizes& s, const WindowGrid& grid,
                                  const Inputs& in, Tensor& out, Tensor& prompts_out, Tensor& log_sum_exp) {
  const auto rows = [&](const Tensor& prefix) {
    if (s.prefix == 0) return gpu::Rows{};
    return gpu::Rows{gpu::in(device, prefix), prefix.shape().rank() == 3 ? s.prefix * s.model() : 0,
                     s.model()};
  };
  return {.dtype = in.qkv.dtype(),
          .batch = s.batch,
          .tokens = s.tokens,
          .prompts = s.prompts,
          .heads = s.heads,
          .width = s.width,
          .prefix = s.prefix,
          .rows = grid.rows,
          .columns = grid.columns,
          .window = grid.window,
          .shift = grid.shift,
          .filled_after_roll = grid.padding == WindowGrid::Padding::after_roll,
          .qkv = gpu::in(device, in.qkv),
          .bias = gpu::in(device, in.bias),
          .padding = gpu::in(device, in.padding),
          .prefix_k = rows(in.prefix_k),
          .prefix_v = rows(in.prefix_v),
          .out = gpu::out(device, out),
          .prompts_out = gpu::out<float>(device, prompts_out),
          .log_sum_exp = gpu::out<float>(device, log_sum_exp)};
}

// x (B, windows, P, columns) summed over the windows, times a factor, to the first P rows of `to` (B, T, columns).
void gather_prompts_on(const Tensor& x, Tensor& to, double factor) {
  const int64_t b = x.dim(0), p = x.dim(2), columns = x.dim(3);
  if (b * p == 0) return;
  Tensor all = Tensor::empty({b, p, columns}, to.dtype(), to.memory());
  gpu::sum(x, all, {true, false, true, true}, factor);
  gpu::move(all, to, {b, p, columns}, {gpu::strides_of(all.shape())}, {{to.dim(1) * columns, columns, 1}});
}

std::vector<Tensor> gradients_on(const Device& device, const Kept& kept, const Tensor& dy) {
  const Sizes& s = kept.sizes;
  const int64_t d = s.model(), windows = kept.plan.windows;
  const auto empty = [&](const Shape& shape, DType type) { return Tensor::empty(shape, type, dy.memory()); };
  std::vector<Tensor> result(5);
  Tensor out = kept.out, prompts_out = kept.prompts_out, log_sum_exp = kept.log_sum_exp, dprompts, dbias,
         dpadding, dkeys, dvalues, dots = empty(log_sum_exp.shape(), DType::f32);
  gpu::WindowAttentionBackward a{
      .forward = arguments_on(device, s, kept.grid, kept.in, out, prompts_out, log_sum_exp),
      .dy = gpu::in(device, dy),
      .dqkv = nullptr,
      .dprompts = nullptr,
      .dbias = nullptr,
      .dpadding = nullptr,
      .dprefix_k = nullptr,
      .dprefix_v = nullptr,
      .slices = 0,
      .dots = gpu::out<float>(device, dots)};
  a.slices = device.table().window_attention_slices(device.queue(), a);
  if (kept.qkv) {
    result[0] = empty(kept.in.qkv.shape(), dy.dtype());
    dprompts = empty({s.batch, windows, s.prompts, 3 * d}, DType::f32);
  }
  if (kept.bias) dbias = empty({a.slices, s.heads, s.slots(), s.slots()}, DType::f32);
  if (kept.padding) dpadding = empty({a.slices, 3 * d}, DType::f32);
  if (kept.prefix_k) dkeys = empty({a.slices, s.prefix, d}, DType::f32);
  if (kept.prefix_v) dvalues = empty({a.slices, s.prefix, d}, DType::f32);
  a.dqkv = gpu::out(device, result[0]);
  a.dprompts = gpu::out<float>(device, dprompts);
  a.dbias = gpu::out<float>(device, dbias);
  a.dpadding = gpu::out<float>(device, dpadding);
  a.dprefix_k = gpu::out<float>(device, dkeys);
  a.dprefix_v = gpu::out<float>(device, dvalues);
  device.run(&gpu::Kernels::window_attention_backward, a);

  if (kept.qkv) gather_prompts_on(dprompts, result[0], 1);
  if (kept.bias) {
    const Tensor spread = gpu::sum_first(dbias, DType::f32);
    result[1] = empty(kept.in.bias.shape(), dy.dtype());
    device.run(&gpu::Kernels::window_table,
               {dy.dtype(), s.heads, s.window, gpu::in<float>(device, spread), gpu::out(device, result[1])});
  }
  if (kept.padding) result[2] = gpu::sum_first(dpadding, dy.dtype());
  const auto of_prefix = [&](const Tensor& parts) {
    if (kept.in.prefix_k.shape().rank() == 2) return gpu::sum_first(parts, dy.dtype());
    const Tensor by_image = parts.reshape({s.batch, a.slices / std::max<int64_t>(s.batch, 1), s.prefix, d});
    Tensor sums = empty({s.batch, s.prefix, d}, dy.dtype());
    gpu::sum(by_image, sums, {true, false, true, true});
    return sums;
  };
  if (kept.prefix_k) result[3] = of_prefix(dkeys);
  if (kept.prefix_v) result[4] = of_prefix(dvalues);
  return result;
}

Sizes checked_sizes(const Variable& qkv, const Variable& bias, int64_t heads, const WindowGrid& grid,
                    const KeyValuePrefix& prefix, const Variable& padding) {
  constexpr const char* op = "window_attention";
  check(qkv.shape().rank() == 3 && heads > 0 && qkv.dim(2) % 3 == 0 && qkv.dim(2) / 3 % heads == 0,
        "{}: expected qkv (B, T, 3 D) with D a multiple of {} heads, got {}", op, heads, qkv.shape());
  const int64_t w = grid.window, d = qkv.dim(2) / 3;
  check(grid.rows > 0 && grid.columns > 0 && grid.prompts >= 0 &&
            checked_add(checked_multiply(grid.rows, grid.columns, op), grid.prompts, op) == qkv.dim(1),
        "{}: a map of {} x {} and {} prompts are not the {} tokens of {}", op, grid.rows, grid.columns,
        grid.prompts, qkv.dim(1), qkv.shape());
  check(w > 0 && w <= 64 && grid.shift >= 0 && grid.shift < w,
        "{}: expected a window of 1 to 64 and a shift below it, got {} and {}", op, w, grid.shift);
  check(bias.shape() == Shape{(2 * w - 1) * (2 * w - 1), heads} && bias.dtype() == qkv.dtype(),
        "{}: expected a bias table ({}, {}), got {}", op, (2 * w - 1) * (2 * w - 1), heads, bias.shape());
  check(!padding.defined() || (padding.shape() == Shape{3 * d} && padding.dtype() == qkv.dtype()),
        "{}: expected padding ({}), got {}", op, 3 * d, padding.shape());
  return {qkv.dim(0), qkv.dim(1), grid.prompts, check_prefix(op, prefix, qkv.dim(0), d, qkv.dtype()), heads,
          d / heads,  w};
}

}  // namespace

Variable window_attention(const Variable& qkv, const Variable& bias, int64_t heads, const WindowGrid& grid,
                          const KeyValuePrefix& prefix, const Variable& padding) {
  Kept kept{checked_sizes(qkv, bias, heads, grid, prefix, padding),
            qkv.dim(0) > 0 ? make_plan(grid) : Plan{},
            {qkv.value(), bias.value(), padding.value(), prefix.keys.value(), prefix.values.value()},
            {},
            {}};
  const Sizes& s = kept.sizes;
  const Memory memory = qkv.value().memory();
  Tensor out = Tensor::empty({s.batch, s.tokens, s.model()}, qkv.dtype(), memory);
  const Device* device = device_of(qkv.value(), "window_attention");
  kept.log_sum_exp = Tensor::empty({s.batch, kept.plan.windows, s.heads, s.queries()},
                                   device == nullptr ? qkv.dtype() : DType::f32, memory);
  if (device != nullptr) {
    gpu::check_head_width("window_attention", s.width);
    kept.grid = grid;
    kept.prompts_out = Tensor::empty({s.batch, kept.plan.windows, s.prompts, s.model()}, DType::f32, memory);
    device->run(&gpu::Kernels::window_attention,
                arguments_on(*device, s, grid, kept.in, out, kept.prompts_out, kept.log_sum_exp));
    gather_prompts_on(kept.prompts_out, out,
                      1.0 / static_cast<double>(std::max<int64_t>(kept.plan.windows, 1)));
  } else {
    dispatch(qkv.dtype(), "window_attention", [&](auto zero) {
      window_attention_forward<decltype(zero)>(s, kept.plan, kept.in, out, kept.log_sum_exp);
    });
  }
  return record_jointly(out, {qkv, bias, padding, prefix.keys, prefix.values},
                        [&](const std::vector<bool>& wanted) -> JointRule {
                          kept.qkv = wanted[0];
                          kept.bias = wanted[1];
                          kept.padding = wanted[2];
                          kept.prefix_k = wanted[3];
                          kept.prefix_v = wanted[4];
                          if (kept.prefix_alone() || device != nullptr) kept.out = out;
                          if (kept.prefix_alone()) {  // backward asks with the tokens' queries alone
                            kept.in.qkv = slice(kept.in.qkv, -1, 0, s.model()).value();
                          }
                          return [kept = std::move(kept)](const Tensor& dy) {
                            if (const Device* home = dy.device()) return gradients_on(*home, kept, dy);
                            return dispatch(dy.dtype(), "window_attention", [&](auto zero) {
                              return gradients_of<decltype(zero)>(kept, dy);
                            });
                          };
                        });
}

}  // namespace vitrine
