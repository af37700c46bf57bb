// precision_test.cpp: weights packed as bf16 and int8 against the same weights rounded beforehand.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "models/backbone.h"
#include "models/training/tune.h"
#include "tests/linear_pass.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// weight (N, K) as its packed form stands for it, in f32.
Tensor rounded(const Tensor& weight, Precision precision) {
  const int64_t n = weight.dim(0), k = weight.dim(1);
  Tensor out = weight.clone();
  const auto values = out.mutable_data<float>();
  for (int64_t i = 0; i < n; ++i) {
    const auto row = values.subspan(i * k, k);
    float most = 0;
    for (const float value : row) most = std::max(most, std::abs(value));
    const float scale = most / 127;
    for (float& value : row)
      value = precision == Precision::bf16 ? to_float(to_bf16(value))
              : scale > 0                  ? std::nearbyint(value / scale) * scale
                                           : 0;
  }
  return out;
}

}  // namespace

TEST_CASE(
    "precision: a product with a narrow weight is that with the rounded weight, to the bit but for pairs of "
    "bf16") {
  for (const std::string& set : instruction_sets()) {
    const Instructions used(set);
    CAPTURE(set);
    for (const auto& [m, n, k] :
         {std::array<int64_t, 3>{1, 1, 1}, {7, 5, 3}, {100, 33, 17}, {13, 48, 769}, {5, 1537, 64}}) {
      CAPTURE(n);
      CAPTURE(k);
      const Tensor x = normal({m, k}, 0, DType::f32), bias = normal({n}, 1, DType::f32);
      Tensor weight = normal({n, k}, 2, DType::f32);
      if (n > 3) std::ranges::fill(weight.rows(2, 3).mutable_data<float>(), 0.0f);  // a row whose scale is 0
      weight = weight.seal();
      for (const Precision precision : {Precision::bf16, Precision::int8}) {
        CAPTURE(static_cast<int>(precision));
        const Passed narrow = linear_pass(x, weight.with_precision(precision), bias);
        const Passed turned = linear_pass(x, weight.with_precision(precision).with_one_form(), bias);
        const Tensor dy = make_dy({m, n}, DType::f32);
        if (multiplies_pairs(set, precision)) {
          const Passed both = linear_pass(rounded(x, precision), rounded(weight, precision).seal(), bias,
                                          rounded(dy, precision));
          check_close(values(narrow.y), values(both.y), 1e-5);
          check_close(values(narrow.dx), values(both.dx), 1e-5);
          CHECK(same_bits(turned.y, narrow.y));
          CHECK(same_bits(turned.dx, narrow.dx));
        } else {
          const Passed plain = linear_pass(x, rounded(weight, precision).seal(), bias, dy);
          CHECK(same_bits(narrow.y, plain.y));
          CHECK(same_bits(narrow.dx, plain.dx));
          CHECK(same_bits(turned.y, plain.y));
          CHECK(same_bits(turned.dx, plain.dx));
        }
        if (n > 1) CHECK_FALSE(same_bits(narrow.y, linear_pass(x, weight, bias).y));
      }
    }
  }
}

TEST_CASE("precision: packed forms take half and a quarter; the tensors stay what they are") {
  const Tensor weight = normal({96, 64}, 0, DType::f32), x = normal({4, 64}, 1, DType::f32);
  std::vector<size_t> bytes;
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8}) {
    const Memory memory = Memory::counted();
    const Tensor narrow = weight.clone().seal().with_memory(memory).with_precision(precision);
    linear_pass(x, narrow, normal({96}, 2, DType::f32));
    bytes.push_back(memory.statistics().current);
    CHECK(same_bits(narrow.to(DType::f64), weight.to(DType::f64)));
  }
  CHECK(bytes[0] == 2 * weight.bytes());
  CHECK(2 * bytes[1] == bytes[0]);
  CHECK(4 * bytes[2] == bytes[0] + 4 * 96 * sizeof(float));  // and the scales
  CHECK_THROWS_WITH(weight.with_precision(Precision::bf16), doctest::Contains("sealed"));
}

TEST_CASE("precision: a backbone keeps its identity, its features are near, f64 knows nothing of it") {
  const VitConfig vit{
      .image_size = 32, .patch = 8, .width = 24, .depth = 3, .heads = 3, .mlp_width = 96, .classes = 0};
  SwinConfig swin{.image_size = 32, .patch = 2, .width = 16, .depths = {2, 2}, .heads = {2, 4}, .window = 4};
  for (const bool is_vit : {true, false}) {
    const Backbone plain =
        is_vit ? make_backbone(sine_vit(vit), "vit", vit.heads) : make_backbone(sine_swin(swin), "swin");
    const TransformerConfig& config = plain.config;
    const Tensor images = normal({3, 3, image_size(config), image_size(config)}, 0, DType::f32);
    const auto features = [&](const Backbone& backbone, DType dtype) {
      return values(
          Transformer(backbone.config, frozen(backbone.file, dtype)).features(images.to(dtype)).value());
    };
    const Doubles truth = features(plain, DType::f32);
    for (const auto& [precision, allowed] : {std::pair{Precision::bf16, 0.02}, {Precision::int8, 0.05}}) {
      const Backbone narrow = with_precision(plain, precision);
      CHECK(identity_of(narrow) == identity_of(plain));
      const Doubles got = features(narrow, DType::f32);
      double difference = 0, size = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        difference += (got[i] - truth[i]) * (got[i] - truth[i]);
        size += truth[i] * truth[i];
      }
      CHECK(difference > 0);
      CHECK(std::sqrt(difference / size) <= allowed);
      CHECK(features(narrow, DType::f64) == features(plain, DType::f64));
    }
  }
}
