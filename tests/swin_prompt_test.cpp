// swin_prompt_test.cpp: prompts of a Swin as keys and values against the textbook form with full tokens;
// images of a batch that keep to themselves; counts; what stays frozen.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/sha256.h"
#include "models/tuned.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

constexpr auto before_roll = WindowGrid::Padding::before_roll, after_roll = WindowGrid::Padding::after_roll;

// The last map of 32 pixels is smaller than a window.
const SwinConfig three{.image_size = 32, .width = 8, .depths = {2, 1, 2}, .heads = {2, 2, 4}, .window = 3};
const SwinConfig one{.image_size = 32, .width = 8, .depths = {3}, .heads = {2}, .window = 4};

Backbone backbone_of(const SwinConfig& config) {
  TensorFile file = sine_swin(config);
  file.metadata["config"] = config_to_json(config);
  return make_backbone(file, "sine");
}

// VPT-deep as the paper says it: in every block the prompts are full tokens before the others, shared by all
// windows of an image and averaged over them; what the block makes of them is replaced by the next block's own.
Variable textbook_deep(const Swin& swin, const std::vector<Variable>& prompts, const Variable& images) {
  Variable x;
  WindowGrid grid;
  std::tie(x, grid) = swin.embed(images);
  size_t at = 0;
  for (const Swin::Stage& stage : swin.stages()) {
    for (const SwinBlock& block : stage.blocks) {
      const Variable own = prompts[at].shape().rank() == 2 ? repeat(prompts[at], images.dim(0)) : prompts[at];
      const Variable tokens = slice(x, 1, grid.prompts, x.dim(1));
      grid.prompts = own.dim(1);
      x = block(concat({own, tokens}, 1), grid, {}, {});
      ++at;
    }
    for (const PatchMerging& merge : stage.downsample) {
      x = merge(x, grid);
      grid.rows = (grid.rows + 1) / 2;
      grid.columns = (grid.columns + 1) / 2;
    }
  }
  return swin.pool(x);
}

// What one of the two forms gives.
struct Outcome {
  Tensor logits;
  std::vector<std::pair<std::string, Tensor>> gradients;
};

Outcome outcome_of(const Variable& logits, const Tensor& labels, Parameters& parameters) {
  parameters.clear_gradients();
  backward(cross_entropy(logits, labels));
  Outcome out{logits.value(), {}};
  for (const Parameter& p : parameters.all()) out.gradients.emplace_back(p.name, p.value.gradient());
  return out;
}

void check_equal(const Outcome& a, const Outcome& b) {
  CHECK(largest_difference(a.logits, b.logits) < 1e-12);
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    const auto& [name, gradient] = a.gradients[i];
    CAPTURE(name);
    CHECK(largest_difference(gradient, b.gradients[i].second) < 1e-12);
    double size = 0;  // the gradients are not just zeros that agree
    for (const double g : gradient.data<double>()) size = std::max(size, std::abs(g));
    CHECK(size > 1e-6);
  }
}

std::vector<Variable> layers_of(const Prompts& prompts, const SwinConfig& config, const Pass& pass) {
  std::vector<Variable> out;
  for (int64_t i = 0; i < config.blocks(); ++i) out.push_back(prompts.layer(i, pass));
  return out;
}

// The gradients of `loss` with respect to all parameters, in some places of each, by central differences.
void check_gradients(Parameters& parameters, const std::function<Variable()>& loss, double tolerance) {
  parameters.clear_gradients();
  backward(loss());
  for (const Parameter& p : parameters.all()) {
    CAPTURE(p.name);
    Tensor value = p.value.value();
    const Tensor gradient = p.value.gradient();
    REQUIRE(gradient.defined());
    double largest = 0;
    for (const double g : gradient.data<double>()) largest = std::max(largest, std::abs(g));
    const auto most =
        std::ranges::max_element(gradient.data<double>(), {}, [](double g) { return std::abs(g); });
    for (const int64_t i : {int64_t{0}, value.numel() / 3, value.numel() - 1,
                            static_cast<int64_t>(most - gradient.data<double>().begin())}) {
      CAPTURE(i);
      double& x = value.mutable_data<double>()[i];
      const double kept = x, step = 1e-5;
      x = kept + step;
      const double above = loss().value().item();
      x = kept - step;
      const double below = loss().value().item();
      x = kept;
      const double found = gradient.data<double>()[i];
      CHECK(std::abs((above - below) / (2 * step) - found) < tolerance * (1 + largest));
    }
  }
}

}  // namespace

