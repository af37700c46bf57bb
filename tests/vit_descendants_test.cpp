// vit_descendants_test.cpp: what the ViT's descendants have, each feature in a small model of its own, against the
// answers of an independent implementation in PyTorch (golden/make_vit.py says how they were made).
#include <array>
#include <cmath>

#include "models/cost.h"
#include "models/tuned.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

struct Case {
  std::string name;
  VitConfig config;
  std::string tensors;  // "name (shape)", a line each
};

const TensorFile& golden() {
  static const TensorFile file = load_safetensors(VITRINE_GOLDEN "/vit.safetensors");
  return file;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const auto& [name, json] : golden().metadata) {
    const auto tensors = golden().metadata.find(name + ": tensors");
    if (tensors != golden().metadata.end())
      out.push_back({name, std::get<VitConfig>(config_from_json(json)), tensors->second});
  }
  REQUIRE(out.size() >= 15);
  return out;
}

// All that the model asks for, by the rule.
TensorFile file_of(const VitConfig& config, DType dtype = DType::f64) {
  TensorFile file;
  const Vit unused(config, Scope([&](const Wanted& w) {
                     return Variable(file.tensors[w.name] = numbers(w.name, w.shape, dtype));
                   }));
  return file;
}

Tensor images_of(const VitConfig& c, DType dtype = DType::f64) {
  return numbers("images", {2, 3, c.image_size, c.image_size}, dtype);
}
Tensor labels_of() { return Tensor::of<int64_t>({2}, {3, 1}); }

struct Step {
  Tensor logits, loss;
  std::vector<Parameter> trained;
};

constexpr int64_t count = 3;  // prompts

Step step_of(const VitConfig& c, const TensorFile& file, PromptKind kind, DType dtype,
             const Pass& pass = {}) {
  const Vit vit(c, frozen(file, dtype));
  TensorFile task;
  const bool deep = kind == PromptKind::deep;
  const Shape shape = deep ? Shape{c.depth, count, c.width} : Shape{count, c.width};
  task.tensors = {{"prompts", numbers("prompts", shape)},
                  {"head.weight", numbers("task.head", {c.classes, c.width})},
                  {"head.bias", numbers("task.bias", {c.classes})}};
  Parameters parameters;
  const Scope scope = trainable(parameters, task, dtype);
  const Prompts prompts({.kind = kind, .count = count}, c.prompt_places(), scope);
  const Linear head(c.width, c.classes, scope / "head");
  const Variable logits = head(vit.features(images_of(c, dtype), prompts, pass));
  const Variable loss = cross_entropy(logits, labels_of());
  backward(loss);
  return {logits.value(), loss.value(), parameters.all()};
}

struct Kind {
  PromptKind kind;
  const char* name;
};
constexpr std::array<Kind, 2> kinds{{{PromptKind::shallow, "shallow"}, {PromptKind::deep, "deep"}}};

void check_golden(const std::string& name, const Tensor& got, double tolerance) {
  CAPTURE(name);
  check_close(values(got), values(golden().at(name)), tolerance);
}

}  // namespace

TEST_CASE("descendants: own logits, and logits, loss and gradients under prompts, equal those of PyTorch") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const TensorFile file = file_of(c.config);
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(name_of(dtype));
      const double exact = dtype == DType::f64 ? 1e-12 : 1e-6, gradients = dtype == DType::f64 ? 1e-12 : 4e-6;
      const Vit vit(c.config, frozen(file, dtype));
      check_golden(c.name + ": logits", vit.logits(images_of(c.config, dtype)).value(), exact);
      for (const Kind& kind : kinds) {
        const Step step = step_of(c.config, file, kind.kind, dtype);
        const std::string place = c.name + ": " + kind.name + ": ";
        check_golden(place + "logits", step.logits, exact);
        check_golden(place + "loss", step.loss, exact);
        REQUIRE(step.trained.size() == 3);
        for (const Parameter& p : step.trained) check_golden(place + p.name, p.value.gradient(), gradients);
      }
    }
  }
}

