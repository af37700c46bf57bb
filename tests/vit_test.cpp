// vit_test.cpp: parameter counts, known answers of an independent implementation, presets and
// refusals of the ViT.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "models/backbone.h"
#include "nn/layers.h"
#include "sine_models.h"

using namespace vitrine;

TEST_CASE("vit: parameter counts of all presets, built and computed") {
  // Counts that timm reports for 224 pixels and 1000 classes.
  const std::vector<std::pair<const char*, int64_t>> known{
      {"vit-ti8", 5719720},  {"vit-ti14", 5694376},  {"vit-ti16", 5717416},  {"vit-ti32", 6131560},
      {"vit-s8", 22055272},  {"vit-s14", 22004584},  {"vit-s16", 22050664},  {"vit-s32", 22878952},
      {"vit-b8", 86576872},  {"vit-b14", 86475496},  {"vit-b16", 86567656},  {"vit-b32", 88224232},
      {"vit-l8", 304338920}, {"vit-l14", 304203752}, {"vit-l16", 304326632}, {"vit-l32", 306535400},
      {"vit-h8", 632214760}, {"vit-h14", 632045800}, {"vit-h16", 632199400}, {"vit-h32", 634960360}};
  for (const auto& [name, count] : known) {
    CAPTURE(name);
    CHECK(parameter_count(vit_preset(name)) == count);
  }
  for (const std::string& name : vit_preset_names()) {
    CAPTURE(name);
    const VitConfig config = vit_preset(name);
    CHECK(preset_name(config) == name);
    int64_t asked = 0;  // what the layers really ask for, without allocating it
    const Scope counting([&](const Wanted& wanted) {
      asked += wanted.shape.numel();
      return Variable(Tensor::borrow(nullptr, wanted.shape, DType::f32, std::make_shared<int>()));
    });
    const Vit vit(config, counting);
    CHECK(parameter_count(config) == asked);
  }
  VitConfig b16_384 = vit_preset("vit-b16");
  b16_384.image_size = 384;
  CHECK(parameter_count(b16_384) == 86859496);
  VitConfig averaging = vit_preset("vit-s16");
  averaging.pooling = Pooling::mean;
  averaging.class_token = false;
  CHECK(parameter_count(averaging) == 22049896);
  CHECK(std::abs(static_cast<double>(multiply_accumulates(vit_preset("vit-b16"))) / 1e9 - 17.56) < 0.005);
}

TEST_CASE("vit: logits equal those of torchvision's VisionTransformer") {
  const VitConfig config{
      .image_size = 32, .patch = 8, .width = 16, .depth = 2, .heads = 2, .mlp_width = 32, .classes = 5};
  // torch 1.13, float64, weights by the sine rule of sine_models.h
  const std::vector<double> expected{-0.010306632259075466, 0.22306368707012147, 0.08304863195578639,
                                     -0.2744503123461872, -0.3068381619338075};
  const TensorFile file = sine_vit(config);
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Vit vit(config, frozen(file, dtype));
    const Variable logits = vit.logits(sine_image(1, config.image_size).to(dtype));
    const Tensor values = logits.value().to(DType::f64);
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK(std::abs(values.data<double>()[i] - expected[i]) < (dtype == DType::f64 ? 1e-12 : 1e-6));
    CHECK_FALSE(logits.wants_gradient());
  }
}

TEST_CASE("vit: configuration from shapes and from metadata") {
  const VitConfig config{
      .image_size = 32, .patch = 8, .width = 192, .depth = 2, .heads = 3, .mlp_width = 32, .classes = 5};
  TensorFile file = sine_vit(config);
  const auto same = [](const VitConfig& a, const VitConfig& b) {
    return config_to_json(a) == config_to_json(b);
  };
  CHECK(same(vit_config_of(file), config));
  VitConfig odd = config;
  odd.heads = 6;
  odd.gelu = Gelu::tanh;
  odd.epsilon = 1e-5;
  file.metadata["config"] = config_to_json(odd);
  CHECK(config_to_json(transformer_config_of(file)) == config_to_json(odd));
  CHECK_THROWS_AS(config_from_json("{\"model\": \"vit\"}"), Error);
  CHECK_THROWS_AS(config_from_json("[1"), Error);

  const VitConfig narrow{.image_size = 32, .patch = 8, .width = 16, .depth = 2, .heads = 2, .mlp_width = 32};
  const TensorFile small = sine_vit(narrow);
  CHECK_THROWS_WITH(vit_config_of(small),
                    "checkpoint: how many attention heads? Shapes cannot tell for width 16; give --heads");
  CHECK(same(vit_config_of(small, 2), narrow));
}

