// op_value_test.cpp: the values of every op against its textbook form; f32 against f64; threads; memory;
// refusals.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/cpu/gemm.h"
#include "tests/op_cases.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

using Doubles = std::vector<double>;
using Place = std::vector<int64_t>;

Tensor normal(const Shape& shape, uint32_t lane, DType dtype = DType::f64) {
  return random_tensor(shape, dtype, lane);
}

Doubles values(const Variable& x) {
  const Tensor wide = x.value().to(DType::f64);
  return {wide.data<double>().begin(), wide.data<double>().end()};
}

int64_t offset(const Shape& shape, const Place& place) {
  int64_t out = 0;
  for (int i = 0; i < shape.rank(); ++i) out = out * shape.dim(i) + place[i];
  return out;
}

// The result's elements one by one: f is asked for each place.
Doubles each(const Shape& shape, const std::function<double(const Place&)>& f) {
  Doubles out;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    Place place(shape.rank());
    for (int64_t k = shape.rank() - 1, rest = i; k >= 0; rest /= shape.dim(static_cast<int>(k)), --k)
      place[k] = rest % shape.dim(static_cast<int>(k));
    out.push_back(f(place));
  }
  return out;
}

double element(const Tensor& x, const Place& place) { return x.data<double>()[offset(x.shape(), place)]; }

// The element of x that broadcasting puts at `place` of the result.
double broadcast_element(const Tensor& x, const Place& place) {
  Place own(place.end() - x.shape().rank(), place.end());
  for (size_t i = 0; i < own.size(); ++i) own[i] %= x.dim(static_cast<int>(i));
  return element(x, own);
}

// |got - expected| <= tolerance (|expected| + root mean square of all that is expected), everywhere.
void check_close(const Doubles& got, const Doubles& expected, double tolerance) {
  REQUIRE(got.size() == expected.size());
  double squares = 0;
  for (const double e : expected) squares += e * e;
  const double size = expected.empty() ? 0 : std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::abs(got[i] - expected[i]) <= tolerance * (std::abs(expected[i]) + size) + 1e-300) continue;
    CAPTURE(i);
    CAPTURE(tolerance);
    CHECK(got[i] == expected[i]);
    return;
  }
  CHECK(true);
}

void check_exact(const Variable& got, const Shape& shape, const std::function<double(const Place&)>& f) {
  REQUIRE(got.shape() == shape);
  CHECK(values(got) == each(shape, f));
}

bool finite(const Tensor& x) {
  return std::ranges::all_of(values(x), [](double v) { return std::isfinite(v); });
}

}  // namespace

// --- textbook forms
// --------------------------------------------------------------------------------------------------

TEST_CASE("values: add and mul repeat the smaller operand as NumPy does") {
  int checked = 0;
  for (const OpCase& op : op_cases()) {
    const bool adds = op.name.starts_with("add");
    if (!adds && !op.name.starts_with("mul")) continue;
    CAPTURE(op.name);
    const std::vector<Tensor> in = inputs_of(op, DType::f64);
    const Variable y = op.run({in[0], in[1]});
    check_exact(y, y.shape(), [&](const Place& p) {
      const double a = broadcast_element(in[0], p), b = broadcast_element(in[1], p);
      return adds ? a + b : a * b;
    });
    ++checked;
  }
  CHECK(checked >= 13);
  CHECK(add(normal({2, 1, 3, 1}, 0), normal({5, 1, 7}, 1)).shape() == Shape{2, 5, 3, 7});
  CHECK(add(normal({33}, 0), normal({2, 31, 33}, 1)).shape() == Shape{2, 31, 33});
}

TEST_CASE("values: scale and relu; relu keeps NaN") {
  const Tensor x = normal({3, 31}, 0);
  check_exact(scale(x, -0.7), x.shape(), [&](const Place& p) { return -0.7 * element(x, p); });
  check_exact(relu(x), x.shape(), [&](const Place& p) { return std::max(element(x, p), 0.0); });
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  const Doubles y = values(relu(Tensor::of<double>({4}, {nan, -infinity, infinity, -0.0})));
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == 0);
  CHECK(y[2] == infinity);
  CHECK(y[3] == 0);
  CHECK(std::isnan(values(relu(Tensor::of<float>({1}, {std::numeric_limits<float>::quiet_NaN()})))[0]));
  const Variable zero = Variable::leaf(Tensor::zeros({1}, DType::f64));
  backward(relu(zero));
  CHECK(zero.gradient().item() == 0);
}

TEST_CASE("values: gelu against its formulas, and a table printed with eleven digits") {
  const Tensor x = Tensor::of<double>({6}, {-3, -1, -0.5, 0.5, 1, 3});
  const std::array<Doubles, 3> table{
      Doubles{-0.00404969409, -0.15865525393, -0.15426876937, 0.34573123064, 0.84134474607, 2.99595030591},
      Doubles{-0.00363739208, -0.15880800939, -0.15428599017, 0.34571400983, 0.84119199061, 2.99636260792},
      Doubles{-0.01807130971, -0.15420423407, -0.14961156339, 0.35038843661, 0.84579576593, 2.98192869029}};
  for (const Gelu form : {Gelu::erf, Gelu::tanh, Gelu::quick}) {
    const Doubles& expected = table[static_cast<size_t>(form)];
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Doubles got = values(gelu(x.to(dtype), form));
      for (size_t i = 0; i < 6; ++i)
        CHECK(std::abs(got[i] - expected[i]) < (dtype == DType::f64 ? 1e-11 : 1e-6));
    }
    const auto formula = [form](double v) {
      if (form == Gelu::erf) return v * (1 + std::erf(v / std::sqrt(2.0))) / 2;
      if (form == Gelu::tanh)
        return v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))) / 2;
      return v / (1 + std::exp(-1.702 * v));
    };
    // More than one chunk, and far out on both sides.
    Tensor wide = Tensor::empty({2500}, DType::f64);
    for (int64_t i = 0; i < 2500; ++i) wide.mutable_data<double>()[i] = -60 + 0.05 * static_cast<double>(i);
    Doubles expect;
    for (const double v : wide.data<double>()) expect.push_back(formula(v));
    check_close(values(gelu(wide, form)), expect, 1e-14);
    check_close(values(gelu(wide.to(DType::f32), form)), expect, 1e-6);
  }
}

