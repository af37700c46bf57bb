// methods_test.cpp: what each method of tuning trains, that it starts as the backbone it was given, and that its gradients
// and its forms are right.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "engine/random.h"
#include "models/training/tune.h"
#include "op_checks.h"
#include "tune_runs.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

const std::vector<std::string> inside{"full", "partial-1", "bias", "adapter-4", "cls", "lora-2", "ssf"};
const std::vector<std::string> all_methods{"vpt-deep", "vpt-shallow", "linear", "full",      "partial-2",
                                           "mlp-3",    "sidetune",    "bias",   "adapter-4", "vpt-deep+bias",
                                           "cls",      "lora-2",      "ssf",    "vpt-gated"};

TunedConfig config_of(const std::string& method, int64_t classes = 5) {
  TunedConfig config = method_from_text(method);
  config.classes = classes;
  if (prompt_kind(config.method) != PromptKind::none) config.prompts.count = 3;
  return config;
}

bool fits(const std::string& method, const Backbone& backbone) {
  return method != "cls" || std::holds_alternative<VitConfig>(backbone.config);
}

// Moves every parameter by a little, so that nothing is zero any more.
void shake(Parameters& parameters, double size) {
  uint32_t lane = 0;
  for (Parameter& p : parameters.all()) {
    Random random(11, Purpose::test, 0, 0, lane++);
    Tensor value = p.value.value();
    if (value.dtype() == DType::f64) {
      for (double& v : value.mutable_data<double>()) v += size * random.normal();
    } else {
      for (float& v : value.mutable_data<float>()) v += static_cast<float>(size * random.normal());
    }
  }
}

std::set<std::string> trained_names(const TunedModel& model) {
  std::set<std::string> out;
  for (const Parameter& p : model.parameters().all()) out.insert(p.name);
  return out;
}

}  // namespace

