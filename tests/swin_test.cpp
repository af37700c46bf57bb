// swin_test.cpp: the Swin Transformer against known answers, its counts and its configurations.
#include "models/swin.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "engine/check.h"
#include "models/backbone.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

const SwinConfig toy{.width = 8, .depths = {2, 2}, .heads = {2, 4}, .window = 4, .classes = 5};

SwinConfig after_roll(SwinConfig config) {
  config.padding = WindowGrid::Padding::after_roll;
  return config;
}

void check_logits(const SwinConfig& config, const Tensor& images, const std::vector<double>& expected) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Swin swin(config, frozen(sine_swin(config), dtype));
    const Variable logits = swin.logits(images.to(dtype));
    const Tensor values = logits.value().to(DType::f64);
    REQUIRE(values.numel() == static_cast<int64_t>(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK(std::abs(values.data<double>()[i] - expected[i]) < (dtype == DType::f64 ? 1e-12 : 1e-6));
    CHECK_FALSE(logits.wants_gradient());
  }
}

Tensor logits_of(const SwinConfig& config, const Tensor& images) {
  return Swin(config, frozen(sine_swin(config), DType::f64)).logits(images).value();
}

// What the layers really ask for, without allocating it.
int64_t asked_for(const SwinConfig& config) {
  int64_t asked = 0;
  const Scope counting([&](const Wanted& wanted) {
    asked += wanted.shape.numel();
    return Variable(Tensor::borrow(nullptr, wanted.shape, DType::f32, std::make_shared<int>()));
  });
  const Swin swin(config, counting);
  return asked;
}

}  // namespace

TEST_CASE("swin: parameters and multiplications of all presets, built and computed") {
  // As the authors and timm count them for 1000 classes, and GMACs of one picture.
  const std::vector<std::tuple<const char*, int64_t, double>> known{
      {"swin-t", 28288354, 4.49},     {"swin-s", 49606258, 8.74},   {"swin-b", 87768224, 15.43},
      {"swin-b384", 87903584, 47.08}, {"swin-l", 196532476, 34.48}, {"swin-l384", 196735516, 103.92}};
  CHECK(swin_preset_names().size() == known.size());
  for (const auto& [name, count, giga] : known) {
    CAPTURE(name);
    SwinConfig config = swin_preset(name);
    CHECK(parameter_count(config) == count);
    CHECK(asked_for(config) == count);
    CHECK(std::abs(static_cast<double>(multiply_accumulates(config)) / 1e9 - giga) < 0.005 * giga);
    CHECK(preset_name(config) == name);
    // The head of the larger ImageNet.
    config.classes = 21841;
    const int64_t wide = count + (21841 - 1000) * (config.feature_width() + 1);
    CHECK(parameter_count(config) == wide);
    CHECK(asked_for(config) == wide);
    config.classes = 0;
    CHECK(asked_for(config) == count - 1000 * (config.feature_width() + 1));
  }
  CHECK(parameter_count(toy) == asked_for(toy));
  CHECK_THROWS_WITH(
      swin_preset("swin-x"),
      "swin: no preset 'swin-x'; did you mean swin-t? Presets are swin-t, swin-s, swin-b, swin-l, "
      "swin-b384 and swin-l384");
  CHECK_THROWS_AS(preset("swin"), Error);
}

TEST_CASE("swin: logits equal those of torchvision's SwinTransformer") {
  // torch 1.13, float64, weights by the rule of sine_models.h
  check_logits(toy, sine_image(1, 32),
               {0.10641470322938153, -0.019237910434600852, -0.1560518641716545, -0.008923940284129545,
                0.248094918743539});
}

