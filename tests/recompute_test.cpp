// recompute_test.cpp: parts of a computation that are run again in backward: the same bits, less memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/parallel.h"
#include "models/tuned.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;

namespace {

Tensor waves(const Shape& shape, double step, DType dtype = DType::f64, const Memory& memory = {}) {
  Tensor out = Tensor::empty(shape, DType::f64, memory);
  double at = step;
  for (double& value : out.mutable_data<double>()) value = std::sin(at += step);
  return out.to(dtype);
}

void check_same_bits(const Tensor& a, const Tensor& b) {
  REQUIRE(a.defined() == b.defined());
  if (!a.defined()) return;
  REQUIRE(a.shape() == b.shape());
  CHECK(std::ranges::equal(a.raw(), b.raw()));
}

// y = body(x + p, p) where p and the captured w are trained, and x + p is used by the body twice.
struct Small {
  Variable x = Variable::leaf(waves({3, 4}, 0.7)), p = Variable::leaf(waves({4}, 1.1)),
           w = Variable::leaf(waves({4, 4}, 0.3));
  Variable loss(bool again) const {
    const Recomputed body = [w = w](const std::vector<Variable>& in) {
      return mul(gelu(linear(in[0], w, in[1])), add(in[0], in[1]));
    };
    const std::vector<Variable> inputs{add(x, p), p};
    const Variable y = again ? recompute(inputs, body) : body(inputs);
    return mean(mean(mul(y, y), 0), 0);
  }
};

}  // namespace

TEST_CASE(
    "recompute: gradients of inputs, of leaves among them and of captured weights, against differences") {
  const Small small;
  backward(small.loss(true));
  for (const Variable* leaf : {&small.x, &small.p, &small.w}) {
    Tensor value = leaf->value();
    for (int64_t i = 0; i < value.numel(); ++i) {
      double& element = value.mutable_data<double>()[i];
      const double kept = element, step = 1e-6;
      element = kept + step;
      const double above = small.loss(true).value().item();
      element = kept - step;
      const double below = small.loss(true).value().item();
      element = kept;
      CHECK(leaf->gradient().data<double>()[i] ==
            doctest::Approx((above - below) / (2 * step)).epsilon(1e-7).scale(1e-2));
    }
  }
}

TEST_CASE("recompute: the same bits as without, also where gradients are added to earlier ones") {
  const Small plain, again;
  for (int round = 0; round < 3; ++round) {
    const Variable a = plain.loss(false), b = again.loss(true);
    check_same_bits(a.value(), b.value());
    backward(a);
    backward(b);
    check_same_bits(plain.x.gradient(), again.x.gradient());
    check_same_bits(plain.p.gradient(), again.p.gradient());
    check_same_bits(plain.w.gradient(), again.w.gradient());
  }
}

TEST_CASE("recompute: runs the body a second time only if somebody asks") {
  int runs = 0;
  const Recomputed body = [&](const std::vector<Variable>& in) {
    ++runs;
    return in[1].defined() ? add(in[0], in[1]) : scale(in[0], 2);
  };
  const Variable constant = waves({4}, 1), leaf = Variable::leaf(waves({4}, 2));
  CHECK_FALSE(recompute({constant, Variable()}, body).wants_gradient());
  CHECK(runs == 1);
  const Variable y = recompute({constant, leaf}, body);
  CHECK(runs == 2);
  backward(mean(y, 0));
  CHECK(runs == 3);
  for (const double g : leaf.gradient().data<double>()) CHECK(g == 0.25);
  // An input without a part in the result gets no gradient, as without recompute.
  const Variable other = Variable::leaf(waves({4}, 3)), unused = Variable::leaf(waves({4}, 4));
  backward(mean(recompute({scale(other, 2), scale(unused, 2)},
                          [](const std::vector<Variable>& in) { return scale(in[0], 3); }),
                0));
  CHECK(other.gradient().data<double>()[0] == 1.5);
  CHECK_FALSE(unused.gradient().defined());
}

TEST_CASE("recompute: keeps inputs alone, so the peak falls") {
  const auto peak_of = [](bool again) {
    const Memory memory = Memory::counted();
    Variable x = Variable::leaf(waves({64, 64}, 0.1, DType::f32, memory));
    memory.reset_peak();
    for (int block = 0; block < 8; ++block) {
      const Recomputed body = [](const std::vector<Variable>& in) {
        Variable y = in[0];
        for (int i = 0; i < 6; ++i) y = gelu(y);
        return y;
      };
      x = again ? recompute({x}, body) : body({x});
    }
    backward(mean(mean(mul(x, x), 0), 0));
    return memory.statistics().peak / (64 * 64 * sizeof(float));
  };
  CHECK(peak_of(false) >= 8 * 6);
  CHECK(peak_of(true) <= 8 + 6 + 8);
}

