// prompt_test.cpp: prompts as keys and values against the textbook form with full tokens;
// counts; what stays frozen.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/sha256.h"
#include "models/tuned.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

const VitConfig small{.image_size = 32, .patch = 8, .width = 16, .depth = 3, .heads = 2, .mlp_width = 32};

// VPT-deep as the paper says it: in every block the prompts are full tokens behind the class token;
// what the block makes of them is replaced by the next block's own. `noise` is given when prompts
// are dropped per image.
Variable textbook_deep(const Vit& vit, const std::vector<Variable>& prompts, const Variable& images) {
  Variable x = vit.embed(images);  // (B, T, D)
  const int64_t first = vit.config().class_token ? 1 : 0, tokens = x.dim(1);
  for (size_t i = 0; i < vit.blocks().size(); ++i) {
    const Variable own = prompts[i].shape().rank() == 2 ? repeat(prompts[i], images.dim(0)) : prompts[i];
    const int64_t p = own.dim(1);
    const Variable all = concat({slice(x, 1, 0, first), own, slice(x, 1, first, tokens)}, 1);
    const Variable y = vit.blocks()[i](all, {}, {});
    x = concat({slice(y, 1, 0, first), slice(y, 1, first + p, tokens + p)}, 1);
  }
  return vit.pool(x);
}

// What one of the two forms gives.
struct Outcome {
  Tensor logits, prompt_gradient, head_gradient;
};

// `parameters` lists prompts first, then the head's weight.
Outcome outcome_of(const Variable& logits, const Tensor& labels, const Parameters& parameters) {
  backward(cross_entropy(logits, labels));
  return {logits.value(), parameters.all()[0].value.gradient(), parameters.all()[1].value.gradient()};
}

void check_equal(const Outcome& a, const Outcome& b) {
  CHECK(largest_difference(a.logits, b.logits) < 1e-12);
  CHECK(largest_difference(a.prompt_gradient, b.prompt_gradient) < 1e-12);
  CHECK(largest_difference(a.head_gradient, b.head_gradient) < 1e-12);
  double size = 0;  // the gradients are not just zeros that agree
  for (const double g : a.prompt_gradient.data<double>()) size = std::max(size, std::abs(g));
  CHECK(size > 1e-6);
}

}  // namespace

TEST_CASE("VPT-deep as keys and values equals the textbook form, logits and all gradients, to 1e-12") {
  for (const Pooling pooling : {Pooling::token, Pooling::mean}) {
    for (const int64_t count : {1, 3, 31}) {
      VitConfig config = small;
      config.pooling = pooling;
      CAPTURE(count);
      const TensorFile file = sine_vit(config);
      const Vit vit(config, frozen(file, DType::f64));
      const Tensor images = sine_image(3, 32);
      const Tensor labels = Tensor::of<int64_t>({3}, {0, 4, 2});

      std::vector<Outcome> outcomes;
      for (const bool textbook : {false, true}) {
        Parameters parameters;
        const Scope scope = trainable(parameters, 5, DType::f64);
        const PromptConfig prompt_config{.kind = PromptKind::deep, .count = count};
        const Prompts prompts(prompt_config, config.prompt_places(), scope);
        const Linear head(config.width, 5, scope / "head", Init::normal(0.5));
        Variable features;
        if (textbook) {
          std::vector<Variable> layers;
          for (int64_t i = 0; i < config.depth; ++i) layers.push_back(prompts.layer(i, {}));
          features = textbook_deep(vit, layers, images);
        } else {
          features = vit.features(images, prompts, {});
        }
        outcomes.push_back(outcome_of(head(features), labels, parameters));
      }
      check_equal(outcomes[0], outcomes[1]);
    }
  }
}