TEST_CASE("swin: VPT-deep as keys and values equals the textbook form, logits and all gradients, to 1e-12") {
  const Tensor labels = Tensor::of<int64_t>({2}, {0, 4});
  for (SwinConfig config : {three, one})
    for (const auto padding : {before_roll, after_roll})
      for (const auto& [rows, columns] : {std::pair{32, 32}, {27, 44}})  // 7 x 11 patches
        for (const int64_t count : {1, 3, 17}) {
          config.padding = padding;
          CAPTURE(config_to_json(config));
          CAPTURE(rows);
          CAPTURE(count);
          const Swin swin(config, frozen(sine_swin(config), DType::f64));
          const Tensor images = sine_image(2, rows, columns);
          Parameters parameters;
          const Scope scope = trainable(parameters, 5, DType::f64);
          const Prompts prompts({.kind = PromptKind::deep, .count = count}, config.prompt_places(), scope);
          const Linear head(config.feature_width(), 5, scope / "head", Init::normal(0.5));
          CHECK(parameters.all().size() == config.depths.size() + 2);
          const Outcome fast = outcome_of(head(swin.features(images, prompts, {})), labels, parameters);
          check_equal(fast, outcome_of(head(textbook_deep(swin, layers_of(prompts, config, {}), images)),
                                       labels, parameters));
        }
}

TEST_CASE("swin: VPT-deep with prompt dropout equals the textbook form under the same masks") {
  const Pass pass{.training = true, .noise = {.seed = 3, .epoch = 1, .samples = {7, 8}}};
  const Tensor labels = Tensor::of<int64_t>({2}, {1, 9}), images = sine_image(2, 32, 44);
  for (SwinConfig config : {three, one})
    for (const auto padding : {before_roll, after_roll})
      for (const int64_t count : {1, 3, 17}) {
        config.padding = padding;
        CAPTURE(count);
        const Swin swin(config, frozen(sine_swin(config), DType::f64));
        Parameters parameters;
        const Scope scope = trainable(parameters, 5, DType::f64);
        const Prompts prompts({.kind = PromptKind::deep, .count = count, .dropout = 0.4},
                              config.prompt_places(), scope);
        const Linear head(config.feature_width(), 10, scope / "head", Init::normal(0.5));
        const std::vector<Variable> layers = layers_of(prompts, config, pass);
        CHECK(layers[0].shape() == Shape{2, count, 8});
        const Outcome fast = outcome_of(head(swin.features(images, prompts, pass)), labels, parameters);
        check_equal(fast, outcome_of(head(textbook_deep(swin, layers, images)), labels, parameters));
        CHECK(largest_difference(fast.logits, head(swin.features(images, prompts, {})).value()) > 1e-6);
      }
}

TEST_CASE("swin: under VPT-shallow an image's logits do not depend on its batch mates") {
  // In the paper's code windows and prompts stand in different orders, so that an image's windows get the
  // prompts of others. With every prompt half its neighbour's after each block, these logits move by 1e-4 to
  // 2e-2.
  for (const auto padding : {before_roll, after_roll})
    for (const auto& [rows, columns] : {std::pair{32, 32}, {27, 44}, {12, 64}}) {
      SwinConfig config = three;
      config.padding = padding;
      CAPTURE(rows);
      const Swin swin(config, frozen(sine_swin(config), DType::f64));
      Parameters parameters;
      const Scope scope = trainable(parameters, 5, DType::f64);
      const Prompts prompts({.kind = PromptKind::shallow, .count = 3}, config.prompt_places(), scope);
      const Linear head(config.feature_width(), 5, scope / "head", Init::normal(0.5));
      const Tensor images = sine_image(3, rows, columns);
      const Tensor together = head(swin.features(images, prompts, {})).value();
      for (int64_t b = 0; b < 3; ++b) {
        const Tensor alone = head(swin.features(images.rows(b, b + 1), prompts, {})).value();
        CHECK(largest_difference(alone, together.rows(b, b + 1)) < 1e-14);
      }
      // After one block the prompts are the image's own.
      auto [x, grid] = swin.embed(images);
      grid.prompts = 3;
      CHECK(grid.rows * grid.columns > 2 * grid.window * grid.window);
      const Variable y = swin.stages()[0].blocks[0](concat({prompts.tokens(0, 3, {}), x}, 1), grid, {}, {});
      const Tensor own = slice(y, 1, 0, 3).value();
      CHECK(largest_difference(own.rows(0, 1), own.rows(1, 2)) > 1e-3);
    }
}

