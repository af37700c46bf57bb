// op_edge_test.cpp: ops on empty tensors, and what they refuse.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

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
  check_empty("swiglu", {{4, 0}}, {4, 0}, [](V v) { return swiglu(v[0]); });
  check_empty("swiglu no rows", {{0, 4}}, {0, 2}, [](V v) { return swiglu(v[0]); });
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

TEST_CASE("empty: extents that no memory holds are no work and no overflow") {
  const int64_t far = int64_t{1} << 61;
  const Variable x = Variable::leaf(Tensor::zeros({0, far}, DType::f64));
  CHECK(slice(x, 1, far / 2, far).shape() == Shape{0, far / 2});
  CHECK(concat({x, x, x}, 1).shape() == Shape{0, 3 * far});
  CHECK_THROWS_AS(concat(std::vector<Variable>(8, x), 1), Error);  // 2^64 along the axis
  CHECK(add(x, x).shape() == Shape{0, far});
  const Variable y = concat({x, x}, 1);
  backward(y, Tensor::zeros({0, 2 * far}, DType::f64));
  CHECK(x.gradient().shape() == x.shape());
}

TEST_CASE("gelu: the slope is 1 far to the right, 0 far to the left, and NaN stays NaN") {
  for (const Gelu form : {Gelu::erf, Gelu::tanh, Gelu::quick})
    for (const DType dtype : {DType::f32, DType::f64})
      for (const double far : {999.0, 1e4, 1e10, 1e20, 1e30, 3e38, 1e300, HUGE_VAL}) {
        if (dtype == DType::f32 && far == 1e300) continue;
        CAPTURE(static_cast<int>(form));
        CAPTURE(far);
        Doubles at(37);  // whole vectors and a rest
        for (size_t i = 0; i < at.size(); ++i) at[i] = i % 3 == 0 ? far : i % 3 == 1 ? -far : std::nan("");
        const Shape shape{static_cast<int64_t>(at.size())};
        const Variable x = Variable::leaf(Tensor::of<double>(shape, at).to(dtype));
        backward(gelu(x, form), Tensor::full(shape, 1, dtype));
        const Doubles slope = values(x.gradient());
        for (size_t i = 0; i < at.size(); ++i) {
          CAPTURE(i);
          if (i % 3 == 0) CHECK(slope[i] == 1);
          if (i % 3 == 1) CHECK(std::abs(slope[i]) < 1e-30);
          if (i % 3 == 2) CHECK(std::isnan(slope[i]));
        }
      }
}

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
  refused("swiglu", [&] { return swiglu(whole({2})); });
  refused("swiglu", [&] { return swiglu(t({2, 3})); });
  refused("swiglu", [&] { return swiglu(t({})); });
  refused("swiglu", [&] { return swiglu(none); });
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
  for (const double epsilon : {-1e-6, std::nan(""), HUGE_VAL})
    refused("layer_norm", [&] { return layer_norm(t({2, 3}), t({3}), t({3}), epsilon); });
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
  const auto rows = [&](const Shape& x, RowLayers layers, bool residual = false) {
    refused("row_layers", [&] { return row_layers(t(x), layers, residual); });
    // Weights that learn are refused for the same.
    for (Variable* v : {&layers.w1, &layers.b1, &layers.beta, &layers.b2})
      if (v->defined()) *v = Variable::leaf(v->value().clone());
    refused("row_layers", [&] { return row_layers(t(x), layers, residual); });
  };
  const Variable w1 = t({5, 3}), b1 = t({5}), w2 = t({3, 5}), b2 = t({3});
  rows({2, 3}, {.w1 = t({5, 4}), .b1 = b1, .w2 = w2, .b2 = b2});
  rows({2, 3}, {.w1 = w1, .b1 = t({4}), .w2 = w2, .b2 = b2});
  rows({2, 3}, {.w1 = w1, .b1 = b1, .w2 = t({3, 4}), .b2 = b2});
  rows({2, 3}, {.w1 = w1, .b1 = b1, .w2 = w2, .b2 = t({5})});
  rows({2, 3}, {.w1 = w1, .b1 = b1, .w2 = t({3}), .b2 = b2});
  rows({}, {.w1 = w1, .b1 = b1, .w2 = w2, .b2 = b2});
  rows({2, 3}, {.w1 = wide({5, 3}), .b1 = b1, .w2 = w2, .b2 = b2});
  rows({2, 3}, {});
  rows({2, 3}, {.w1 = w1}, true);  // rows of 5 added to rows of 3
  rows({2, 3}, {.gamma = b1, .beta = b2, .w1 = w1});
  rows({2, 3}, {.gamma = b2, .w1 = w1});  // no beta
  rows({2, 3}, {.beta = b2, .w1 = w1});   // no gamma
  rows({2, 3}, {.w1 = w1, .b2 = b2});     // no w2
  rows({2, 3}, {.gamma = b2, .beta = b2, .epsilon = -1, .w1 = w1});
  rows({2, 0}, {.gamma = t({0}), .beta = t({0}), .w1 = t({5, 0})});
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
