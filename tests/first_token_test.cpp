// first_token_test.cpp: first_token_attention against self_attention, of which it is one row; what it keeps;
// whose bits it gives.
#include <doctest/doctest.h>

#include <array>

#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// Inputs of one call, each a leaf or a constant.
struct Call {
  Variable x, prompts, gamma, beta, w1, b1;
  int64_t heads = 1;
  RowLayers layers() const { return {gamma, beta, 1e-3, w1, b1}; }
  Variable run() const { return first_token_attention(x, layers(), heads, prompts); }
  std::vector<Variable> all() const { return {x, prompts, gamma, beta, w1, b1}; }
};

enum class Prompted { no, shared, per_image };

Call call_of(int64_t batch, int64_t tokens, int64_t d, int64_t heads, Prompted prompted, DType dtype) {
  Call c{.x = normal({batch, tokens, d}, 1, dtype),
         .prompts = {},
         .gamma = normal({d}, 2, dtype),
         .beta = normal({d}, 3, dtype),
         .w1 = scale(normal({3 * d, d}, 4, dtype), 1 / std::sqrt(static_cast<double>(d))),
         .b1 = normal({3 * d}, 5, dtype),
         .heads = heads};
  if (prompted == Prompted::shared) c.prompts = normal({4, d}, 6, dtype);
  if (prompted == Prompted::per_image) c.prompts = normal({batch, 4, d}, 6, dtype);
  return c;
}

Variable leaf_of(const Variable& v) { return v.defined() ? Variable::leaf(v.value().clone()) : v; }

// As ops.h says it, with nothing saved.
Variable definition(const Call& c) {
  const int64_t d = c.x.dim(2);
  KeyValuePrefix prefix;
  if (c.prompts.defined()) {
    const Variable joint = row_layers(c.prompts, c.layers());
    prefix = {slice(joint, -1, d, 2 * d), slice(joint, -1, 2 * d, 3 * d)};
  }
  return slice(self_attention(row_layers(c.x, c.layers()), c.heads, prefix), 1, 0, 1);
}

}  // namespace

TEST_CASE("first token: its row of self_attention and all gradients to 1e-12, whatever learns") {
  for (const Prompted prompted : {Prompted::no, Prompted::shared, Prompted::per_image}) {
    for (const auto& [batch, tokens, d, heads] :
         {std::array<int64_t, 4>{3, 50, 24, 3}, {2, 1, 6, 1}, {1, 17, 40, 8}, {0, 5, 6, 2}}) {
      CAPTURE(tokens);
      const Call base = call_of(batch, tokens, d, heads, prompted, DType::f64);
      Call oracle = base;
      for (Variable* v : {&oracle.x, &oracle.prompts, &oracle.gamma, &oracle.beta, &oracle.w1, &oracle.b1})
        *v = leaf_of(*v);
      const Variable expected = definition(oracle);
      const Tensor dy = normal({batch, 1, d}, 7);
      backward(expected, dy);
      for (const char* learning : {"tokens and prompts", "sealed weights", "everything"}) {
        CAPTURE(std::string(learning));
        Call c = base;
        c.x = leaf_of(c.x);
        c.prompts = leaf_of(c.prompts);
        for (Variable* v : {&c.gamma, &c.beta, &c.w1, &c.b1}) {
          if (learning == std::string("sealed weights")) *v = v->value().clone().seal();
          if (learning == std::string("everything")) *v = leaf_of(*v);
        }
        const Variable y = c.run();
        check_close(values(y), values(expected), 1e-12);
        backward(y, dy);
        const std::vector<Variable> got = c.all(), right = oracle.all();
        for (size_t i = 0; i < got.size(); ++i) {
          CAPTURE(i);
          if (got[i].wants_gradient())
            check_close(values(got[i].gradient()), values(right[i].gradient()), 1e-12);
        }
      }
    }
  }
}

TEST_CASE("first token: without a bias as with zeros") {
  Call c = call_of(2, 9, 12, 2, Prompted::shared, DType::f64);
  c.b1 = Tensor::zeros({36}, DType::f64);
  const Tensor with = c.run().value();
  c.b1 = {};
  CHECK(same_bits(c.run().value(), with));
  c.w1 = leaf_of(c.w1);
  CHECK(largest_difference(c.run().value(), with) < 1e-12);
}

