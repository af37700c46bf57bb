// op_device_test.cpp: the whole table of ops on a device against the CPU, in f32 and in bf16.
#include <doctest/doctest.h>

#include "tests/devices.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// The op on inputs that it converts to bf16 first, with a result that comes back as f32.
OpCase in_bf16(const OpCase& op) {
  OpCase out = op;
  out.run = [run = op.run](const Values& inputs) {
    Values narrow;
    for (const Variable& x : inputs) narrow.push_back(x.dtype() == DType::f32 ? convert(x, DType::bf16) : x);
    return convert(run(narrow), DType::f32);
  };
  return out;
}

// The same numbers as bf16 has them, for the reference.
OpCase rounded_to_bf16(const OpCase& op) {
  OpCase out = op;
  out.run = [run = op.run](const Values& inputs) {
    const auto rounded = [](const Variable& x) {
      return record(x.value().to(DType::bf16).to(DType::f64), {{x, [](const Tensor& dy) { return dy; }}});
    };
    Values narrow;
    for (const Variable& x : inputs) narrow.push_back(x.dtype() == DType::f64 ? rounded(x) : x);
    const Variable y = run(narrow);
    return record(y.value(), {{y, [](const Tensor& dy) { return dy.to(DType::bf16).to(DType::f64); }}});
  };
  return out;
}

