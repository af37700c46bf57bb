// window_attention_test.cpp: attention within windows against its definition (windows.h) and the tables of the
// Swin paper's code; what it refuses.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tests/op_checks.h"
#include "tests/windows.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

constexpr auto before_roll = WindowGrid::Padding::before_roll, after_roll = WindowGrid::Padding::after_roll;

struct Setting {
  std::string name;
  int64_t batch, heads, head_width;
  WindowGrid grid;
  int64_t prefix = 0;
  bool prefix_per_image = false, padding = true;
};

std::vector<Setting> settings() {
  std::vector<Setting> out;
  // The geometries of op_cases.h.
  out.push_back({"plain", 2, 2, 3, {.rows = 4, .columns = 6, .window = 2}});
  out.push_back({"shifted", 2, 2, 2, {.rows = 6, .columns = 9, .window = 3, .shift = 1}});
  out.push_back({"filled up", 2, 2, 3, {.rows = 5, .columns = 7, .window = 3, .shift = 1}});
  out.push_back({"one window", 3, 1, 4, {.rows = 3, .columns = 4, .window = 5, .shift = 2}});
  out.push_back({"prompts", 2, 2, 3, {.rows = 4, .columns = 4, .window = 3, .shift = 1, .prompts = 3}});
  out.push_back({"prefix", 2, 2, 3, {.rows = 4, .columns = 4, .window = 2, .shift = 1}, 5});
  out.push_back({"prefix per image", 2, 2, 2, {.rows = 4, .columns = 5, .window = 3, .shift = 1}, 7, true});
  out.push_back(
      {"many queries", 1, 1, 2, {.rows = 9, .columns = 12, .window = 9, .shift = 4, .prompts = 5}, 2});
  // Those of the published models, and what is odd.
  out.push_back({"14 x 14 by 7", 2, 2, 4, {.rows = 14, .columns = 14, .window = 7, .shift = 3}});
  out.push_back({"7 x 7 by 7", 2, 1, 4, {.rows = 7, .columns = 7, .window = 7, .shift = 3, .prompts = 2}});
  out.push_back({"24 x 24 by 12", 1, 1, 3, {.rows = 24, .columns = 24, .window = 12, .shift = 6}});
  out.push_back({"28 x 30 by 7, filled up",
                 1,
                 2,
                 2,
                 {.rows = 28, .columns = 30, .window = 7, .shift = 3, .prompts = 3},
                 4});
  out.push_back({"narrow", 2, 2, 3, {.rows = 3, .columns = 10, .window = 4, .shift = 2, .prompts = 1}, 2});
  out.push_back({"flat", 2, 1, 3, {.rows = 11, .columns = 2, .window = 4, .shift = 2}, 3, true});
  out.push_back({"one token", 2, 2, 2, {.rows = 1, .columns = 1, .window = 3, .shift = 1, .prompts = 2}, 1});
  out.push_back({"windows of one", 2, 2, 2, {.rows = 3, .columns = 2, .window = 1, .prompts = 2}, 1});
  out.push_back({"large shift", 2, 2, 2, {.rows = 7, .columns = 9, .window = 4, .shift = 3}});
  out.push_back(
      {"all at once", 3, 2, 3, {.rows = 5, .columns = 9, .window = 4, .shift = 2, .prompts = 17}, 3, true});
  out.push_back({"zeros fill up",
                 2,
                 2,
                 3,
                 {.rows = 5, .columns = 7, .window = 3, .shift = 1, .prompts = 2},
                 0,
                 false,
                 false});
  const std::vector<Setting> so_far = out;
  for (Setting setting : so_far) {
    setting.name += ", rolled first";
    setting.grid.padding = after_roll;
    out.push_back(setting);
  }
  return out;
}

// qkv, table, and as the setting has them padding, prefix keys, prefix values; in the op's order.
struct Arguments {
  Variable qkv, table, padding;
  KeyValuePrefix prefix;
  std::vector<Variable*> all() {
    std::vector<Variable*> out;
    for (Variable* v : {&qkv, &table, &padding, &prefix.keys, &prefix.values})
      if (v->defined()) out.push_back(v);
    return out;
  }
};