TEST_CASE("first token: an image's bits do not depend on its batch mates, forward and backward") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Prompted prompted : {Prompted::no, Prompted::per_image}) {
      for (const int64_t d : {6, 15, 66}) {
        CAPTURE(d);
        Call c = call_of(7, 13, d, 3, prompted, dtype);
        const Tensor images = c.x.value(), prompts = c.prompts.value(), dy = normal({7, 1, d}, 8, dtype);
        const auto run = [&](int64_t begin, int64_t end) {
          c.x = Variable::leaf(images.rows(begin, end).clone());
          if (prompts.defined()) c.prompts = Variable::leaf(prompts.rows(begin, end).clone());
          const Variable y = c.run();
          backward(y, dy.rows(begin, end).clone());
          return std::array<Tensor, 3>{y.value(), c.x.gradient(),
                                       prompts.defined() ? c.prompts.gradient() : Tensor()};
        };
        const auto whole = run(0, 7);
        for (int64_t b = 0; b < 7; ++b) {
          const auto alone = run(b, b + 1);
          for (size_t i = 0; i < 3; ++i)
            if (whole[i].defined()) CHECK(same_bits(alone[i], whole[i].rows(b, b + 1).clone()));
        }
      }
    }
  }
}

TEST_CASE("first token: keeps x and one number per head and key or column, and packs sealed weights once") {
  const Memory memory = Memory::counted(), weights = Memory::counted();
  Call c = call_of(2, 50, 24, 3, Prompted::shared, DType::f32);
  const Tensor prompts = c.prompts.value();
  const Variable leaf = Variable::leaf(random_tensor({2, 50, 24}, DType::f32, 1, memory));
  for (Variable* v : {&c.gamma, &c.beta, &c.w1, &c.b1}) {
    Tensor own = Tensor::empty(v->shape(), DType::f32, weights);
    std::ranges::copy(v->value().raw(), own.mutable_raw().begin());
    *v = own.seal();
  }
  size_t packed = 0;
  for (int round = 0; round < 2; ++round) {
    c.prompts = Variable::leaf(prompts.clone());
    const size_t before = memory.statistics().current;
    c.x = scale(leaf, 2);
    const Variable y = c.run();
    const size_t x_bytes = c.x.value().bytes();
    c.x = {};
    CHECK(memory.statistics().current - before == x_bytes + y.value().bytes() + 2 * 3 * (54 + 24) * 4);
    backward(y, make_dy({2, 1, 24}, DType::f32));
    if (round == 0) packed = weights.statistics().allocations;
    CHECK(weights.statistics().allocations == packed);
  }
}

TEST_CASE("first token: what does not fit is refused") {
  const Call good = call_of(2, 5, 6, 2, Prompted::shared, DType::f64);
  const auto refuse = [&](const std::function<void(Call&)>& spoil) {
    Call c = good;
    spoil(c);
    refused("first_token_attention", [&] { return c.run(); });
    c.w1 = leaf_of(c.w1);
    refused("first_token_attention", [&] { return c.run(); });
  };
  const auto t = [](const Shape& shape) { return Variable(Tensor::zeros(shape, DType::f64)); };
  refuse([&](Call& c) { c.x = t({5, 6}); });
  refuse([&](Call& c) { c.x = t({2, 0, 6}); });
  refuse([&](Call& c) { c.x = {}; });
  refuse([&](Call& c) { c.x = Variable(Tensor::zeros({2, 5, 6}, DType::f32)); });
  refuse([&](Call& c) { c.heads = 4; });
  refuse([&](Call& c) { c.heads = 0; });
  refuse([&](Call& c) { c.gamma = {}; });
  refuse([&](Call& c) { c.beta = t({5}); });
  refuse([&](Call& c) { c.w1 = t({18, 5}); });
  refuse([&](Call& c) { c.w1 = t({12, 6}); });
  refuse([&](Call& c) { c.b1 = t({6}); });
  refuse([&](Call& c) { c.prompts = t({4, 5}); });
  refuse([&](Call& c) { c.prompts = t({3, 4, 6}); });
  refuse([&](Call& c) { c.prompts = t({6}); });
  refuse([&](Call& c) { c.prompts = Variable(Tensor::zeros({4, 6}, DType::f32)); });
  RowLayers layers = good.layers();
  layers.w2 = t({6, 18});
  refused("first_token_attention", [&] { return first_token_attention(good.x, layers, 2); });
  layers = good.layers();
  layers.epsilon = -1;
  refused("first_token_attention", [&] { return first_token_attention(good.x, layers, 2); });
}