TEST_CASE("swin: gradients of prompts and head by central differences") {
  for (const PromptKind kind : {PromptKind::shallow, PromptKind::deep})
    for (const int64_t projection : {0, 5}) {
      SwinConfig config = three;
      config.padding = kind == PromptKind::deep ? after_roll : before_roll;
      const Swin swin(config, frozen(sine_swin(config), DType::f64));
      Parameters parameters;
      const Scope scope = trainable(parameters, 5, DType::f64);
      const Prompts prompts({.kind = kind, .count = 3, .dropout = 0.2, .projection = projection},
                            config.prompt_places(), scope);
      const Linear head(config.feature_width(), 5, scope / "head", Init::normal(0.5));
      const Pass pass{.training = true, .noise = {.seed = 3, .epoch = 1, .samples = {7, 8}}};
      const Tensor images = sine_image(2, 28, 36), labels = Tensor::of<int64_t>({2}, {1, 4});
      check_gradients(
          parameters, [&] { return cross_entropy(head(swin.features(images, prompts, pass)), labels); },
          1e-8);
    }
}

TEST_CASE("swin: gradients of every weight by central differences, where maps are filled up and rolled") {
  for (const auto padding : {before_roll, after_roll}) {
    SwinConfig config = three;
    config.padding = padding;
    const TunedConfig tuned{.method = Method::full, .prompts = {}, .classes = 4, .paper_head = true};
    TunedModel model(backbone_of(config), tuned, 1, DType::f64);
    CHECK(model.parameters().count() == parameter_count(config) + 4 * 32 + 4);
    const Tensor images = sine_image(2, 28, 36), labels = Tensor::of<int64_t>({2}, {1, 3});
    check_gradients(
        model.parameters(), [&] { return cross_entropy(model.logits(images), labels); }, 1e-8);
  }
}

TEST_CASE("swin: merging sets four neighbours side by side, and each prompt four times beside itself") {
  const SwinConfig config = three;
  const Swin swin(config, frozen(sine_swin(config), DType::f64));
  const PatchMerging& merge = swin.stages()[0].downsample.at(0);
  const int64_t p = 2, c = 8;
  const WindowGrid grid{.rows = 3, .columns = 5, .window = 3, .prompts = p};
  const Tensor x = sine_image(2, p + 15, c).reshape({6, p + 15, c}).rows(0, 2).clone();
  const Tensor y = merge(x, grid).value();
  REQUIRE(y.shape() == Shape{2, p + 6, 2 * c});
  const auto gamma = merge.norm.gamma.value().data<double>(), beta = merge.norm.beta.value().data<double>(),
             weight = merge.reduction.value().data<double>();
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t n = 0; n < p + 6; ++n) {
      std::vector<double> four;
      for (const auto& [down, right] : {std::pair{0, 0}, {1, 0}, {0, 1}, {1, 1}})
        for (int64_t i = 0; i < c; ++i) {
          const int64_t row = 2 * ((n - p) / 3) + down, column = 2 * ((n - p) % 3) + right;
          const int64_t token = n < p ? n : p + 5 * row + column;
          const bool there = n < p || (row < 3 && column < 5);
          four.push_back(there ? x.data<double>()[(b * (p + 15) + token) * c + i] : 0);
        }
      double mean = 0, variance = 0;
      for (const double v : four) mean += v / 32;
      for (const double v : four) variance += (v - mean) * (v - mean) / 32;
      for (int64_t o = 0; o < 2 * c; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < 32; ++i)
          sum += weight[o * 32 + i] *
                 (gamma[i] * (four[i] - mean) / std::sqrt(variance + config.epsilon) + beta[i]);
        CHECK(std::abs(y.data<double>()[(b * (p + 6) + n) * 2 * c + o] - sum) < 1e-13);
      }
    }
}

