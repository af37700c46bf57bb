#include "models/tuned.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/check.h"
#include "engine/parts.h"
#include "engine/text.h"

namespace vitrine {

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

// The configuration with what method and backbone settle.
TunedConfig completed(TunedConfig config, const TransformerConfig& backbone) {
  config.prompts.kind = prompt_kind(config.method);
  config.prompts.gated = config.method == Method::vpt_gated;
  config.prompts.count = settled(config.prompts, prompt_places(backbone)).count;
  return config;
}

// What a model on this backbone computes images in.
DType image_type_of(const Backbone& backbone, const TunedConfig& config, DType dtype) {
  if (!backbone.on_device() || backbone.precision != Precision::bf16) return dtype;
  check(!trains_inside(config.method) || config.method == Method::full,
        "method {}: what is trained inside the backbone computes in f32, but on this device it is in bf16; "
        "--precision f32",
        name_of(config.method));
  return config.method == Method::full ? dtype : DType::bf16;
}

}  // namespace

TunedParts::TunedParts(const TunedConfig& config, const TransformerConfig& backbone, const Scope& inside,
                       const Scope& own) {
  check(config.classes >= 2 && config.classes <= 1 << 20, "tuned: expected at least 2 classes, got {}",
        config.classes);
  check_method(config, backbone);
  const int64_t width = feature_width(backbone);
  transformer = std::make_unique<Transformer>(with_classes(backbone, 0), inside, config.drop_path);
  prompts = Prompts(config.prompts, prompt_places(backbone), own);
  head = Head(width, config.classes, config.method == Method::mlp ? config.size : 1, own / "head",
              head_init(config));
  if (!parts::methods || config.method != Method::sidetune) return;
  const VitConfig beside = side_config(backbone);
  side = std::make_unique<Vit>(beside, own / "side");
  side_projection =
      Linear(beside.width, width, own / "side" / "projection", Init::truncated(0.02), Bias::none);
  side_share = (own / "side").get("share", {1}, Role::bias, Init::constant(0));
}

TunedModel::TunedModel(const Backbone& backbone, const TunedConfig& config, uint64_t seed, DType dtype,
                       const Memory& memory)
    : config_(completed(config, backbone.config)),
      home_(home_of(backbone, memory)),
      image_type_(image_type_of(backbone, config_, dtype)) {
  const Scope fresh = trainable(parameters_, seed, dtype, home_);
  const WeightSources sources{.frozen = frozen_weights(backbone, dtype, home_),
                              .tuned = trainable(parameters_, backbone.file, dtype, home_),
                              .fresh = fresh};
  parts_ = TunedParts(config_, backbone.config, backbone_scope(config_, backbone.config, sources), fresh);
}

void check_backbone(const Task& task, const Backbone& backbone) {
  const std::string identity = identity_of(backbone);
  check(identity == task.backbone_identity,
        "task file: it belongs to another backbone, {} with identity {}...; that of {} is {}...",
        quote(task.backbone), task.backbone_identity.substr(0, 16), quote(backbone.source),
        identity.substr(0, 16));
}

TunedModel::TunedModel(const Backbone& backbone, const Task& task, DType dtype, const Memory& memory, Use use)
    : config_(completed(task.config, backbone.config)),
      home_(home_of(backbone, memory)),
      image_type_(image_type_of(backbone, config_, dtype)) {
  check_backbone(task, backbone);
  // The file holds prompts after projection; they go on without one.
  config_.prompts.projection = 0;
  std::set<std::string> asked;
  const auto stored = [&](const std::string& prefix) {
    const TensorFile file = trained_tensors(task, prefix);
    const Scope scope =
        use == Use::training ? trainable(parameters_, file, dtype, home_) : frozen(file, dtype, home_);
    return Scope([&asked, prefix, scope](const Wanted& wanted) {
      asked.insert(prefix + wanted.name);
      return scope.get(wanted);
    });
  };
  const Scope delta = stored("delta.");
  const WeightSources sources{
      .frozen = frozen_weights(backbone, dtype, home_), .tuned = delta, .fresh = delta};
  parts_ =
      TunedParts(config_, backbone.config, backbone_scope(config_, backbone.config, sources), stored(""));
  for (const auto& [name, tensor] : task.tensors) {
    check(asked.contains(name), "task file: tensor {} belongs to no {} task of {}", quote(name),
          method_text(config_), backbone.source);
  }
}

Variable TunedModel::features(const Variable& images, const Pass& pass) const {
  const bool elsewhere = home_.device() != images.value().device();
  const Variable here = elsewhere ? Variable(images.value().copied_to(home_)) : images;
  Variable features = parts_.transformer->features(here, parts_.prompts, pass);
  if (!parts::methods || parts_.side == nullptr) return features;
  // a features + (1 - a) side
  const Variable wide = convert(features, parts_.head.dtype()),
                 beside = parts_.side_projection(
                     parts_.side->features(convert(here, parts_.head.dtype()), {}, pass));
  return add(beside, mul(add(wide, scale(beside, -1)), sigmoid(parts_.side_share)));
}

Variable TunedModel::features(const Embedded& embedded, const Pass& pass) const {
  check(parts_.side == nullptr, "tuned: a net beside the backbone sees the images, not what became of them");
  return parts_.transformer->features(embedded, parts_.prompts, pass);
}

int64_t TunedModel::backbone_count() const { return parameter_count(parts_.transformer->config()); }

std::map<std::string, Tensor> TunedModel::task_tensors() const {
  std::map<std::string, Tensor> out = parts_.prompts.product();
  for (const Parameter& p : parameters_.all()) {
    if (p.name.starts_with("prompt")) continue;  // the file holds their product
    const bool own = p.name.starts_with("head.") || p.name.starts_with("side.");
    out[own ? p.name : "delta." + p.name] = p.value.value();
  }
  for (const Statistic& statistic : statistics()) out[statistic.name] = statistic.value.clone();
  for (auto& [name, tensor] : out) tensor = tensor.to(DType::f32).copied_to({});
  return out;
}

ParameterCounts count_parameters(const TunedConfig& given, const TransformerConfig& backbone) {
  const TunedConfig config = completed(given, backbone);
  ParameterCounts counts;
  // Counts what is asked for and gives nothing.
  const auto counting = [](int64_t& count) {
    return Scope([&count](const Wanted& wanted) {
      if (wanted.role != Role::statistic) count += wanted.shape.numel();
      return Variable();
    });
  };
  int64_t left = 0;
  const WeightSources sources{
      .frozen = counting(left), .tuned = counting(counts.inside), .fresh = counting(counts.added)};
  const Scope prompts = counting(counts.prompts), head = counting(counts.head);
  const Scope own([&](const Wanted& wanted) {
    if (wanted.name.starts_with("side.")) return sources.fresh.get(wanted);
    return (wanted.name.starts_with("head.") ? head : prompts).get(wanted);
  });
  const TunedParts unused(config, backbone, backbone_scope(config, backbone, sources), own);
  counts.backbone = left + counts.inside;
  return counts;
}

Task task_of(const TunedModel& model, const Backbone& backbone, const std::vector<std::string>& class_names,
             const std::string& preprocess, const std::string& settings) {
  TunedConfig config = model.config();
  config.prompts.projection = 0;  // the file holds the product
  const auto resampled = backbone.file.metadata.find("resampled");
  return {config,
          class_names,
          backbone.source,
          identity_of(backbone),
          untold_heads(backbone.config),
          config_to_json(backbone.config),
          resampled == backbone.file.metadata.end() ? "" : resampled->second,
          preprocess,
          settings,
          model.task_tensors()};
}

}  // namespace vitrine
