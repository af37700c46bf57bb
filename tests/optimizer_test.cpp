// optimizer_test.cpp: SGD, AdamW, clipping and schedules against their formulas; saving and
// loading of the state.
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "nn/optimizer.h"

using namespace vitrine;

namespace {

// One weight that decays and one bias that does not, with gradients g(step) given by the caller.
struct Pair {
  Parameters parameters;
  Pair() {
    parameters.add({"w", Role::weight, Variable::leaf(Tensor::of<double>({2}, {1.0, -2.0}))});
    parameters.add({"b", Role::bias, Variable::leaf(Tensor::of<double>({1}, {0.5}))});
  }
  void set_gradients(int step) {
    parameters.all()[0].value.set_gradient(
        Tensor::of<double>({2}, {std::sin(step + 1.0), std::cos(2.0 * step)}));
    parameters.all()[1].value.set_gradient(Tensor::of<double>({1}, {0.3 * step - 0.5}));
  }
  double at(int p, int i) const { return parameters.all()[p].value.value().data<double>()[i]; }
};

}  // namespace

TEST_CASE("SGD follows v = m v + g + d w, w -= lr v; biases are not decayed") {
  Pair pair;
  Optimizer sgd(pair.parameters, {.kind = OptimizerKind::sgd, .momentum = 0.9, .weight_decay = 0.1});
  double w = 1.0, v = 0, b = 0.5, vb = 0;
  for (int step = 0; step < 5; ++step) {
    pair.set_gradients(step);
    sgd.step(0.05);
    v = 0.9 * v + (std::sin(step + 1.0) + 0.1 * w);
    w -= 0.05 * v;
    vb = 0.9 * vb + (0.3 * step - 0.5);
    b -= 0.05 * vb;
    CHECK(pair.at(0, 0) == doctest::Approx(w).epsilon(1e-14));
    CHECK(pair.at(1, 0) == doctest::Approx(b).epsilon(1e-14));
  }
}

TEST_CASE("AdamW follows its paper; the decay is decoupled") {
  Pair pair;
  Optimizer adamw(pair.parameters, {.kind = OptimizerKind::adamw, .weight_decay = 0.1});
  double w = 1.0, m = 0, v = 0;
  for (int step = 0; step < 5; ++step) {
    pair.set_gradients(step);
    adamw.step(0.05);
    const double g = std::sin(step + 1.0);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double mhat = m / (1 - std::pow(0.9, step + 1)), vhat = v / (1 - std::pow(0.999, step + 1));
    w -= 0.05 * (mhat / (std::sqrt(vhat) + 1e-8) + 0.1 * w);
    CHECK(pair.at(0, 0) == doctest::Approx(w).epsilon(1e-13));
  }
  CHECK(adamw.steps() == 5);
}

TEST_CASE("a loaded optimizer goes on with the same bits") {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adamw}) {
    Pair one, two;
    Optimizer a(one.parameters, {.kind = kind}), b(two.parameters, {.kind = kind});
    for (int step = 0; step < 3; ++step) {
      one.set_gradients(step);
      a.step(0.1);
    }
    TensorFile state;
    a.save(state);
    b.load(read_safetensors(write_safetensors(state), nullptr, "state"));
    for (int p = 0; p < 2; ++p) {
      Tensor value = two.parameters.all()[p].value.value();
      std::ranges::copy(one.parameters.all()[p].value.value().data<double>(),
                        value.mutable_data<double>().begin());
    }
    one.set_gradients(3);
    two.set_gradients(3);
    a.step(0.1);
    b.step(0.1);
    CHECK(one.at(0, 1) == two.at(0, 1));
    CHECK(one.at(1, 0) == two.at(1, 0));

    state.metadata["optimizer.kind"] = "other";
    CHECK_THROWS_AS(b.load(state), Error);
    state.metadata.clear();
    CHECK_THROWS_AS(b.load(state), Error);
  }
}

TEST_CASE("clipping scales all gradients to the given norm, or leaves them") {
  Pair pair;
  pair.set_gradients(0);
  const double norm = std::sqrt(std::sin(1.0) * std::sin(1.0) + 1.0 + 0.25);
  CHECK(clip_gradients(pair.parameters, 10) == doctest::Approx(norm));
  CHECK(pair.parameters.all()[1].value.gradient().data<double>()[0] == -0.5);
  CHECK(clip_gradients(pair.parameters, 0.1) == doctest::Approx(norm));
  CHECK(clip_gradients(pair.parameters, 0) == doctest::Approx(0.1));
}

TEST_CASE("clipping: a norm that is not finite is a divergence, and the gradients stay as they are") {
  for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan(""), 1e200}) {  // the square of the last overflows
    CAPTURE(bad);
    Pair pair;
    pair.set_gradients(0);
    pair.parameters.all()[1].value.set_gradient(Tensor::of<double>({1}, {bad}));
    Fault fault = Fault::input;
    try {
      clip_gradients(pair.parameters, 1);
    } catch (const Error& error) {
      fault = error.fault();
    }
    CHECK(fault == Fault::diverged);
    CHECK(pair.parameters.all()[0].value.gradient().data<double>()[0] == std::sin(1.0));
  }
}

TEST_CASE("schedules: linear warm-up, then cosine to zero or constant") {
  CHECK(learning_rate_at(Schedule::cosine, 2, 0, 4, 12) == 0.5);
  CHECK(learning_rate_at(Schedule::cosine, 2, 3, 4, 12) == 2);
  CHECK(learning_rate_at(Schedule::cosine, 2, 4, 4, 12) == 2);
  CHECK(learning_rate_at(Schedule::cosine, 2, 8, 4, 12) == doctest::Approx(1));
  CHECK(learning_rate_at(Schedule::cosine, 2, 11, 4, 12) ==
        doctest::Approx(1 + std::cos(std::numbers::pi * 7 / 8)));
  CHECK(learning_rate_at(Schedule::constant, 2, 11, 4, 12) == 2);
  CHECK(learning_rate_at(Schedule::cosine, 2, 0, 0, 1) == 2);
}

TEST_CASE("scopes: fresh weights depend on seed and name only; checkpoints are checked") {
  Parameters first, second;
  const Scope a = trainable(first, 3), b = trainable(second, 3);
  const auto shape = Shape{100};
  (void)a.get("x", shape, Role::weight, Init::normal(1));
  const Variable ya = (a / "part").get("y", shape, Role::weight, Init::truncated(1));
  const Variable yb = (b / "part").get("y", shape, Role::weight, Init::truncated(1));
  CHECK(std::ranges::equal(ya.value().data<float>(), yb.value().data<float>()));
  CHECK(first.all()[1].name == "part.y");
  for (const float v : ya.value().data<float>()) CHECK(std::abs(v) <= 2);
  CHECK_THROWS_WITH((a / "part").get("y", shape, Role::weight, Init::constant(0)),
                    "parameters: two are named part.y");

  TensorFile file;
  file.name = "here";
  file.tensors["part.y"] = ya.value().clone();
  CHECK_THROWS_WITH((frozen(file) / "part").get("y", {3}, Role::weight, {}),
                    "here: tensor 'part.y': expected (3), got (100)");
  CHECK_THROWS_AS(frozen(file).get("part.z", shape, Role::weight, {}), Error);
  CHECK((frozen(file) / "part").get("y", shape, Role::weight, {}).value().sealed());
  Parameters tuned;
  const Variable copy = (trainable(tuned, file) / "part").get("y", shape, Role::weight, {});
  CHECK(copy.wants_gradient());
  CHECK_FALSE(copy.value().shares_block_with(file.tensors["part.y"]));
}