TEST_CASE("swin: fresh prompts of every stage are uniform in the bound of the first") {
  Parameters parameters;
  const SwinConfig config{.width = 96, .depths = {2, 1, 2}, .heads = {3, 6, 12}};
  const Prompts prompts({.kind = PromptKind::deep, .count = 20}, config.prompt_places(),
                        trainable(parameters, 5));
  const double bound = std::sqrt(6.0 / (3 * 4 * 4 + 96));
  REQUIRE(parameters.all().size() == 3);
  for (int64_t s = 0; s < 3; ++s) {
    const Parameter& p = parameters.all()[s];
    CHECK(p.name == text("prompts.{}", s));
    CHECK(p.value.shape() == Shape{config.depths[s], 20, 96 << s});
    double largest = 0, sum = 0;
    for (const float v : p.value.value().data<float>()) {
      largest = std::max(largest, std::abs(static_cast<double>(v)));
      sum += v;
    }
    CHECK(largest <= bound);
    CHECK(largest > 0.99 * bound);
    CHECK(std::abs(sum / static_cast<double>(p.value.numel())) < 0.05 * bound);
  }
}

TEST_CASE("swin: what is trained, and nothing else") {
  // Swin-B has 2, 2, 18, 2 blocks of 128, 256, 512, 1024: 12,032 numbers for each prompt.
  const TransformerConfig swin_b = swin_preset("swin-b");
  const auto counted = [&](Method method, const PromptConfig& prompts) {
    return count_parameters({.method = method, .prompts = prompts, .classes = 10}, swin_b).prompts;
  };
  for (const int64_t p : {1, 5, 50}) {
    CHECK(counted(Method::vpt_deep, {.count = p}) == 12032 * p);
    CHECK(counted(Method::vpt_shallow, {.count = p}) == 128 * p);
  }
  CHECK(counted(Method::vpt_deep, {.count = 5, .projection = 10}) ==
        24 * 5 * 10 + 11 * (128 + 256 + 512 + 1024));

  const Backbone backbone = backbone_of(three);
  const int64_t head = 32 * 5 + 5;
  const auto count = [&](Method method, PromptConfig prompts) {
    return TunedModel(backbone, TunedConfig{.method = method, .prompts = prompts, .classes = 5}, 1)
        .parameters()
        .count();
  };
  CHECK(count(Method::vpt_deep, {.count = 7}) == 7 * (2 * 8 + 1 * 16 + 2 * 32) + head);
  CHECK(count(Method::vpt_shallow, {.count = 7}) == 7 * 8 + head);
  CHECK(count(Method::linear, {}) == head);
  CHECK(count(Method::full, {}) == parameter_count(three) + head);
  const PromptConfig projected{.count = 4, .projection = 5};
  CHECK(count(Method::vpt_deep, projected) == 5 * 4 * 5 + 6 * (8 + 16 + 32) + head);
  CHECK(TunedModel(backbone, TunedConfig{.prompts = {.count = 7}, .classes = 5}, 1).backbone_count() ==
        parameter_count(three));
}

TEST_CASE("swin: the glass: frozen bytes stay as they are") {
  const Backbone backbone = backbone_of(three);
  const std::string before = sha256_hex(write_safetensors(backbone.file));
  const Tensor images = sine_image(2, 32).to(DType::f32);
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full}) {
    TunedConfig config{.method = method, .prompts = {}, .classes = 5, .paper_head = true};
    if (prompt_kind(method) != PromptKind::none) config.prompts.count = 7;
    TunedModel model(backbone, config, 1);
    const float first = model.logits(images).value().data<float>()[0];
    for (int step = 0; step < 3; ++step) {
      model.parameters().clear_gradients();
      backward(cross_entropy(model.logits(images), Tensor::of<int64_t>({2}, {1, 3})));
      for (Parameter& p : model.parameters().all()) {
        REQUIRE(p.value.gradient().defined());
        Tensor value = p.value.value();
        for (int64_t i = 0; i < value.numel(); ++i)
          value.mutable_data<float>()[i] -= 0.1f * p.value.gradient().data<float>()[i];
      }
    }
    CHECK(model.logits(images).value().data<float>()[0] != first);
    CHECK(sha256_hex(write_safetensors(backbone.file)) == before);
  }
}