TEST_CASE("values: matmul and linear against three loops") {
  const Tensor a = normal({2, 3, 5, 7}, 0), b = normal({2, 3, 7, 4}, 1), shared = normal({7, 4}, 2);
  const auto dot = [&](const Place& p, bool batched) {
    double sum = 0;
    for (int64_t k = 0; k < 7; ++k)
      sum += element(a, {p[0], p[1], p[2], k}) *
             (batched ? element(b, {p[0], p[1], k, p[3]}) : element(shared, {k, p[3]}));
    return sum;
  };
  const Variable batched = matmul(a, b), tall = matmul(a, shared);
  REQUIRE(batched.shape() == Shape{2, 3, 5, 4});
  REQUIRE(tall.shape() == Shape{2, 3, 5, 4});
  check_close(values(batched), each(batched.shape(), [&](const Place& p) { return dot(p, true); }), 1e-14);
  check_close(values(tall), each(tall.shape(), [&](const Place& p) { return dot(p, false); }), 1e-14);

  const Tensor x = normal({2, 31, 33}, 3), w = normal({17, 33}, 4), bias = normal({17}, 5);
  for (const bool biased : {false, true}) {
    const Variable y = linear(x, w, biased ? Variable(bias) : Variable());
    REQUIRE(y.shape() == Shape{2, 31, 17});
    check_close(values(y),
                each(y.shape(),
                     [&](const Place& p) {
                       double sum = biased ? element(bias, {p[2]}) : 0;
                       for (int64_t k = 0; k < 33; ++k)
                         sum += element(x, {p[0], p[1], k}) * element(w, {p[2], k});
                       return sum;
                     }),
                1e-14);
  }
}

TEST_CASE("values: layer_norm and softmax row by row") {
  const Tensor x = normal({31, 33}, 0), gamma = normal({33}, 1), beta = normal({33}, 2);
  Doubles normed, shares;
  for (int64_t i = 0; i < 31; ++i) {
    double mean = 0, variance = 0, sum = 0;
    for (int64_t j = 0; j < 33; ++j) mean += element(x, {i, j}) / 33;
    for (int64_t j = 0; j < 33; ++j) variance += std::pow(element(x, {i, j}) - mean, 2) / 33;
    for (int64_t j = 0; j < 33; ++j) sum += std::exp(element(x, {i, j}));
    for (int64_t j = 0; j < 33; ++j) {
      normed.push_back((element(x, {i, j}) - mean) / std::sqrt(variance + 1e-3) * element(gamma, {j}) +
                       element(beta, {j}));
      shares.push_back(std::exp(element(x, {i, j})) / sum);
    }
  }
  check_close(values(layer_norm(x, gamma, beta, 1e-3)), normed, 1e-13);
  // A row of one element is its own mean.
  const Variable one = Variable::leaf(normal({5, 1}, 0));
  const Variable y = layer_norm(one, normal({1}, 1), normal({1}, 2), 1e-6);
  CHECK(values(y) == Doubles(5, normal({1}, 2).item()));
  backward(y, make_dy({5, 1}, DType::f64));
  for (const double dx : values(one.gradient())) CHECK(std::abs(dx) < 1e-12);
  check_close(values(softmax(x)), shares, 1e-14);
}

TEST_CASE(
    "values: softmax, layer_norm, attention and cross_entropy stay finite where a plain exp would not") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Variable huge =
        Variable::leaf(Tensor::of<double>({2, 3}, {1e4, -1e4, 1e4, -1e4, -1e4 - 1, -1e4}).to(dtype));
    const Doubles y = values(softmax(huge));
    const double e = std::exp(-1.0);
    check_close(y, {0.5, 0, 0.5, 1 / (2 + e), e / (2 + e), 1 / (2 + e)}, 1e-6);
    const Variable loss = cross_entropy(huge, Tensor::of<int64_t>({2}, {1, 0}));
    CHECK(loss.value().item() == doctest::Approx((2e4 + std::log(2) + std::log(2 + e)) / 2));
    backward(loss);
    CHECK(finite(huge.gradient()));

    const Variable flat = Variable::leaf(Tensor::full({3, 33}, 7, dtype));
    const Variable normed =
        layer_norm(flat, Tensor::full({33}, 2, dtype), Tensor::full({33}, 0.5, dtype), 1e-6);
    CHECK(values(normed) == Doubles(99, 0.5));
    backward(normed, normal({3, 33}, 1, dtype));
    CHECK(finite(flat.gradient()));

    // Scores up to about 1e5: softmax picks one key.
    const Variable q = Variable::leaf(scale(normal({1, 50, 8}, 1, dtype), 300).value());
    const Variable k = Variable::leaf(scale(normal({1, 31, 8}, 2, dtype), 300).value());
    const Variable v = Variable::leaf(normal({1, 31, 8}, 3, dtype));
    const Variable out = attention(q, k, v, 2);
    CHECK(finite(out.value()));
    backward(out, normal(out.shape(), 4, dtype));
    CHECK(finite(q.gradient()));
    CHECK(finite(k.gradient()));
    CHECK(finite(v.gradient()));
  }
}

namespace {

// (B, T, D) -> (B, heads, T, D / heads)
Variable split_heads(const Variable& x, int64_t heads) {
  return permute(reshape(x, {x.dim(0), x.dim(1), heads, x.dim(2) / heads}), {0, 2, 1, 3});
}

// Attention as the paper writes it, out of other ops: all scores are there at once.
Variable plain_attention(const Variable& q, Variable k, Variable v, int64_t heads,
                         const KeyValuePrefix& prefix) {
  if (prefix.defined()) {
    const bool shared = prefix.keys.shape().rank() == 2;
    k = concat({shared ? repeat(prefix.keys, q.dim(0)) : prefix.keys, k}, 1);
    v = concat({shared ? repeat(prefix.values, q.dim(0)) : prefix.values, v}, 1);
  }
  const double factor = 1 / std::sqrt(static_cast<double>(q.dim(2) / heads));
  const Variable scores = matmul(split_heads(q, heads), permute(split_heads(k, heads), {0, 1, 3, 2}));
  const Variable heads_apart = matmul(softmax(scale(scores, factor)), split_heads(v, heads));
  return reshape(permute(heads_apart, {0, 2, 1, 3}), q.shape());
}

}  // namespace