TEST_CASE("vit: mean pooling, with and without a class token") {
  for (const bool class_token : {true, false}) {
    const VitConfig config{.image_size = 16,
                           .patch = 8,
                           .width = 16,
                           .depth = 1,
                           .heads = 2,
                           .mlp_width = 32,
                           .pooling = Pooling::mean,
                           .class_token = class_token};
    const Vit vit(config, frozen(sine_vit(config), DType::f64));
    const Tensor image = sine_image(2, 16);
    const Variable features = vit.features(image);
    CHECK(features.shape() == Shape{2, 16});
    // By hand: the block on all tokens, the mean of the patches, the norm.
    const Variable x = vit.blocks()[0](vit.embed(image), {}, {});
    const Variable by_hand = vit.pool(x);
    for (size_t i = 0; i < 32; ++i)
      CHECK(features.value().data<double>()[i] == by_hand.value().data<double>()[i]);
  }
}

TEST_CASE("backbone: what does not fit is named") {
  const VitConfig config{.image_size = 32, .patch = 8, .width = 192, .depth = 1, .heads = 3, .mlp_width = 32};
  const TensorFile good = sine_vit(config);
  CHECK(untold_heads(make_backbone(good, "here").config) == 3);

  TensorFile missing = good;
  missing.tensors.erase("blocks.0.mlp.fc2.bias");
  CHECK_THROWS_AS(make_backbone(missing, "here"), Error);
  TensorFile misshapen = good;
  misshapen.tensors["norm.bias"] = Tensor::zeros({7}, DType::f64);
  CHECK_THROWS_WITH(make_backbone(misshapen, "here"),
                    "checkpoint: tensor 'norm.bias': expected (192), got (7)");
  TensorFile left_over = good;
  left_over.tensors["blocks.1.ls1.gamma"] = Tensor::zeros({192}, DType::f64);
  CHECK_THROWS_AS(make_backbone(left_over, "here"), Error);
  CHECK_THROWS_WITH(vit_preset("vit-b15"),
                    "vit: no preset 'vit-b15'; did you mean vit-b14? Presets are "
                    "vit-{ti,s,m,b,l,h,so400m,g,bigg}{8,14,16,32}");
}

TEST_CASE("patch embedding: a side of no pixels is refused") {
  Parameters parameters;
  const Scope fresh = trainable(parameters, 1);
  for (const int64_t side : {int64_t{0}, int64_t{-4}, int64_t{1} << 40})
    CHECK_THROWS_AS(PatchEmbedding(side, 8, fresh), Error);
  PatchEmbedding cut(4, 8, fresh);
  cut.patch = 0;
  CHECK_THROWS_AS(cut(Tensor::zeros({1, 3, 8, 8}, DType::f32)), Error);
}

TEST_CASE("backbone: a weight that is not finite is refused by its name, however it is stored") {
  const VitConfig config{.image_size = 32, .patch = 8, .width = 192, .depth = 1, .heads = 3, .mlp_width = 32};
  const TensorFile good = sine_vit(config);
  const std::string name = "blocks.0.attn.qkv.weight";
  const int64_t count = good.at(name).numel();
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL, 1e300})  // 1e300 does not fit into f32
      for (const int64_t place : {int64_t{0}, count / 2 + 1, count - 1}) {
        CAPTURE(name_of(dtype));
        CAPTURE(bad);
        CAPTURE(place);
        TensorFile file = good;
        Tensor changed = good.at(name).clone();
        changed.mutable_data<double>()[static_cast<size_t>(place)] = bad;
        file.tensors[name] = (dtype == DType::f64 ? changed : changed.to(DType::f32).to(dtype)).seal();
        std::string message;
        try {
          make_backbone(file, "here");
        } catch (const Error& error) {
          message = error.what();
        }
        CHECK(message.starts_with("here: tensor '" + name + "': expected finite numbers"));
        CHECK(message.ends_with(" at place " + std::to_string(place)));
      }
  // The largest and the smallest numbers are fine.
  TensorFile file = good;
  file.tensors["norm.bias"] =
      Tensor::full({192}, static_cast<double>(std::numeric_limits<float>::max()), DType::f32);
  file.tensors["norm.bias"].mutable_data<float>()[7] = std::numeric_limits<float>::denorm_min();
  CHECK(untold_heads(make_backbone(file, "here").config) == 3);
}

TEST_CASE("backbone: the identity depends on the weights, not on the file") {
  const VitConfig config{
      .image_size = 32, .patch = 8, .width = 192, .depth = 1, .heads = 3, .mlp_width = 32, .classes = 5};
  TensorFile file = sine_vit(config);
  for (auto& [name, tensor] : file.tensors) tensor = tensor.to(DType::f32);
  const std::string identity = identity_of(make_backbone(file, "a"));
  CHECK(identity.size() == 64);
  TensorFile headless = file;
  headless.tensors.erase("head.weight");
  headless.tensors.erase("head.bias");
  headless.metadata["note"] = "x";
  CHECK(identity_of(make_backbone(headless, "b")) == identity);
  TensorFile changed = file;
  changed.tensors["norm.bias"] = file.tensors["norm.bias"].clone();
  changed.tensors["norm.bias"].mutable_data<float>()[3] += 1e-6f;
  CHECK(identity_of(make_backbone(changed, "c")) != identity);
}