TEST_CASE("swin: a map that windows do not divide is filled up, before the roll as torchvision does") {
  check_logits(toy, sine_image(1, 40),
               {0.4146667201497863, -0.05799305981168042, -0.4800388487352006, -0.10171065826779035,
                0.5344095932101587});
  // 36 x 52: an odd map is merged; 12 x 40: one axis of the map is a single window.
  check_logits(toy, sine_image(1, 36, 52),
               {0.4042109243820821, -0.0706857839302279, -0.474736422429846, -0.08686509748918769,
                0.5351346089931502});
  check_logits(toy, sine_image(1, 12, 40),
               {0.44957574023074204, -0.04378351477557052, -0.5091786553061926, -0.12775124823319786,
                0.5529766669417752});
  // Three stages, windows of seven, the last map smaller than one.
  SwinConfig three = toy;
  three.depths = {2, 2, 2};
  three.heads = {2, 4, 8};
  three.window = 7;
  check_logits(three, sine_image(1, 64, 48),
               {-0.7354674030861224, 0.4677965146945497, -0.24798378024540896, 0.09297269129132768,
                0.36399337436270607});
}

TEST_CASE("swin: filled up after the roll, as timm does; the same where windows divide the map") {
  // By tests/oracle/swin_oracle.py, which equals torchvision the other way.
  check_logits(after_roll(toy), sine_image(1, 40),
               {0.4090033433597284, -0.06394970199168667, -0.47679392661428094, -0.09443654614126462,
                0.5341180313725344});
  check_logits(after_roll(toy), sine_image(1, 36, 52),
               {0.39916303114955487, -0.07592600518468264, -0.4718161100016, -0.08043920098112445,
                0.5348232730559699});
  for (const auto& [rows, columns, whole] : {std::tuple{32, 32, true}, {32, 64, true}, {40, 32, false}}) {
    const Tensor image = sine_image(2, rows, columns);
    const double difference = largest_difference(logits_of(toy, image), logits_of(after_roll(toy), image));
    CAPTURE(rows);
    CAPTURE(columns);
    if (whole)
      CHECK(difference == 0);
    else
      CHECK(difference > 1e-4);
  }
}

TEST_CASE("swin: any image size; zeros fill up to whole patches") {
  const Tensor image = sine_image(2, 33, 47);
  Tensor filled = Tensor::zeros({2, 3, 36, 48}, DType::f64);
  for (int64_t plane = 0; plane < 6; ++plane)
    for (int64_t y = 0; y < 33; ++y)
      std::copy_n(&image.data<double>()[(plane * 33 + y) * 47], 47,
                  &filled.mutable_data<double>()[(plane * 36 + y) * 48]);
  for (const SwinConfig& config : {toy, after_roll(toy)})
    CHECK(largest_difference(logits_of(config, image), logits_of(config, filled)) == 0);
  for (const int64_t side : {1, 3, 5}) CHECK(logits_of(toy, sine_image(1, side, 2)).shape() == Shape{1, 5});
  const Swin swin(toy, frozen(sine_swin(toy), DType::f64));
  for (const Shape& shape : {Shape{1, 3, 0, 8}, Shape{1, 4, 8, 8}, Shape{3, 8, 8}})
    CHECK_THROWS_AS(swin.features(Tensor::zeros(shape, DType::f64)), Error);
  SwinConfig headless = toy;
  headless.classes = 0;
  CHECK_THROWS_WITH(Swin(headless, frozen(sine_swin(toy), DType::f64)).logits(image),
                    "swin: this backbone has no head of its own");
}

