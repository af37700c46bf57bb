// device_kernels_test.cpp: what kernels promise beside the table of ops: the optimizer's steps, losses and noise of odd
// inputs, places that are no multiple of 16 bytes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "engine/gpu/run.h"
#include "nn/optimizer.h"
#include "tests/devices.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

constexpr float no_number = std::numeric_limits<float>::quiet_NaN();

Doubles values_of(const Tensor& x) { return values(x.copied_to({})); }

// More parameters than one kernel takes, of sizes around a block's and with none among them; one of more numbers than
// the parts of a sum take at once.
struct Many {
  Parameters parameters;
  Memory memory;

  explicit Many(const Memory& where = {}) : memory(where) {
    constexpr int64_t sizes[] = {1, 5, 1023, 0, 1024, 1025, 2500};  // a step's block has 1024
    for (uint32_t i = 0; i < 91; ++i)
      parameters.add(
          {"p" + std::to_string(i), i % 3 == 0 ? Role::bias : Role::weight,
           Variable::leaf(random_tensor({i == 50 ? 40000 : sizes[i % 7]}, DType::f32, i).copied_to(memory))});
  }
  void set_gradients(uint32_t step) {
    parameters.clear_gradients();
    for (uint32_t i = 0; i < 91; ++i) {
      if (i % 11 == 4 && step == 1) continue;  // a parameter without a gradient is left alone
      Variable& value = parameters.all()[i].value;
      value.set_gradient(random_tensor(value.shape(), DType::f32, 1000 * (step + 1) + i).copied_to(memory));
    }
  }
  Doubles at(size_t i) const { return values_of(parameters.all()[i].value.value()); }
  Doubles gradient(size_t i) const { return values_of(parameters.all()[i].value.gradient()); }
};

// The loss of some rows of logits and what it asks of them.
struct Loss {
  double value;
  Doubles slopes;
};
Loss loss_of(const Memory& memory, const Tensor& logits, const std::vector<int64_t>& labels) {
  const Variable x = Variable::leaf(logits.copied_to(memory));
  const Variable y =
      cross_entropy(x, Tensor::of<int64_t>({static_cast<int64_t>(labels.size())}, labels, memory), {});
  backward(y);
  return {y.value().copied_to({}).item(), values_of(x.gradient())};
}

}  // namespace

TEST_CASE("device: steps of SGD and AdamW are those of the CPU") {
  const auto device = open_test_device();
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adamw}) {
    Many here, there(device->memory());
    const OptimizerConfig config{
        .kind = kind, .momentum = 0.8, .beta1 = 0.7, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.2};
    Optimizer own(here.parameters, config), other(there.parameters, config);
    for (uint32_t step = 0; step < 4; ++step) {
      CAPTURE(step);
      here.set_gradients(step);
      there.set_gradients(step);
      own.step(0.03 + 0.02 * step);
      other.step(0.03 + 0.02 * step);
      for (size_t i = 0; i < here.parameters.all().size(); ++i) {
        CAPTURE(i);
        check_close(there.at(i), here.at(i), 2e-6);
      }
    }
    TensorFile own_state, other_state;
    own.save(own_state);
    other.save(other_state);
    for (const auto& [name, tensor] : own_state.tensors) {
      CAPTURE(name);
      check_close(values_of(other_state.at(name)), values(tensor), 2e-6);
    }
  }
}

TEST_CASE("device: clipping finds the norm of all gradients, and what is none") {
  const auto device = open_test_device();
  Many here, there(device->memory());
  here.set_gradients(1);
  there.set_gradients(1);
  const double norm = clip_gradients(here.parameters, 0);
  CHECK(clip_gradients(there.parameters, 0) == doctest::Approx(norm).epsilon(1e-12));
  CHECK(clip_gradients(there.parameters, 2 * norm) == doctest::Approx(norm).epsilon(1e-12));
  check_close(there.gradient(2), here.gradient(2), 0);
  clip_gradients(here.parameters, 0.3);
  CHECK(clip_gradients(there.parameters, 0.3) == doctest::Approx(norm).epsilon(1e-12));
  for (size_t i = 0; i < here.parameters.all().size(); ++i)
    if (here.parameters.all()[i].value.gradient().defined())
      check_close(there.gradient(i), here.gradient(i), 1e-6);

  // One number of the last parameter but one, in the last part of it.
  Tensor gradient = random_tensor({2500}, DType::f32, 5);
  for (const float bad : {no_number, INFINITY}) {
    gradient.mutable_data<float>()[2499] = bad;
    there.parameters.all()[90].value.set_gradient(gradient.copied_to(device->memory()));
    Fault fault = Fault::input;
    try {
      clip_gradients(there.parameters, 1);
    } catch (const Error& error) {
      fault = error.fault();
    }
    CHECK(fault == Fault::diverged);
    CHECK(values_of(there.parameters.all()[90].value.gradient())[3] == double{gradient.data<float>()[3]});
  }
}

