// hello_gradient.cpp: a tour of autograd, from x * x to a net that learns. Every claim is checked.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engine/ops.h"

using namespace vitrine;

// Prints a claim with a tick; if it is false, the tour ends here.
static void must(bool condition, const char* claim) {
  std::printf("  %s %s\n", condition ? "✓" : "✗ FALSE:", claim);
  if (!condition) std::exit(1);
}

static Variable number(double value) { return Variable::leaf(Tensor::full({}, value, DType::f64)); }

static void one_number() {
  std::puts("1. A gradient says how the result moves when an input moves");
  Variable x = number(3);
  backward(mul(x, x));  // y = x x, so dy/dx = 2 x
  must(x.gradient().item() == 6, "at x = 3, x * x grows 6 times as fast as x");
  backward(scale(x, 5));
  must(x.gradient().item() == 6 + 5, "gradients add up at a leaf until they are cleared");
  x.clear_gradient();
  const Variable inner = scale(x, 2);   // u = 2 x
  backward(add(mul(inner, inner), x));  // y = u u + x = 4 x x + x
  must(x.gradient().item() == 8 * 3 + 1,
       "chains multiply and paths add: 4 x x + x grows 8 x + 1 times as fast");

  std::puts("\n2. Only what depends on a leaf has a history");
  const Variable constant = Tensor::full({}, 3, DType::f64);
  must(!mul(constant, constant).wants_gradient(), "a product of constants is a constant");
  must(mul(constant, x).wants_gradient(), "a product with a leaf remembers it");
  must(!mul(constant, x).detach().wants_gradient(), "detach() forgets");
}

// The sine, which the engine lacks. Its rule: the gradient of the result, dy, times cos x.
static Variable sine(const Variable& x) {
  const Tensor input = x.value();
  Tensor y = input.clone();
  for (double& v : y.mutable_data<double>()) v = std::sin(v);
  return record(y, {{x, [input](const Tensor& dy) {
                       Tensor dx = dy.clone();
                       for (int64_t i = 0; i < dx.numel(); ++i)
                         dx.mutable_data<double>()[i] *= std::cos(input.data<double>()[i]);
                       return dx;
                     }}});
}

static void own_op() {
  std::puts("\n3. An op is a value and a rule, so you can write your own");
  const double step = 1e-5;
  const auto f = [](const Variable& x) { return gelu(sine(mul(x, x))); };
  Variable x = number(0.7);
  backward(f(x));
  const double nudged =
      (f(number(0.7 + step)).value().item() - f(number(0.7 - step)).value().item()) / (2 * step);
  std::printf("  gelu(sin(x x)) at 0.7: by rules %.9f, by nudging x %.9f\n", x.gradient().item(), nudged);
  must(std::abs(x.gradient().item() - nudged) < 1e-8,
       "the rules agree with nudging x a little to both sides");
}

static void memory() {
  std::puts("\n4. A rule that nobody needs is dropped, with all that it holds");
  const Memory pool = Memory::counted();
  const Variable x = Variable::leaf(Tensor::zeros({100, 32}, DType::f32, pool));
  const Tensor weight = Tensor::zeros({64, 32}, DType::f32);
  const size_t start = pool.statistics().current, hidden = 100 * 32 * 4, result = 100 * 64 * 4;
  const Variable y = linear(scale(x, 2), Variable::leaf(weight));  // the hidden scale(x, 2) is no one else's
  must(pool.statistics().current - start == result + hidden,
       "a trained weight keeps the layer's input until backward");
  const Variable z = linear(scale(x, 2), weight);
  must(pool.statistics().current - start == 2 * result + hidden,
       "a frozen weight keeps not a byte beside the result");
}

static void learning() {
  std::puts("\n5. Learning: follow the gradient downhill. Two bits in, are they different? (exclusive or)");
  const Tensor bits = Tensor::of<double>({4, 2}, {0, 0, 0, 1, 1, 0, 1, 1}),
               truth = Tensor::of<int64_t>({4}, {0, 1, 1, 0});
  std::vector<Variable> net;  // two layers: weight and bias, weight and bias
  Random random(1, Purpose::init);
  for (const Shape& shape : {Shape{8, 2}, Shape{8}, Shape{2, 8}, Shape{2}}) {
    Tensor fresh = Tensor::empty(shape, DType::f64);
    for (double& v : fresh.mutable_data<double>()) v = random.normal();
    net.push_back(Variable::leaf(fresh));
  }
  const auto answer = [&] { return linear(relu(linear(bits, net[0], net[1])), net[2], net[3]); };
  const double before = cross_entropy(answer(), truth).value().item();
  for (int step = 0; step <= 300; ++step) {
    const Variable loss = cross_entropy(answer(), truth);
    if (step % 100 == 0) std::printf("  step %3d: loss %.4f\n", step, loss.value().item());
    backward(loss);
    for (Variable& p : net) {
      Tensor value = p.value();  // a handle to the leaf's own block
      for (int64_t i = 0; i < value.numel(); ++i)
        value.mutable_data<double>()[i] -= 0.3 * p.gradient().data<double>()[i];
      p.clear_gradient();
    }
  }
  must(cross_entropy(answer(), truth).value().item() < before / 10,
       "300 steps downhill leave less than a tenth of the loss");
  // (4, 2): for each pair of bits a score for "equal" and for "different"
  const Tensor scores = answer().value();
  for (int64_t i = 0; i < 4; ++i) {
    const auto s = scores.data<double>().subspan(2 * i, 2), b = bits.data<double>().subspan(2 * i, 2);
    const bool different = s[1] > s[0];
    std::printf("  %g and %g are %s\n", b[0], b[1], different ? "different" : "equal");
    must(different == (truth.data<int64_t>()[i] == 1), "right");
  }
}

int main() try {
  one_number();
  own_op();
  memory();
  learning();
  std::puts("\nNext: hello_prompts, where a whole Vision Transformer stays frozen and learns all the same.");
} catch (const Error& error) {
  std::printf("  ✗ refused: %s\n", error.what());
  return 1;
}
