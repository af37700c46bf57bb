// prompt_variants_test.cpp: the variants of the paper's ablations against textbook forms, with full tokens in every block.
#include <doctest/doctest.h>

#include <cmath>

#include "models/tuned.h"
#include "op_checks.h"
#include "sine_models.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

const VitConfig small{.image_size = 32, .patch = 8, .width = 16, .depth = 4, .heads = 2, .mlp_width = 32};

struct Prompted {
  Parameters parameters;
  Prompts prompts;
  explicit Prompted(const PromptConfig& config, const PromptPlaces& places = small.prompt_places())
      : prompts(config, places, trainable(parameters, 5, DType::f64)) {}
};

void set(const Variable& leaf, const Tensor& to) {
  Tensor value = leaf.value();
  value.assign(to);
}

// [class token, prompts, patches] with other prompts, or with the first ones.
Variable with_prompts(const Variable& x, int64_t standing, const Variable& prompts) {
  return concat({slice(x, 1, 0, 1), repeat(prompts, x.dim(0)), slice(x, 1, 1 + standing, x.dim(1))}, 1);
}
Variable row_mean(const Vit& vit, const TensorFile& file, const Variable& x, int64_t begin, int64_t end) {
  const LayerNorm norm(small.width, small.epsilon, frozen(file, DType::f64) / "norm");
  (void)vit;
  return mean(norm(slice(x, 1, begin, end)), 1);
}

}  // namespace

TEST_CASE("prompts in some blocks: the others let what became of them pass, and no patch is lost") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const Tensor images = sine_image(2, 32);
  for (const auto& [first, last] :
       {std::pair{0, 2}, std::pair{2, 4}, std::pair{1, 3}, std::pair{0, 4}, std::pair{3, 4}}) {
    CAPTURE(first);
    CAPTURE(last);
    const Prompted own({.kind = PromptKind::deep, .count = 3, .first = first, .last = last});
    CHECK(own.parameters.all()[0].value.dim(0) == last - first);
    Variable x = vit.embed(images);
    int64_t standing = 0;
    for (int64_t i = 0; i < small.depth; ++i) {
      if (i >= first && i < last) {
        x = with_prompts(x, standing, own.prompts.layer(i, {}));
        standing = 3;
      }
      x = vit.blocks()[static_cast<size_t>(i)](x, {}, {});
      CHECK(x.dim(1) == 17 + standing);
    }
    CHECK(largest_difference(vit.features(images, own.prompts).value(), vit.pool(x).value()) < 1e-12);
  }
}

TEST_CASE("prompts that all blocks share are deep prompts that are equal") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const Tensor images = sine_image(2, 32);
  const Prompted shared({.kind = PromptKind::deep, .count = 3, .shared = true});
  CHECK(shared.parameters.all()[0].value.shape() == Shape{1, 3, 16});
  Prompted deep({.kind = PromptKind::deep, .count = 3});
  Tensor all = deep.parameters.all()[0].value.value();
  for (int64_t i = 0; i < small.depth; ++i) {
    Tensor layer = all.rows(i, i + 1);
    layer.assign(shared.parameters.all()[0].value.value());
  }
  CHECK(largest_difference(vit.features(images, shared.prompts).value(),
                           vit.features(images, deep.prompts).value()) == 0);
  // A Swin shares them within a stage.
  const SwinConfig config{.image_size = 32, .width = 8, .depths = {2, 2}, .heads = {2, 2}, .window = 4};
  const Prompted staged({.kind = PromptKind::deep, .count = 2, .shared = true}, config.prompt_places());
  CHECK(staged.parameters.all()[0].value.shape() == Shape{1, 2, 8});
  CHECK(staged.parameters.all()[1].value.shape() == Shape{1, 2, 16});
  const Swin swin(config, frozen(sine_swin(config), DType::f64));
  CHECK(swin.features(images, staged.prompts).shape() == Shape{2, 16});
}

TEST_CASE("prompts that are added to each token") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const Tensor images = sine_image(2, 32);
  for (const PromptKind kind : {PromptKind::shallow, PromptKind::deep}) {
    const Prompted own({.kind = kind, .location = PromptLocation::add});
    CHECK(own.prompts.config().count == 17);
    Variable x = vit.embed(images);
    for (int64_t i = 0; i < small.depth; ++i) {
      if (i == 0 || kind == PromptKind::deep) x = add(x, own.prompts.layer(i, {}));
      x = vit.blocks()[static_cast<size_t>(i)](x, {}, {});
    }
    CHECK(largest_difference(vit.features(images, own.prompts).value(), vit.pool(x).value()) < 1e-12);
  }
}

TEST_CASE("prompts of pixels are patches without a position") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const Tensor images = sine_image(2, 32);
  const Prompted own({.kind = PromptKind::shallow, .count = 3, .location = PromptLocation::pixels});
  const Tensor pixels = own.parameters.all()[0].value.value();
  CHECK(pixels.shape() == Shape{3, 3 * 8 * 8});
  // The patch embedding as a convolution over a picture that holds the three patches side by side.
  Tensor picture = Tensor::empty({1, 3, 8, 24}, DType::f64);
  for (int64_t p = 0; p < 3; ++p)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = 0; y < 8; ++y)
        for (int64_t x = 0; x < 8; ++x)
          picture.mutable_data<double>()[static_cast<size_t>((c * 8 + y) * 24 + p * 8 + x)] =
              pixels.data<double>()[static_cast<size_t>(p * 192 + (c * 8 + y) * 8 + x)];
  const PatchEmbedding embedding(8, 16, frozen(file, DType::f64) / "patch_embed");
  Prompted shallow({.kind = PromptKind::shallow, .count = 3});
  set(shallow.parameters.all()[0].value, reshape(embedding(picture), {3, 16}).value());
  CHECK(largest_difference(vit.features(images, own.prompts).value(),
                           vit.features(images, shallow.prompts).value()) < 1e-12);
}