// |a - b| / |b|, both as one long vector; NaN if one is there.
double relative(const Doubles& a, const Doubles& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

Doubles values_of(const Tensor& x) { return values(x.copied_to({})); }

// In f32 against the CPU in f64, results and gradients.
void check_wide(const std::vector<OpCase>& ops) {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  for (const OpCase& op : ops) {
    CAPTURE(op.name);
    const Outcome wide = evaluate(op, inputs_of(op, DType::f64), all_wanted(op));
    const Outcome there = evaluate(op, brought_to(memory, inputs_of(op, DType::f32)), all_wanted(op));
    CHECK(there.value.device() == device.get());
    // Sums are f32 in a fixed order, which on the CPU are longer chains or shorter.
    const double tolerance = std::max(op.tolerance, 1e-5);
    check_close(values_of(there.value), values(wide.value), tolerance);
    for (size_t i = 0; i < wide.gradients.size(); ++i) {
      CAPTURE(i);
      REQUIRE(there.gradients[i].defined() == wide.gradients[i].defined());
      if (!wide.gradients[i].defined()) continue;
      CHECK(there.gradients[i].shape() == wide.gradients[i].shape());
      check_close(values_of(there.gradients[i]), values(wide.gradients[i]), tolerance);
    }
  }
}

// In bf16 against the CPU in f64 on the same rounded numbers.
void check_narrow(const std::vector<OpCase>& ops) {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  for (const OpCase& op : ops) {
    CAPTURE(op.name);
    const Outcome wide = evaluate(rounded_to_bf16(op), inputs_of(op, DType::f64), all_wanted(op));
    const Outcome there =
        evaluate(in_bf16(op), brought_to(memory, inputs_of(op, DType::f32)), all_wanted(op));
    CHECK(relative(values_of(there.value), values(wide.value)) <= 6e-3);
    const double limit = op.tolerance >= 1e-4 ? 2e-2 : 1e-2;  // where f32 loses more, so does bf16
    for (size_t i = 0; i < wide.gradients.size(); ++i) {
      CAPTURE(i);
      if (wide.gradients[i].defined())
        CHECK(relative(values_of(there.gradients[i]), values(wide.gradients[i])) <= limit);
    }
  }
}

// Sizes for which the kernels take paths that the table of ops has no need of.
std::vector<OpCase> other_sizes() {
  using V = const Values&;
  const auto norm = [](V v) { return layer_norm(v[0], v[1], v[2], 1e-6); };
  const auto constant = [](const Shape& shape) { return Input{shape, Fill::normal, true}; };
  const auto key = [](int64_t samples) {
    NoiseKey out{0x123456789abcdef0, 70000, {}, 5};
    for (int64_t i = 0; i < samples; ++i) out.samples.push_back(100 + 7 * i);
    return out;
  };
  std::vector<OpCase> out;
  // A lane holds 1 to 8 chunks of a row, of 4 numbers or of 8; 11 rows are more than the 8 of a block.
  for (const int64_t width : {4,   8,   128, 132, 256,  264,  384,  392,  512,  520,  640,  648,
                              768, 776, 896, 904, 1024, 1032, 1280, 1288, 2048, 2056, 2052, 1022}) {
    const std::string name = " of " + std::to_string(width);
    out.push_back({"layer_norm" + name, {{{11, width}}, {{width}}, {{width}}}, norm, 5e-6, 0});
    // The gradient that passes by the layers is added within layer_norm's.
    if (width <= 264)
      out.push_back({"row_layers" + name,
                     {{{11, width}},
                      constant({width}),
                      constant({width}),
                      constant({3, width}),
                      constant({3}),
                      constant({width, 3}),
                      constant({width})},
                     [](V v) {
                       return row_layers(v[0], {v[1], v[2], 1e-3, v[3], v[4], Gelu::erf, v[5], v[6]}, true);
                     },
                     2e-5,
                     0});
  }
  for (const int64_t count : {8, 24, 2056}) {  // chunks, which for the rest of the table are no whole number
    const std::string name = " of " + std::to_string(count);
    const Input x{{count}}, kink{{count}, Fill::away_from_zero};
    out.push_back({"add" + name, {x, x}, [](V v) { return add(v[0], v[1]); }, 1e-6, 0});
    out.push_back({"mul" + name, {x, x}, [](V v) { return mul(v[0], v[1]); }, 1e-6, 0});
    out.push_back({"relu" + name, {kink}, [](V v) { return relu(v[0]); }, 1e-6, 0});
    for (const Gelu form : {Gelu::erf, Gelu::tanh, Gelu::quick})
      out.push_back({"gelu" + name, {x}, [form](V v) { return gelu(v[0], form); }, 4e-6, 0});
  }
  const auto permuted = [](std::vector<int> axes) { return [axes](V v) { return permute(v[0], axes); }; };
  for (const auto& [rows, width] : {std::pair{1, 5}, std::pair{8, 32}, std::pair{197, 71}})
    out.push_back({"batch_norm of " + std::to_string(rows) + " rows",
                   {{{rows, width}}, {{width}}, {{width}}},
                   [](V v) { return batch_norm(v[0], v[1], v[2], 1e-3); },
                   1e-5,
                   0});
  out.push_back({"permute chunks", {{{3, 5, 7, 8}}}, permuted({2, 0, 1, 3}), 1e-6, 0});
  out.push_back({"permute 4 numbers", {{{3, 5, 7, 4}}}, permuted({1, 0, 2, 3}), 1e-6, 0});
  out.push_back({"permute 6 numbers", {{{3, 5, 2, 6}}}, permuted({1, 0, 2, 3}), 1e-6, 0});
  out.push_back({"permute joined axes", {{{3, 5, 7, 2}}}, permuted({2, 3, 0, 1}), 1e-6, 0});
  for (const auto& [begin, end] : {std::pair{8, 24}, std::pair{4, 12}, std::pair{1, 17}, std::pair{8, 23}})
    for (const int64_t width : {32, 31, 36})
      out.push_back({"slice from " + std::to_string(begin) + " of " + std::to_string(width),
                     {{{5, 3, width}}},
                     [begin, end](V v) { return slice(v[0], -1, begin, end); },
                     1e-6,
                     0});
  out.push_back({"slice rows of chunks", {{{5, 9, 16}}}, [](V v) { return slice(v[0], 1, 2, 7); }, 1e-6, 0});
  out.push_back({"concat chunks", {{{3, 8}}, {{3, 16}}}, [](V v) { return concat(v, 1); }, 1e-6, 0});
  out.push_back({"repeat chunks", {{{9, 16}}}, [](V v) { return repeat(v[0], 3); }, 5e-6, 0});
  // Sums: terms side by side or outputs, few or more than a block has, over axes apart.
  for (const int64_t count : {7, 31, 32, 33, 100})
    for (const int axis : {0, 1, 2})
      out.push_back({"mean of axis " + std::to_string(axis) + " of " + std::to_string(count),
                     {{{axis == 0 ? count : 5, axis == 1 ? count : 13, axis == 2 ? count : 3}}},
                     [axis](V v) { return mean(v[0], axis); },
                     5e-6,
                     0});
  out.push_back({"add what lacks two axes",
                 {{{3, 41, 5, 37}}, {{41, 1, 37}}},
                 [](V v) { return add(v[0], v[1]); },
                 5e-6,
                 0});
  out.push_back({"mul what lacks the last axes",
                 {{{3, 6, 9, 7}}, {{3, 6, 1, 1}}},
                 [](V v) { return mul(v[0], v[1]); },
                 5e-6,
                 0});
  out.push_back({"softmax wide", {{{11, 300}}}, [](V v) { return softmax(scale(v[0], 4)); }, 5e-6, 0});
  out.push_back({"dropout odd", {{{3, 7, 43}}}, [=](V v) { return dropout(v[0], 0.3, key(3)); }, 1e-6, 0});
  out.push_back(
      {"drop_path many", {{{37, 5, 3}}}, [=](V v) { return drop_path(v[0], 0.4, key(37)); }, 1e-6, 0});
  out.push_back({"embedding_add wide",
                 {{{3, 19, 43}}, {{19, 43}}},
                 [](V v) { return embedding_add(v[0], v[1]); },
                 1e-6,
                 0});
  // Who must not see each other is told by 100, which such a bias outweighs.
  out.push_back({"window_attention of strong biases",
                 {{{2, 54, 12}}, {{25, 2}}},
                 [](V v) {
                   return window_attention(v[0], scale(v[1], 64), 2,
                                           {.rows = 6, .columns = 9, .window = 3, .shift = 1});
                 },
                 1e-4,
                 0});
  const Input labels{{19}, Fill::labels, true, 70}, weights{{70}, Fill::positive, true};
  for (const double smoothing : {0.0, 0.15})
    out.push_back(
        {"cross_entropy wide",
         {{{19, 70}}, labels, weights},
         [smoothing](V v) {
           return cross_entropy(scale(v[0], 4), v[1].value(), CrossEntropy{smoothing, v[2].value()});
         },
         5e-6,
         0});
  return out;
}

}  // namespace

