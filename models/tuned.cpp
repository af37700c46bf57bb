#include "models/tuned.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {
constexpr std::array<const char*, 4> method_names{"vpt-deep", "vpt-shallow", "linear", "full"};
}

const char* name_of(Method method) { return method_names[static_cast<size_t>(method)]; }

PromptKind prompt_kind(Method method) {
  return method == Method::vpt_deep      ? PromptKind::deep
         : method == Method::vpt_shallow ? PromptKind::shallow
                                         : PromptKind::none;
}

Method method_of(const std::string& name) {
  for (size_t i = 0; i < method_names.size(); ++i)
    if (name == method_names[i]) return static_cast<Method>(i);
  const std::vector<std::string_view> known(method_names.begin(), method_names.end());
  const std::string guess = nearest(name, known);
  fail(Fault::input, "method: expected vpt-deep, vpt-shallow, linear or full, got ", quote(name),
       guess.empty() ? "" : "; did you mean " + guess + "?");
}

namespace {

Init head_init(const TunedConfig& config) {
  return config.paper_head ? Init::normal(std::sqrt(2.0 / static_cast<double>(config.classes)))
                           : Init::constant(0);
}

// A TensorFile that holds a task's own tensors under the names that a fresh model would ask for.
TensorFile trained_tensors(const Task& task, const std::string& prefix) {
  TensorFile file;
  file.name = "task file";
  for (const auto& [name, tensor] : task.tensors)
    if (name.starts_with(prefix)) file.tensors[name.substr(prefix.size())] = tensor;
  return file;
}

Memory home_of(const Backbone& backbone, const Memory& memory) {
  return backbone.on_device() ? backbone.home : memory;
}

}  // namespace

// `fresh_scope` answers for prompts and head, `backbone_scope` for everything else.
void TunedModel::build(const Backbone& backbone, const Scope& fresh_scope, const Scope& backbone_scope) {
  check(config_.classes >= 2 && config_.classes <= 1 << 20, "tuned: expected at least 2 classes, got ",
        config_.classes);
  config_.prompts.kind = prompt_kind(config_.method);
  transformer_ =
      std::make_unique<Transformer>(with_classes(backbone.config, 0), backbone_scope, config_.drop_path);
  prompts_ = Prompts(config_.prompts, prompt_places(backbone.config), fresh_scope);
  head_ = Linear(feature_width(backbone.config), config_.classes, fresh_scope / "head", head_init(config_));
  const bool narrow = backbone.on_device() && backbone.precision == Precision::bf16;
  image_type_ = narrow && config_.method != Method::full ? DType::bf16 : head_.weight.dtype();
}

TunedModel::TunedModel(const Backbone& backbone, const TunedConfig& config, uint64_t seed, DType dtype,
                       const Memory& memory)
    : config_(config), home_(home_of(backbone, memory)) {
  const Scope inside = config.method == Method::full ? trainable(parameters_, backbone.file, dtype, home_)
                                                     : frozen_weights(backbone, dtype, home_);
  build(backbone, trainable(parameters_, seed, dtype, home_), inside);
}

void check_backbone(const Task& task, const Backbone& backbone) {
  const std::string identity = identity_of(backbone);
  check(identity == task.backbone_identity, "task file: it belongs to another backbone: its ", task.backbone,
        " has identity ", task.backbone_identity.substr(0, 16), "..., but ", backbone.source, " has ",
        identity.substr(0, 16), "...");
}

TunedModel::TunedModel(const Backbone& backbone, const Task& task, DType dtype, const Memory& memory, Use use)
    : config_(task.config), home_(home_of(backbone, memory)) {
  check_backbone(task, backbone);
  // The file holds prompts after projection; they go on without one.
  config_.prompts.projection = 0;
  std::set<std::string> asked;
  const auto own = [&](const std::string& prefix) {
    const TensorFile file = trained_tensors(task, prefix);
    const Scope scope =
        use == Use::training ? trainable(parameters_, file, dtype, home_) : frozen(file, dtype, home_);
    return Scope(
        [&asked, prefix, scope](const std::string& name, const Shape& shape, Role role, const Init& init) {
          asked.insert(prefix + name);
          return scope.get(name, shape, role, init);
        });
  };
  build(backbone, own(""),
        config_.method == Method::full ? own("delta.") : frozen_weights(backbone, dtype, home_));
  for (const auto& [name, tensor] : task.tensors) {
    check(asked.contains(name), "task file: tensor ", quote(name), " belongs to no ", name_of(config_.method),
          " task of ", backbone.source);
  }
}

Variable TunedModel::features(const Variable& images, const Pass& pass) const {
  const bool elsewhere = home_.device() != images.value().device();
  return transformer_->features(elsewhere ? Variable(images.value().copied_to(home_)) : images, prompts_,
                                pass);
}

int64_t TunedModel::backbone_count() const { return parameter_count(transformer_->config()); }

std::map<std::string, Tensor> TunedModel::task_tensors() const {
  std::map<std::string, Tensor> out = prompts_.product();
  out["head.weight"] = head_.weight.value();
  out["head.bias"] = head_.bias.value();
  for (const Parameter& p : parameters_.all()) {
    const bool own = p.name.starts_with("head.") || p.name.starts_with("prompt");
    if (!own) out["delta." + p.name] = p.value.value();
  }
  for (auto& [name, tensor] : out) tensor = tensor.to(DType::f32).copied_to({});
  return out;
}

}  // namespace vitrine