TEST_CASE("VPT-deep with prompt dropout equals the textbook form under the same masks") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  Parameters parameters;
  const Prompts prompts({.kind = PromptKind::deep, .count = 4, .dropout = 0.5}, small.prompt_places(),
                        trainable(parameters, 5, DType::f64));
  const Pass pass{.training = true, .noise = {.seed = 3, .epoch = 1, .samples = {7, 8}}};
  std::vector<Variable> layers;
  for (int64_t i = 0; i < small.depth; ++i) layers.push_back(prompts.layer(i, pass));
  CHECK(layers[0].shape() == Shape{2, 4, 16});
  const Tensor images = sine_image(2, 32), labels = Tensor::of<int64_t>({2}, {1, 9});
  const Linear head(small.width, 10, trainable(parameters, 6, DType::f64) / "head");
  const Outcome fast = outcome_of(head(vit.features(images, prompts, pass)), labels, parameters);
  parameters.clear_gradients();
  check_equal(fast, outcome_of(head(textbook_deep(vit, layers, images)), labels, parameters));
  // Other masks in another epoch; none outside training.
  Pass later = pass;
  later.noise.epoch = 2;
  CHECK(largest_difference(prompts.layer(0, later).value(), layers[0].value()) > 1e-3);
  CHECK(prompts.layer(0, {}).shape() == Shape{4, 16});
}

TEST_CASE(
    "VPT-shallow: an image's features do not depend on its batch mates; gradients by finite differences") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  Parameters parameters;
  const Prompts prompts({.kind = PromptKind::shallow, .count = 3}, small.prompt_places(),
                        trainable(parameters, 5, DType::f64));
  const Tensor images = sine_image(2, 32);
  const Tensor together = vit.features(images, prompts, {}).value();
  for (int64_t b = 0; b < 2; ++b) {
    const Tensor alone = vit.features(images.rows(b, b + 1), prompts, {}).value();
    CHECK(largest_difference(alone, together.rows(b, b + 1)) < 1e-14);
  }
  const auto loss = [&] {
    return cross_entropy(vit.features(images, prompts, {}), Tensor::of<int64_t>({2}, {1, 9}));
  };
  backward(loss());
  const Variable& leaf = parameters.all()[0].value;
  Tensor value = leaf.value();
  for (const int64_t i : {0, 17, 47}) {
    double& x = value.mutable_data<double>()[i];
    const double kept = x, step = 1e-6;
    x = kept + step;
    const double above = loss().value().item();
    x = kept - step;
    const double below = loss().value().item();
    x = kept;
    CHECK(std::abs((above - below) / (2 * step) - leaf.gradient().data<double>()[i]) < 1e-8);
  }
}

TEST_CASE("projected prompts: the product is what the blocks see") {
  Parameters parameters;
  const Prompts prompts({.kind = PromptKind::deep, .count = 4, .projection = 5}, small.prompt_places(),
                        trainable(parameters, 5, DType::f64));
  const Tensor product = prompts.product().at("prompts");
  CHECK(product.shape() == Shape{3, 4, 16});
  CHECK(largest_difference(product.rows(1, 2).reshape({4, 16}), prompts.layer(1, {}).value()) < 1e-15);
  CHECK(parameters.count() == 3 * 4 * 5 + 5 * 16 + 16);
}

TEST_CASE("fresh prompts are uniform in the paper's bound") {
  Parameters parameters;
  const VitConfig b16{.image_size = 32, .patch = 16, .width = 768, .depth = 2, .heads = 12, .mlp_width = 8};
  const Prompts prompts({.kind = PromptKind::deep, .count = 50}, b16.prompt_places(),
                        trainable(parameters, 5));
  const double bound = std::sqrt(6.0 / (3 * 16 * 16 + 768));
  double largest = 0, sum = 0;
  for (const float v : parameters.all()[0].value.value().data<float>()) {
    largest = std::max(largest, std::abs(static_cast<double>(v)));
    sum += v;
  }
  CHECK(largest <= bound);
  CHECK(largest > 0.99 * bound);
  CHECK(std::abs(sum / (2 * 50 * 768)) < 0.01 * bound);
}

