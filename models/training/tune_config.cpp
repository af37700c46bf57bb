// tune_config.cpp: the settings of a run: checks, and the JSON form that a task file and a checkpoint keep.
#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "models/training/tune.h"

namespace vitrine {

std::string to_json(const TuneConfig& c) {
  const bool sgd = c.optimizer.kind == OptimizerKind::sgd;
  nlohmann::json j{{"method", method_text(c.model)},
                   {"prompts", c.model.prompts.count},
                   {"prompt_dropout", c.model.prompts.dropout},
                   {"prompt_projection", c.model.prompts.projection},
                   {"classes", c.model.classes},
                   {"drop_path", c.model.drop_path},
                   {"head_init", c.model.paper_head ? "paper" : "zero"},
                   {"epochs", c.epochs},
                   {"batch", c.batch},
                   {"accumulate", c.accumulate},
                   {"optimizer", sgd ? "sgd" : "adamw"},
                   {"learning_rate", c.learning_rate},
                   {"weight_decay", c.optimizer.weight_decay},
                   {"schedule", c.schedule == Schedule::cosine ? "cosine" : "constant"},
                   {"warmup_epochs", c.warmup_epochs},
                   {"clip", c.clip},
                   {"smoothing", c.smoothing},
                   {"balance_classes", c.balance_classes},
                   {"seed", c.seed},
                   {"sequential", c.sequential},
                   {"flip", c.augment.flip},
                   {"random_crop", c.augment.crop},
                   {"crop_scale_min", c.augment.crop_scale_min},
                   {"max_bad", c.max_bad},
                   {"precision", name_of(c.precision)},
                   {"keep_best", c.keep_best}};
  if (sgd) j["momentum"] = c.optimizer.momentum;
  if (const std::string variant = variant_to_json(c.model.prompts); !variant.empty())
    j["prompt_variant"] = nlohmann::json::parse(variant);
  if (!c.device.empty()) j["device"] = c.device;
  if (c.tf32) j["tf32"] = true;
  if (c.augment.shift) j["random_shift"] = true;
  return j.dump();
}

int64_t images_at_once(const TuneConfig& config, int64_t samples) {
  const int64_t batch = std::min(config.batch, samples),
                parts = std::clamp<int64_t>(batch, 1, config.accumulate);
  return (batch + parts - 1) / parts;
}

bool keeps_features(const TuneConfig& c) {
  return keeps_features(c.model.method) && c.model.drop_path == 0 && !c.augment.changes_anything();
}

bool keeps_embedding(const TuneConfig& c, const Backbone& backbone) {
  return !backbone.on_device() && !c.augment.changes_anything() && keeps_embedding(c.model, backbone.config);
}

void check_config(const TuneConfig& c) {
  check(c.epochs >= 0 && c.epochs <= 1'000'000, "tune: epochs {} make no sense", c.epochs);
  check(c.batch > 0 && c.batch <= 1 << 20, "tune: batch {} makes no sense", c.batch);
  check(c.accumulate > 0 && c.accumulate <= c.batch, "tune: cannot split a batch of {} into {} micro-batches",
        c.batch, c.accumulate);
  check(c.learning_rate > 0 && c.learning_rate < 1e6, "tune: learning rate {} makes no sense",
        c.learning_rate);
  check(c.optimizer.weight_decay >= 0 && c.optimizer.weight_decay < 1e6,
        "tune: weight decay {} makes no sense", c.optimizer.weight_decay);
  check(c.warmup_epochs >= 0 && (c.epochs == 0 || c.warmup_epochs <= static_cast<double>(c.epochs)),
        "tune: a warm-up of {} epochs does not fit into {}", c.warmup_epochs, c.epochs);
  check(c.clip >= 0 && c.clip < 1e30, "tune: clip {} makes no sense", c.clip);
  check(c.smoothing >= 0 && c.smoothing < 1, "tune: label smoothing {} is not in [0, 1)", c.smoothing);
  check(c.workers >= 0 && c.workers <= 1024 && c.max_bad >= 0, "tune: workers {}, max bad {} make no sense",
        c.workers, c.max_bad);
  check(c.recompute >= 0, "tune: cannot recompute {} blocks", c.recompute);
}

}  // namespace vitrine