TEST_CASE("device: a label that is no class makes the loss NaN, and the slopes of its row") {
  const auto device = open_test_device();
  const Tensor logits = random_tensor({11, 4}, DType::f32, 0);
  std::vector<int64_t> labels{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2};
  // Those of the op on the CPU, which refuses such labels, are the reference for labels that are classes.
  const Loss sound = loss_of(device->memory(), logits, labels), here = loss_of({}, logits, labels);
  CHECK(sound.value == doctest::Approx(here.value).epsilon(1e-6));
  for (const int64_t bad : {int64_t{4}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    for (const size_t row : {size_t{0}, size_t{10}}) {
      std::vector<int64_t> wrong = labels;
      wrong[row] = bad;
      const Loss loss = loss_of(device->memory(), logits, wrong);
      CHECK(std::isnan(loss.value));
      for (size_t i = 0; i < loss.slopes.size(); ++i) CHECK(std::isnan(loss.slopes[i]) == (i / 4 == row));
    }
  }
}

TEST_CASE("device: operands that begin anywhere") {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto values_at = [&](int64_t first, int64_t rows, int64_t width, uint32_t lane) {
      return random_tensor({100 * 64}, DType::f32, lane).to(dtype).rows(first, first + rows * width).clone();
    };
    // The same numbers in the middle of a larger tensor and at the beginning of their own.
    for (const int64_t first : {0, 1, 2, 4, 8}) {
      CAPTURE(first);
      const Tensor middle = random_tensor({100 * 64}, DType::f32, 1).to(dtype).copied_to(memory);
      const Tensor x = middle.rows(first, first + 9 * 64).reshape({9, 64});
      const Tensor y = values_at(first, 9, 64, 1).reshape({9, 64}).copied_to(memory);
      const Tensor gamma = values_at(0, 1, 64, 2).copied_to(memory),
                   beta = values_at(0, 1, 64, 3).copied_to(memory);
      const auto close = [](const Variable& a, const Variable& b) {
        check_close(values_of(a.value()), values_of(b.value()), 1e-5);
      };
      close(gelu(Variable(x)), gelu(Variable(y)));
      close(relu(Variable(x)), relu(Variable(y)));
      close(add(Variable(x), Variable(y)), add(Variable(y), Variable(y)));
      close(mul(Variable(y), Variable(x)), mul(Variable(y), Variable(y)));
      close(permute(Variable(x), {1, 0}), permute(Variable(y), {1, 0}));
      close(concat({Variable(x), Variable(y)}, 1), concat({Variable(y), Variable(y)}, 1));
      close(layer_norm(Variable(x), Variable(gamma), Variable(beta), 1e-5),
            layer_norm(Variable(y), Variable(gamma), Variable(beta), 1e-5));
      close(softmax(Variable(x)), softmax(Variable(y)));
    }
  }
}

TEST_CASE("device: NaN goes through relu, and gradients do not where it is shut") {
  const auto device = open_test_device();
  for (const int64_t count : {5, 16}) {
    Tensor x = Tensor::full({count}, 1, DType::f32), dy = Tensor::full({count}, 3, DType::f32);
    x.mutable_data<float>()[1] = no_number;
    x.mutable_data<float>()[2] = -2;
    x.mutable_data<float>()[3] = 0;
    const Variable leaf = Variable::leaf(x.copied_to(device->memory()));
    const Variable y = relu(leaf);
    backward(y, dy.copied_to(device->memory()));
    const Doubles got = values_of(y.value()), slopes = values_of(leaf.gradient());
    CHECK(got[0] == 1);
    CHECK(std::isnan(got[1]));
    CHECK(got[2] == 0);
    CHECK(slopes[0] == 3);
    CHECK(slopes[2] == 0);
    CHECK(slopes[3] == 0);
    CHECK(slopes[4] == 3);
  }
}

TEST_CASE("device: the slope of gelu stays a number where x is so great that its square is none") {
  const auto device = open_test_device();
  const std::vector<float> great{-3e38f, -1e20f, -2e19f, 2e19f, 1e20f, 3e38f};
  for (const Gelu form : {Gelu::erf, Gelu::tanh, Gelu::quick}) {
    CAPTURE(static_cast<int>(form));
    const Variable leaf = Variable::leaf(Tensor::of<float>({6}, great, device->memory()));
    const Variable y = gelu(leaf, form);
    backward(y, Tensor::full({6}, 1, DType::f32, device->memory()));
    CHECK(values_of(leaf.gradient()) == Doubles{0, 0, 0, 1, 1, 1});
    CHECK(values_of(y.value()) == Doubles{0, 0, 0, great[3], great[4], great[5]});
  }
}

