// device_model_test.cpp: whole models on a device against the CPU: logits, loss and gradients of everything that is
// trained.
#include <doctest/doctest.h>

#include <thread>

#include "engine/gpu/kernels.h"
#include "engine/recording.h"
#include "engine/text.h"
#include "nn/optimizer.h"
#include "tests/devices.h"
#include "tests/op_checks.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// Weights that do not wash out in a few blocks: normal, of a deviation that keeps the size of what passes.
Backbone random_backbone(const TransformerConfig& config) {
  Parameters parameters;
  const Transformer net(config, trainable(parameters, 3));
  TensorFile file;
  for (const Parameter& p : parameters.all()) {
    const double fan = p.value.shape().rank() >= 2 ? static_cast<double>(p.value.shape().columns_from(1)) : 1;
    Tensor value = p.value.value().clone();
    if (p.role == Role::weight)
      value = fresh(p.value.shape(), Init::normal(1 / std::sqrt(fan)), 5, p.name, DType::f32);
    if (p.name.ends_with(".gamma")) value = fresh(p.value.shape(), Init::normal(1), 5, p.name, DType::f32);
    file.tensors[p.name] = value;
  }
  file.metadata["config"] = config_to_json(config);
  return make_backbone(file, "random");
}

// Sizes that no tile or chunk divides. A ViT of 26 tokens, a Swin of maps of 7 x 7 and 4 x 4 in windows of 3.
Backbone vit_backbone(int64_t width = 64) {
  return random_backbone(VitConfig{
      .image_size = 20, .patch = 4, .width = width, .depth = 3, .heads = 2, .mlp_width = 2 * width});
}
// What descendants of the ViT have, in two of them.
Backbone distilled_backbone() {
  return random_backbone(VitConfig{.image_size = 20,
                                   .patch = 5,
                                   .width = 46,
                                   .depth = 2,
                                   .heads = 2,
                                   .mlp_width = 61,
                                   .gelu = Gelu::quick,
                                   .epsilon = 1e-5,
                                   .distillation_token = true,
                                   .registers = 2,
                                   .prefix_positions = false,
                                   .layer_scale = true,
                                   .norm_pre = true,
                                   .patch_bias = false,
                                   .qkv_bias = false});
}
Backbone asking_backbone() {
  return random_backbone(VitConfig{.image_size = 20,
                                   .patch = 5,
                                   .width = 48,
                                   .depth = 2,
                                   .heads = 3,
                                   .mlp_width = 61,
                                   .pooling = Pooling::map,
                                   .class_token = false,
                                   .gelu = Gelu::tanh,
                                   .registers = 4,
                                   .layer_scale = true,
                                   .gated_mlp = true});
}
Backbone swin_backbone() {
  return random_backbone(
      SwinConfig{.image_size = 28, .width = 32, .depths = {2, 1}, .heads = {1, 2}, .window = 3});
}

struct Case {
  std::string name;
  Backbone backbone;
  Method method;
  double dropout = 0;
  int64_t size = 0;  // the method's own number
};
std::vector<Case> cases() {
  return {{"ViT, deep", vit_backbone(), Method::vpt_deep},
          {"ViT, deep, odd width", vit_backbone(46), Method::vpt_deep},
          {"ViT, deep, prompts that are dropped", vit_backbone(), Method::vpt_deep, 0.2},
          {"ViT, shallow", vit_backbone(), Method::vpt_shallow},
          {"ViT, linear", vit_backbone(), Method::linear},
          {"ViT, full", vit_backbone(), Method::full},
          {"distilled, deep", distilled_backbone(), Method::vpt_deep},
          {"distilled, shallow", distilled_backbone(), Method::vpt_shallow},
          {"distilled, full", distilled_backbone(), Method::full},
          {"attention pooling, deep", asking_backbone(), Method::vpt_deep, 0.2},
          {"attention pooling, full", asking_backbone(), Method::full},
          {"Swin, deep", swin_backbone(), Method::vpt_deep},
          {"Swin, shallow", swin_backbone(), Method::vpt_shallow},
          {"Swin, full", swin_backbone(), Method::full},
          {"ViT, MLP", vit_backbone(), Method::mlp, 0, 2},
          {"ViT, side net", vit_backbone(), Method::sidetune},
          {"ViT, gates", vit_backbone(), Method::vpt_gated},
          {"ViT, last block", vit_backbone(), Method::partial, 0, 1},
          {"ViT, biases", vit_backbone(), Method::bias},
          {"ViT, deep and biases", vit_backbone(), Method::vpt_deep_bias},
          {"ViT, class token", vit_backbone(), Method::cls},
          {"ViT, adapters", vit_backbone(), Method::adapter, 0, 4},
          {"ViT, low rank", vit_backbone(), Method::lora, 0, 2},
          {"distilled, factors", distilled_backbone(), Method::ssf},
          {"Swin, gates", swin_backbone(), Method::vpt_gated},
          {"Swin, biases", swin_backbone(), Method::bias},
          {"Swin, adapters", swin_backbone(), Method::adapter, 0, 4},
          {"Swin, factors", swin_backbone(), Method::ssf}};
}