TEST_CASE("swin: configuration from shapes and from metadata") {
  SwinConfig config = toy;
  config.image_size = 32;  // windows of 4 patches of 4, twice as many in the first stage
  TensorFile file = sine_swin(config);
  CHECK(config_to_json(swin_config_of(file)) == config_to_json(config));
  CHECK(config_to_json(transformer_config_of(file)) == config_to_json(config));
  SwinConfig odd = after_roll(config);
  odd.image_size = 50;
  odd.gelu = Gelu::tanh;
  odd.epsilon = 1e-6;
  file.metadata["config"] = config_to_json(odd);
  CHECK(config_to_json(transformer_config_of(file)) == config_to_json(odd));
  SwinConfig headless = config;
  headless.classes = 0;
  CHECK(swin_config_of(sine_swin(headless)).classes == 0);

  const auto lacks = [&](const std::string& name, const std::string& sentence) {
    TensorFile cut = sine_swin(config);
    cut.tensors.erase(name);
    CHECK_THROWS_WITH_AS(swin_config_of(cut), doctest::Contains(sentence.c_str()), Error);
  };
  lacks("patch_embed.proj.weight", "patch_embed.proj.weight");
  lacks("layers.1.blocks.0.attn.relative_position_bias_table",
        "layers.1.blocks.0.attn.relative_position_bias_table");
  lacks("layers.0.blocks.0.mlp.fc1.weight", "layers.0.blocks.0.mlp.fc1.weight");
  TensorFile bare;  // of layers, but not of blocks
  bare.tensors["patch_embed.proj.weight"] = Tensor::zeros({8, 3, 4, 4}, DType::f64);
  bare.tensors["layers.0.norm.weight"] = Tensor::zeros({8}, DType::f64);
  CHECK_THROWS_WITH(transformer_config_of(bare),
                    "checkpoint: no tensor 'layers.0.blocks.0.*': not a Swin in its authors' names");
  const auto misshapes = [&](const std::string& name, const Shape& shape, const std::string& sentence) {
    TensorFile bent = sine_swin(config);
    bent.tensors[name] = Tensor::zeros(shape, DType::f64);
    CHECK_THROWS_WITH_AS(swin_config_of(bent), doctest::Contains(sentence.c_str()), Error);
  };
  misshapes("layers.0.blocks.0.attn.relative_position_bias_table", {48, 2}, "a bias table of 48 rows");
  misshapes("layers.0.blocks.0.attn.relative_position_bias_table", {64, 2}, "a bias table of 64 rows");
  misshapes("layers.0.blocks.0.attn.relative_position_bias_table", {49, 3}, "3 heads do not divide width 8");
  misshapes("layers.0.blocks.0.mlp.fc1.weight", {33, 8}, "an MLP of width 33 is no multiple of 8");
  misshapes("patch_embed.proj.weight", {8, 48}, "expected 4 extents, none of them 0, got (8, 48)");
}

TEST_CASE("swin: a file that merges patches before a stage, as timm's newer names have it, is named") {
  const SwinConfig config{.image_size = 32, .width = 8, .depths = {1, 1}, .heads = {2, 2}, .window = 4};
  TensorFile file = sine_swin(config);
  CHECK(swin_config_of(file).depths == config.depths);
  for (const char* name : {"norm.weight", "norm.bias", "reduction.weight"}) {
    auto moved = file.tensors.extract(text("layers.0.downsample.{}", name));
    moved.key() = text("layers.1.downsample.{}", name);
    file.tensors.insert(std::move(moved));
  }
  CHECK_THROWS_WITH_AS(swin_config_of(file), doctest::Contains("timm's newer names"), Error);
}

