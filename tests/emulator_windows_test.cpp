// emulator_windows_test.cpp: the GPU's kernels of window attention, run by the emulator, against the op on the CPU in f64,
// which window_attention_test.cpp holds against its definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/ops.h"
#include "engine/ops/window_attention.cu"
#include "tests/emulator_arrays.h"
#include "tests/emulator_queue.h"

namespace {

using namespace vitrine::testing;
using vitrine::DType;
using vitrine::Random;
using vitrine::Tensor;
using vitrine::Variable;
using vitrine::WindowGrid;
namespace gpu = vitrine::gpu;

enum class Learns { all, tokens, prefix };  // all: table and padding, too

struct WindowCase {
  std::string name;
  int64_t batch, heads, width;
  WindowGrid grid;
  int64_t prefix = 0;
  bool per_image = false, padding = true;
  Learns learns = Learns::all;
  double to_self = 0;  // added to a slot's bias to itself
  int64_t shared = 0;  // bytes that a block can have; 0: as on an H100
  bool prefix_alone() const { return learns == Learns::prefix && grid.prompts == 0; }
  // Whether the kernels that multiply small matrices take it: all of these sizes fit into shared memory.
  bool in_tiles(DType dtype) const { return dtype == DType::bf16 && width % 16 == 0 && width <= 80; }
};

void append(Doubles& to, const Doubles& more) { to.insert(to.end(), more.begin(), more.end()); }

uint64_t products_of(gpu::Queue* queue) {
  const auto counts = queue->machine.counts();
  CHECK(counts.bank_conflicts == 0);
  return static_cast<uint64_t>(counts.products);
}

Variable leaf_of(const vitrine::Shape& shape, const Doubles& values, bool wanted = true) {
  Tensor x = Tensor::of<double>(shape, values);
  return wanted ? Variable::leaf(x) : Variable(x);
}

Doubles gradient_of(const Variable& x) {
  if (!x.defined() || !x.gradient().defined()) return {};
  const auto all = x.gradient().data<double>();
  return {all.begin(), all.end()};
}

// The sums over the middle axis of (outer, middle, inner).
Doubles sum_middle(const Doubles& x, int64_t outer, int64_t inner, double factor = 1) {
  Doubles out(static_cast<size_t>(outer * inner));
  if (out.empty()) return out;
  const int64_t middle = static_cast<int64_t>(x.size()) / (outer * inner);
  for (int64_t i = 0; i < outer * middle * inner; ++i)
    out[static_cast<size_t>(i / inner / middle * inner + i % inner)] += factor * x[static_cast<size_t>(i)];
  return out;
}

// All that was written.
Doubles check_window_case(const WindowCase& c, DType dtype, const std::string& order) {
  CAPTURE(c.name);
  CAPTURE(dtype == DType::bf16);
  CAPTURE(order);
  const int64_t d = c.heads * c.width, tokens = c.grid.prompts + c.grid.rows * c.grid.columns,
                w = c.grid.window;
  const int64_t side = 2 * w - 1, prompts = c.grid.prompts;
  Random random(8, vitrine::Purpose::init);
  const Doubles qkv = random_values(c.batch * tokens * 3 * d, random, dtype);
  Doubles bias = random_values(side * side * c.heads, random, dtype);
  for (int64_t head = 0; head < c.heads; ++head)
    bias[static_cast<size_t>(side * side / 2 * c.heads + head)] += c.to_self;
  bias = Array::of(dtype, bias).values();
  const Doubles padding = random_values(3 * d, random, dtype);
  const int64_t images = c.per_image ? c.batch : 1;
  const Doubles pk = random_values(images * c.prefix * d, random, dtype),
                pv = random_values(images * c.prefix * d, random, dtype);
  const Doubles dy = random_values(c.batch * tokens * d, random, dtype);

  const vitrine::Shape prefix_shape =
      c.per_image ? vitrine::Shape{c.batch, c.prefix, d} : vitrine::Shape{c.prefix, d};
  const Variable x = leaf_of({c.batch, tokens, 3 * d}, qkv, c.learns != Learns::prefix),
                 table = leaf_of({side * side, c.heads}, bias, c.learns == Learns::all),
                 filled = c.padding ? leaf_of({3 * d}, padding, c.learns == Learns::all) : Variable(),
                 keys = c.prefix ? leaf_of(prefix_shape, pk) : Variable(),
                 values = c.prefix ? leaf_of(prefix_shape, pv) : Variable();
  const Variable y = vitrine::window_attention(x, table, c.heads, c.grid, {keys, values}, filled);
  vitrine::backward(y, Tensor::of<double>({c.batch, tokens, d}, dy));

  EmulatorQueue queue(order, "", "", "", c.shared ? std::to_string(c.shared) : "");
  const int64_t down = (c.grid.rows + w - 1) / w, across = (c.grid.columns + w - 1) / w,
                windows = down * across;
  Array qkv_array = Array::of(dtype, qkv), bias_array = Array::of(dtype, bias),
        padding_array = Array::of(dtype, padding), pk_array = Array::of(dtype, pk),
        pv_array = Array::of(dtype, pv), dy_array = Array::of(dtype, dy), out(dtype, c.batch * tokens * d),
        prompts_out(DType::f32, c.batch * windows * prompts * d),
        log_sum_exp(DType::f32, c.batch * windows * c.heads * (prompts + w * w)),
        dots(DType::f32, c.batch * windows * c.heads * (prompts + w * w));
  const int64_t image = c.per_image ? c.prefix * d : 0;
  gpu::WindowAttention a{.dtype = dtype,
                         .batch = c.batch,
                         .tokens = tokens,
                         .prompts = prompts,
                         .heads = c.heads,
                         .width = c.width,
                         .prefix = c.prefix,
                         .rows = c.grid.rows,
                         .columns = c.grid.columns,
                         .window = w,
                         .shift = c.grid.shift,
                         .filled_after_roll = c.grid.padding == WindowGrid::Padding::after_roll,
                         .qkv = qkv_array.at(),
                         .bias = bias_array.at(),
                         .padding = c.padding ? padding_array.at() : nullptr,
                         .prefix_k = {pk_array.at(), image, d},
                         .prefix_v = {pv_array.at(), image, d},
                         .out = out.at(),
                         .prompts_out = prompts_out.floats(),
                         .log_sum_exp = log_sum_exp.floats()};
  REQUIRE(done(queue, gpu::window_attention(queue, a)) == "");
  const uint64_t products = products_of(queue);
  CHECK((products > 0) == c.in_tiles(dtype));
  const auto place_prompts = [&](const Doubles& parts, Doubles& to, int64_t columns, double factor) {
    const Doubles sums = sum_middle(parts, c.batch, prompts * columns, factor);
    for (int64_t b = 0; b < c.batch && prompts; ++b)
      std::copy_n(sums.begin() + b * prompts * columns, prompts * columns, to.begin() + b * tokens * columns);
  };
  Doubles got = out.values(), all = got;
  append(all, prompts_out.values());
  append(all, log_sum_exp.values());
  const auto untouched = [&](const Doubles& rows, int64_t columns) {
    int64_t count = 0;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = 0; i < prompts * columns; ++i)
        count += std::isnan(rows[static_cast<size_t>(b * tokens * columns + i)]);
    return count == c.batch * prompts * columns;
  };
  CHECK(untouched(got, d));
  place_prompts(prompts_out.values(), got, d, 1.0 / static_cast<double>(windows));
  const auto out_values = y.value().data<double>();
  const Tolerance most = tolerance_of(dtype);
  CHECK(error_of({out_values.begin(), out_values.end()}, got) < most.out);

