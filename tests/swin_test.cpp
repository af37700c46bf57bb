// swin_test.cpp: the Swin Transformer against known answers, its counts and its configurations.
#include "models/swin.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/check.h"
#include "models/backbone.h"
#include "tests/sine_models.h"

using namespace vitrine;

namespace {

const SwinConfig toy{.width = 8, .depths = {2, 2}, .heads = {2, 4}, .window = 4, .classes = 5};

void check_logits(const SwinConfig& config, const Tensor& images, const std::vector<double>& expected) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Swin swin(config, frozen(sine_swin(config), dtype));
    const Variable logits = swin.logits(images.to(dtype));
    const Tensor values = logits.value().to(DType::f64);
    REQUIRE(values.numel() == static_cast<int64_t>(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK(std::abs(values.data<double>()[i] - expected[i]) < (dtype == DType::f64 ? 1e-12 : 1e-6));
  }
}

}  // namespace

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
}
