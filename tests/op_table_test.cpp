// op_table_test.cpp: the whole table of ops: f32 against f64, threads, memory; what is kept for
// backward; sealed weights.
#include <doctest/doctest.h>

#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

TEST_CASE("table: f32 against f64, results and gradients") {
  const Threads one(1);
  for (const OpCase& op : op_cases())
    for (const std::string& set : instruction_sets()) {
      CAPTURE(op.name);
      CAPTURE(set);
      const Outcome wide = evaluate(op, inputs_of(op, DType::f64), all_wanted(op));
      const Instructions used(set);
      const Outcome narrow = evaluate(op, inputs_of(op, DType::f32), all_wanted(op));
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

TEST_CASE("table: every set of instructions computes the same in f64") {
  const Threads one(1);
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const Outcome reference = evaluate(op, inputs_of(op, DType::f64), all_wanted(op));
    for (const std::string& set : instruction_sets()) {
      CAPTURE(set);
      const Instructions used(set);
      const Outcome other = evaluate(op, inputs_of(op, DType::f64), all_wanted(op));
      check_close(values(other.value), values(reference.value), 1e-12);
      for (size_t i = 0; i < reference.gradients.size(); ++i)
        if (reference.gradients[i].defined())
          check_close(values(other.gradients[i]), values(reference.gradients[i]), 1e-12);
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