  Array queries, dqkv_array(dtype, c.batch * tokens * 3 * d);
  if (c.prefix_alone()) {
    Doubles alone;
    for (int64_t i = 0; i < c.batch * tokens; ++i)
      alone.insert(alone.end(), qkv.begin() + i * 3 * d, qkv.begin() + i * 3 * d + d);
    queries = Array::of(dtype, alone);
    a.qkv = queries.at();
    a.bias = a.padding = nullptr;
  }
  gpu::WindowAttentionBackward back{.forward = a,
                                    .dy = dy_array.at(),
                                    .dqkv = c.learns == Learns::prefix ? nullptr : dqkv_array.at(),
                                    .dprompts = nullptr,
                                    .dbias = nullptr,
                                    .dpadding = nullptr,
                                    .dprefix_k = nullptr,
                                    .dprefix_v = nullptr,
                                    .slices = 0,
                                    .dots = dots.floats()};
  back.slices = gpu::window_attention_slices(queue, back);
  CHECK(back.slices % c.batch == 0);
  Array dprompts(DType::f32, c.batch * windows * prompts * 3 * d),
      dbias(DType::f32, back.slices * c.heads * w * w * w * w), dpadding(DType::f32, back.slices * 3 * d),
      dpk(DType::f32, back.slices * c.prefix * d), dpv(DType::f32, back.slices * c.prefix * d);
  if (c.learns != Learns::prefix) back.dprompts = dprompts.floats();
  if (c.learns == Learns::all) {
    back.dbias = dbias.floats();
    if (c.padding) back.dpadding = dpadding.floats();
  }
  if (c.prefix) back.dprefix_k = dpk.floats(), back.dprefix_v = dpv.floats();
  REQUIRE(done(queue, gpu::window_attention_backward(queue, back)) == "");
  CHECK((products_of(queue) > products) == (c.in_tiles(dtype) && c.learns != Learns::all));