TEST_CASE("what is trained: L P D + D C + C scalars, and nothing else") {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  const Backbone backbone = make_backbone(file, "sine");
  const TunedModel deep(backbone, TunedConfig{.prompts = {.count = 7}, .classes = 5}, 1);
  CHECK(deep.parameters().count() == 3 * 7 * 16 + 16 * 5 + 5);
  const TunedModel shallow(
      backbone, TunedConfig{.method = Method::vpt_shallow, .prompts = {.count = 7}, .classes = 5}, 1);
  CHECK(shallow.parameters().count() == 7 * 16 + 16 * 5 + 5);
  const TunedModel head_only(backbone, TunedConfig{.method = Method::linear, .classes = 5}, 1);
  CHECK(head_only.parameters().count() == 16 * 5 + 5);
  const TunedModel full(backbone, TunedConfig{.method = Method::full, .classes = 5}, 1);
  CHECK(full.parameters().count() == parameter_count(small) + 16 * 5 + 5);
  CHECK(deep.backbone_count() == parameter_count(small));
}

TEST_CASE("a head starts at zeros, or kaiming normal with fan-out as in the paper's code") {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  const Backbone backbone = make_backbone(file, "sine");
  for (const bool paper : {false, true}) {
    TunedConfig config{.method = Method::linear, .prompts = {}, .classes = 500};
    config.paper_head = paper;
    const auto tensors = TunedModel(backbone, config, 1).task_tensors();
    double squares = 0;
    for (const float w : tensors.at("head.weight").data<float>()) squares += double{w} * double{w};
    const double n = 500.0 * 16, variance = paper ? 2.0 / 500 : 0;
    CHECK(std::abs(squares / n - variance) <= 5 * variance * std::sqrt(2 / n));  // five deviations
    for (const float b : tensors.at("head.bias").data<float>()) CHECK(b == 0);
  }
}

TEST_CASE("the glass: frozen bytes stay as they are, and a frozen linear keeps no activation") {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  const Backbone backbone = make_backbone(file, "sine");
  const std::string before = sha256_hex(write_safetensors(backbone.file));
  TunedModel model(backbone, TunedConfig{.prompts = {.count = 7}, .classes = 5}, 1);
  const Tensor images = sine_image(2, 32).to(DType::f32);
  for (int step = 0; step < 3; ++step) {
    model.parameters().clear_gradients();
    backward(cross_entropy(model.logits(images), Tensor::of<int64_t>({2}, {1, 3})));
    for (Parameter& p : model.parameters().all()) {
      Tensor value = p.value.value();
      for (int64_t i = 0; i < value.numel(); ++i)
        value.mutable_data<float>()[i] -= 0.1f * p.value.gradient().data<float>()[i];
    }
  }
  CHECK(sha256_hex(write_safetensors(backbone.file)) == before);

  const Memory memory = Memory::counted();
  const Tensor weight = Tensor::zeros({64, 32}, DType::f32, Memory::counted()).seal();
  const Variable x = Variable::leaf(Tensor::zeros({100, 32}, DType::f32, memory));
  const size_t start = memory.statistics().current;
  const Variable hidden = scale(x, 2);
  const Variable y = linear(hidden, weight);
  const size_t with_hidden = memory.statistics().current;
  CHECK(with_hidden == start + 100 * 32 * 4 + 100 * 64 * 4);
  Variable only = linear(scale(x, 2), weight);  // its input was a temporary
  CHECK(memory.statistics().current == with_hidden + 100 * 64 * 4);
}