TEST_CASE("values: attention equals softmax(q k^T) v, forward and backward") {
  struct Sizes {
    int64_t batch, queries, tokens, prefix, heads, width;
    bool per_image;
  };
  for (const Sizes s :
       {Sizes{2, 5, 5, 0, 2, 3, false}, Sizes{1, 197, 197, 0, 2, 8, false}, Sizes{2, 33, 31, 7, 3, 4, false},
        Sizes{3, 31, 33, 1, 1, 16, true}, Sizes{2, 1, 197, 50, 3, 5, false}, Sizes{1, 97, 1, 33, 2, 1, true},
        Sizes{2, 49, 0, 3, 2, 2, true}, Sizes{2, 96, 48, 0, 1, 64, false}}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(s.queries);
      CAPTURE(s.tokens);
      CAPTURE(s.prefix);
      const double tolerance = dtype == DType::f64 ? 1e-12 : 2e-5;
      const int64_t d = s.heads * s.width;
      const Shape rows = s.per_image ? Shape{s.batch, s.prefix, d} : Shape{s.prefix, d};
      // Everything wanted; then only the prefix, which takes a shorter way backward.
      for (const bool all : {true, false}) {
        if (!all && s.prefix == 0) continue;
        const auto make = [&] {
          Values out;
          for (const int64_t n : {s.queries, s.tokens, s.tokens})
            out.push_back(Variable(normal({s.batch, n, d}, static_cast<uint32_t>(out.size()), dtype)));
          for (Variable& x : out)
            if (all) x = Variable::leaf(x.value());
          for (int i = 0; i < 2 && s.prefix; ++i)
            out.push_back(Variable::leaf(normal(rows, static_cast<uint32_t>(out.size()), dtype)));
          return out;
        };
        const Values fused = make(), plain = make();
        const auto prefix = [](const Values& v) {
          return v.size() > 3 ? KeyValuePrefix{v[3], v[4]} : KeyValuePrefix{};
        };
        const Variable y = attention(fused[0], fused[1], fused[2], s.heads, prefix(fused));
        const Variable z = plain_attention(plain[0], plain[1], plain[2], s.heads, prefix(plain));
        check_close(values(y), values(z), tolerance);
        const Tensor dy = make_dy(y.shape(), dtype);
        backward(y, dy);
        backward(z, dy);
        for (size_t i = 0; i < fused.size(); ++i)
          if (fused[i].wants_gradient())
            check_close(values(fused[i].gradient()), values(plain[i].gradient()), tolerance);
        if (!all || s.queries != s.tokens) continue;
        // The same from one tensor: the same sums, so the same bits.
        const Variable qkv =
            Variable::leaf(concat({fused[0].value(), fused[1].value(), fused[2].value()}, 2).value());
        const Variable joined = self_attention(qkv, s.heads, prefix(fused));
        CHECK(same_bits(joined.value(), y.value()));
        backward(joined, dy);
        for (int i = 0; i < 3; ++i)
          CHECK(same_bits(slice(qkv.gradient(), 2, i * d, (i + 1) * d).value(), fused[i].gradient()));
      }
    }
  }
}

TEST_CASE("values: ops that move elements, and the mean") {
  const Tensor x = normal({2, 3, 5, 7}, 0), y = normal({2, 1, 5, 7}, 1);
  CHECK(values(reshape(x, {6, 35})) == values(x));
  check_exact(permute(x, {3, 0, 1, 2}), {7, 2, 3, 5}, [&](const Place& p) {
    return element(x, {p[1], p[2], p[3], p[0]});
  });
  check_exact(permute(x, {0, 2, 1, 3}), {2, 5, 3, 7}, [&](const Place& p) {
    return element(x, {p[0], p[2], p[1], p[3]});
  });
  check_exact(slice(x, 0, 1, 2), {1, 3, 5, 7}, [&](const Place& p) {
    return element(x, {1, p[1], p[2], p[3]});
  });
  check_exact(slice(x, 2, 1, 4), {2, 3, 3, 7}, [&](const Place& p) {
    return element(x, {p[0], p[1], p[2] + 1, p[3]});
  });
  check_exact(slice(x, -1, 6, 7), {2, 3, 5, 1}, [&](const Place& p) {
    return element(x, {p[0], p[1], p[2], 6});
  });
  check_exact(concat({y, x, y}, 1), {2, 5, 5, 7}, [&](const Place& p) {
    return p[1] == 0 || p[1] == 4 ? element(y, {p[0], 0, p[2], p[3]})
                                  : element(x, {p[0], p[1] - 1, p[2], p[3]});
  });
  check_exact(repeat(y, 3), {3, 2, 1, 5, 7}, [&](const Place& p) {
    return element(y, {p[1], p[2], p[3], p[4]});
  });
  for (int axis = 0; axis < 4; ++axis) {
    const Shape shape = x.shape().without(axis);
    CHECK(values(mean(x, axis - 4)) == values(mean(x, axis)));
    REQUIRE(mean(x, axis).shape() == shape);
    check_close(values(mean(x, axis)),
                each(shape,
                     [&](const Place& p) {
                       double sum = 0;
                       for (int64_t i = 0; i < x.dim(axis); ++i) {
                         Place full = p;
                         full.insert(full.begin() + axis, i);
                         sum += element(x, full);
                       }
                       return sum / static_cast<double>(x.dim(axis));
                     }),
                1e-14);
  }
}

TEST_CASE("values: embedding_add") {
  const Tensor x = normal({2, 6, 5}, 0), table = normal({4, 5}, 1), per_token = normal({6, 5}, 2);
  const std::vector<int64_t> rows{3, 0, 3, 2, 1, 3};
  check_exact(embedding_add(x, table, rows), x.shape(), [&](const Place& p) {
    return element(x, p) + element(table, {rows[p[1]], p[2]});
  });
  check_exact(embedding_add(x, per_token), x.shape(), [&](const Place& p) {
    return element(x, p) + element(per_token, {p[1], p[2]});
  });
}

TEST_CASE("values: dropout and drop_path draw from each sample's own stream") {
  const Tensor x = normal({3, 1000}, 0);
  const NoiseKey key{11, 2, {40, 7, 99}, 5};
  const Variable y = dropout(x, 0.3, key);
  int64_t zeros = 0;
  for (int64_t b = 0; b < 3; ++b) {
    Random random(11, Purpose::dropout, 2, static_cast<uint32_t>(key.samples[b]), 5);
    for (int64_t j = 0; j < 1000; ++j) {
      const double expected = random.chance(0.3) ? 0 : element(x, {b, j}) / 0.7;
      CHECK(std::abs(element(y.value(), {b, j}) - expected) <= 1e-15 * std::abs(expected));
      zeros += expected == 0;
    }
  }
  CHECK(std::abs(static_cast<double>(zeros) / 3000 - 0.3) < 0.03);  // 3.6 standard deviations
  // A sample's noise does not depend on its place in the batch.
  const Variable alone = dropout(x.rows(2, 3), 0.3, {11, 2, {99}, 5});
  CHECK(std::ranges::equal(alone.value().raw(), y.value().rows(2, 3).raw()));
  CHECK(same_bits(dropout(x, 0, key).value(), x));

  const Tensor many = Tensor::full({400, 3}, 1, DType::f64);
  NoiseKey keys{11, 2, {}, 5};
  for (int64_t i = 0; i < 400; ++i) keys.samples.push_back(i);
  const Doubles paths = values(drop_path(many, 0.25, keys));
  for (uint32_t b = 0; b < 400; ++b) {
    const double expected = Random(11, Purpose::drop_path, 2, b, 5).chance(0.25) ? 0 : 1 / 0.75;
    for (size_t j = 0; j < 3; ++j) CHECK(paths[b * 3 + j] == expected);
  }
}