  for (Array* x : {&dqkv_array, &dprompts, &dbias, &dpadding, &dpk, &dpv}) append(all, x->values());
  if (c.learns != Learns::prefix) {
    Doubles dqkv = dqkv_array.values();
    CHECK(untouched(dqkv, 3 * d));
    place_prompts(dprompts.values(), dqkv, 3 * d, 1);
    CHECK(error_of(gradient_of(x), dqkv) < most.tokens);
  }
  if (c.learns == Learns::all) {
    Array spread = Array::of(DType::f32, sum_middle(dbias.values(), 1, c.heads * w * w * w * w)),
          dtable(dtype, side * side * c.heads);
    REQUIRE(done(queue, gpu::window_table(queue, {dtype, c.heads, w, spread.floats(), dtable.at()})) == "");
    CHECK(error_of(gradient_of(table), dtable.values()) < most.tokens);
    if (c.padding)
      CHECK(error_of(gradient_of(filled), sum_middle(dpadding.values(), 1, 3 * d)) < most.tokens);
  }
  if (c.prefix) {
    CHECK(error_of(gradient_of(keys), sum_middle(dpk.values(), images, c.prefix * d)) < most.prefix);
    CHECK(error_of(gradient_of(values), sum_middle(dpv.values(), images, c.prefix * d)) < most.prefix);
  }
  return all;
}

void check_window_case(const WindowCase& c, DType dtype) {
  const Doubles once = check_window_case(c, dtype, "forward"), again = check_window_case(c, dtype, "reverse");
  CAPTURE(c.name);
  REQUIRE(once.size() == again.size());  // equal calls give equal bits
  CHECK((once.empty() || std::memcmp(once.data(), again.data(), once.size() * sizeof(double)) == 0));
}

constexpr auto after_roll = WindowGrid::Padding::after_roll;

}  // namespace

TEST_CASE("window attention on a GPU") {
  const std::vector<WindowCase> cases = {
      {"plain", 2, 2, 3, {.rows = 4, .columns = 6, .window = 2}},
      {"7 by 7", 2, 2, 32, {.rows = 14, .columns = 14, .window = 7, .shift = 3}, 4},
      {"7 by 7, one window", 2, 2, 32, {.rows = 7, .columns = 7, .window = 7, .shift = 3, .prompts = 10}},
      {"12 by 12", 1, 1, 32, {.rows = 12, .columns = 24, .window = 12, .shift = 6}, 2},
      {"filled up", 2, 2, 6, {.rows = 5, .columns = 7, .window = 3, .shift = 1}},
      {"filled up after the roll", 2, 2, 6, {5, 7, 3, 1, after_roll}, 3, true},
      {"prompts", 2, 2, 5, {.rows = 5, .columns = 9, .window = 4, .shift = 2, .prompts = 3}, 6},
      {"prompts and a prefix per image", 3, 1, 5, {5, 9, 4, 3, after_roll, 2}, 6, true},
      {"zeros fill up", 2, 2, 3, {.rows = 5, .columns = 7, .window = 3, .shift = 1}, 1, false, false},
      {"prefix alone",
       2,
       2,
       6,
       {.rows = 9, .columns = 14, .window = 7, .shift = 3},
       5,
       false,
       true,
       Learns::prefix},
      {"many windows", 1, 3, 2, {.rows = 40, .columns = 36, .window = 2, .shift = 1}, 2},
      {"windows of one", 2, 2, 2, {.rows = 3, .columns = 2, .window = 1, .prompts = 2}, 1},
  };
  for (const WindowCase& c : cases)
    for (const DType dtype : {DType::f32, DType::bf16}) check_window_case(c, dtype);
}

