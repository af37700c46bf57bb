// op_gradient_test.cpp: the gradient of every op against central differences, for every
// choice of wanted inputs.
//
// The number that is differentiated is sum(dy * y) with a random dy. Small inputs are checked
// element by element; large ones along random directions (which every element takes part in) and
// at some single elements.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/op_cases.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

constexpr double step = 1e-6, absolute = 1e-5, relative = 1e-3;
constexpr int64_t small = 128;

// A direction in the space of one input, and the central difference along it.
struct Probe {
  size_t input;
  std::vector<double> direction;
  double slope = 0;
};

std::vector<Probe> probes_of(const OpCase& op, const std::vector<Tensor>& inputs) {
  std::vector<Probe> out;
  Random random(5, Purpose::test);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (op.inputs[i].constant || inputs[i].numel() == 0) continue;
    const auto n = static_cast<size_t>(inputs[i].numel());
    const auto unit = [&](size_t at) {
      std::vector<double> direction(n, 0.0);
      direction[at] = 1;
      out.push_back({i, std::move(direction)});
    };
    if (inputs[i].numel() <= small) {
      for (size_t at = 0; at < n; ++at) unit(at);
      continue;
    }
    unit(0);
    unit(n - 1);
    for (int k = 0; k < 10; ++k) unit(random.below(static_cast<uint32_t>(n)));
    for (int k = 0; k < 4; ++k) {
      std::vector<double> direction(n);
      for (double& d : direction) d = random.normal();
      out.push_back({i, std::move(direction)});
    }
  }
  return out;
}

void measure(const OpCase& op, const std::vector<Tensor>& inputs, Probe& probe) {
  const auto run_at = [&](double distance) {
    Values values(inputs.begin(), inputs.end());
    Tensor moved = inputs[probe.input].clone();
    const auto data = moved.mutable_data<double>();
    for (size_t k = 0; k < data.size(); ++k) data[k] += distance * probe.direction[k];
    values[probe.input] = Variable(moved);
    return op.run(values).value();
  };
  const Tensor ahead = run_at(step), behind = run_at(-step), dy = make_dy(ahead.shape(), DType::f64);
  const auto d = dy.data<double>(), a = ahead.data<double>(), b = behind.data<double>();
  for (size_t k = 0; k < d.size(); ++k) probe.slope += d[k] * (a[k] - b[k]) / (2 * step);
}

double along(const Tensor& gradient, const std::vector<double>& direction) {
  const auto g = gradient.data<double>();
  double out = 0;
  for (size_t k = 0; k < direction.size(); ++k) out += g[k] * direction[k];
  return out;
}

// The largest difference between two gradients, as a share of their size.
double difference(const Tensor& left, const Tensor& right) {
  const auto a = left.data<double>(), b = right.data<double>();
  double most = 0, size = 1;
  for (size_t k = 0; k < a.size(); ++k) {
    if (!(std::abs(a[k] - b[k]) <= most)) most = std::abs(a[k] - b[k]);  // NaN, too
    size = std::max(size, std::abs(b[k]));
  }
  return most / size;
}

}  // namespace

TEST_CASE("gradients: every op, every set of wanted inputs, against central differences") {
  const Threads one(1);  // the count changes no bit (op_table_test.cpp), and the cases are small
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const std::vector<Tensor> inputs = inputs_of(op, DType::f64);
    std::vector<Probe> probes = probes_of(op, inputs);
    REQUIRE(!probes.empty());
    for (Probe& probe : probes) measure(op, inputs, probe);

    const Outcome all = evaluate(op, inputs, all_wanted(op));
    for (uint32_t set = 1; set < uint32_t{1} << inputs.size(); ++set) {
      std::vector<bool> wanted;
      bool possible = true;
      for (size_t i = 0; i < inputs.size(); ++i) {
        wanted.push_back((set >> i & 1) != 0);
        possible = possible && !(wanted[i] && op.inputs[i].constant);
      }
      if (!possible) continue;
      CAPTURE(set);
      const Outcome out = evaluate(op, inputs, wanted);
      CHECK(same_bits(out.value, all.value));
      for (const Probe& probe : probes) {
        if (!wanted[probe.input]) continue;
        const double got = along(out.gradients[probe.input], probe.direction);
        if (std::abs(got - probe.slope) <= absolute + relative * std::abs(probe.slope)) continue;
        CAPTURE(probe.input);
        CAPTURE(std::max_element(probe.direction.begin(), probe.direction.end()) - probe.direction.begin());
        CHECK(got == doctest::Approx(probe.slope));
        break;
      }
      for (size_t i = 0; i < inputs.size(); ++i) {
        CAPTURE(i);
        CHECK(out.gradients[i].defined() == wanted[i]);
        if (!wanted[i]) continue;
        CHECK(out.gradients[i].shape() == inputs[i].shape());
        // Another path may be taken (attention, when only its prefix learns), so not bit by bit.
        CHECK(difference(out.gradients[i], all.gradients[i]) <= 1e-12);
      }
    }
  }
}

TEST_CASE("gradients: inputs that only the op holds may be written over, to the same bits") {
  const Threads one(1);
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const OpCase& op : op_cases()) {
      CAPTURE(op.name);
      const std::vector<Tensor> inputs = inputs_of(op, dtype);
      const Outcome held = evaluate(op, inputs, all_wanted(op)),
                    given = evaluate(op, inputs, all_wanted(op), false);
      CHECK(same_bits(held.value, given.value));
      for (size_t i = 0; i < inputs.size(); ++i) {
        CAPTURE(i);
        CHECK(same_bits(held.gradients[i], given.gradients[i]));
      }
    }
  }
}

TEST_CASE("gradients: a graph built again gives the same bits") {
  const Threads one(1);
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const OpCase& op : op_cases()) {
      CAPTURE(op.name);
      const Outcome first = evaluate(op, inputs_of(op, dtype), all_wanted(op));
      const Outcome second = evaluate(op, inputs_of(op, dtype), all_wanted(op));
      CHECK(same_bits(first.value, second.value));
      for (size_t i = 0; i < first.gradients.size(); ++i)
        CHECK(same_bits(first.gradients[i], second.gradients[i]));
    }
  }
}

TEST_CASE("gradients: an input used twice gets the sum of both") {
  // d(x x) = 2 x dx, and attention of a tensor with itself adds three gradients.
  const Tensor x = random_tensor({2, 5, 6}, DType::f64, 0), dy = random_tensor({2, 5, 6}, DType::f64, 1);
  const Variable once = Variable::leaf(x);
  backward(mul(once, once), dy);
  for (size_t k = 0; k < 60; ++k)
    CHECK(once.gradient().data<double>()[k] == 2 * x.data<double>()[k] * dy.data<double>()[k]);

  const Variable q = Variable::leaf(x), k = Variable::leaf(x), v = Variable::leaf(x),
                 shared = Variable::leaf(x);
  backward(attention(q, k, v, 2), dy);
  backward(attention(shared, shared, shared, 2), dy);
  Variable sum = add(add(q.gradient(), k.gradient()), v.gradient());
  CHECK(difference(shared.gradient(), sum.value()) <= 1e-14);
}