TEST_CASE("values: cross_entropy with smoothing and class weights") {
  const Tensor logits = normal({33, 4}, 0), weights = make_input({{4}, Fill::positive}, DType::f64, 1);
  const Tensor labels = make_input({{33}, Fill::labels, true, 4}, DType::i64, 2);
  for (const double s : {0.0, 0.1, 0.9}) {
    for (const bool weighted : {false, true}) {
      double loss = 0, share = 0;
      for (int64_t b = 0; b < 33; ++b) {
        double sum = 0;
        for (int64_t c = 0; c < 4; ++c) sum += std::exp(element(logits, {b, c}));
        const int64_t label = labels.data<int64_t>()[b];
        for (int64_t c = 0; c < 4; ++c) {
          const double target = (1 - s) * (c == label) + s / 4, weight = weighted ? element(weights, {c}) : 1;
          loss -= weight * target * (element(logits, {b, c}) - std::log(sum));
        }
        share += weighted ? element(weights, {label}) : 1;
      }
      const Variable got = cross_entropy(logits, labels, {s, weighted ? weights : Tensor()});
      CHECK(got.shape() == Shape{});
      CHECK(got.value().item() == doctest::Approx(loss / share).epsilon(1e-13));
    }
  }
  // C classes that look alike cost log C, whatever the labels.
  CHECK(cross_entropy(Tensor::zeros({5, 7}, DType::f32), Tensor::zeros({5}, DType::i64)).value().item() ==
        doctest::Approx(std::log(7.0)).epsilon(1e-6));
}

// --- the packed product
// ------------------------------------------------------------------------------------------------

namespace {

// All ways to call the product for one size, against the plain sum in double. The bound is the classic one
// for a sum of k products in any order (Higham, Accuracy and Stability, 3.1): k rounding units of sum |a b|.
template <class T>
void check_product(int64_t m, int64_t n, int64_t k) {
  const DType dtype = dtype_of<T>();
  const Tensor a = normal({m, k}, 0, dtype), b = normal({k, n}, 1, dtype), bias = normal({n}, 2, dtype);
  const Tensor start = normal({m, n}, 3, dtype);
  const auto flip = [](const Tensor& x) { return permute(x, {1, 0}).value(); };
  const Tensor a_flipped = flip(a), b_flipped = flip(b);
  const auto pa = a.data<T>(), pb = b.data<T>(), pbias = bias.data<T>(), pstart = start.data<T>();
  Doubles sums(m * n, 0.0), sizes(m * n, 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) {
        const double term = static_cast<double>(pa[i * k + p]) * static_cast<double>(pb[p * n + j]);
        sums[i * n + j] += term;
        sizes[i * n + j] += std::abs(term);
      }
  constexpr double unit = std::numeric_limits<T>::epsilon();
  const int64_t row = n + 3;  // the rows of c stand apart, and nothing may be written between them
  for (const bool a_transposed : {false, true}) {
    for (const bool b_transposed : {false, true}) {
      for (const int extra : {0, 1, 2}) {  // nothing, accumulate, bias
        Tensor c = Tensor::full({m, row}, 123, dtype);
        const auto to = c.mutable_data<T>();
        for (int64_t i = 0; i < m && extra == 1; ++i)
          for (int64_t j = 0; j < n; ++j) to[i * row + j] = pstart[i * n + j];
        cpu::Product<T> x{m, n, k, {}, to.data(), row};
        x.a = a_transposed ? cpu::Matrix<T>{a_flipped.data<T>().data(), m, 1}.transposed()
                           : cpu::Matrix<T>{pa.data(), k, 1};
        x.accumulate = extra == 1;
        x.bias = extra == 2 ? pbias.data() : nullptr;
        const cpu::Matrix<T> right = b_transposed
                                         ? cpu::Matrix<T>{b_flipped.data<T>().data(), k, 1}.transposed()
                                         : cpu::Matrix<T>{pb.data(), n, 1};
        cpu::multiply<T>(x, right, {});

        double worst = 0;
        bool outside = true;
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const double first = extra == 1 ? pstart[i * n + j] : extra == 2 ? pbias[j] : 0;
            const double allowed = unit * static_cast<double>(k + 2) * (sizes[i * n + j] + std::abs(first));
            worst = std::max(worst, std::abs(to[i * row + j] - (sums[i * n + j] + first)) / allowed);
          }
          for (int64_t j = n; j < row; ++j) outside = outside && to[i * row + j] == 123;
        }
        if (worst <= 1 && outside) continue;
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(k);
        CAPTURE(a_transposed);
        CAPTURE(b_transposed);
        CAPTURE(extra);
        CHECK(worst <= 1);
        CHECK(outside);
      }
    }
  }
  CHECK(true);
}

}  // namespace

TEST_CASE("gemm: odd sizes, transposed operands, accumulate and bias against a plain sum") {
  const Threads one(1);
  for (const int64_t m : {1, 5, 6, 7, 13})
    for (const int64_t n : {1, 5, 15, 16, 17, 31, 33})
      for (const int64_t k : {1, 6, 17}) {
        check_product<float>(m, n, k);
        check_product<double>(m, n, k);
      }
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{97, 33, 31},
                                {33, 97, 197},
                                {197, 17, 257},
                                {5, 300, 300},
                                {300, 31, 97},
                                {31, 197, 300},
                                {1, 257, 33},
                                {257, 1, 257},
                                {97, 97, 1},
                                {16, 7, 513}}) {
    check_product<float>(m, n, k);
    check_product<double>(m, n, k);
  }
}

TEST_CASE("gemm: on all threads, in one thread, packed before: the same bits") {
  const int64_t m = 197, n = 600, k = 300;
  const Tensor a = normal({m, k}, 0, DType::f32), b = normal({k, n}, 1, DType::f32);
  const cpu::Matrix<float> left{a.data<float>().data(), k, 1}, right{b.data<float>().data(), n, 1};
  const auto run = [&](int threads, int way) {
    const Threads some(threads);
    Tensor c = Tensor::empty({m, n}, DType::f32);
    const cpu::Product<float> x{m, n, k, left, c.mutable_data<float>().data(), n};
    if (way == 0) {
      cpu::multiply<float>(x, right, {});
      return c;
    }
    std::vector<float> packed(cpu::packed_size<float>(k, n));
    cpu::pack<float>(k, n, right, packed.data());
    way == 1 ? cpu::multiply_packed<float>(x, packed.data())
             : cpu::multiply_packed_serially<float>(x, packed.data());
    return c;
  };
  const Tensor reference = run(1, 2);
  for (int threads = 1; threads <= 4; ++threads)
    for (int way = 0; way < 3; ++way) CHECK(same_bits(run(threads, way), reference));
}

// --- the whole table
// ---------------------------------------------------------------------------------------------------

TEST_CASE("table: f32 against f64, results and gradients") {
  const Threads one(1);
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const Outcome narrow = evaluate(op, inputs_of(op, DType::f32), all_wanted(op));
    const Outcome wide = evaluate(op, inputs_of(op, DType::f64), all_wanted(op));
    CHECK(narrow.value.dtype() == DType::f32);
    CHECK(wide.value.dtype() == DType::f64);
    check_close(values(narrow.value), values(wide.value), op.tolerance);
    for (size_t i = 0; i < wide.gradients.size(); ++i) {
      CAPTURE(i);
      REQUIRE(narrow.gradients[i].defined() == wide.gradients[i].defined());
      if (wide.gradients[i].defined())
        check_close(values(narrow.gradients[i]), values(wide.gradients[i]), op.tolerance);
    }
  }
}