Arguments arguments_of(const Setting& s) {
  const WindowGrid& g = s.grid;
  const int64_t d = s.heads * s.head_width, side = 2 * g.window - 1;
  Arguments out;
  out.qkv = normal({s.batch, g.prompts + g.rows * g.columns, 3 * d}, 1);
  out.table = normal({side * side, s.heads}, 2);
  if (s.padding) out.padding = normal({3 * d}, 3);
  if (s.prefix) {
    const Shape shape = s.prefix_per_image ? Shape{s.batch, s.prefix, d} : Shape{s.prefix, d};
    out.prefix = {normal(shape, 4), normal(shape, 5)};
  }
  return out;
}

// The value, then the gradients of the arguments that are leaves.
std::vector<Doubles> outcome(const Setting& s, Arguments& a, bool composed) {
  const Variable y = composed
                         ? composed_window_attention(a.qkv, a.table, s.heads, s.grid, a.prefix, a.padding)
                         : window_attention(a.qkv, a.table, s.heads, s.grid, a.prefix, a.padding);
  CHECK(y.shape() == Shape{s.batch, a.qkv.dim(1), s.heads * s.head_width});
  // Where nothing is filled up, the composition knows no padding.
  if (y.wants_gradient()) backward(y, make_dy(y.shape(), DType::f64));
  std::vector<Doubles> out{values(y)};
  for (Variable* v : a.all()) {
    if (!v->wants_gradient()) continue;
    out.push_back(v->gradient().defined() ? values(v->gradient())
                                          : Doubles(static_cast<size_t>(v->numel()), 0));
    v->clear_gradient();
  }
  return out;
}

// Row i: the shares that the tokens (rows of the map) have in what token i gets, when nothing but bias and
// mask tells them apart: queries are zero and value j is the j-th unit vector. With `reference` one further
// key without bias stands behind them.
Doubles shares(const WindowGrid& grid, const Tensor& table, bool reference) {
  const int64_t n = grid.rows * grid.columns, d = n + (reference ? 1 : 0);
  Tensor qkv = Tensor::zeros({1, n, 3 * d}, DType::f64);
  for (int64_t j = 0; j < n; ++j) qkv.mutable_data<double>()[j * 3 * d + 2 * d + j] = 1;
  KeyValuePrefix prefix;
  if (reference) {
    Tensor last = Tensor::zeros({1, d}, DType::f64);
    last.mutable_data<double>()[d - 1] = 1;
    prefix = {Tensor::zeros({1, d}, DType::f64), last};
  }
  return values(window_attention(qkv, table, 1, grid, prefix));
}

}  // namespace

TEST_CASE("window_attention: value and all gradients are those of rolls, copies and softmax, to 1e-12") {
  for (const Setting& s : settings()) {
    CAPTURE(s.name);
    Arguments a = arguments_of(s);
    for (Variable* v : a.all()) *v = Variable::leaf(v->value());
    const std::vector<Doubles> fast = outcome(s, a, false), plain = outcome(s, a, true);
    REQUIRE(fast.size() == plain.size());
    CHECK(fast.size() == a.all().size() + 1);
    for (size_t i = 0; i < fast.size(); ++i) {
      CAPTURE(i);
      check_close(fast[i], plain[i], 1e-12);
    }
  }
}

TEST_CASE("window_attention: each gradient alone is what it is among all") {
  for (const Setting& s : settings()) {
    CAPTURE(s.name);
    const size_t count = arguments_of(s).all().size();
    for (size_t wanted = 0; wanted < count; ++wanted) {
      CAPTURE(wanted);
      Arguments a = arguments_of(s), b = arguments_of(s);
      for (Arguments* arguments : {&a, &b}) {
        Variable& v = *arguments->all()[wanted];
        v = Variable::leaf(v.value());
      }
      const std::vector<Doubles> fast = outcome(s, a, false), plain = outcome(s, b, true);
      REQUIRE(fast.size() == 2);
      REQUIRE(plain.size() == 2);
      check_close(fast[1], plain[1], 1e-12);
    }
    if (s.prefix == 0) continue;
    // The prefix alone, keys and values: the way of deep prompts.
    Arguments a = arguments_of(s), b = arguments_of(s);
    for (Arguments* arguments : {&a, &b}) {
      arguments->prefix.keys = Variable::leaf(arguments->prefix.keys.value());
      arguments->prefix.values = Variable::leaf(arguments->prefix.values.value());
    }
    const std::vector<Doubles> fast = outcome(s, a, false), plain = outcome(s, b, true);
    for (size_t i = 0; i < 3; ++i) check_close(fast.at(i), plain.at(i), 1e-12);
  }
}