struct Step {
  Tensor logits, loss;
  std::vector<Tensor> gradients;
};

constexpr int64_t images = 3, classes = 4;

Step step_of(const Case& c, const Backbone& backbone) {
  TunedConfig config{
      .method = c.method, .size = c.size, .prompts = {}, .classes = classes, .paper_head = true};
  config.prompts.count = 5;
  config.prompts.dropout = c.dropout;
  TunedModel model(backbone, config, 1);
  // What starts at zero would leave what stands before it without a gradient.
  for (const Parameter& p : model.parameters().all()) {
    if (!p.name.ends_with(".up") && !p.name.ends_with(".up.weight")) continue;
    Tensor value = p.value.value();
    value.assign(scale(Variable(random_tensor(value.shape(), DType::f32, 9)), 0.1).value());
  }
  const int64_t side = image_size(backbone.config);
  const Tensor pixels = random_tensor({images, 3, side, side}, DType::f32, 7);
  const Tensor labels = make_input({{images}, Fill::labels, true, classes}, DType::i64, 8);
  const Pass pass{.training = true, .noise = {.seed = 5, .epoch = 2, .samples = {4, 9, 11}}};
  const Variable logits = model.logits(pixels, pass);
  const Variable loss = cross_entropy(logits, labels);
  backward(loss);
  Step out{in_main_memory(logits.value()), in_main_memory(loss.value()), {}};
  for (const Parameter& p : model.parameters().all())
    if (p.value.gradient().defined()) out.gradients.push_back(in_main_memory(p.value.gradient()));
  return out;
}

// |a - b| / |b| and the cosine between the two, as long vectors.
std::pair<double, double> compared(const Tensor& a, const Tensor& b) {
  const Doubles x = values(a), y = values(b);
  REQUIRE(x.size() == y.size());
  double difference = 0, xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - y[i]) * (x[i] - y[i]);
    xx += x[i] * x[i], yy += y[i] * y[i], xy += x[i] * y[i];
  }
  return {std::sqrt(difference / yy), xy / std::sqrt(xx * yy)};
}

}  // namespace

TEST_CASE("device: models in f32 equal those on the CPU to 1e-5, logits, loss and gradients") {
  const auto device = open_test_device();
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const Step here = step_of(c, c.backbone);
    const Step there =
        step_of(c, on_device(c.backbone, device->memory(), Precision::f32, c.method == Method::full));
    CHECK(compared(there.logits, here.logits).first <= 1e-5);
    CHECK(there.loss.item() == doctest::Approx(here.loss.item()).epsilon(1e-5));
    REQUIRE(there.gradients.size() == here.gradients.size());
    for (size_t i = 0; i < here.gradients.size(); ++i) {
      CAPTURE(i);
      // Columns of three images that differ by little are divided by that little.
      const double limit = c.method == Method::mlp ? 2e-4 : 1e-5;
      CHECK(compared(there.gradients[i], here.gradients[i]).first <= limit);
    }
  }
}