TEST_CASE("task: opened for prediction it has the same logits, no gradients and no parameters") {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  const Backbone backbone = make_backbone(file, "sine");
  const Tensor images = sine_image(1, 32).to(DType::f32);
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full}) {
    CAPTURE(name_of(method));
    TunedConfig config{.method = method, .prompts = {}, .classes = 2, .paper_head = true};
    if (prompt_kind(method) != PromptKind::none) config.prompts.count = 2;
    TunedModel model(backbone, config, 1);
    for (const Parameter& p : model.parameters().all())  // a full task differs from its backbone
      for (float& value : Tensor(p.value.value()).mutable_data<float>()) value += 0.01f;
    Task task;
    task.config = model.config();
    task.backbone_identity = identity_of(backbone);
    task.tensors = model.task_tensors();
    const TunedModel ready(backbone, task, DType::f32, Memory{}, Use::prediction);
    const Variable logits = ready.logits(images), expected = model.logits(images);
    CHECK(expected.wants_gradient());
    CHECK_FALSE(logits.wants_gradient());
    CHECK(ready.parameters().all().empty());
    for (int i = 0; i < 2; ++i)
      CHECK(std::abs(logits.value().data<float>()[i] - expected.value().data<float>()[i]) < 1e-6f);
    task.tensors["stranger"] = Tensor::zeros({1}, DType::f32);
    CHECK_THROWS_WITH_AS(TunedModel(backbone, task, DType::f32, Memory{}, Use::prediction),
                         doctest::Contains("belongs to no"), Error);
  }
}

TEST_CASE("task file: round trip, and refusal on another backbone") {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  const Backbone backbone = make_backbone(file, "sine");
  const TunedModel model(backbone, TunedConfig{.prompts = {.count = 2, .projection = 3}, .classes = 2}, 1);
  const Task task{.config = model.config(),
                  .class_names = {"cat", "dog"},
                  .backbone = "sine",
                  .backbone_identity = identity_of(backbone),
                  .heads = small.heads,
                  .preprocess = "{}",
                  .settings = "{}",
                  .tensors = model.task_tensors()};
  const TensorFile stored = read_safetensors(write_safetensors(to_file(task)), nullptr, "here");
  CHECK(stored.tensors.size() == 3);
  CHECK(stored.at("prompts").shape() == Shape{3, 2, 16});
  const Task back = task_from_file(stored);
  CHECK(back.class_names == task.class_names);
  CHECK(back.config.method == Method::vpt_deep);
  const TunedModel again(backbone, back);
  const Tensor images = sine_image(1, 32).to(DType::f32);
  for (int i = 0; i < 2; ++i)
    CHECK(std::abs(again.logits(images).value().data<float>()[i] -
                   model.logits(images).value().data<float>()[i]) < 1e-6f);

  Backbone other = backbone;
  other.file.tensors["norm.bias"] = other.file.tensors["norm.bias"].clone();
  other.file.tensors["norm.bias"].mutable_data<float>()[0] += 1;
  CHECK_THROWS_AS(TunedModel(other, back), Error);
  // The same weights read with other heads are another net.
  other = backbone;
  std::get<VitConfig>(other.config).heads = 4;
  CHECK_THROWS_AS(TunedModel(other, back), Error);
  TensorFile broken = stored;
  broken.tensors["head.bias"] = Tensor::zeros({3}, DType::f32);
  CHECK_THROWS_WITH(task_from_file(broken), "here: tensor 'head.bias': expected (2) f32, got (3) f32");
  broken = stored;
  broken.tensors["head.bias"] = Tensor::full({2}, NAN, DType::f32);
  CHECK_THROWS_AS(task_from_file(broken), Error);
  broken = stored;
  broken.metadata.erase("method");
  CHECK_THROWS_AS(task_from_file(broken), Error);
  broken = stored;
  broken.metadata["prompts"] = "2.7";
  CHECK_THROWS_WITH(task_from_file(broken), "here: metadata 'prompts': expected a whole number, got '2.7'");
  broken = stored;
  broken.metadata["settings"] = std::string(200000, '[') + std::string(200000, ']');
  CHECK_THROWS_WITH(task_from_file(broken), "here: metadata 'settings': is nested too deeply");
  broken = stored;
  broken.tensors["norm.bias"] = Tensor::zeros({16}, DType::f32);
  CHECK_THROWS_WITH(task_from_file(broken), "here: tensor 'norm.bias' belongs to no task of method vpt-deep");
}
