#include "models/training/tuner.h"

#include <cmath>

#include "engine/check.h"
#include "engine/json.h"
#include "engine/ops.h"

namespace vitrine {

Tuner::Tuner(const Backbone& backbone, const TunerConfig& config, const Memory& memory)
    : backbone_(with_identity(backbone)),
      config_(config),
      model_(backbone_, config.model, config.seed, DType::f32, memory),
      optimizer_(model_.parameters(), config.optimizer) {
  check(!backbone.on_device(), "tuner: expected a backbone on the CPU");
  check(config.model.prompts.start != PromptStart::class_tokens,
        "tuner: prompts that start from class tokens need the pictures of all classes beforehand");
}

Tuner::Tuner(const Backbone& backbone, const Task& start, const TunerConfig& config, const Memory& memory)
    : backbone_(with_identity(backbone)),
      config_(config),
      model_(backbone_, start, DType::f32, memory),
      optimizer_(model_.parameters(), config.optimizer) {
  check(!backbone.on_device(), "tuner: expected a backbone on the CPU");
}

double Tuner::step(const Tensor& images, const Tensor& labels, double learning_rate) {
  Pass pass{.training = true,
            .noise = {.seed = config_.seed, .epoch = static_cast<uint32_t>(steps()), .samples = {}},
            .recompute = config_.recompute};
  // What is left out of an image depends on its place in the batch.
  for (int64_t i = 0; i < labels.numel(); ++i) pass.noise.samples.push_back(i);
  model_.parameters().clear_gradients();
  const Variable loss = cross_entropy(model_.logits(images, pass), labels, {.smoothing = config_.smoothing});
  const double value = loss.value().item();
  if (!std::isfinite(value))
    fail(Fault::diverged, "tuner: the loss became {} in step {}; a smaller learning rate may help", value,
         steps() + 1);
  backward(loss);
  clip_gradients(model_.parameters(), config_.clip);  // which also looks whether they are finite
  model_.settle(labels.numel());
  optimizer_.step(learning_rate);
  model_.parameters().clear_gradients();
  return value;
}

Tensor Tuner::logits(const Tensor& images) const { return model_.logits(images, {.history = false}).value(); }

Task Tuner::task(const std::vector<std::string>& class_names, const Preprocess& preprocess) const {
  const int64_t classes = model_.config().classes;
  check(static_cast<int64_t>(class_names.size()) == classes, "tuner: expected {} names of classes, got {}",
        classes, class_names.size());
  const bool sgd = config_.optimizer.kind == OptimizerKind::sgd;
  const std::string settings = json_object({{"steps", std::to_string(steps())},
                                            {"optimizer", json_text(sgd ? "sgd" : "adamw")},
                                            {"weight_decay", json_number(config_.optimizer.weight_decay)},
                                            {"smoothing", json_number(config_.smoothing)},
                                            {"clip", json_number(config_.clip)},
                                            {"seed", std::to_string(config_.seed)}});
  return task_of(model_, backbone_, class_names, to_json(preprocess), settings);
}

}  // namespace vitrine