TEST_CASE("device: models in bf16 have gradients of the same direction, and equal runs equal bits") {
  const auto device = open_test_device();
  for (const Case& c : cases()) {
    if (trains_inside(c.method)) continue;  // in f32
    if (c.method == Method::mlp) continue;  // features in bf16 send some numbers to relu's other side
    CAPTURE(c.name);
    const Backbone placed = on_device(c.backbone, device->memory(), Precision::bf16);
    const Step here = step_of(c, c.backbone), there = step_of(c, placed), again = step_of(c, placed);
    CHECK(compared(there.logits, here.logits).first <= 3e-2);  // a bf16 has 8 bits
    CHECK(same_bits(there.logits, again.logits));
    for (size_t i = 0; i < here.gradients.size(); ++i) {
      CAPTURE(i);
      CHECK(compared(there.gradients[i], here.gradients[i]).second >= 0.999);
      CHECK(same_bits(there.gradients[i], again.gradients[i]));
    }
  }
}

TEST_CASE("device: what a backbone on a device is refused for") {
  const auto device = open_test_device();
  CHECK_THROWS_WITH(on_device(small_backbone(), device->memory(), Precision::int8),
                    "backbone: on a device weights are f32 or bf16, not int8");
  CHECK_THROWS_AS(on_device(small_backbone(), {}, Precision::f32), Error);
  const Backbone placed = on_device(small_backbone(), device->memory(), Precision::bf16);
  CHECK(identity_of(placed) == identity_of(small_backbone()));
}

TEST_CASE("device: recorded work is done at each replay, on what stands there then") {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  Tensor x = Tensor::of<float>({3}, {1, 2, 3}, memory);
  Variable y;
  {
    const Recording twice(device, [&] { y = scale(scale(x, 2), 10); });
    const size_t current = memory.statistics().current;
    twice.replay();
    CHECK(values(in_main_memory(y.value())) == Doubles{20, 40, 60});
    x.assign(Tensor::of<float>({3}, {4, 5, 6}));
    // Blocks of the recording go to nobody else, even those whose tensors are gone.
    std::vector<Tensor> others;
    for (int i = 0; i < 5; ++i) others.push_back(Tensor::full({3}, 7, DType::f32, memory));
    twice.replay();
    CHECK(values(in_main_memory(y.value())) == Doubles{80, 100, 120});
    for (const Tensor& other : others) CHECK(values(in_main_memory(other)) == Doubles{7, 7, 7});
    others.clear();
    CHECK(memory.statistics().current == current);
  }
  CHECK(values(in_main_memory(y.value())) == Doubles{80, 100, 120});
  // Nothing may be brought while work is recorded, and the device works on after that.
  CHECK_THROWS_AS(Recording(device, [&] { x.assign(Tensor::zeros({3}, DType::f32)); }), Error);
  CHECK_THROWS_AS(Recording(device, [&] { Recording(device, [] {}); }), Error);
  CHECK(values(in_main_memory(scale(x, 1).value())) == Doubles{4, 5, 6});
}

TEST_CASE("device: a recording whose end fails is an error, and the device works on") {
  const auto device = open_test_device();
  const Memory memory = device->memory();
  CHECK_THROWS_AS(Recording(device,
                            [&] {
                              Tensor::zeros({3}, DType::f32, memory);  // a block of the recording
                              gpu::Graph* stolen = nullptr;
                              device->table().end_record(device->queue(), &stolen);
                              device->table().drop(device->queue(), stolen);
                            }),
                  Error);
  CHECK(values(in_main_memory(scale(Tensor::of<float>({1}, {2}, memory), 2).value())) == Doubles{4});
}

TEST_CASE("device: while a thread records, no other one uses the device") {
  const auto device = open_test_device();
  const Tensor x = Tensor::of<float>({3}, {1, 2, 3}, device->memory());
  Variable y;
  std::vector<std::string> refusals;
  const Recording once(device, [&] {
    y = scale(x, 2);
    const std::vector<std::function<void()>> uses{
        [&] { scale(x, 3); }, [&] { in_main_memory(x); }, [&] { device->wait(); },
        [&] { Tensor::zeros({3}, DType::f32, device->memory()); }, [&] { Recording(device, [] {}); }};
    for (const auto& use : uses) {
      std::thread([&] {
        try {
          use();
          refusals.emplace_back("none");
        } catch (const Error& error) {
          refusals.emplace_back(error.what());
        }
      }).join();
    }
  });
  REQUIRE(refusals.size() == 5);
  for (const std::string& refusal : refusals)
    CHECK(refusal == text("device {}: is recording the work of another thread", device->name()));
  once.replay();
  CHECK(values(in_main_memory(y.value())) == Doubles{2, 4, 6});
}