TEST_CASE("swin: task file: round trip by stages, and what is refused") {
  const Backbone backbone = backbone_of(three);
  const TunedConfig config{.prompts = {.count = 2, .projection = 3}, .classes = 2, .paper_head = true};
  const TunedModel model(backbone, config, 1);
  const Task task{.config = model.config(),
                  .class_names = {"cat", "dog"},
                  .backbone = "sine",
                  .backbone_identity = identity_of(backbone),
                  .heads = untold_heads(backbone.config),
                  .preprocess = "{}",
                  .settings = "{}",
                  .tensors = model.task_tensors()};
  const TensorFile stored = read_safetensors(write_safetensors(to_file(task)), nullptr, "here");
  CHECK(stored.tensors.size() == 5);
  for (int64_t s = 0; s < 3; ++s)
    CHECK(stored.at(text("prompts.{}", s)).shape() == Shape{three.depths[s], 2, 8 << s});
  const Task back = task_from_file(stored);
  const TunedModel again(backbone, back);
  const Tensor images = sine_image(1, 32).to(DType::f32);
  const Tensor logits = model.logits(images).value(), repeated = again.logits(images).value();
  for (int i = 0; i < 2; ++i) CHECK(std::abs(repeated.data<float>()[i] - logits.data<float>()[i]) < 1e-6f);
  // They are the prompts that count.
  TensorFile zero = stored;
  zero.tensors["prompts.1"] = Tensor::zeros({1, 2, 16}, DType::f32);
  CHECK(TunedModel(backbone, task_from_file(zero)).logits(images).value().data<float>()[0] !=
        repeated.data<float>()[0]);

  const auto refuses = [&](const std::function<void(TensorFile&)>& change, const std::string& sentence) {
    TensorFile file = stored;
    change(file);
    CAPTURE(sentence);
    CHECK_THROWS_WITH_AS(TunedModel(backbone, task_from_file(file)), doctest::Contains(sentence.c_str()),
                         Error);
  };
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32); };
  refuses([](TensorFile& f) { f.tensors.erase("prompts.0"); }, "here: no tensor 'prompts'");
  refuses([](TensorFile& f) { f.tensors.erase("prompts.1"); }, "here: tensor 'prompts.2' belongs to no task");
  refuses([](TensorFile& f) { f.tensors.erase("prompts.2"); }, "'prompts.2'");
  refuses(
      [&](TensorFile& f) {
        f.tensors["prompts.3"] = zeros({1, 2, 64});
      },
      "tensor 'prompts.3' belongs to no vpt-deep task of sine");
  refuses([&](TensorFile& f) { f.tensors["prompts"] = zeros({5, 2, 8}); }, "'prompts' belongs to no task");
  refuses([&](TensorFile& f) { f.tensors["prompts.01"] = zeros({1, 2, 16}); }, "'prompts.01' belongs to no");
  refuses(
      [&](TensorFile& f) {
        f.tensors["prompts.1"] = zeros({1, 3, 16});
      },
      "tensor 'prompts.1': expected (L, 2, D) f32, got (1, 3, 16) f32");
  refuses([&](TensorFile& f) { f.tensors["prompts.1"] = zeros({2, 16}); }, "'prompts.1': expected (L, 2, D)");
  refuses([&](TensorFile& f) { f.tensors["prompts.1"] = zeros({2, 2, 16}); }, "'prompts.1'");
  refuses([&](TensorFile& f) { f.tensors["prompts.1"] = zeros({1, 2, 8}); }, "'prompts.1'");
  refuses(
      [&](TensorFile& f) {
        f.tensors["prompts.2"] = Tensor::full({2, 2, 32}, NAN, DType::f32);
      },
      "tensor 'prompts.2' holds NaN");
  refuses([&](TensorFile& f) { f.tensors["head.weight"] = zeros({2, 8}); }, "'head.weight'");

  // A Swin's task on a ViT: another backbone, and no prompts by stages if it says it is the same one.
  const VitConfig vit{.image_size = 32, .patch = 8, .width = 32, .depth = 5, .heads = 2, .mlp_width = 32};
  TensorFile file = sine_vit(vit);
  file.metadata["config"] = config_to_json(vit);
  const Backbone other = make_backbone(file, "sine");
  CHECK_THROWS_WITH_AS(TunedModel(other, back), doctest::Contains("another backbone"), Error);
  Task forged = back;
  forged.backbone_identity = identity_of(other);
  CHECK_THROWS_WITH_AS(TunedModel(other, forged), doctest::Contains("'prompts'"), Error);
  // The same weights whose maps are filled up the other way are another net.
  Backbone rolled = backbone;
  std::get<SwinConfig>(rolled.config).padding = after_roll;
  CHECK_THROWS_WITH_AS(TunedModel(rolled, back), doctest::Contains("another backbone"), Error);
}