TEST_CASE("device: keys that nothing can ask for come first, and those after them count") {
  const auto device = open_test_device();
  constexpr int64_t keys = 160, width = 16;
  Tensor q = Tensor::full({1, keys, width}, 1e20, DType::f32),
         k = Tensor::full({1, keys, width}, -1e20, DType::f32);
  Tensor v = random_tensor({1, keys, width}, DType::f32, 3);
  for (float& x : k.rows(0, 1).mutable_data<float>().subspan((keys - 5) * width)) x = 0;
  const Tensor here = attention(Variable(q), Variable(k), Variable(v), 1).value();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto there = [&](const Tensor& x) {
      return convert(Variable(x.copied_to(device->memory())), dtype);
    };
    check_close(values_of(attention(there(q), there(k), there(v), 1).value()), values(here),
                dtype == DType::f32 ? 1e-5 : 1e-2);
  }
}

TEST_CASE("device: a head that is too wide is refused by the op") {
  const auto device = open_test_device();
  const Variable x(random_tensor({1, 2, 272}, DType::f32, 1).copied_to(device->memory()));
  refused("attention", [&] { return attention(x, x, x, 1); });
}

TEST_CASE("device: softmax of a multiple, and its slope, over their operands") {
  const auto device = open_test_device();
  constexpr int64_t rows = 11, width = 37;
  constexpr float factor = 0.4f;
  const Tensor x = random_tensor({rows, width}, DType::f32, 1),
               dy = random_tensor({rows, width}, DType::f32, 2);
  Tensor y = x.copied_to(device->memory()), dx = dy.copied_to(device->memory());
  device->run(&gpu::Kernels::softmax,
              {DType::f32, rows, width, factor, gpu::in(*device, y), gpu::out(*device, y)});
  device->run(&gpu::Kernels::softmax_backward, {DType::f32, rows, width, factor, gpu::in(*device, y),
                                                gpu::in(*device, dx), gpu::out(*device, dx)});
  const Variable leaf = Variable::leaf(x.to(DType::f64));
  const Variable reference = softmax(scale(leaf, double{factor}));
  backward(reference, dy.to(DType::f64));
  check_close(values_of(y), values(reference), 1e-5);
  check_close(values_of(dx), values(leaf.gradient()), 1e-5);
}

TEST_CASE("device: results that begin anywhere, and nothing is written beside them") {
  const auto device = open_test_device();
  constexpr int64_t count = 64;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = random_tensor({count}, DType::f32, 1).to(dtype), there = x.copied_to(device->memory());
    const Doubles expected = values(relu(Variable(x.to(DType::f64))).value()), unchanged = values(x);
    for (const int64_t first : {0, 1, 4, 8}) {
      CAPTURE(first);
      Tensor line = Tensor::full({count + 32}, 7, dtype, device->memory());
      Tensor out = line.rows(first, first + count);
      device->run(&gpu::Kernels::map,
                  {dtype, gpu::Unary::relu, count, gpu::in(*device, there), out.mutable_address()});
      check_close(values_of(out), expected, 0);
      gpu::move(there, out);
      check_close(values_of(out), unchanged, 0);
      const Doubles all = values_of(line);
      for (int64_t i = 0; i < count + 32; ++i)
        if (i < first || i >= first + count) CHECK(all[static_cast<size_t>(i)] == 7);
    }
  }
}

TEST_CASE("device: planes of bytes, to the bit") {
  const auto device = open_test_device();
  for (const Shape& shape : {Shape{2, 5, 7, 3}, Shape{1, 40, 33, 3}, Shape{3, 1, 1, 1}, Shape{0, 4, 4, 3}}) {
    CAPTURE(shape);
    const int64_t channels = shape.dim(3), places = shape.dim(1) * shape.dim(2);
    std::vector<uint8_t> bytes(static_cast<size_t>(shape.numel()));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + i / 256);
    const Tensor pixels = Tensor::of<uint8_t>(shape, bytes),
                 table = random_tensor({channels, 256}, DType::f32, 3);
    Doubles expected;
    for (int64_t b = 0; b < shape.dim(0); ++b)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < places; ++i)
          expected.push_back(table.data<float>()[c * 256 + bytes[(b * places + i) * channels + c]]);
    check_close(values(planes(pixels, table)), expected, 0);
    const Tensor there = pixels.copied_to(device->memory()), values_there = table.copied_to(device->memory());
    check_close(values_of(planes(there, values_there)), expected, 0);
    const Tensor rounded = planes(there, values_there, DType::bf16);
    CHECK(rounded.shape() == Shape{shape.dim(0), channels, shape.dim(1), shape.dim(2)});
    check_close(values_of(rounded), values(planes(pixels, table).to(DType::bf16)), 0);
  }
  const Tensor pixels = Tensor::zeros({1, 2, 2, 3}, DType::u8);
  CHECK_THROWS_WITH_AS(planes(pixels, Tensor::zeros({3, 255}, DType::f32)),
                       "planes: expected values (3, 256) of f32", Error);
  CHECK_THROWS_AS(planes(pixels.copied_to(device->memory()), Tensor::zeros({3, 256}, DType::f32)), Error);
  CHECK_THROWS_AS(planes(pixels, Tensor::zeros({3, 256}, DType::f32), DType::bf16), Error);
  CHECK_THROWS_AS(planes(Tensor::zeros({1, 2, 2, 3}, DType::f32), Tensor::zeros({3, 256}, DType::f32)),
                  Error);
}