TEST_CASE("device: every op in f32 against the CPU in f64, results and gradients") { check_wide(op_cases()); }

TEST_CASE("device: every op in bf16 against the CPU in f64 on the same rounded numbers") {
  check_narrow(op_cases());
}

TEST_CASE("device: sizes for the other paths of the kernels, in f32 and in bf16") {
  check_wide(other_sizes());
  check_narrow(other_sizes());
}

TEST_CASE("device: every set of wanted inputs gives the same gradients, and equal runs the same bits") {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  for (const OpCase& op : op_cases()) {
    CAPTURE(op.name);
    const std::vector<Tensor> inputs = brought_to(memory, inputs_of(op, DType::f32));
    const Outcome all = evaluate(op, inputs, all_wanted(op)),
                  again = evaluate(op, inputs, all_wanted(op), false);
    CHECK(same_bits(again.value.copied_to({}), all.value.copied_to({})));
    for (size_t i = 0; i < inputs.size(); ++i)
      if (all.gradients[i].defined())
        CHECK(same_bits(again.gradients[i].copied_to({}), all.gradients[i].copied_to({})));
    for (size_t one = 0; one < inputs.size(); ++one) {
      if (op.inputs[one].constant) continue;
      CAPTURE(one);
      std::vector<bool> wanted(inputs.size(), false);
      wanted[one] = true;
      const Outcome alone = evaluate(op, inputs, wanted);
      check_close(values_of(alone.gradients[one]), values_of(all.gradients[one]), 2e-5);
    }
  }
}

TEST_CASE("device: tensors come and go, and say where they are") {
  const auto device = open_test_device();
  const Memory memory = device->memory(1 << 20);
  CHECK(device->description().size() > 10);
  const Tensor here = random_tensor({3, 5}, DType::f32, 0), there = here.copied_to(memory);
  CHECK(there.device() == device.get());
  CHECK(here.device() == nullptr);
  CHECK(same_bits(there.copied_to({}), here));
  CHECK(same_bits(there.clone().copied_to({}), here));
  CHECK(same_bits(there.to(DType::bf16).copied_to({}), here.to(DType::bf16)));
  CHECK(same_bits(there.to(DType::bf16).to(DType::f32).copied_to({}), here.to(DType::bf16).to(DType::f32)));
  CHECK(same_bits(Tensor::zeros({7}, DType::f32, memory).copied_to({}), Tensor::zeros({7}, DType::f32)));
  CHECK(same_bits(Tensor::full({7}, 2.5, DType::bf16, memory).copied_to({}),
                  Tensor::full({7}, 2.5, DType::f32).to(DType::bf16)));
  CHECK(Tensor::full({}, -3, DType::f32, memory).item() == -3);
  CHECK(same_bits(there.rows(1, 3).copied_to({}), here.rows(1, 3).clone()));
  const int64_t numbers[] = {4, -1};
  CHECK(Tensor::of<int64_t>({2}, numbers, memory).copied_to({}).data<int64_t>()[1] == -1);

  CHECK_THROWS_WITH(there.data<float>(), "tensor: (3, 5) is on a device, expected in main memory");
  CHECK_THROWS_WITH(there.raw(), "tensor: (3, 5) is on a device, expected in main memory");
  CHECK_THROWS_WITH(there.clone().seal().mutable_address(),
                    "tensor: a sealed (frozen) tensor cannot be written");
  CHECK_THROWS_AS(add(Variable(there), Variable(here)), Error);
  CHECK_THROWS_AS(add(Variable(here), Variable(there)), Error);
  CHECK_THROWS_AS(gelu(Variable(Tensor::zeros({3}, DType::f64, memory))), Error);
  CHECK_THROWS_AS(there.clone().seal().with_memory({}), Error);

  // What was given back is handed out again; the limit counts.
  CHECK_THROWS_AS(Tensor::empty({1 << 20}, DType::f32, memory), Error);
  const size_t before = memory.statistics().current;
  { const Tensor more = Tensor::zeros({1000}, DType::f32, memory); }
  CHECK(memory.statistics().current == before);
  CHECK(memory.statistics().idle >= 4000);
}

TEST_CASE("device: a name that is none and a library that is missing are told") {
  CHECK_THROWS_WITH(Device::open("gpu"),
                    "device: expected cpu, cuda, cuda:1 (the second one, and so on) or emulator, got 'gpu'");
  CHECK_THROWS_AS(Device::open("cuda:"), Error);
  CHECK_THROWS_AS(Device::open("cuda:12345"), Error);
  CHECK_THROWS_AS(Device::open("emulator:7"), Error);
}