TEST_CASE("table: any number of threads gives the same bits") {
  const auto run = [](const OpCase& op, int threads) {
    const Threads some(threads);
    return evaluate(op, inputs_of(op, DType::f32), all_wanted(op));
  };
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const Outcome reference = run(op, 1);
    for (int threads = 2; threads <= 4; ++threads) {
      const Outcome other = run(op, threads);
      CHECK(same_bits(other.value, reference.value));
      for (size_t i = 0; i < reference.gradients.size(); ++i)
        CHECK(same_bits(other.gradients[i], reference.gradients[i]));
    }
  }
}

TEST_CASE("table: constants have no history, results live in the inputs' memory") {
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const Memory memory = Memory::counted();
    {
      Values constants;
      for (const Tensor& x : inputs_of(op, DType::f32, memory)) constants.push_back(Variable(x));
      const size_t before = memory.statistics().current;
      {
        const Variable y = op.run(constants);
        CHECK_FALSE(y.wants_gradient());
        CHECK_THROWS_WITH(backward(y, make_dy(y.shape(), y.dtype())),
                          "backward: the result does not depend on any trainable");
        // Nothing but the result is kept (reshape and slices of the first axis share the input's bytes).
        const bool shares = y.value().shares_block_with(constants[0].value());
        CHECK(memory.statistics().current == before + (shares ? 0 : y.value().bytes()));
      }
      CHECK(memory.statistics().current == before);
      for (const Input& input : op.inputs) CHECK((input.constant || input.fill != Fill::labels));
      CHECK(op.flops >= 0);

      // Backward of everything gives back all but the gradients.
      Values leaves;
      size_t gradients = 0;
      for (size_t i = 0; i < constants.size(); ++i) {
        const bool wanted = !op.inputs[i].constant;
        leaves.push_back(wanted ? Variable::leaf(constants[i].value()) : constants[i]);
        gradients += wanted ? constants[i].value().bytes() : 0;
      }
      {
        const Variable y = op.run(leaves);
        backward(y, make_dy(y.shape(), y.dtype()));
      }
      CHECK(memory.statistics().current <= before + gradients);
    }
    CHECK(memory.statistics().current == 0);
  }
}

// --- what is kept for backward
// -----------------------------------------------------------------------------------------

TEST_CASE("memory: a linear with a constant weight keeps no activation, one with a trainable weight does") {
  const Memory memory = Memory::counted();
  const auto kept = [&](const Variable& weight, const Variable& bias) {
    const Variable leaf = Variable::leaf(random_tensor({31, 33}, DType::f32, 0, memory));
    const size_t before = memory.statistics().current;
    Variable x = scale(leaf, 2);
    const Variable y = linear(x, weight, bias);
    x = Variable();
    const auto out = static_cast<int64_t>(memory.statistics().current - before - y.value().bytes());
    backward(y, make_dy(y.shape(), y.dtype()));
    CHECK(leaf.gradient().defined());
    return out;
  };
  const Tensor w = normal({17, 33}, 1, DType::f32), b = normal({17}, 2, DType::f32);
  CHECK(kept(w, {}) == 0);
  CHECK(kept(w, Variable::leaf(b)) == 0);
  CHECK(kept(Variable::leaf(w), {}) == 31 * 33 * 4);
  CHECK(kept(w.clone().seal(), b) == 0);
}

TEST_CASE("memory: an input's rule keeps only what its gradient needs") {
  const Memory memory = Memory::counted();
  const Variable leaf = Variable::leaf(random_tensor({31, 33}, DType::f32, 0, memory));
  // Bytes beyond the result after `f` ran on an intermediate x that nobody else holds.
  const auto kept = [&](const std::function<Variable(const Variable&)>& f) {
    const size_t before = memory.statistics().current;
    Variable x = scale(leaf, 2);
    const Variable y = f(x);
    x = Variable();
    return static_cast<int64_t>(memory.statistics().current - before - y.value().bytes());
  };
  const Tensor other = normal({31, 33}, 1, DType::f32), row = normal({33}, 2, DType::f32);
  const int64_t x_bytes = 31 * 33 * 4;
  CHECK(kept([&](const Variable& x) { return add(x, other); }) == 0);
  CHECK(kept([&](const Variable& x) { return add(x, Variable::leaf(row)); }) == 0);
  CHECK(kept([&](const Variable& x) { return mul(x, other); }) == 0);
  CHECK(kept([&](const Variable& x) { return mul(x, Variable::leaf(row)); }) == x_bytes);
  CHECK(kept([&](const Variable& x) { return matmul(x, normal({33, 5}, 3, DType::f32)); }) == 0);
  CHECK(kept([&](const Variable& x) { return scale(x, 3); }) == 0);
  CHECK(kept([&](const Variable& x) { return permute(x, {1, 0}); }) == 0);
  CHECK(kept([&](const Variable& x) { return mean(x, 0); }) == 0);
  CHECK(kept([&](const Variable& x) { return embedding_add(x, Variable::leaf(other)); }) == 0);
  CHECK(kept([&](const Variable& x) { return softmax(x); }) == 0);  // the result itself serves
  CHECK(kept([&](const Variable& x) { return gelu(x); }) == x_bytes);
  CHECK(kept([&](const Variable& x) { return layer_norm(x, row, row, 1e-6); }) == x_bytes + 2 * 31 * 4);
  NoiseKey key{1, 0, std::vector<int64_t>(31, 4), 0};
  CHECK(kept([&](const Variable& x) { return dropout(x, 0.5, key); }) == 0);
  // Only beta learns: dy is enough, so a constant x leaves nothing behind.
  const Tensor constant = random_tensor({31, 33}, DType::f32, 5, memory);
  const size_t before = memory.statistics().current;
  const Variable y = layer_norm(constant, row, Variable::leaf(row), 1e-6);
  CHECK(memory.statistics().current == before + y.value().bytes());
}

TEST_CASE("memory: attention keeps no scores") {
  const Memory memory = Memory::counted();
  const int64_t tokens = 197, heads = 3, d = 12;
  const Variable qkv = Variable::leaf(random_tensor({2, tokens, 3 * d}, DType::f32, 0, memory));
  const size_t before = memory.statistics().current;
  memory.reset_peak();
  const Threads one(1);
  const Variable y = self_attention(qkv, heads);
  // One number per query and head, besides the result; the scores would take 197 times that.
  CHECK(memory.statistics().current - before == y.value().bytes() + 2 * heads * tokens * 4);
  const size_t all_scores = 2 * heads * tokens * tokens * 4;
  CHECK(memory.statistics().peak - before < all_scores);
  memory.reset_peak();
  const size_t held = memory.statistics().current;
  backward(y, make_dy(y.shape(), DType::f32));
  CHECK(memory.statistics().peak - held < all_scores);
}

// --- sealed weights
// ----------------------------------------------------------------------------------------------------