TEST_CASE("swin: what a configuration must not say is named") {
  const std::string good = config_to_json(toy);
  CHECK(config_to_json(config_from_json(good)) == good);
  const auto refuses = [&](const std::string& from, const std::string& to, const std::string& sentence) {
    std::string changed = good;
    const size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, from.size(), to);
    CAPTURE(changed);
    CHECK_THROWS_WITH_AS(config_from_json(changed), doctest::Contains(sentence.c_str()), Error);
  };
  refuses("\"before-roll\"", "\"beside\"", "unknown padding 'beside'");
  refuses("\"erf\"", "\"relu\"", "unknown gelu 'relu'");
  refuses("\"depths\":[2,2]", "\"depths\":[2]", "depths for 1 and heads for 2");
  refuses("\"depths\":[2,2]", "\"depths\":[2,0]", "0 blocks in stage 1");
  refuses("\"depths\":[2,2]", "\"depths\":[2,1.5]",
          "depths: expected a whole number of 0 to 16777216, got 1.5");
  refuses("\"depths\":[2,2]", "\"depths\":4", "depths: expected a list, got 4");
  refuses("\"depths\":[2,2]", "\"depths\":[1,1,1,1,1,1,1,1,1]", "depths is no list of at most 8");
  refuses("\"depths\":[2,2]", "\"depths\":[]", "1 to 8 stages, got 0");
  refuses("\"depths\":[2,2],", "", "depths");
  refuses("\"heads\":[2,4]", "\"heads\":[2,3]", "3 heads do not divide width 16 of stage 1");
  refuses("\"heads\":[2,4]", "\"heads\":[0,4]", "0 heads do not divide width 8 of stage 0");
  refuses("\"window\":4", "\"window\":0", "window 0 makes no sense");
  refuses("\"window\":4", "\"window\":257", "window 257 makes no sense");
  refuses("\"window\":4", "\"window\":-4", "window: expected a whole number of 0 to 16777216, got -4");
  refuses("\"width\":8", "\"width\":0", "width 0");
  refuses("\"patch\":4", "\"patch\":0", "patch 0");
  refuses("\"patch\":4", "\"patch\":300", "patch 300");
  refuses("\"mlp_ratio\":4", "\"mlp_ratio\":0", "MLP ratio 0");
  refuses("\"epsilon\":1e-05", "\"epsilon\":0", "epsilon 0");
  refuses("\"model\":\"swin\"", "\"model\":\"swan\"", "the model is 'swan'");
}

TEST_CASE("backbone: what the authors' files hold beside weights is left out; what does not fit is named") {
  SwinConfig config = toy;
  config.image_size = 32;
  const TensorFile good = sine_swin(config);
  const Backbone plain = make_backbone(good, "here");
  CHECK(std::holds_alternative<SwinConfig>(plain.config));
  CHECK(untold_heads(plain.config) == 0);

  TensorFile with_tables = good;
  for (const int64_t s : {0, 1})
    for (const int64_t i : {0, 1}) {
      const std::string block = text("layers.{}.blocks.{}.", s, i);
      with_tables.tensors[block + "attn.relative_position_index"] = Tensor::zeros({16, 16}, DType::i64);
      if (s == 0 && i == 1)
        with_tables.tensors[block + "attn_mask"] = Tensor::full({4, 16, 16}, -INFINITY, DType::f32);
    }
  const Backbone cleaned = make_backbone(with_tables, "here");
  CHECK(cleaned.file.tensors.size() == good.tensors.size());
  CHECK_FALSE(cleaned.file.tensors.contains("layers.0.blocks.1.attn_mask"));
  CHECK(identity_of(cleaned) == identity_of(plain));

  for (const auto& [name, tensor] : good.tensors) {
    if (name == "head.weight") continue;  // without it there is no head
    TensorFile missing = good;
    missing.tensors.erase(name);
    CHECK_THROWS_WITH_AS(make_backbone(missing, "here"), doctest::Contains(text("'{}'", name).c_str()),
                         Error);
  }
  for (const char* name :
       {"layers.0.blocks.0.attn.tau", "layers.0.blocks.1.attn.qkv.scale", "layers.1.downsample.norm.bias",
        "attn_mask", "absolute_pos_embed", "layers.0.blocks.0.attn.relative_position_index.x"}) {
    TensorFile left_over = good;
    left_over.tensors[name] = Tensor::zeros({3}, DType::f64);
    CHECK_THROWS_WITH_AS(make_backbone(left_over, "here"),
                         doctest::Contains(text("tensor '{}' belongs to no Swin", name).c_str()), Error);
  }
  TensorFile misshapen = good;
  misshapen.tensors["layers.0.downsample.reduction.weight"] = Tensor::zeros({16, 16}, DType::f64);
  CHECK_THROWS_WITH(
      make_backbone(misshapen, "here"),
      "checkpoint: tensor 'layers.0.downsample.reduction.weight': expected (16, 32), got (16, 16)");
  // A Swin's identity knows how its maps are filled up: that is another net.
  TensorFile other = good;
  other.metadata["config"] = config_to_json(after_roll(config));
  CHECK(identity_of(make_backbone(other, "here")) != identity_of(plain));
}