TEST_CASE("window_attention: the bias of two places is the table's row that the paper's code takes") {
  const std::vector<int64_t> two{4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4};
  CHECK(relative_index(2) == two);
  for (const int64_t w : {2, 7}) {
    const int64_t side = 2 * w - 1, slots = w * w;
    Tensor table = Tensor::empty({side * side, 1}, DType::f64);
    for (int64_t r = 0; r < side * side; ++r)
      table.mutable_data<double>()[r] = 0.05 * static_cast<double>(r - 10);
    const Doubles share = shares({.rows = w, .columns = w, .window = w}, table, true);
    std::vector<int64_t> rows;  // of the table, read off the shares
    for (int64_t i = 0; i < slots; ++i)
      for (int64_t j = 0; j < slots; ++j) {
        const double row = std::log(share[i * (slots + 1) + j] / share[i * (slots + 1) + slots]) / 0.05 + 10;
        CHECK(std::abs(row - std::round(row)) < 1e-9);
        rows.push_back(std::llround(row));
      }
    CHECK(rows == relative_index(w));
    if (w == 2) CHECK(rows == two);
    if (w == 7) {
      const std::vector<int64_t> first{84, 83, 82, 81, 80, 79, 78, 71};
      CHECK(std::vector<int64_t>(rows.begin(), rows.begin() + 8) == first);
      CHECK(rows[48] == 0);
      CHECK(rows[48 * 49] == 168);
    }
  }
}

TEST_CASE("window_attention: who sees whom in shifted windows, and that -100 keeps them apart") {
  // The regions of 8 x 8 tokens in windows of 4, shifted by 2, after the roll (the paper's code).
  const std::vector<std::string> picture{"00001122", "00001122", "00001122", "00001122",
                                         "33334455", "33334455", "66667788", "66667788"};
  const std::vector<int> regions = axis_regions(8, 4, 2);
  for (int64_t y = 0; y < 8; ++y)
    for (int64_t x = 0; x < 8; ++x) CHECK(picture[y][x] - '0' == 3 * regions[y] + regions[x]);

  const Doubles share =
      shares({.rows = 8, .columns = 8, .window = 4, .shift = 2}, Tensor::zeros({49, 1}, DType::f64), false);
  const auto token = [](int64_t y, int64_t x) { return (y + 2) % 8 * 8 + (x + 2) % 8; };  // rolled back
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t yi = i / 8, xi = i % 8;
    int64_t seen = 0;
    for (int64_t j = 0; j < 64; ++j)
      if (picture[yi][xi] == picture[j / 8][j % 8] && yi / 4 == j / 32 && xi / 4 == j % 8 / 4) ++seen;
    for (int64_t j = 0; j < 64; ++j) {
      const bool same_window = yi / 4 == j / 32 && xi / 4 == j % 8 / 4;
      const bool same_region = picture[yi][xi] == picture[j / 8][j % 8];
      const double expected = !same_window ? 0 : (same_region ? 1.0 : std::exp(-100.0)) / double(seen);
      const double got = share[token(yi, xi) * 64 + token(j / 8, j % 8)];
      CAPTURE(i);
      CAPTURE(j);
      CHECK(std::abs(got - expected) <= 1e-12 * expected);
    }
  }
}

TEST_CASE("window_attention: where nothing is filled up, both ways of filling up are one") {
  for (const bool whole : {true, false}) {
    Setting s{"", 2, 2, 3, {.rows = whole ? 8 : 7, .columns = 12, .window = 4, .shift = 2}};
    Arguments a = arguments_of(s);
    const Tensor first = window_attention(a.qkv, a.table, 2, s.grid, {}, a.padding).value();
    s.grid.padding = after_roll;
    const Tensor second = window_attention(a.qkv, a.table, 2, s.grid, {}, a.padding).value();
    CHECK(same_bits(first, second) == whole);
  }
}

