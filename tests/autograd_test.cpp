// autograd_test.cpp: how gradients travel through histories: sums, order, re-entry, memory, and no surprises.
#include <doctest/doctest.h>

#include <ctime>

#include "tests/op_cases.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

Tensor numbers(std::initializer_list<double> values) {
  return Tensor::of<double>({static_cast<int64_t>(values.size())}, values);
}

Variable leaf(std::initializer_list<double> values) { return Variable::leaf(numbers(values)); }

std::vector<double> list(const Tensor& x) { return {x.data<double>().begin(), x.data<double>().end()}; }

using Doubles = std::vector<double>;

}  // namespace

TEST_CASE("autograd: a diamond adds up both sides before it goes on") {
  // y = (2 x) (2 x) + 3 (2 x): dy/dx = 8 x + 6. The node 2 x has three users, at different heights.
  const Variable x = leaf({1, 2, 5});
  int visits = 0;
  const Variable twice = record(scale(x.detach(), 2).value(), {{x, [&](const Tensor& dy) {
                                                                  ++visits;
                                                                  return scale(dy, 2).value();
                                                                }}});
  const Variable y = add(mul(twice, twice), scale(twice, 3));
  backward(y, numbers({1, 1, 1}));
  CHECK(list(x.gradient()) == Doubles{14, 22, 46});
  CHECK(visits == 1);
}

TEST_CASE("autograd: long and short ways to one leaf") {
  // y = x + 2 x + 4 x + ... along a chain whose every link is used again.
  const Variable x = leaf({1});
  Variable link = x, y = x;
  for (int i = 0; i < 20; ++i) {
    link = scale(link, 2);
    y = add(y, link);
  }
  backward(y);
  CHECK(x.gradient().item() == (1 << 21) - 1);
}

TEST_CASE("autograd: gradients of several backward calls add up until cleared") {
  Variable x = leaf({1, 2});
  CHECK_FALSE(x.gradient().defined());
  backward(scale(x, 3), numbers({1, 10}));
  CHECK(list(x.gradient()) == Doubles{3, 30});
  backward(add(x, x), numbers({1, 1}));
  CHECK(list(x.gradient()) == Doubles{5, 32});
  x.clear_gradient();
  CHECK_FALSE(x.gradient().defined());
  backward(x, numbers({7, 8}));  // a leaf is its own result
  CHECK(list(x.gradient()) == Doubles{7, 8});
  x.set_gradient(numbers({1, 1}));
  backward(scale(x, 2), numbers({1, 1}));
  CHECK(list(x.gradient()) == Doubles{3, 3});
  CHECK_THROWS_WITH(x.set_gradient(numbers({1})), "gradient: expected (2), got (1)");
}

TEST_CASE("autograd: a leaf's gradient is its own memory") {
  SUBCASE("x + x") {
    const Variable x = leaf({1, 2});
    Tensor dy = numbers({1, 10});
    backward(add(x, x), dy);
    CHECK(list(x.gradient()) == Doubles{2, 20});
    CHECK(list(dy) == Doubles{1, 10});
  }
  SUBCASE("two leaves that get the same dy") {
    const Variable a = leaf({1, 2}), b = leaf({3, 4});
    Tensor dy = numbers({1, 10});
    backward(add(a, b), dy);
    Tensor of_a = a.gradient();
    of_a.mutable_data<double>()[0] = 77;
    CHECK(list(b.gradient()) == Doubles{1, 10});
    CHECK(list(dy) == Doubles{1, 10});
    dy.mutable_data<double>()[1] = 55;
    CHECK(list(a.gradient()) == Doubles{77, 10});
    CHECK(list(b.gradient()) == Doubles{1, 10});
  }
  SUBCASE("views of one dy: reshape and concat") {
    const Variable a = leaf({1, 2}), b = leaf({3, 4});
    backward(concat({a, reshape(b, {2}), a}, 0), numbers({1, 2, 3, 4, 5, 6}));
    CHECK(list(a.gradient()) == Doubles{6, 8});
    Tensor of_a = a.gradient();
    of_a.mutable_data<double>()[0] = 77;
    CHECK(list(b.gradient()) == Doubles{3, 4});
  }
  SUBCASE("the leaf itself as the result") {
    const Variable a = leaf({1, 2});
    Tensor dy = numbers({1, 10});
    backward(a, dy);
    dy.mutable_data<double>()[0] = 55;
    CHECK(list(a.gradient()) == Doubles{1, 10});
  }
  SUBCASE("a gradient that somebody still holds is not changed by the next backward") {
    const Variable a = leaf({1, 2});
    backward(scale(a, 2), numbers({1, 1}));
    const Tensor held = a.gradient();
    backward(scale(a, 2), numbers({1, 1}));
    CHECK(list(held) == Doubles{2, 2});
    CHECK(list(a.gradient()) == Doubles{4, 4});
  }
}