TEST_CASE("device: what is brought ahead is there for later work") {
  const auto device = open_test_device();
  const Tensor from = random_tensor({1000, 1031}, DType::f32, 1);  // more than the pinned memory at once
  Tensor to = Tensor::zeros(from.shape(), DType::f32, device->memory());
  device->wait();  // the zeros may still be under way
  device->upload_ahead(gpu::out(*device, to), from.address(), from.bytes());
  check_close(values_of(scale(to, 2).value()), values(scale(from, 2)), 0);
}

TEST_CASE("device: rows of any number of bytes are gathered") {
  const auto device = open_test_device();
  for (const int64_t width : {1, 3, 16, 27, 48}) {
    CAPTURE(width);
    std::vector<uint8_t> bytes(static_cast<size_t>(5 * width)), expected;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7 + 1);
    const std::vector<int64_t> index{4, 0, 4, 2};
    for (const int64_t row : index)
      expected.insert(expected.end(), bytes.begin() + row * width, bytes.begin() + (row + 1) * width);
    const Tensor table = Tensor::of<uint8_t>({5, width}, bytes, device->memory()),
                 rows = Tensor::of<int64_t>({4}, index, device->memory());
    Tensor to = Tensor::zeros({4, width}, DType::u8, device->memory());
    device->run(&gpu::Kernels::gather,
                {4, width, table.address(), gpu::in<int64_t>(*device, rows), gpu::out(*device, to)});
    const Tensor here = to.copied_to({});
    const auto got = here.data<uint8_t>();
    CHECK(std::vector<uint8_t>(got.begin(), got.end()) == expected);
  }
}

TEST_CASE("device: attention that the kernels of small matrices do not take is told, once") {
  const auto device = open_test_device();
  const auto attend = [&](int64_t width, DType dtype) {
    const Tensor x = random_tensor({1, 3, width}, DType::f32, 1).copied_to(device->memory());
    const Variable y = convert(x, dtype);
    attention(y, y, y, 1);
    return device->notes();
  };
  CHECK(attend(32, DType::bf16).empty());
  CHECK(attend(20, DType::f32).empty());
  CHECK(attend(20, DType::bf16) ==
        std::vector<std::string>{
            "attention of 3 queries and 3 keys of 20 columns goes by plain kernels, not by those of "
            "small matrices, and takes longer: heads have 16, 32, 48, 64 or 80 columns there"});
  CHECK(attend(20, DType::bf16).empty());
}

TEST_CASE("device: what lies idle is given back before memory is said to be used up") {
  if (std::getenv("VITRINE_TEST_DEVICE") != nullptr) return;  // a GPU's memory is not ours alone
  setenv("VITRINE_EMULATOR_MEMORY", "1000000", 1);
  const auto device = Device::open("emulator");
  unsetenv("VITRINE_EMULATOR_MEMORY");
  const Memory memory = device->memory();
  { const Tensor first = Tensor::zeros({600'000}, DType::u8, memory); }
  CHECK(memory.statistics().idle == 600'000);
  const Tensor second = Tensor::zeros({700'000}, DType::u8, memory);
  CHECK(memory.statistics().idle == 0);
  CHECK_THROWS_WITH_AS(Tensor::zeros({300'001}, DType::u8, memory),
                       "memory: emulator has no 300001 bytes left", Error);
  CHECK(memory.statistics().current == 700'000);
  const Tensor third = Tensor::zeros({300'000}, DType::u8, memory);
}

TEST_CASE("device: tensors without elements leave nothing behind") {
  if (std::getenv("VITRINE_TEST_DEVICE") != nullptr) return;  // a GPU's memory is not ours alone
  const auto device = Device::open("emulator");
  const size_t free_before = device->free_memory();
  const Memory memory = device->memory();
  for (int i = 0; i < 3; ++i) Tensor::zeros({0, 4}, DType::f32, memory);
  CHECK(memory.statistics().allocations == 3);
  CHECK(device->free_memory() == free_before);
}
