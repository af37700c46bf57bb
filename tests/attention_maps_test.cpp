// attention_maps_test.cpp: rows of attention sum to 1, and what follows from them is what the model computes.
#include <doctest/doctest.h>

#include <cmath>
#include <tuple>

#include "models/attention_maps.h"
#include "tests/op_checks.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

TunedConfig tuned_config(Method method) {
  TunedConfig config{.method = method, .prompts = {}, .classes = 4, .paper_head = true};
  if (prompt_kind(method) != PromptKind::none) config.prompts.count = 3;
  return config;
}

Backbone swin_backbone(const SwinConfig& config) {
  TensorFile file = sine_swin(config);
  file.metadata["config"] = config_to_json(config);
  return make_backbone(file, "sine");
}

Tensor noise(const Shape& shape, DType dtype) { return testing::normal(shape, 3).to(dtype); }

void check_rows(const AttentionMap& map) {
  const Tensor weights = map.weights.to(DType::f64);
  const int64_t rows = weights.numel() / weights.dim(3), t = weights.dim(3);
  CHECK(weights.dim(2) == t);
  CHECK(t == map.prefix + map.prompts + map.rows * map.columns);
  const Tensor filled = map.filled.defined() ? map.filled.to(DType::f64) : Tensor::zeros({rows}, DType::f64);
  double worst = 0, least = 1;
  for (int64_t r = 0; r < rows; ++r) {
    double sum = filled.data<double>()[r];
    for (int64_t j = 0; j < t; ++j) {
      sum += weights.data<double>()[r * t + j];
      least = std::min(least, weights.data<double>()[r * t + j]);
    }
    worst = std::max(worst, std::abs(sum - 1));
  }
  CHECK(worst < (map.weights.dtype() == DType::f64 ? 1e-13 : 1e-5));
  CHECK(least >= 0);
}

// The maps of all blocks of a fresh model, whose logits must be the model's.
void check_model(const Backbone& backbone, Method method, const Shape& images, DType dtype) {
  CAPTURE(name_of(method));
  const TunedModel model(backbone, tuned_config(method), 5, dtype);
  const Tensor x = noise(images, dtype);
  const int64_t blocks = block_count(backbone.config);
  const AttentionPass pass = attention_maps(model, x, blocks);
  REQUIRE(pass.maps.size() == static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; ++i) {
    CHECK(pass.maps[i].block == i);
    CHECK(pass.maps[i].prompts == (prompt_kind(method) == PromptKind::none ? 0 : 3));
    check_rows(pass.maps[i]);
  }
  const Tensor expected = model.logits(x).value().to(DType::f64),
               got = model.classify(pass.features).value().to(DType::f64);
  CHECK(largest_difference(expected, got) < (dtype == DType::f64 ? 1e-12 : 1e-5));
  double size = 0;  // they are not just zeros that agree
  for (const double logit : expected.data<double>()) size = std::max(size, std::abs(logit));
  CHECK(size > 1e-3);
  const AttentionPass last = attention_maps(model, x);
  REQUIRE(last.maps.size() == 1);
  CHECK(largest_difference(last.maps[0].weights.to(DType::f64), pass.maps.back().weights.to(DType::f64)) ==
        0);
}

}  // namespace

TEST_CASE(
    "attention maps: ViTs of all kinds: rows sum to 1, logits are the model's (1e-12 in f64, 1e-5 in f32)") {
  for (const DType dtype : {DType::f64, DType::f32})
    for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full}) {
      check_model(testing::small_backbone(), method, {2, 3, 32, 32}, dtype);
      for (const Pooling pooling : {Pooling::token, Pooling::mean, Pooling::normed_mean, Pooling::map}) {
        CAPTURE(static_cast<int>(pooling));
        check_model(testing::small_descendant(pooling), method, {2, 3, 32, 32}, dtype);
      }
    }
}

TEST_CASE(
    "attention maps: Swins whose maps are rolled and filled up: rows sum to 1, logits are the model's") {
  for (const auto padding : {WindowGrid::Padding::before_roll, WindowGrid::Padding::after_roll})
    for (const DType dtype : {DType::f64, DType::f32})
      for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear}) {
        const SwinConfig config{.image_size = 32,
                                .width = 8,
                                .depths = {2, 1, 2},
                                .heads = {2, 2, 4},
                                .window = 3,
                                .padding = padding};
        check_model(swin_backbone(config), method, {2, 3, 28, 36}, dtype);
      }
}