TEST_CASE("window_attention: an image's prompts are those of its own windows, whatever stands beside it") {
  const Setting s{"", 3, 2, 3, {.rows = 5, .columns = 9, .window = 4, .shift = 2, .prompts = 2}};
  const Arguments a = arguments_of(s);
  const Tensor together = window_attention(a.qkv, a.table, 2, s.grid, {}, a.padding).value();
  for (int64_t b = 0; b < 3; ++b)
    CHECK(same_bits(
        window_attention(a.qkv.value().rows(b, b + 1), a.table, 2, s.grid, {}, a.padding).value().clone(),
        together.rows(b, b + 1).clone()));
}

TEST_CASE("window_attention: no images and an empty prefix") {
  const WindowGrid grid{.rows = 3, .columns = 5, .window = 2, .shift = 1, .prompts = 2};
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Shape& shape : {Shape{3, 4}, Shape{0, 3, 4}}) {
      std::vector<Variable> leaves;
      for (const Shape& own : {Shape{0, 17, 12}, Shape{9, 2}, Shape{12}, shape, shape})
        leaves.push_back(Variable::leaf(normal(own, 1, dtype)));
      const Variable y = window_attention(leaves[0], leaves[1], 2, grid, {leaves[3], leaves[4]}, leaves[2]);
      CHECK(y.shape() == Shape{0, 17, 4});
      backward(y, Tensor::zeros(y.shape(), dtype));
      for (const Variable& leaf : leaves) {
        CHECK(leaf.gradient().shape() == leaf.shape());
        for (const double g : values(leaf.gradient())) CHECK(g == 0);
      }
    }
  }
  const Setting s{"", 2, 2, 2, grid};
  const Arguments a = arguments_of(s);
  const Variable plain = window_attention(a.qkv, a.table, 2, grid, {}, a.padding);
  for (const Shape& shape : {Shape{0, 4}, Shape{2, 0, 4}}) {
    for (const bool alone : {false, true}) {
      const Variable qkv = alone ? a.qkv : Variable::leaf(a.qkv.value());
      const KeyValuePrefix none{Variable::leaf(normal(shape, 1)), Variable::leaf(normal(shape, 1))};
      const Variable y = window_attention(qkv, a.table, 2, grid, none, a.padding);
      CHECK(same_bits(y.value(), plain.value()));
      backward(y, make_dy(y.shape(), DType::f64));
      CHECK(none.keys.gradient().shape() == shape);
      CHECK(none.values.gradient().shape() == shape);
    }
  }
}

TEST_CASE("window_attention: no images of a vast map take no time, a model of width 0 has no slope") {
  const Variable vast = Tensor::zeros({0, int64_t{1} << 40, 3}, DType::f32);
  const Variable table = Variable::leaf(Tensor::zeros({9, 1}, DType::f32));
  const Variable y = window_attention(vast, table, 1, {.rows = int64_t{1} << 40, .columns = 1, .window = 2});
  CHECK(y.shape() == Shape{0, int64_t{1} << 40, 1});
  const Variable narrow = Tensor::zeros({2, 4, 0}, DType::f32);
  backward(window_attention(narrow, table, 1, {.rows = 2, .columns = 2, .window = 2}),
           Tensor::zeros({2, 4, 0}, DType::f32));
  for (const double g : values(table.gradient())) CHECK(g == 0);
}