TEST_CASE("descendants: names, shapes, parameter counts, and what can be read off them") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const TensorFile file = file_of(c.config);
    std::string list;
    int64_t asked = 0;
    for (const auto& [name, tensor] : file.tensors) {
      list += text("{} {}\n", name, tensor.shape());
      asked += tensor.numel();
    }
    CHECK(list == c.tensors);
    CHECK(parameter_count(c.config) == asked);

    VitConfig read = vit_config_of(file, c.config.heads);
    CHECK(read.epsilon == (c.config.norm_pre ? 1e-5 : 1e-6));
    CHECK(read.gelu == (c.config.norm_pre ? Gelu::quick : Gelu::erf));
    read.epsilon = c.config.epsilon, read.gelu = c.config.gelu;  // which nothing tells
    CHECK(config_to_json(read) == config_to_json(c.config));

    // A file with its configuration is a backbone; its identity does not depend on its heads.
    TensorFile told = file;
    told.metadata["config"] = config_to_json(c.config);
    const Backbone backbone = make_backbone(told, "here");
    CHECK(config_to_json(backbone.config) == config_to_json(c.config));
    TensorFile headless;
    for (const auto& [name, tensor] : file.tensors)
      if (!name.starts_with("head")) headless.tensors[name] = tensor;
    headless.metadata["config"] = config_to_json(with_classes(c.config, 0));
    CHECK(identity_of(make_backbone(headless, "there")) == identity_of(backbone));
  }
}

TEST_CASE("descendants: gradients of all weights, each along itself, against central differences") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const TensorFile file = file_of(c.config);
    const auto loss_of = [&](const TensorFile& weights, Parameters& parameters) {
      const Vit vit(c.config, trainable(parameters, weights, DType::f64));
      return cross_entropy(vit.logits(images_of(c.config)), labels_of());
    };
    Parameters parameters;
    backward(loss_of(file, parameters));
    CHECK(parameters.all().size() == file.tensors.size());
    for (const Parameter& p : parameters.all()) {
      CAPTURE(p.name);
      const Doubles slope = values(p.value.gradient());
      double squares = 0;
      for (const double g : slope) squares += g * g;
      REQUIRE(squares > 0);
      constexpr double step = 1e-4;
      std::array<double, 2> losses{};
      for (const int side : {0, 1}) {
        TensorFile moved = file;
        Tensor& tensor = moved.tensors[p.name] = file.at(p.name).clone();
        for (size_t i = 0; i < slope.size(); ++i)
          tensor.mutable_data<double>()[i] += (side ? step : -step) * slope[i] / std::sqrt(squares);
        Parameters unused;
        losses[side] = loss_of(moved, unused).value().item();
      }
      CHECK((losses[1] - losses[0]) / (2 * step) == doctest::Approx(std::sqrt(squares)).epsilon(1e-5));
    }
  }
}

TEST_CASE("descendants: blocks that are computed again give the same bits") {
  for (const Case& c : cases())
    for (const Kind& kind : kinds) {
      CAPTURE(c.name);
      CAPTURE(kind.name);
      const TensorFile file = file_of(c.config);
      Pass pass{.training = true, .noise = {.seed = 5, .epoch = 2, .samples = {4, 9}}};
      const Step kept = step_of(c.config, file, kind.kind, DType::f32, pass);
      pass.recompute = c.config.depth;
      const Step again = step_of(c.config, file, kind.kind, DType::f32, pass);
      CHECK(same_bits(kept.logits, again.logits));
      for (size_t i = 0; i < kept.trained.size(); ++i)
        CHECK(same_bits(kept.trained[i].value.gradient(), again.trained[i].value.gradient()));
    }
}

TEST_CASE("descendants: narrow packed forms change little, and something") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    TensorFile file = file_of(c.config, DType::f32);
    file.metadata["config"] = config_to_json(c.config);
    for (auto& [name, tensor] : file.tensors) tensor.seal();
    const auto logits_of = [&](Precision precision) {
      const Backbone backbone = with_precision(make_backbone(file, "here"), precision);
      TunedConfig config{.classes = 4, .paper_head = true};
      config.prompts.count = count;
      TunedModel model(backbone, config, 1);
      return values(model.logits(images_of(c.config, DType::f32)));
    };
    const Doubles exact = logits_of(Precision::f32);
    for (const Precision precision : {Precision::bf16, Precision::int8}) {
      const Doubles narrow = logits_of(precision);
      double difference = 0, size = 0;
      for (size_t i = 0; i < exact.size(); ++i) {
        difference += (narrow[i] - exact[i]) * (narrow[i] - exact[i]);
        size += exact[i] * exact[i];
      }
      CHECK(difference > 0);
      CHECK(std::sqrt(difference / size) < 3e-2);
    }
  }
}