TEST_CASE("linear: a sealed weight gives the bits of an unsealed one, and is packed once") {
  const Memory memory = Memory::counted();
  const Tensor w = random_tensor({100, 300}, DType::f32, 0, memory), sealed = w.clone().seal();
  const Tensor b = normal({100}, 1, DType::f32), x = normal({2, 31, 300}, 2, DType::f32),
               dy = make_dy({2, 31, 100}, DType::f32);
  const auto run = [&](const Tensor& weight) {
    const Variable leaf = Variable::leaf(x);
    const Variable y = linear(leaf, weight, b);
    backward(y, dy);
    return std::pair(y.value(), leaf.gradient());
  };
  const auto [y, dx] = run(w);
  const auto [y_sealed, dx_sealed] = run(sealed);
  CHECK(same_bits(y, y_sealed));
  CHECK(same_bits(dx, dx_sealed));
  const size_t allocations = memory.statistics().allocations;
  const auto [y_again, dx_again] = run(sealed);
  CHECK(memory.statistics().allocations == allocations);  // x and its results live elsewhere
  CHECK(same_bits(y_again, y));
  CHECK(same_bits(dx_again, dx));
}

TEST_CASE("linear: views of one sealed block do not take each other's packed form") {
  const Tensor block = normal({12, 6}, 0).seal();
  const auto fresh = [](const Tensor& w) { return Tensor::of<double>(w.shape(), w.data<double>()); };
  for (const Tensor& view : {block, block.reshape({6, 12}), block.reshape({24, 3}), block.rows(0, 6),
                             block.rows(6, 12), block.rows(0, 6).reshape({3, 12})}) {
    CAPTURE(view.shape().str());
    const Tensor x = normal({5, view.dim(1)}, 1);
    const Variable sealed = Variable::leaf(x), plain = Variable::leaf(x);
    const Variable y = linear(sealed, view), z = linear(plain, fresh(view));
    CHECK(same_bits(y.value(), z.value()));
    backward(y, make_dy(y.shape(), DType::f64));
    backward(z, make_dy(z.shape(), DType::f64));
    CHECK(same_bits(sealed.gradient(), plain.gradient()));
  }
}

// --- nothing at all
// ----------------------------------------------------------------------------------------------------

TEST_CASE("empty: a zero extent gives an empty result and gradients of the right shape, all zero") {
  const auto check_empty = [](const std::string& name, const std::vector<Shape>& shapes, const Shape& result,
                              const std::function<Variable(const Values&)>& f) {
    CAPTURE(name);
    for (const DType dtype : {DType::f32, DType::f64}) {
      Values leaves;
      for (const Shape& shape : shapes)
        leaves.push_back(Variable::leaf(normal(shape, static_cast<uint32_t>(leaves.size()), dtype)));
      const Variable y = f(leaves);
      CHECK(y.shape() == result);
      backward(y, normal(y.shape(), 9, dtype));
      for (const Variable& x : leaves) {
        CHECK(x.gradient().shape() == x.shape());
        for (const double g : values(x.gradient())) CHECK(g == 0);
      }
    }
  };
  using V = const Values&;
  check_empty("add", {{0, 3}, {3}}, {0, 3}, [](V v) { return add(v[0], v[1]); });
  check_empty("add column", {{3, 1}, {1, 0}}, {3, 0}, [](V v) { return add(v[0], v[1]); });
  check_empty("mul", {{2, 0, 3}, {2, 1, 1}}, {2, 0, 3}, [](V v) { return mul(v[0], v[1]); });
  check_empty("scale", {{0}}, {0}, [](V v) { return scale(v[0], 2); });
  check_empty("relu", {{0, 4}}, {0, 4}, [](V v) { return relu(v[0]); });
  check_empty("gelu", {{4, 0}}, {4, 0}, [](V v) { return gelu(v[0]); });
  check_empty("matmul no rows", {{0, 3}, {3, 2}}, {0, 2}, [](V v) { return matmul(v[0], v[1]); });
  check_empty("matmul no columns", {{2, 3}, {3, 0}}, {2, 0}, [](V v) { return matmul(v[0], v[1]); });
  check_empty("matmul no batch", {{0, 2, 3}, {0, 3, 4}}, {0, 2, 4}, [](V v) { return matmul(v[0], v[1]); });
  check_empty("linear no rows", {{2, 0, 3}, {4, 3}, {4}}, {2, 0, 4},
              [](V v) { return linear(v[0], v[1], v[2]); });
  check_empty("linear no outputs", {{2, 3}, {0, 3}, {0}}, {2, 0},
              [](V v) { return linear(v[0], v[1], v[2]); });
  check_empty("layer_norm", {{0, 3}, {3}, {3}}, {0, 3},
              [](V v) { return layer_norm(v[0], v[1], v[2], 1e-6); });
  check_empty("softmax", {{2, 0, 3}}, {2, 0, 3}, [](V v) { return softmax(v[0]); });
  check_empty("attention no batch", {{0, 3, 4}, {0, 5, 4}, {0, 5, 4}, {2, 4}, {2, 4}}, {0, 3, 4}, [](V v) {
    return attention(v[0], v[1], v[2], 2, {v[3], v[4]});
  });
  check_empty("attention no queries", {{2, 0, 4}, {2, 5, 4}, {2, 5, 4}, {2, 4}, {2, 4}}, {2, 0, 4}, [](V v) {
    return attention(v[0], v[1], v[2], 2, {v[3], v[4]});
  });
  check_empty("attention no width", {{2, 3, 0}, {2, 5, 0}, {2, 5, 0}}, {2, 3, 0},
              [](V v) { return attention(v[0], v[1], v[2], 2); });
  check_empty("self_attention", {{0, 3, 12}}, {0, 3, 4}, [](V v) { return self_attention(v[0], 2); });
  check_empty("reshape", {{0, 3}}, {5, 0}, [](V v) { return reshape(v[0], {5, 0}); });
  check_empty("permute", {{2, 0, 3}}, {3, 2, 0}, [](V v) { return permute(v[0], {2, 0, 1}); });
  check_empty("slice", {{2, 5}}, {2, 0}, [](V v) { return slice(v[0], 1, 3, 3); });
  check_empty("slice rows", {{2, 5}}, {0, 5}, [](V v) { return slice(v[0], 0, 2, 2); });
  check_empty("concat", {{2, 0}, {2, 0}}, {2, 0}, [](V v) { return concat(v, 1); });
  check_empty("repeat", {{3}}, {0, 3}, [](V v) { return repeat(v[0], 0); });
  check_empty("mean", {{0, 3}}, {0}, [](V v) { return mean(v[0], 1); });
  check_empty("embedding_add", {{0, 3, 2}, {3, 2}}, {0, 3, 2}, [](V v) { return embedding_add(v[0], v[1]); });
  check_empty("dropout", {{0, 3}}, {0, 3}, [](V v) { return dropout(v[0], 0.5, {1, 0, {}, 0}); });
  check_empty("drop_path", {{2, 0}}, {2, 0}, [](V v) { return drop_path(v[0], 0.5, {1, 0, {3, 4}, 0}); });
}

