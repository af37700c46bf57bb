// swin_oracle_test.cpp: whole Swin models with prompts, logits, loss and gradients, against the independent
// implementation in PyTorch: tests/oracle/swin_oracle.py. Skipped aloud unless told where that is.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "models/swin.h"
#include "tests/op_cases.h"
#include "tests/sine_models.h"

using namespace vitrine;
using vitrine::testing::random_tensor;

namespace {

// Wide enough that attention is far from uniform; the gains of norms are around 1.
TensorFile random_swin(const SwinConfig& config) {
  TensorFile file = sine_swin(config);
  uint32_t lane = 0;
  for (auto& [name, tensor] : file.tensors) {
    const Shape shape = tensor.shape();
    const bool gain = name.ends_with("weight") && shape.rank() == 1;
    tensor = random_tensor(shape, DType::f64, ++lane);
    for (double& v : tensor.mutable_data<double>()) v = 0.3 * v + (gain ? 1 : 0);
  }
  file.metadata["config"] = config_to_json(config);
  return file;
}

// The largest difference from the tensor of that name, relative to its largest number.
double difference(const Tensor& got, const TensorFile& expected, const std::string& name) {
  CAPTURE(name);
  const Tensor& wanted = expected.at(name);
  REQUIRE(got.numel() == wanted.numel());
  double most = 0, size = 0;
  for (int64_t i = 0; i < got.numel(); ++i) {
    most = std::max(most, std::abs(got.data<double>()[i] - wanted.data<double>()[i]));
    size = std::max(size, std::abs(wanted.data<double>()[i]));
  }
  CHECK(size > 1e-4);
  CHECK(most < 1e-11 * size);
  return most / size;
}

}  // namespace

TEST_CASE("swin: logits, loss and gradients equal those of PyTorch, with prompts of every kind") {
  const char* oracle = std::getenv("VITRINE_SWIN_ORACLE");
  if (oracle == nullptr) {
    MESSAGE("skipped: set VITRINE_SWIN_ORACLE to the path of tests/oracle/swin_oracle.py");
    return;
  }
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "vitrine-swin-oracle-test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = [&](const char* name) { return (folder / name).string(); };

  const auto ask = [&](const std::string& options) {
    const std::string command =
        text("'{}' --threads 1 --backbone '{}' --images '{}' --out '{}'{}", oracle,
             path("backbone.safetensors"), path("images.safetensors"), path("out.safetensors"), options);
    REQUIRE(std::system(command.c_str()) == 0);
    return load_safetensors(path("out.safetensors"));
  };

  struct Case {
    int64_t rows, columns, window;
    std::vector<int64_t> depths, heads;
  };
  const std::vector<Case> cases{{36, 52, 4, {2, 2}, {2, 4}},
                                {12, 40, 4, {2, 2}, {2, 4}},
                                {33, 47, 3, {2, 1, 3}, {2, 2, 4}},
                                {64, 48, 7, {1, 2, 2}, {1, 4, 8}}};
  const std::vector<int64_t> labels{1, 4, 0};
  double worst_logits = 0, worst_loss = 0, worst_gradient = 0;
  for (const Case& c : cases)
    for (const auto padding : {WindowGrid::Padding::before_roll, WindowGrid::Padding::after_roll})
      for (const PromptKind kind : {PromptKind::none, PromptKind::shallow, PromptKind::deep}) {
        const SwinConfig config{.width = 8,
                                .depths = c.depths,
                                .heads = c.heads,
                                .window = c.window,
                                .classes = 5,
                                .padding = padding,
                                .gelu = c.window == 7 ? Gelu::tanh : Gelu::erf};
        CAPTURE(config_to_json(config));
        CAPTURE(static_cast<int>(kind));
        const TensorFile backbone = random_swin(config);
        TensorFile inputs;
        inputs.tensors["images"] = random_tensor({3, 3, c.rows, c.columns}, DType::f64, 1000);
        inputs.tensors["labels"] = Tensor::of<int64_t>({3}, labels);

        save_safetensors(path("backbone.safetensors"), backbone);
        save_safetensors(path("images.safetensors"), inputs);
        const Swin swin(config, frozen(backbone, DType::f64));
        if (kind == PromptKind::none) {  // the backbone with the head of its own
          worst_logits =
              std::max(worst_logits, difference(swin.logits(inputs.at("images")).value(), ask(""), "logits"));
          continue;
        }
        Parameters parameters;
        const Scope scope = trainable(parameters, 5, DType::f64);
        const Prompts prompts({.kind = kind, .count = 3}, config.prompt_places(), scope);
        const Linear head(config.feature_width(), 5, scope / "head", Init::normal(0.5));
        const Variable logits = head(swin.features(inputs.at("images"), prompts, {}));
        const Variable loss = cross_entropy(logits, inputs.at("labels"));
        backward(loss);

        TensorFile task;
        for (const Parameter& p : parameters.all()) task.tensors[p.name] = p.value.value();
        save_safetensors(path("task.safetensors"), task);
        const TensorFile expected = ask(text(" --grad labels --task '{}'", path("task.safetensors")));
        CHECK(expected.tensors.size() == 2 + parameters.all().size());
        worst_logits = std::max(worst_logits, difference(logits.value(), expected, "logits"));
        worst_loss = std::max(worst_loss, difference(loss.value(), expected, "loss"));
        for (const Parameter& p : parameters.all())
          worst_gradient =
              std::max(worst_gradient, difference(p.value.gradient(), expected, "grad." + p.name));
      }
  std::filesystem::remove_all(folder);
  MESSAGE("largest relative differences: logits " << worst_logits << ", loss " << worst_loss << ", gradients "
                                                  << worst_gradient);
}