TEST_CASE("what is pooled: patches, prompts or both") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const Tensor images = sine_image(2, 32);
  for (const PromptKind kind : {PromptKind::shallow, PromptKind::deep}) {
    Variable x;  // after the last block: [class token, prompts, patches]
    const auto own = [&](PromptPooling pooling) {
      return Prompted({.kind = kind, .count = 3, .pooling = pooling}).prompts;
    };
    const Prompts prompts = own(PromptPooling::backbone);
    x = vit.embed(images);
    int64_t standing = 0;
    for (int64_t i = 0; i < small.depth; ++i) {
      if (i == 0 || kind == PromptKind::deep) {
        x = with_prompts(x, standing, prompts.layer(i, {}));
        standing = 3;
      }
      x = vit.blocks()[static_cast<size_t>(i)](x, {}, {});
    }
    const auto check_pooling = [&](PromptPooling pooling, int64_t begin, int64_t end) {
      CHECK(largest_difference(vit.features(images, own(pooling)).value(),
                               row_mean(vit, file, x, begin, end).value()) < 1e-12);
    };
    check_pooling(PromptPooling::images, 4, 20);
    check_pooling(PromptPooling::prompts, 1, 4);
    check_pooling(PromptPooling::all, 1, 20);
  }
}

TEST_CASE("gates: open they are VPT-shallow, shut they leave each block the first prompts") {
  const TensorFile file = sine_vit(small);
  const Vit vit(small, frozen(file, DType::f64));
  const SwinConfig config{.image_size = 32, .width = 8, .depths = {2, 2}, .heads = {2, 2}, .window = 4};
  const Swin swin(config, frozen(sine_swin(config), DType::f64));
  const Tensor images = sine_image(2, 32);
  for (const bool is_swin : {false, true}) {
    const PromptPlaces places = is_swin ? config.prompt_places() : small.prompt_places();
    const auto features = [&](const Prompts& prompts) {
      return (is_swin ? swin.features(images, prompts) : vit.features(images, prompts)).value();
    };
    Prompted gated({.kind = PromptKind::shallow, .count = 3, .gated = true}, places),
        shallow({.kind = PromptKind::shallow, .count = 3}, places),
        shared({.kind = PromptKind::deep, .count = 3, .shared = true}, places);
    REQUIRE(gated.parameters.all()[0].name == "prompt_gates");
    Tensor gates = gated.parameters.all()[0].value.value();
    const Tensor first = gated.parameters.all()[1].value.value();
    set(shallow.parameters.all()[0].value, first);
    const Tensor half = features(gated.prompts);
    CHECK(largest_difference(half, features(shallow.prompts)) > 1e-6);
    for (double& gate : gates.mutable_data<double>()) gate = 60;
    CHECK(largest_difference(features(gated.prompts), features(shallow.prompts)) < 1e-12);
    if (is_swin) continue;  // where deep prompts of the second stage have another width
    for (double& gate : gates.mutable_data<double>()) gate = -60;
    set(shared.parameters.all()[0].value, first.reshape({1, 3, 16}));
    CHECK(largest_difference(features(gated.prompts), features(shared.prompts)) < 1e-12);
  }
}

TEST_CASE("variants are written and read again, and those that do not fit are refused") {
  for (const PromptConfig& config :
       {PromptConfig{}, PromptConfig{.location = PromptLocation::add, .pooling = PromptPooling::images},
        PromptConfig{.start = PromptStart::class_tokens},
        PromptConfig{.pooling = PromptPooling::all, .first = 2, .last = 3, .shared = true}}) {
    const std::string json = variant_to_json(config);
    PromptConfig back;
    if (!json.empty()) set_variant(back, json, "x");
    CHECK(variant_to_json(back) == json);
  }
  PromptConfig unused;
  for (const char* wrong : {"", "[]", "{\"location\":\"above\"}", "{\"first\":-1}", "{\"first\":1.5}",
                            "{\"shared\":1}", "{\"init\":\"zero\"}", "{\"other\":1}", "{\"first\":[[[1]]]}"})
    CHECK_THROWS_AS(set_variant(unused, wrong, "x"), Error);
  const auto refused = [](const PromptConfig& config, const PromptPlaces& places) {
    CHECK_THROWS_AS(check_prompts(config, places), Error);
  };
  const PromptPlaces vit = small.prompt_places();
  const PromptPlaces swin = SwinConfig{}.prompt_places();
  using enum PromptKind;
  refused({.kind = shallow, .count = 3, .location = PromptLocation::add}, vit);
  refused({.kind = shallow, .count = 3, .location = PromptLocation::pixels}, swin);
  refused({.kind = deep, .count = 3, .location = PromptLocation::pixels}, vit);
  refused({.kind = shallow, .count = 3, .first = 1}, vit);
  refused({.kind = deep, .count = 3, .first = 4}, vit);
  refused({.kind = deep, .count = 3, .last = 5}, vit);
  refused({.kind = deep, .count = 3, .first = 1}, swin);
  refused({.kind = shallow, .count = 3, .shared = true}, vit);
  refused({.kind = deep, .count = 3, .gated = true}, vit);
  refused({.kind = shallow, .location = PromptLocation::add, .pooling = PromptPooling::prompts}, vit);
  check_prompts({.kind = deep, .count = 3, .first = 1, .shared = true}, vit);
}