TEST_CASE(
    "descendants: what a configuration does not name is the first ViT's, and what makes no sense is "
    "refused") {
  const std::string plain = config_to_json(VitConfig{});
  for (const char* name :
       {"registers", "distillation", "prefix_positions", "layer_scale", "norm_pre", "gated", "bias"})
    CHECK(plain.find(name) == std::string::npos);
  CHECK_THROWS_WITH(check_config(VitConfig{.pooling = Pooling::mean, .distillation_token = true}),
                    "vit: a distillation token needs token pooling");
  CHECK_THROWS_WITH(check_config(VitConfig{.class_token = false}), "vit: token pooling needs a class token");
  CHECK_THROWS_AS(check_config(VitConfig{.registers = -1}), Error);
  CHECK_THROWS_AS(config_from_json(R"({"model": "vit", "registers": "4"})"), Error);

  // 4 patches and 5 tokens before them, or 9 patches: shapes cannot tell.
  VitConfig small{.image_size = 12, .patch = 6, .width = 24, .depth = 1, .heads = 2, .mlp_width = 8};
  small.registers = 4;
  CHECK_THROWS_WITH(
      vit_config_of(file_of(small), 2),
      "checkpoint: pos_embed has 9 rows, which with or without 5 for the tokens before the patches is "
      "a square; the file's metadata must tell");
  TensorFile odd = file_of(small);
  odd.tensors["pos_embed"] = Tensor::zeros({1, 12, 24}, DType::f64);
  CHECK_THROWS_WITH(
      vit_config_of(odd, 2),
      "checkpoint: pos_embed has 7 patch positions, which is no square; other grids are not known");
}

TEST_CASE("descendants: published sizes have the parameters that are published") {
  // DINOv2 at 518 pixels without a head, DeiT-III-like and AugReg's without class token, a head of ImageNet-21k.
  const auto dino = [](const char* name) {
    VitConfig c = vit_preset(name);
    c.image_size = 518, c.layer_scale = true, c.classes = 0;
    return parameter_count(c);
  };
  CHECK(dino("vit-s14") == 22056192);
  CHECK(dino("vit-b14") == 86579712);
  CHECK(dino("vit-l14") == 304367616);
  const auto averaging = [](const char* name) {
    VitConfig c = vit_preset(name);
    c.pooling = Pooling::normed_mean, c.class_token = false;
    return parameter_count(c);
  };
  CHECK(averaging("vit-s16") == 22049896);
  CHECK(averaging("vit-b16") == 86566120);
  VitConfig wide = vit_preset("vit-b16");
  wide.classes = 21843;
  CHECK(parameter_count(wide) == 102595923);
  VitConfig large = vit_preset("vit-l16");
  large.image_size = 384;
  CHECK(parameter_count(large) == 304715752);
  struct Billions {
    const char* name;
    double count;
  };
  for (const Billions& b :
       std::vector<Billions>{{"vit-ti16", 1.25}, {"vit-s8", 22.41}, {"vit-b8", 78.15}, {"vit-l16", 61.55}}) {
    CAPTURE(b.name);
    const double computed = static_cast<double>(multiply_accumulates(vit_preset(b.name))) / 1e9;
    CHECK(std::abs(computed - b.count) < 0.0051);
  }
  // A descendant has not the name of a preset, and says what it has.
  VitConfig dinov2 = vit_preset("vit-b14");
  dinov2.registers = 4, dinov2.layer_scale = true, dinov2.prefix_positions = false;
  CHECK(describe(dinov2) ==
        "ViT, width 768, depth 12, 12 heads, patch 14, 4 registers, positions of patches only, LayerScale, "
        "224 pixels");
  // A distilled model has one token, one position and one head more.
  VitConfig distilled = vit_preset("vit-b16");
  distilled.distillation_token = true;
  CHECK(parameter_count(distilled) == parameter_count(vit_preset("vit-b16")) + 2 * 768 + 769 * 1000);
}