TEST_CASE("autograd: constants end the walk") {
  const Variable x = leaf({2}), frozen = numbers({5});
  const Variable y = mul(scale(frozen, 2), x);
  CHECK_FALSE(scale(frozen, 2).wants_gradient());
  CHECK(y.wants_gradient());
  CHECK_FALSE(y.detach().wants_gradient());
  backward(add(y, scale(x.detach(), 100)));
  CHECK(x.gradient().item() == 10);
  CHECK_THROWS_AS(frozen.gradient(), Error);
  CHECK_THROWS_AS(y.gradient(), Error);
}

TEST_CASE("autograd: refusals") {
  const Variable x = leaf({1, 2});
  CHECK_THROWS_WITH(backward(scale(x, 2)), "backward: expected a result of one element, got (2)");
  CHECK_THROWS_WITH(backward(scale(x, 2), numbers({1})), "backward: expected a gradient (2), got (1)");
  CHECK_THROWS_AS(backward(scale(x, 2), Tensor::zeros({2}, DType::f32)), Error);
  CHECK_THROWS_AS(backward(Variable()), Error);
  CHECK_THROWS_AS(Variable::leaf(Tensor()), Error);
  CHECK_THROWS_AS(Variable::leaf(Tensor::zeros({2}, DType::i64)), Error);
  CHECK_THROWS_AS(Variable::leaf(numbers({1}).seal()), Error);
}

TEST_CASE("autograd: a history is used once") {
  const char* used = "backward: this history was used before; compute the result again";
  const Variable x = leaf({1, 2});
  const Variable y = scale(x, 2);
  backward(y, numbers({1, 1}));
  CHECK_THROWS_WITH(backward(y, numbers({1, 1})), used);
  // Also where only a part of it was.
  const Variable shared = scale(x, 3), left = scale(shared, 2), right = scale(shared, 5);
  backward(left, numbers({1, 1}));
  CHECK_THROWS_WITH(backward(right, numbers({1, 1})), used);
}

TEST_CASE("autograd: backward may run inside a rule") {
  // The block z = gelu(x w^T) is computed again during backward instead of being kept, as checkpointing does.
  const Tensor input = random_tensor({3, 4}, DType::f64, 0), weight = random_tensor({5, 4}, DType::f64, 1);
  const auto block = [](const Variable& x, const Variable& w) { return gelu(linear(x, w)); };
  const Tensor dy = make_dy({3, 5}, DType::f64);

  const Variable x = Variable::leaf(input), w = Variable::leaf(weight);
  backward(add(block(scale(x, 2), w), linear(scale(x, 2), w)), dy);

  const Variable again_x = Variable::leaf(input), again_w = Variable::leaf(weight);
  const Variable doubled = scale(again_x, 2);
  const Tensor value = doubled.value();
  const Variable z = record(block(value, weight).value(), {{doubled, [&, value](const Tensor& d) {
                                                              const Variable inner = Variable::leaf(value);
                                                              backward(block(inner, again_w), d);
                                                              return inner.gradient();
                                                            }}});
  backward(add(z, linear(doubled, again_w)), dy);
  for (size_t i = 0; i < 12; ++i)
    CHECK(again_x.gradient().data<double>()[i] ==
          doctest::Approx(x.gradient().data<double>()[i]).epsilon(1e-13));
  for (size_t i = 0; i < 20; ++i)
    CHECK(again_w.gradient().data<double>()[i] ==
          doctest::Approx(w.gradient().data<double>()[i]).epsilon(1e-13));
}