TEST_CASE("empty: sums over nothing are zero, and an empty part or prefix changes nothing") {
  CHECK(values(matmul(normal({2, 0}, 0), normal({0, 3}, 1))) == Doubles(6, 0.0));
  const Tensor bias = normal({3}, 0);
  const Doubles rows = values(linear(normal({2, 0}, 0), normal({3, 0}, 1), bias));
  for (size_t i = 0; i < 6; ++i) CHECK(rows[i] == bias.data<double>()[i % 3]);
  const Variable x = normal({2, 3}, 0);
  CHECK(same_bits(concat({normal({2, 0}, 1), x, normal({2, 0}, 2)}, 1).value(), x.value()));

  const Variable q = Variable::leaf(normal({2, 5, 4}, 0)), k = normal({2, 5, 4}, 1), v = normal({2, 5, 4}, 2);
  const Tensor dy = make_dy({2, 5, 4}, DType::f64);
  backward(attention(q, k, v, 2), dy);
  for (const Shape& shape : {Shape{0, 4}, Shape{2, 0, 4}}) {
    const Variable p = Variable::leaf(q.value()), keys = Variable::leaf(normal(shape, 3)),
                   none = normal(shape, 3);
    const Variable y = attention(p, k, v, 2, {keys, none});
    CHECK(same_bits(y.value(), attention(q, k, v, 2).value()));
    backward(y, dy);
    CHECK(same_bits(p.gradient(), q.gradient()));
    CHECK(keys.gradient().shape() == shape);
    // Nothing but an empty prefix learns.
    const Variable alone = Variable::leaf(normal(shape, 3));
    backward(attention(q.detach(), k, v, 2, {none, alone}), dy);
    CHECK(alone.gradient().shape() == shape);
  }
}

// --- refusals
// ----------------------------------------------------------------------------------------------------------

TEST_CASE("errors: the sentences of linear") {
  const auto t = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32); };
  CHECK_THROWS_WITH(linear(t({2, 768}), t({10, 192})), "linear: expected weight (out, 768), got (10, 192)");
  CHECK_THROWS_WITH(linear(t({2, 3}), t({4, 3}), t({5})), "linear: expected bias (4), got (5)");
  CHECK_THROWS_WITH(linear(t({2, 3}), Tensor::zeros({4, 3}, DType::f64)),
                    "linear: expected a weight of f32, got f64");
}

