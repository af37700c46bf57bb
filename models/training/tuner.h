// tuner.h: tuning a step at a time, for a host that keeps its own loop, data and clock. tune.h is the whole of it: data sets,
// epochs, checkpoints, several processes.
#pragma once

#include <string>
#include <vector>

#include "data/preprocess.h"
#include "models/tuned.h"
#include "nn/optimizer.h"

namespace vitrine {

struct TunerConfig {
  TunedConfig model{};
  OptimizerConfig optimizer{};
  double smoothing = 0;   // of labels
  double clip = 0;        // largest norm of all gradients together; 0: none
  int64_t recompute = 0;  // see Pass
  uint64_t seed = 0;      // of fresh weights, and of what is left out at random
};

class Tuner {
 public:
  // On the CPU. From fresh prompts and head; prompts that start from class tokens (prompts.h) need a data set and are
  // refused. Throws as TunedModel does.
  Tuner(const Backbone& backbone, const TunerConfig& config, const Memory& memory = {});
  // From a task, whose method and classes go before those of `config`.
  Tuner(const Backbone& backbone, const Task& start, const TunerConfig& config, const Memory& memory = {});

  // One optimizer step on images (B, 3, S, S) and labels (B) i64; returns the mean loss before it. Throws
  // Fault::diverged if that or a gradient is not finite; then nothing that is learned has changed.
  double step(const Tensor& images, const Tensor& labels, double learning_rate);
  // images (B, 3, S, S) -> (B, C), as a task predicts: nothing is left out.
  Tensor logits(const Tensor& images) const;

  // The task as it is now, of pictures that were prepared so.
  Task task(const std::vector<std::string>& class_names, const Preprocess& preprocess) const;

  int64_t steps() const { return optimizer_.steps(); }
  const TunedModel& model() const { return model_; }

 private:
  const Backbone backbone_;
  TunerConfig config_;
  TunedModel model_;
  Optimizer optimizer_;
};

}  // namespace vitrine