TEST_CASE("window_attention: what does not fit is an Error that names the op") {
  const auto t = [](const Shape& shape, DType dtype = DType::f32) {
    return Variable(Tensor::zeros(shape, dtype));
  };
  const auto wide = [&](const Shape& shape) { return t(shape, DType::f64); };
  const Variable none, qkv = t({2, 12, 18}), table = t({25, 2}), row = t({18});
  const WindowGrid grid{.rows = 3, .columns = 4, .window = 3, .shift = 1};
  const auto with = [&](auto change) {
    WindowGrid other = grid;
    change(other);
    return other;
  };
  const auto refuses = [&](const std::function<Variable()>& f) { refused("window_attention", f); };
  window_attention(qkv, table, 2, grid, {t({2, 6}), t({2, 6})}, row);  // all of this fits

  refuses([&] { return window_attention(none, table, 2, grid); });
  refuses([&] { return window_attention(t({12, 18}), table, 2, grid); });
  refuses([&] { return window_attention(t({2, 12, 17}), table, 2, grid); });
  refuses([&] { return window_attention(t({2, 12, 15}), table, 2, grid); });  // D = 5
  for (const int64_t heads : {int64_t{0}, int64_t{-2}, int64_t{4}, int64_t{1} << 62})
    refuses([&] { return window_attention(qkv, t({25, 4}), heads, grid); });
  refuses([&] { return window_attention(Tensor::zeros({2, 12, 18}, DType::i64), table, 2, grid); });
  // maps that are not the tokens
  refuses([&] { return window_attention(qkv, table, 2, with([](auto& g) { g.rows = 4; })); });
  refuses([&] { return window_attention(qkv, table, 2, with([](auto& g) { g.prompts = 1; })); });
  refuses([&] { return window_attention(qkv, table, 2, with([](auto& g) { g.prompts = -1; })); });
  refuses(
      [&] { return window_attention(qkv, table, 2, with([](auto& g) { g.rows = -3, g.columns = -4; })); });
  refuses([&] { return window_attention(t({2, 0, 18}), table, 2, with([](auto& g) { g.rows = 0; })); });
  refuses([&] { return window_attention(qkv, table, 2, with([](auto& g) { g.rows = 0, g.prompts = 12; })); });
  const int64_t far = int64_t{1} << 62;
  refuses([&] { return window_attention(qkv, table, 2, with([=](auto& g) { g.rows = g.columns = far; })); });
  refuses([&] {
    return window_attention(qkv, table, 2,
                            with([=](auto& g) { g.rows = 1, g.columns = far, g.prompts = far + 12; }));
  });
  // windows
  for (const int64_t window : {int64_t{0}, int64_t{-3}, int64_t{4097}, far})
    refuses([&] { return window_attention(qkv, table, 2, with([=](auto& g) { g.window = window; })); });
  for (const int64_t shift : {int64_t{-1}, int64_t{3}, far})
    refuses([&] { return window_attention(qkv, table, 2, with([=](auto& g) { g.shift = shift; })); });
  // the bias table
  for (const Shape& shape : {Shape{24, 2}, Shape{9, 2}, Shape{25, 3}, Shape{2, 25}, Shape{25}, Shape{50}})
    refuses([&] { return window_attention(qkv, t(shape), 2, grid); });
  refuses([&] { return window_attention(qkv, none, 2, grid); });
  refuses([&] { return window_attention(qkv, wide({25, 2}), 2, grid); });
  refuses([&] { return window_attention(wide({2, 12, 18}), table, 2, grid); });
  // what fills the map up
  for (const Shape& shape : {Shape{6}, Shape{17}, Shape{1, 18}, Shape{3, 6}, Shape{}})
    refuses([&] { return window_attention(qkv, table, 2, grid, {}, t(shape)); });
  refuses([&] { return window_attention(qkv, table, 2, grid, {}, wide({18})); });
  // the prefix
  const auto prefixed = [&](const Variable& k, const Variable& v) {
    refuses([&] { return window_attention(qkv, table, 2, grid, {k, v}); });
  };
  prefixed(t({2, 18}), t({2, 18}));
  prefixed(t({3, 2, 6}), t({3, 2, 6}));
  prefixed(t({1, 2, 6}), t({1, 2, 6}));
  prefixed(t({2, 6}), t({3, 6}));
  prefixed(t({2, 6}), t({2, 2, 6}));
  prefixed(t({6}), t({6}));
  prefixed(t({2, 6}), none);
  prefixed(none, t({2, 6}));
  prefixed(wide({2, 6}), wide({2, 6}));
  CHECK_THROWS_WITH(window_attention(qkv, t({9, 2}), 2, grid),
                    "window_attention: expected a bias table (25, 2), got (9, 2)");
}