TEST_CASE("methods: parameters as the paper and its code count them") {
  const TransformerConfig vit_b = with_classes(preset("vit-b16"), 0),
                          swin_b = with_classes(preset("swin-b"), 0);
  const auto counts = [](const std::string& method, const TransformerConfig& net, int64_t classes,
                         int64_t prompts = 0) {
    TunedConfig config = config_of(method, classes);
    if (prompts > 0) config.prompts.count = prompts;
    return count_parameters(config, net);
  };
  constexpr int64_t d = 768, blocks = 12;
  CHECK(counts("linear", vit_b, 10).backbone == 85'798'656);  // the code's log of ViT-B/16
  CHECK(counts("linear", vit_b, 10).tuned() == (d + 1) * 10);
  CHECK(counts("vpt-deep", vit_b, 6, 100).tuned() == 926'214);  // the same
  CHECK(counts("vpt-deep", vit_b, 397, 5).tuned() == 351'373);  // the same
  CHECK(counts("vpt-shallow", vit_b, 10, 7).prompts == 7 * d);
  CHECK(counts("vpt-gated", vit_b, 10, 7).prompts == 7 * d + blocks);
  CHECK(counts("bias", vit_b, 10).inside == 102'912);
  CHECK(counts("vpt-deep+bias", vit_b, 10, 3).tuned() == 102'912 + 3 * d * blocks + (d + 1) * 10);
  CHECK(counts("cls", vit_b, 10).inside == d);
  CHECK(counts("full", vit_b, 10).inside == counts("full", vit_b, 10).backbone);
  for (const int64_t r : {8, 64, 256}) {
    const int64_t h = d / r;
    CHECK(counts(text("adapter-{}", r), vit_b, 10).added == blocks * (d * h + h + h * d + d));
  }
  CHECK(counts("lora-8", vit_b, 10).added == blocks * 2 * (8 * d + d * 8));
  // A block: qkv, proj, fc1, fc2, two norms; then the norm behind all of them.
  const int64_t block = 3 * d * (d + 1) + d * (d + 1) + 4 * d * (d + 1) + d * (4 * d + 1) + 4 * d;
  for (const int64_t k : {1, 2, 4})
    CHECK(counts(text("partial-{}", k), vit_b, 10).inside == k * block + 2 * d);
  // Two numbers for each output: patches, and in a block two norms, qkv, proj, fc1, fc2; the last norm.
  CHECK(counts("ssf", vit_b, 10).added == 2 * (d + blocks * (d + d + 3 * d + d + 4 * d + d) + d));
  // Two hidden layers with a norm each.
  CHECK(counts("mlp-3", vit_b, 10).head == 2 * (d * (d + 1) + 2 * d) + (d + 1) * 10);
  CHECK(counts("vpt-deep", swin_b, 10, 1).prompts == 12'032);
  CHECK(counts("partial-2", swin_b, 10).inside ==
        2 * (12 * 1024 * 1024 + 13 * 1024 + 13 * 13 * 32) + 2 * 1024);
  // Two blocks of the third stage, and what brings it to the fourth.
  CHECK(counts("partial-4", swin_b, 10).inside - counts("partial-2", swin_b, 10).inside ==
        2 * (12 * 512 * 512 + 13 * 512 + 13 * 13 * 16) + (2 * 2048 + 2048 * 1024));
}

TEST_CASE("methods: what the layers count is what is trained, and the names are those of the method") {
  for (const Backbone& backbone : {testing::small_backbone(), testing::small_swin()})
    for (const std::string& method : all_methods) {
      if (!fits(method, backbone)) continue;
      CAPTURE(method);
      const TunedModel model(backbone, config_of(method), 1);
      CHECK(model.parameters().count() == count_parameters(config_of(method), backbone.config).tuned());
      std::set<std::string> expected{"head.weight", "head.bias"}, found = trained_names(model);
      for (const auto& [name, tensor] : backbone.file.tensors) {
        const bool bias = name.ends_with("bias") || name.ends_with("bias_table");
        const bool last = name.starts_with("blocks.1.") || name.starts_with("blocks.2.") ||
                          name.starts_with("layers.1.") || name.starts_with("norm.");
        if (method == "full" || (bias && method.ends_with("bias")) || (method == "partial-2" && last) ||
            (method == "cls" && name == "cls_token"))
          expected.insert(name);
      }
      for (const std::string& name : found) {
        const bool added = name.find("adapter") != name.npos || name.find("lora") != name.npos ||
                           name.ends_with("scale") || name.ends_with("shift") || name.starts_with("prompt") ||
                           name.starts_with("side.") || name.starts_with("head.hidden");
        CHECK_MESSAGE((added || expected.contains(name)), name);
      }
      for (const std::string& name : expected) CHECK_MESSAGE(found.contains(name), name);
    }
}

TEST_CASE("methods: at the start the features are the backbone's, or mixed with a side net's") {
  for (const Backbone& backbone :
       {testing::small_backbone(), testing::small_swin(), testing::small_descendant(Pooling::token)}) {
    const Tensor images = sine_image(2, 32);
    const TunedModel plain(backbone, config_of("linear"), 1, DType::f64);
    const Tensor expected = plain.features(images).value();
    for (const std::string& method : inside) {
      if (!fits(method, backbone)) continue;
      CAPTURE(method);
      const TunedModel model(backbone, config_of(method), 1, DType::f64);
      CHECK(largest_difference(model.features(images).value(), expected) < 1e-12);
    }
    const TunedModel mixed(backbone, config_of("sidetune"), 1, DType::f64);
    CHECK(largest_difference(mixed.features(images).value(), expected) > 1e-3);
  }
}

TEST_CASE("methods: gradients of everything that is trained, by central differences in f64") {
  for (const Backbone& backbone :
       {testing::small_backbone(), testing::small_swin(), testing::small_descendant(Pooling::mean)})
    for (const std::string& method : all_methods) {
      if (!fits(method, backbone) || (method == "cls" && !std::get<VitConfig>(backbone.config).class_token))
        continue;
      CAPTURE(method);
      TunedModel model(backbone, config_of(method), 1, DType::f64);
      shake(model.parameters(), 0.05);
      const Tensor images = sine_image(3, 32), labels = Tensor::of<int64_t>({3}, {0, 4, 2});
      const Pass pass{.training = true, .noise = {.seed = 5, .samples = {1, 2, 3}}};
      const auto loss = [&] { return cross_entropy(model.logits(images, pass), labels); };
      backward(loss());
      double largest = 0;
      for (Parameter& p : model.parameters().all()) {
        if (!p.value.gradient().defined()) {
          CHECK(p.name == "prompt_gates");  // of the last block alone; and not all of it
          continue;
        }
        const Tensor gradient = p.value.gradient();
        Tensor value = p.value.value();
        const auto slopes = gradient.data<double>();
        // The element with the greatest gradient, and one in the middle.
        size_t greatest = 0;
        for (size_t i = 0; i < slopes.size(); ++i)
          if (std::abs(slopes[i]) > std::abs(slopes[greatest])) greatest = i;
        for (const size_t i : {greatest, slopes.size() / 2}) {
          constexpr double step = 1e-5;
          double& number = value.mutable_data<double>()[i];
          const double before = number;
          number = before + step;
          const double above = loss().value().item();
          number = before - step;
          const double below = loss().value().item();
          number = before;
          const double slope = (above - below) / (2 * step);
          CHECK_MESSAGE(std::abs(slope - slopes[i]) < 1e-7 * std::max(1.0, std::abs(slope)), p.name, " ", i);
          largest = std::max(largest, std::abs(slope));
        }
      }
      CHECK(largest > 1e-3);
    }
}

TEST_CASE("methods: factors and summands, and products of low rank, are a backbone with other weights") {
  for (const Backbone& backbone : {testing::small_backbone(), testing::small_swin()})
    for (const std::string method : {"ssf", "lora-2"}) {
      CAPTURE(method);
      TunedModel model(backbone, config_of(method), 1, DType::f64);
      shake(model.parameters(), 0.2);
      std::map<std::string, Tensor> added;
      for (const Parameter& p : model.parameters().all()) added[p.name] = p.value.value();
      TensorFile merged;
      for (const auto& [name, tensor] : backbone.file.tensors) merged.tensors[name] = tensor.to(DType::f64);
      const auto times = [](const Tensor& x, const Tensor& by) {  // rows of x by the numbers of `by`
        return mul(x, reshape(Variable(by),
                              by.shape().rank() == x.shape().rank() ? by.shape() : Shape{by.dim(0), 1}))
            .value();
      };
      for (const auto& [name, tensor] : added) {
        if (name.ends_with(".scale")) {
          const std::string layer = name.substr(0, name.size() - 6);
          Tensor& weight = merged.tensors.at(layer + ".weight");
          const Shape shape = weight.shape();
          const Tensor flat =
              shape.rank() == 4 ? weight.reshape({shape.dim(0), shape.numel() / shape.dim(0)}) : weight;
          weight = times(flat, tensor).reshape(shape);
          const auto bias = merged.tensors.find(layer + ".bias");
          const Variable shift(added.at(layer + ".shift"));
          if (bias != merged.tensors.end()) {
            bias->second = add(mul(Variable(bias->second), tensor), shift).value();
          } else {
            // A Swin's reduction has no bias: a summand there is beyond any backbone.
            Tensor zero = added.at(layer + ".shift");
            for (double& v : zero.mutable_data<double>()) v = 0;
          }
        }
        if (name.ends_with("lora_query.down") || name.ends_with("lora_value.down")) {
          const std::string which = name.substr(0, name.size() - 5),
                            attention = name.substr(0, name.find("lora_"));
          const Tensor product = matmul(Variable(added.at(which + ".up")), Variable(tensor)).value();
          Tensor& weight = merged.tensors.at(attention + "qkv.weight");
          const int64_t d = weight.dim(1), begin = which.ends_with("query") ? 0 : 2 * d;
          Tensor whole = weight.clone();
          auto numbers = whole.mutable_data<double>().subspan(static_cast<size_t>(begin * d));
          for (size_t i = 0; i < product.data<double>().size(); ++i) numbers[i] += product.data<double>()[i];
          weight = whole;
        }
      }
      const Transformer other(backbone.config, frozen(merged, DType::f64));
      const Tensor images = sine_image(2, 32);
      CHECK(largest_difference(model.features(images).value(), other.features(images).value()) < 1e-11);
    }
}

TEST_CASE("methods: an adapter is what its formula says") {
  Parameters parameters;
  const Adapter adapter(6, trainable(parameters, 3, DType::f64).with({.adapter = 3}));
  REQUIRE(adapter.defined());
  CHECK(adapter.down.shape() == Shape{2, 6});
  const Tensor x = sine_image(1, 6).reshape({18, 6});
  CHECK(largest_difference(adapter(x).value(), x) == 0);  // as it starts
  shake(parameters, 0.5);
  // x + sum over h of up[:, h] gelu(down[h] . x + down_bias[h]) + up_bias
  const auto number = [](const Variable& v, int64_t i) {
    return v.value().data<double>()[static_cast<size_t>(i)];
  };
  const Tensor y = adapter(x).value();
  for (int64_t row = 0; row < 18; ++row)
    for (int64_t i = 0; i < 6; ++i) {
      double sum = number(x, row * 6 + i) + number(adapter.up_bias, i);
      for (int64_t h = 0; h < 2; ++h) {
        double inner = number(adapter.down_bias, h);
        for (int64_t j = 0; j < 6; ++j) inner += number(adapter.down, h * 6 + j) * number(x, row * 6 + j);
        sum += number(adapter.up, i * 2 + h) * inner * (1 + std::erf(inner / std::sqrt(2.0))) / 2;
      }
      CHECK(number(y, row * 6 + i) == doctest::Approx(sum).epsilon(1e-12));
    }
}

TEST_CASE("methods: what a task file stores comes back, for training and for prediction") {
  for (const Backbone& backbone : {testing::small_backbone(), testing::small_swin()})
    for (const std::string& method : all_methods) {
      if (!fits(method, backbone)) continue;
      CAPTURE(method);
      TunedModel model(backbone, config_of(method), 1);
      shake(model.parameters(), 0.05);
      Task task{model.config(), {"a", "b", "c", "d", "e"}, "small", identity_of(backbone), 2, "", "", "{}",
                "{}",           model.task_tensors()};
      const TensorFile file = to_file(task);
      const Task back = task_from_file(file);
      CHECK(method_text(back.config) == method);
      const Tensor images = sine_image(2, 32).to(DType::f32);
      const Tensor expected = model.logits(images).value();
      const TunedModel again(backbone, back), frozen_one(backbone, back, DType::f32, {}, Use::prediction);
      CHECK(testing::same_bits(again.logits(images).value(), expected));
      // Constant weights take the fused ways, which round differently.
      CHECK(largest_difference(frozen_one.logits(images).value().to(DType::f64), expected.to(DType::f64)) <
            1e-5);
      CHECK(frozen_one.parameters().all().empty());
      CHECK(trained_names(again) == trained_names(model));
      // One tensor less, and one more, are refused by name.
      for (const auto& [name, tensor] : task.tensors) {
        Task less = task;
        less.tensors.erase(name);
        CHECK_THROWS_AS(TunedModel(backbone, task_from_file(to_file(less))), Error);
      }
      Task more = task;
      more.tensors["delta.nothing"] = task.tensors.at("head.bias");
      CHECK_THROWS_AS(TunedModel(backbone, task_from_file(to_file(more))), Error);
    }
}

TEST_CASE("methods: a run of each is as good stopped and gone on with as at a stretch, and learns") {
  const Backbone backbone = testing::small_backbone();
  const TuneData data = testing::small_data(backbone);
  for (const std::string& method : all_methods) {
    CAPTURE(method);
    TuneConfig config = testing::small_config();
    config.model = config_of(method, 0);
    config.model.paper_head = true;
    config.keep_best = false;
    config.epochs = 4;
    const TuneResult whole = tune(backbone, data, config, "", false, {});
    CHECK(whole.epochs.back().loss < whole.epochs.front().loss);
    const testing::Folder folder("methods");
    int64_t steps = 0;
    TuneHooks hooks;
    hooks.stop = [&] { return ++steps == 5; };
    CHECK(tune(backbone, data, config, folder.path, false, hooks).stopped);
    const TuneResult rest = tune(backbone, data, config, folder.path, true, {});
    CHECK(testing::digest(rest.task) == testing::digest(whole.task));
  }
}

TEST_CASE("methods: their names, and what is refused") {
  for (const std::string& method : all_methods) CHECK(method_text(method_from_text(method)) == method);
  CHECK(method_text(method_from_text("partial")) == "partial-1");
  CHECK(method_text(method_from_text("lora")) == "lora-8");
  CHECK_THROWS_WITH(method_from_text("vpt-depe"), doctest::Contains("did you mean vpt-deep?"));
  CHECK_THROWS_WITH(method_from_text("linear-3"), "method: expected linear, got 'linear-3'");
  for (const char* wrong :
       {"", "-", "-1", "partial-", "partial-0", "partial--1", "partial-1x", "mlp-99999999999999999999"})
    CHECK_THROWS_AS(method_from_text(wrong), Error);
  const auto refused = [](const std::string& method, const Backbone& backbone) {
    try {
      const TunedModel model(backbone, config_of(method), 1);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const Backbone vit = testing::small_backbone(), swin = testing::small_swin();
  CHECK(refused("partial-4", vit) == "method partial-4: the backbone has 3 blocks");
  CHECK(refused("mlp-1", vit) == "method mlp-1: expected 2 to 64 layers; one is method linear");
  CHECK(refused("lora-17", vit) == "method lora-17: expected a rank of 1 to 16, got 17");
  CHECK(refused("cls", swin) == "method cls: this backbone has no class token");
}
