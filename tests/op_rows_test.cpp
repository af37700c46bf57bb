// op_rows_test.cpp: row_layers against its composition; where a row lies, what stands beside it and who holds it
// change no bit.
#include <doctest/doctest.h>

#include <functional>

#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

TEST_CASE("rows: row_layers equals the composition that defines it, with fresh and with sealed weights") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const int64_t rows : {0, 1, 23, 95, 96, 97, 300}) {
      for (int parts = 0; parts < 8; ++parts) {
        const bool norm = parts & 1, second = parts & 2, residual = parts & 4;
        CAPTURE(rows);
        CAPTURE(parts);
        const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-5;
        const int64_t hidden = second ? 40 : 12;
        std::vector<Tensor> w{normal({12}, 7, dtype),         normal({12}, 8, dtype),
                              normal({hidden, 12}, 1, dtype), normal({hidden}, 2, dtype),
                              normal({12, 40}, 3, dtype),     normal({12}, 4, dtype)};
        const Variable plain_x = Variable::leaf(normal({rows, 12}, 5, dtype));
        Variable plain = linear(norm ? layer_norm(plain_x, w[0], w[1], 1e-3) : plain_x, w[2], w[3]);
        if (second) plain = linear(gelu(plain), w[4], w[5]);
        if (residual) plain = add(plain_x, plain);
        const Tensor dy = normal({rows, 12}, 6, dtype);
        backward(plain, dy);
        for (const bool sealed : {false, true}) {
          if (sealed)
            for (Tensor& tensor : w) tensor = tensor.clone().seal();
          RowLayers layers{.epsilon = 1e-3, .w1 = w[2], .b1 = w[3]};
          if (norm) layers.gamma = w[0], layers.beta = w[1];
          if (second) layers.w2 = w[4], layers.b2 = w[5];
          const Variable x = Variable::leaf(normal({rows, 12}, 5, dtype));
          const Variable y = row_layers(x, layers, residual);
          check_close(values(y), values(plain), tolerance);
          backward(y, dy.clone());  // not shared: the rule may write over it
          check_close(values(x.gradient()), values(plain_x.gradient()), tolerance);
          CHECK_FALSE(row_layers(x.detach(), layers, residual).wants_gradient());
        }
      }
    }
  }
}

TEST_CASE("rows: add writes only over what nobody else holds") {
  const Variable x = Variable::leaf(normal({5, 7}, 1)), y(normal({5, 7}, 2));
  const Doubles before = values(x);
  const Variable sum = add(x, y);  // both are held here
  CHECK(values(x) == before);
  CHECK(values(y) == values(Variable(normal({5, 7}, 2))));
  Tensor given = normal({5, 7}, 2);
  const double* place = given.data<double>().data();
  const Variable over = add(x, Variable(std::move(given)));
  CHECK(over.value().data<double>().data() == place);
  CHECK(values(over) == values(sum));
  // A rule that keeps its result holds it too.
  const Variable direct = add(softmax(x), y), kept = softmax(x), apart = add(kept, y);
  CHECK(values(direct) == values(apart));
  const Tensor dy = normal({5, 7}, 3);
  backward(direct, dy);
  const Doubles gradient = values(x.gradient());
  Variable again = x;
  again.clear_gradient();
  backward(apart, dy);
  CHECK(values(x.gradient()) == gradient);
  // The smaller operand has no room for the result.
  CHECK(add(Variable(normal({7}, 4)), x).shape() == Shape{5, 7});
}

TEST_CASE("rows: a row's bits depend neither on its place nor on its company") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t d : {1, 7, 13, 15, 33}) {
      const Tensor x = normal({11, d}, 1, dtype), w = normal({5, d}, 2, dtype), gamma = normal({d}, 3, dtype),
                   beta = normal({d}, 4, dtype);
      const std::vector<std::function<Variable(const Variable&)>> ops{
          [&](const Variable& v) { return layer_norm(v, gamma, beta, 1e-3); },
          [](const Variable& v) { return softmax(v); }, [](const Variable& v) { return gelu(v); },
          [&](const Variable& v) { return linear(v, w); },
          [&](const Variable& v) {
            return row_layers(v, {gamma, beta, 1e-3, w});
          }};
      for (size_t op = 0; op < ops.size(); ++op) {
        CAPTURE(d);
        CAPTURE(op);
        const Tensor whole = ops[op](x).value();
        for (int64_t i = 0; i < 11; ++i)
          CHECK(same_bits(ops[op](x.rows(i, i + 1).clone()).value(), whole.rows(i, i + 1).clone()));
      }
    }
  }
}