TEST_CASE("autograd: an exception in a rule reaches the caller") {
  const Variable x = leaf({1});
  const Variable y =
      record(numbers({1}), {{x, [](const Tensor&) -> Tensor { fail(Fault::input, "rule: no"); }}});
  CHECK_THROWS_WITH(backward(scale(y, 2)), "rule: no");
  backward(scale(x, 2));
  CHECK(x.gradient().item() == 2);
}

TEST_CASE("autograd: a walk that ends in an exception leaves no gradients in the middle") {
  const char* used = "backward: this history was used before; compute the result again";
  Variable x = leaf({1});
  const Variable shared = scale(x, 3);  // waits, lower than what throws
  SUBCASE("a rule throws") {
    const Variable bad = record(
        numbers({1}),
        {{scale(scale(x, 2), 2), [](const Tensor&) -> Tensor { fail(Fault::resources, "rule: no"); }}});
    CHECK_THROWS_WITH(backward(add(shared, bad)), "rule: no");
  }
  SUBCASE("a part of the history was used before") {
    const Variable spent = scale(scale(x, 2), 2);
    backward(spent);
    CHECK_THROWS_WITH(backward(add(shared, spent)), used);
    CHECK_THROWS_WITH(backward(scale(spent, 7)), used);
  }
  x.clear_gradient();
  backward(scale(shared, 5));
  CHECK(x.gradient().item() == 15);
}

TEST_CASE("autograd: a chain of 200,000 adds needs neither stack nor patience") {
  const std::clock_t start = std::clock();  // the processor's time, whoever else is at work
  const Threads one(1);
  const int links = 200000;
  const Variable x = leaf({1}), one_more = numbers({1});
  for (const bool walk : {true, false}) {  // walked by backward; dropped unwalked
    Variable y = x;
    for (int i = 0; i < links; ++i) y = add(y, one_more);
    CHECK(y.value().item() == links + 1);
    if (walk) backward(y);
  }
  CHECK(x.gradient().item() == 1);
  {
    // Each link twice: shared inputs are counted right when the history is taken apart.
    Variable y = x;
    for (int i = 0; i < links; ++i) y = scale(add(y, y), 0.5);
    backward(y);
  }
  CHECK(x.gradient().item() == 2);
  CHECK((std::clock() - start) / CLOCKS_PER_SEC < 20);
}

TEST_CASE("autograd: backward frees as it goes") {
  const Memory memory = Memory::counted();
  const int64_t n = 1000;
  const size_t bytes = n * sizeof(float);
  const int depth = 20;
  const Variable x = Variable::leaf(random_tensor({n}, DType::f32, 0, memory));
  size_t at_the_bottom = 0;
  Variable y = record(x.value().clone(), {{x, [&](const Tensor& dy) {
                                             at_the_bottom = memory.statistics().current;
                                             return dy.clone();
                                           }}});
  const size_t before = memory.statistics().current;
  for (int i = 0; i < depth; ++i) y = gelu(y);  // each keeps its input
  CHECK(memory.statistics().current >= before + depth * bytes);
  Tensor dy = random_tensor({n}, DType::f32, 1, memory);
  memory.reset_peak();
  const size_t held = memory.statistics().current;
  backward(y, std::move(dy));
  // x and y, which stand here, and one gradient; not the twenty activations.
  CHECK(at_the_bottom <= 3 * bytes);
  CHECK(memory.statistics().peak <= held + 2 * bytes);
  CHECK(memory.statistics().current == 3 * bytes);  // x, its gradient, y
}

TEST_CASE("autograd: a history that is never walked frees all it kept") {
  const Memory memory = Memory::counted();
  const Variable x = Variable::leaf(random_tensor({2, 5, 12}, DType::f32, 0, memory));
  const size_t before = memory.statistics().current;
  { const Variable y = gelu(self_attention(x, 2)); }
  CHECK(memory.statistics().current == before);
}

TEST_CASE("autograd: the result of concat lives where its largest part lives") {
  // A class token from a mapped file (the plain heap) in front of counted tokens must not pull
  // them out of the pool.
  const Memory memory = Memory::counted();
  const Variable token = random_tensor({1, 1, 4}, DType::f32, 0),
                 tokens = random_tensor({1, 9, 4}, DType::f32, 1, memory);
  const size_t before = memory.statistics().current;
  const Variable all = concat({token, tokens}, 1);
  CHECK(memory.statistics().current == before + all.value().bytes());
}