TEST_CASE("errors: what does not fit is an Error that names the op") {
  const auto t = [](const Shape& shape, DType dtype = DType::f32) {
    return Variable(Tensor::zeros(shape, dtype));
  };
  const auto wide = [&](const Shape& shape) { return t(shape, DType::f64); };
  const auto whole = [&](const Shape& shape) { return Tensor::zeros(shape, DType::i64); };
  const Variable none;
  const auto refused = [](const std::string& op, const std::function<Variable()>& f) {
    CAPTURE(op);
    std::string message = "nothing was thrown";
    Fault fault = Fault::resources;
    try {
      f();
    } catch (const Error& error) {
      message = error.what();
      fault = error.fault();
    }
    CAPTURE(message);
    CHECK(message.starts_with(op + ": "));
    CHECK(fault == Fault::input);
  };
  refused("add", [&] { return add(t({2, 3}), t({2, 4})); });
  refused("add", [&] { return add(t({0}), t({2})); });
  refused("add", [&] { return add(t({2}), wide({2})); });
  refused("add", [&] { return add(whole({2}), whole({2})); });
  refused("add", [&] { return add(t({2}), none); });
  refused("add", [&] { return add(none, none); });
  refused("mul", [&] { return mul(t({3, 2}), t({3})); });
  refused("mul", [&] { return mul(none, t({3})); });
  refused("scale", [&] { return scale(whole({2}), 2); });
  refused("scale", [&] { return scale(none, 2); });
  refused("relu", [&] { return relu(whole({2})); });
  refused("relu", [&] { return relu(none); });
  refused("gelu", [&] { return gelu(whole({2})); });
  refused("gelu", [&] { return gelu(none); });
  refused("matmul", [&] { return matmul(t({2, 3}), t({4, 2})); });
  refused("matmul", [&] { return matmul(t({3}), t({3, 2})); });
  refused("matmul", [&] { return matmul(t({2, 3}), t({3})); });
  refused("matmul", [&] { return matmul(t({2, 2, 3}), t({3, 3, 4})); });
  refused("matmul", [&] { return matmul(t({2, 3, 4, 5}), t({3, 2, 5, 6})); });
  refused("matmul", [&] { return matmul(t({2, 3}), t({4, 3, 2})); });
  refused("matmul", [&] { return matmul(t({2, 3}), wide({3, 2})); });
  refused("matmul", [&] { return matmul(none, t({3, 2})); });
  refused("matmul", [&] { return matmul(whole({2, 2}), whole({2, 2})); });
  refused("linear", [&] { return linear(t({}), t({2, 3})); });
  refused("linear", [&] { return linear(t({2, 3}), t({3})); });
  refused("linear", [&] { return linear(none, t({2, 3})); });
  refused("linear", [&] { return linear(t({2, 3}), none); });
  refused("linear", [&] { return linear(t({2, 3}), t({4, 3}), wide({4})); });
  refused("linear", [&] { return linear(whole({2, 3}), whole({4, 3})); });
  refused("layer_norm", [&] { return layer_norm(t({2, 3}), t({4}), t({3}), 1e-6); });
  refused("layer_norm", [&] { return layer_norm(t({2, 3}), t({3}), t({1, 3}), 1e-6); });
  refused("layer_norm", [&] { return layer_norm(t({2, 3}), wide({3}), t({3}), 1e-6); });
  refused("layer_norm", [&] { return layer_norm(t({2, 3}), none, t({3}), 1e-6); });
  refused("layer_norm", [&] { return layer_norm(t({2, 0}), t({0}), t({0}), 1e-6); });
  refused("layer_norm", [&] { return layer_norm(t({}), t({}), t({}), 1e-6); });
  refused("softmax", [&] { return softmax(t({2, 0})); });
  refused("softmax", [&] { return softmax(t({})); });
  refused("softmax", [&] { return softmax(none); });
  const Variable q = t({2, 3, 4});
  refused("attention", [&] { return attention(q, t({2, 3, 5}), t({2, 3, 5}), 2); });
  refused("attention", [&] { return attention(q, t({1, 3, 4}), t({1, 3, 4}), 2); });
  refused("attention", [&] { return attention(q, q, t({2, 2, 4}), 2); });
  refused("attention", [&] { return attention(q, q, wide({2, 3, 4}), 2); });
  refused("attention", [&] { return attention(q, q, q, 3); });
  refused("attention", [&] { return attention(q, q, q, 0); });
  refused("attention", [&] { return attention(q, q, q, -2); });
  refused("attention", [&] { return attention(q, t({2, 0, 4}), t({2, 0, 4}), 2); });
  refused("attention", [&] { return attention(none, q, q, 2); });
  refused("attention", [&] { return attention(q, none, none, 2); });
  refused("attention", [&] { return attention(t({3, 4}), t({3, 4}), t({3, 4}), 2); });
  refused("attention", [&] { return attention(q, q, q, 2, {t({3, 5}), t({3, 5})}); });
  refused("attention", [&] { return attention(q, q, q, 2, {t({3, 3, 4}), t({3, 3, 4})}); });
  refused("attention", [&] { return attention(q, q, q, 2, {t({3, 4}), t({2, 4})}); });
  refused("attention", [&] { return attention(q, q, q, 2, {t({4}), t({4})}); });
  refused("attention", [&] { return attention(q, q, q, 2, {t({3, 4}), none}); });
  refused("attention", [&] { return attention(q, q, q, 2, {none, t({3, 4})}); });
  refused("attention", [&] { return attention(q, q, q, 2, {wide({3, 4}), wide({3, 4})}); });
  refused("attention", [&] { return attention(whole({2, 3, 4}), whole({2, 3, 4}), whole({2, 3, 4}), 2); });
  refused("self_attention", [&] { return self_attention(t({2, 3, 4}), 2); });
  refused("self_attention", [&] { return self_attention(t({2, 3, 12}), 3); });
  refused("self_attention", [&] { return self_attention(t({2, 3, 12}), 0); });
  refused("self_attention", [&] { return self_attention(t({2, 3, 12}), int64_t{1} << 62); });
  refused("self_attention", [&] { return self_attention(t({2, 0, 12}), 2); });
  refused("self_attention", [&] { return self_attention(t({3, 12}), 2); });
  refused("self_attention", [&] { return self_attention(t({2, 3, 12}), 2, {t({3, 5}), t({3, 5})}); });
  refused("reshape", [&] { return reshape(t({2, 3}), {4}); });
  refused("reshape", [&] { return reshape(none, {}); });
  refused("permute", [&] { return permute(t({2, 3}), {0}); });
  refused("permute", [&] { return permute(t({2, 3}), {0, 0}); });
  refused("permute", [&] { return permute(t({2, 3}), {0, 2}); });
  refused("permute", [&] { return permute(t({2, 3}), {0, -1}); });
  refused("permute", [&] { return permute(t({2, 3}), {0, 1, 0}); });
  refused("permute", [&] { return permute(none, {}); });
  refused("slice", [&] { return slice(t({2, 3}), 2, 0, 1); });
  refused("slice", [&] { return slice(t({2, 3}), -3, 0, 1); });
  refused("slice", [&] { return slice(t({2, 3}), 1, 2, 1); });
  refused("slice", [&] { return slice(t({2, 3}), 1, -1, 1); });
  refused("slice", [&] { return slice(t({2, 3}), 0, 0, 3); });
  refused("slice", [&] { return slice(none, 0, 0, 0); });
  refused("concat", [&] { return concat({}, 0); });
  refused("concat", [&] { return concat({t({2, 3}), t({3, 3})}, 1); });
  refused("concat", [&] { return concat({t({2, 3}), t({2})}, 0); });
  refused("concat", [&] { return concat({t({2, 3}), t({2, 3})}, 2); });
  refused("concat", [&] { return concat({t({2, 3}), wide({2, 3})}, 0); });
  refused("concat", [&] { return concat({t({2, 3}), none}, 0); });
  refused("concat", [&] { return concat({none}, 0); });
  refused("repeat", [&] { return repeat(t({2}), -1); });
  refused("repeat", [&] { return repeat(none, 2); });
  refused("repeat", [&] { return repeat(t({1, 1, 1, 1, 1, 1, 1, 1}), 2); });
  refused("mean", [&] { return mean(t({2, 3}), 2); });
  refused("mean", [&] { return mean(t({0, 3}), 0); });
  refused("mean", [&] { return mean(whole({2, 3}), 0); });
  const std::vector<int64_t> high{0, 3}, low{0, -1}, long_rows{0, 0, 0}, fine{0, 1};
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), t({3, 4})); });
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), t({3, 3})); });
  refused("embedding_add", [&] { return embedding_add(t({3}), t({3, 3})); });
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), t({3, 3}), high); });
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), t({3, 3}), low); });
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), t({3, 3}), long_rows); });
  refused("embedding_add", [&] { return embedding_add(t({2, 3}), wide({3, 3}), fine); });
  refused("embedding_add", [&] { return embedding_add(none, t({3, 3})); });
  refused("dropout", [&] { return dropout(t({2, 3}), 1, {0, 0, {1, 2}, 0}); });
  refused("dropout", [&] { return dropout(t({2, 3}), -0.1, {0, 0, {1, 2}, 0}); });
  refused("dropout", [&] { return dropout(t({2, 3}), std::nan(""), {0, 0, {1, 2}, 0}); });
  refused("dropout", [&] { return dropout(t({2, 3}), 0.5, {0, 0, {1}, 0}); });
  refused("dropout", [&] { return dropout(t({}), 0.5, {}); });
  refused("dropout", [&] { return dropout(none, 0.5, {}); });
  refused("dropout", [&] { return dropout(whole({1}), 0.5, {0, 0, {1}, 0}); });
  refused("drop_path", [&] { return drop_path(t({2, 3}), 2, {0, 0, {1, 2}, 0}); });
  refused("drop_path", [&] { return drop_path(none, 0.5, {}); });
  const auto labels = [](std::initializer_list<int64_t> l) {
    return Tensor::of<int64_t>({static_cast<int64_t>(l.size())}, l);
  };
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0})); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0, 3})); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0, -1})); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), Tensor::zeros({2}, DType::f32)); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), Tensor()); });
  refused("cross_entropy", [&] { return cross_entropy(t({3}), labels({0, 0, 0})); });
  refused("cross_entropy", [&] { return cross_entropy(t({0, 3}), labels({})); });
  refused("cross_entropy", [&] { return cross_entropy(none, labels({0})); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0, 1}), {1.0, {}}); });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0, 1}), {std::nan(""), {}}); });
  refused("cross_entropy", [&] {
    return cross_entropy(t({2, 3}), labels({0, 1}), {0, Tensor::zeros({2}, DType::f32)});
  });
  refused("cross_entropy", [&] {
    return cross_entropy(t({2, 3}), labels({0, 1}), {0, Tensor::zeros({3}, DType::f32)});
  });
  refused("cross_entropy", [&] {
    return cross_entropy(t({2, 3}), labels({0, 1}), {0, Tensor::full({3}, -1, DType::f32)});
  });
  refused("cross_entropy", [&] {
    return cross_entropy(t({2, 3}), labels({0, 1}), {0, Tensor::full({3}, std::nan(""), DType::f32)});
  });
  refused("cross_entropy", [&] { return cross_entropy(t({2, 3}), labels({0, 1}), {0, whole({3})}); });
}