TEST_CASE("window attention on a GPU by small matrices") {
  constexpr auto tokens = Learns::tokens, prefix = Learns::prefix;
  const std::vector<WindowCase> cases = {
      {"7 by 7", 2, 2, 32, {.rows = 14, .columns = 14, .window = 7, .shift = 3}, 4, false, true, tokens},
      {"12 by 12", 1, 1, 32, {.rows = 12, .columns = 24, .window = 12, .shift = 6}, 2, false, true, tokens},
      {"one window",
       2,
       2,
       32,
       {.rows = 7, .columns = 7, .window = 7, .shift = 3, .prompts = 10},
       0,
       false,
       true,
       tokens},
      {"width 16", 1, 2, 16, {.rows = 5, .columns = 5, .window = 4, .shift = 2}, 1, false, true, tokens},
      {"width 48", 1, 2, 48, {.rows = 5, .columns = 5, .window = 5}, 1, false, true, tokens},
      {"width 64", 1, 2, 64, {.rows = 5, .columns = 5, .window = 4, .shift = 1}, 17, false, true, tokens},
      {"width 80", 1, 2, 80, {.rows = 5, .columns = 5, .window = 5}, 1, false, true, tokens},
      {"filled up", 2, 2, 16, {.rows = 5, .columns = 7, .window = 3, .shift = 1}, 0, false, true, tokens},
      {"filled up after the roll", 2, 2, 16, {5, 7, 3, 1, after_roll}, 3, true, true, tokens},
      {"zeros fill up",
       2,
       2,
       16,
       {.rows = 5, .columns = 7, .window = 3, .shift = 1},
       1,
       false,
       false,
       tokens},
      {"prompts",
       2,
       2,
       16,
       {.rows = 5, .columns = 9, .window = 4, .shift = 2, .prompts = 3},
       6,
       false,
       true,
       tokens},
      {"prompts and a prefix per image", 3, 1, 16, {5, 9, 4, 3, after_roll, 2}, 6, true, true, tokens},
      {"prefix alone", 2, 2, 32, {.rows = 9, .columns = 14, .window = 7, .shift = 3}, 5, false, true, prefix},
      {"prefix alone, beside prompts", 2, 1, 16, {5, 9, 4, 3, after_roll, 2}, 6, true, true, prefix},
      {"prefix alone, per image", 2, 1, 16, {5, 9, 4, 3, after_roll}, 18, true, false, prefix},
      // In a region of one slot its own score is as low as those that are masked.
      {"masked", 1, 2, 16, {.rows = 4, .columns = 6, .window = 2, .shift = 1}, 0, false, true, tokens, -100},
      // A block has several windows.
      {"many windows",
       1,
       118,
       16,
       {.rows = 9, .columns = 25, .window = 5, .shift = 2},
       3,
       false,
       true,
       tokens},
      {"many windows, prefix alone",
       1,
       118,
       16,
       {.rows = 9, .columns = 25, .window = 5, .shift = 2},
       3,
       true,
       true,
       prefix},
      {"windows of one",
       2,
       2,
       16,
       {.rows = 3, .columns = 2, .window = 1, .prompts = 2},
       1,
       false,
       true,
       tokens},
      // A block has room for the rows of two warps only.
      {"by turns",
       2,
       2,
       32,
       {.rows = 14, .columns = 14, .window = 7, .shift = 3, .prompts = 3},
       4,
       false,
       true,
       tokens,
       0,
       17'500},
  };
  for (const WindowCase& c : cases) check_window_case(c, DType::bf16);
}