TEST_CASE("attention maps: what other methods add, gates and variants of prompts") {
  const SwinConfig config{.image_size = 32, .width = 8, .depths = {2, 2}, .heads = {2, 2}, .window = 3};
  std::vector<TunedConfig> settings;
  for (const std::string method :
       {"adapter-4", "lora-2", "ssf", "bias", "mlp-2", "vpt-gated", "vpt-deep+bias"})
    settings.push_back(method_from_text(method));
  const size_t for_both = settings.size();
  for (const PromptConfig& prompts :
       {PromptConfig{.location = PromptLocation::add}, PromptConfig{.first = 1, .last = 2},
        PromptConfig{.pooling = PromptPooling::prompts}, PromptConfig{.pooling = PromptPooling::all},
        PromptConfig{.shared = true}}) {
    settings.push_back(method_from_text("vpt-deep"));
    settings.back().prompts = prompts;
  }
  settings.push_back(method_from_text("vpt-shallow"));
  settings.back().prompts.location = PromptLocation::pixels;
  for (const bool swin : {false, true})
    for (size_t s = 0; s < (swin ? for_both : settings.size()); ++s) {
      TunedConfig own = settings[s];
      CAPTURE(s);
      CAPTURE(swin);
      own.classes = 4;
      own.paper_head = true;
      if (prompt_kind(own.method) != PromptKind::none && own.prompts.location != PromptLocation::add)
        own.prompts.count = 3;
      TunedModel model(swin ? swin_backbone(config) : testing::small_backbone(), own, 5, DType::f64);
      uint32_t lane = 0;  // so that nothing is what it was at the start
      for (const Parameter& p : model.parameters().all()) {
        Tensor value = p.value.value();
        Random random(3, Purpose::test, 0, 0, lane++);
        for (double& v : value.mutable_data<double>()) v += 0.1 * random.normal();
      }
      const Tensor x = noise({2, 3, 32, 32}, DType::f64);
      const AttentionPass pass = attention_maps(model, x, block_count(model.transformer()));
      for (const AttentionMap& map : pass.maps) check_rows(map);
      CHECK(largest_difference(model.features(x).value(), pass.features) < 1e-12);
    }
}

TEST_CASE("attention maps: a Swin's weights stand at the tokens that they belong to") {
  for (const auto padding : {WindowGrid::Padding::before_roll, WindowGrid::Padding::after_roll}) {
    const SwinConfig config{
        .image_size = 32, .width = 8, .depths = {2}, .heads = {2}, .window = 3, .padding = padding};
    const TunedModel model(swin_backbone(config), tuned_config(Method::vpt_shallow), 5, DType::f64);
    const Tensor images = noise({2, 3, 28, 36}, DType::f64);
    const AttentionPass pass = attention_maps(model, images, 2);
    const Swin& swin = std::get<Swin>(model.parts().transformer->net());
    // The second block by hand: values weighted as the map says, and those of the filling.
    Variable x;
    WindowGrid grid;
    std::tie(x, grid) = swin.embed(images);
    grid.prompts = 3;
    x = swin.stages()[0].blocks[0](concat({model.parts().prompts.tokens(0, 2, {}), x}, 1), grid, {}, {});
    const SwinBlock& block = swin.stages()[0].blocks[1];
    CHECK(block.shift == 1);
    const Attention& attention = block.attn.attention;
    const int64_t t = x.dim(1), d = 8, heads = 2;
    const auto split = [&](const Variable& rows, int64_t n) {  // (B, n, D) -> (B, heads, n, D / heads)
      return permute(reshape(rows, {2, n, heads, d / heads}), {0, 2, 1, 3});
    };
    const Variable values = split(slice(attention.joint(block.norm1, x), 2, 2 * d, 3 * d), t);
    const Variable filling = split(repeat(repeat(slice(attention.qkv.bias, 0, 2 * d, 3 * d), 1), 2), 1);
    const AttentionMap& map = pass.maps[1];
    double to_filling = 0;
    for (const double v : map.filled.data<double>()) to_filling += v;
    CHECK(to_filling > 1);
    const Variable found =
        add(matmul(map.weights, values), matmul(reshape(Variable(map.filled), {2, heads, t, 1}), filling));
    const Variable rows = reshape(permute(found, {0, 2, 1, 3}), {2, t, d});
    const Variable middle = attention.project(x, rows, 0, 0, {});
    const Tensor features = swin.pool(block.mlp.after(block.norm2, middle, 0, 0, {})).value();
    CHECK(largest_difference(features, model.features(images).value()) < 1e-12);
  }
}

TEST_CASE("attention maps: what is pooled, means, and what is refused") {
  const Tensor images = noise({2, 3, 32, 32}, DType::f64);
  const TunedModel token(testing::small_descendant(Pooling::token), tuned_config(Method::vpt_deep), 5,
                         DType::f64);
  const AttentionMap map = attention_maps(token, images).maps.at(0);
  CHECK(map.prefix == 4);  // class token, distillation token, two registers
  CHECK(map.pooled_begin == 0);
  CHECK(map.pooled_end == 2);
  const Tensor seen = mean_attention(map, 0, 2);
  CHECK(seen.shape() == Shape{2, 4 + 3 + 16});
  double by_hand = 0;
  for (int64_t head = 0; head < 2; ++head)
    for (int64_t i = 0; i < 2; ++i) by_hand += map.weights.data<double>()[((2 + head) * 23 + i) * 23 + 7] / 4;
  CHECK(seen.data<double>()[23 + 7] == doctest::Approx(by_hand).epsilon(1e-14));
  CHECK_THROWS_AS(mean_attention(map, 2, 2), Error);
  CHECK_THROWS_AS(mean_attention(map, 0, 24), Error);
  CHECK_THROWS_WITH(attention_maps(token, images, 4), "attention_maps: expected 1 to 3 blocks, got 4");
  CHECK_THROWS_AS(attention_maps(token, images, 0), Error);

  const TunedModel question(testing::small_descendant(Pooling::map), tuned_config(Method::vpt_shallow), 5,
                            DType::f64);
  const AttentionPass pass = attention_maps(question, images);
  REQUIRE(pass.pool.shape() == Shape{2, 2, 16});
  for (int64_t row = 0; row < 4; ++row) {
    double sum = 0;
    for (int64_t j = 0; j < 16; ++j) sum += pass.pool.data<double>()[row * 16 + j];
    CHECK(sum == doctest::Approx(1).epsilon(1e-14));
  }
}
