// op_value_test.cpp: the values of every op against its textbook form, and where plain formulas overflow.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

using Place = std::vector<int64_t>;

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

void check_exact(const Variable& got, const Shape& shape, const std::function<double(const Place&)>& f) {
  REQUIRE(got.shape() == shape);
  CHECK(values(got) == each(shape, f));
}

bool finite(const Tensor& x) {
  return std::ranges::all_of(values(x), [](double v) { return std::isfinite(v); });
}

}  // namespace

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

TEST_CASE("values: swiglu against its formula, halves of each row, far out on both sides") {
  constexpr int64_t half = 700;  // more than what is done at once
  Tensor x = Tensor::empty({2, 2 * half}, DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<double>()[i] = 40 * std::sin(0.37 * static_cast<double>(i));
  Doubles expect;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t i = 0; i < half; ++i) {
      const double *a = x.data<double>().data() + row * 2 * half + i, b = a[half];
      expect.push_back(*a / (1 + std::exp(-*a)) * b);
    }
  check_close(values(swiglu(x)), expect, 1e-14);
  check_close(values(swiglu(x.to(DType::f32))), expect, 1e-6);
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