namespace {

const VitConfig vit{.image_size = 32, .patch = 8, .width = 16, .depth = 4, .heads = 2, .mlp_width = 32};
const SwinConfig swin{.image_size = 32, .width = 8, .depths = {2, 2}, .heads = {2, 2}, .window = 3};

struct Outcome {
  Tensor logits;
  std::vector<Tensor> gradients;
  size_t peak;
};

// Two micro-batches, their gradients added up.
Outcome outcome_of(const Backbone& backbone, const TunedConfig& config, DType dtype, int64_t recompute) {
  const Memory memory = Memory::counted();
  TunedModel model(backbone, config, 1, dtype, memory);
  Outcome out;
  const Tensor images = sine_image(4, 32).to(dtype);
  for (const int64_t half : {0, 1}) {
    Tensor own = Tensor::empty({2, 3, 32, 32}, dtype, memory);
    std::ranges::copy(images.rows(2 * half, 2 * half + 2).raw(), own.mutable_raw().begin());
    const Pass pass{.training = true,
                    .noise = {.seed = 5, .epoch = 2, .samples = {2 * half, 2 * half + 1}},
                    .recompute = recompute};
    const Variable logits = model.logits(own, pass);
    backward(cross_entropy(logits, Tensor::of<int64_t>({2}, {half, 2})));
    if (half == 0) out.logits = logits.value();
  }
  for (const Parameter& p : model.parameters().all()) out.gradients.push_back(p.value.gradient());
  out.peak = memory.statistics().peak;
  return out;
}

}  // namespace

TEST_CASE("recompute: any number of blocks of a ViT or Swin, each method, with noise: not a bit changes") {
  VitConfig averaging = vit;
  averaging.pooling = Pooling::mean;
  std::vector<Backbone> backbones;
  for (const auto& [config, file] : std::vector<std::pair<TransformerConfig, TensorFile>>{
           {vit, sine_vit(vit)}, {averaging, sine_vit(averaging)}, {swin, sine_swin(swin)}}) {
    TensorFile with_config = file;
    with_config.metadata["config"] = config_to_json(config);
    backbones.push_back(make_backbone(with_config, "sine"));
  }
  const int before = thread_count();
  for (size_t net = 0; net < backbones.size(); ++net)
    for (const std::string method : {"vpt-deep", "vpt-shallow", "linear", "full", "vpt-gated", "partial-1",
                                     "bias", "adapter-4", "lora-2", "ssf"})
      for (const bool noise : {false, true}) {
        TunedConfig config = method_from_text(method);
        config.classes = 3;
        config.paper_head = true;
        if (prompt_kind(config.method) != PromptKind::none)
          config.prompts = {.count = 3, .dropout = noise ? 0.2 : 0.0, .projection = noise ? 5 : 0};
        config.drop_path = noise ? 0.3 : 0;
        for (const DType dtype : {DType::f32, DType::f64}) {
          CAPTURE(net);
          CAPTURE(method);
          CAPTURE(noise);
          CAPTURE(name_of(dtype));
          set_thread_count(1);
          const Outcome plain = outcome_of(backbones[net], config, dtype, 0);
          for (int64_t k = 1; k <= 4; ++k) {
            CAPTURE(k);
            set_thread_count(static_cast<int>(k % 3 + 1));
            const Outcome again = outcome_of(backbones[net], config, dtype, k);
            check_same_bits(plain.logits, again.logits);
            REQUIRE(plain.gradients.size() == again.gradients.size());
            for (size_t i = 0; i < plain.gradients.size(); ++i)
              check_same_bits(plain.gradients[i], again.gradients[i]);
          }
        }
      }
  set_thread_count(before);
}

TEST_CASE("a pass without history gives the same bits as a constant, and keeps no block") {
  VitConfig deep = vit;
  deep.depth = 12;
  for (const bool shifted : {false, true}) {
    TensorFile file = shifted ? sine_swin(swin) : sine_vit(deep);
    file.metadata["config"] = shifted ? config_to_json(swin) : config_to_json(deep);
    const Backbone backbone = make_backbone(file, "sine");
    for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::full}) {
      TunedConfig config{.method = method, .classes = 3, .paper_head = true};
      if (method != Method::full) config.prompts.count = 3;
      const Memory memory = Memory::counted();
      const TunedModel model(backbone, config, 1, DType::f32, memory);
      const Tensor images = sine_image(8, 32).to(DType::f32);
      Tensor own = Tensor::empty(images.shape(), DType::f32, memory);
      std::ranges::copy(images.raw(), own.mutable_raw().begin());
      const auto peak_of = [&](const Pass& pass, Variable& features) {
        const size_t at_rest = memory.statistics().current;
        memory.reset_peak();
        features = model.features(own, pass);
        return memory.statistics().peak - at_rest;
      };
      Variable with, without;
      const size_t most = peak_of({}, with), least = peak_of({.history = false}, without);
      CHECK(with.wants_gradient());
      CHECK_FALSE(without.wants_gradient());
      check_same_bits(with.value(), without.value());
      CHECK(2 * least < most);
    }
  }
}
