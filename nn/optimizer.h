// optimizer.h: SGD with momentum and AdamW over a list of parameters; learning-rate schedules.
#pragma once

#include "nn/scope.h"

namespace vitrine {

enum class OptimizerKind {
  sgd,   // v = momentum v + (g + decay w);  w -= lr v
  adamw  // arXiv 1711.05101: w -= lr (m^ / (sqrt(v^) + epsilon) + decay w), with bias-corrected moments
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::adamw;
  double momentum = 0.9;              // SGD
  double beta1 = 0.9, beta2 = 0.999;  // AdamW
  double epsilon = 1e-8;              // AdamW
  double weight_decay = 0;  // of weights and prompts; biases, norms, tokens and positions are not decayed
};

// Steps the parameters of a list that outlives it, wherever they are. A parameter without a gradient is left alone.
class Optimizer {
 public:
  Optimizer(Parameters& parameters, const OptimizerConfig& config);

  // One step from the gradients that stand at the leaves.
  void step(double learning_rate) {
    prepare(learning_rate);
    apply();
  }
  // Its two halves, for steps of a device that are recorded (engine/recording.h): what differs from step to step, and the
  // work, which can be done again and again.
  void prepare(double learning_rate);
  void apply();
  int64_t steps() const { return steps_; }

  // The state as tensors "optimizer.<slot>.<parameter>" and the metadata "optimizer.steps";
  // loading checks every shape.
  void save(TensorFile& file) const;
  void load(const TensorFile& file);

 private:
  void apply_on(const Device& device);

  Parameters& parameters_;
  OptimizerConfig config_;
  int64_t steps_ = 0;
  double learning_rate_ = 0;            // of this step
  Tensor rates_;                        // on a device: the learning rate and what corrects the moments' bias
  std::vector<Tensor> first_, second_;  // momentum, or the two moments
};

// The Euclidean norm of all gradients together, added up in double in the order of the list. If `largest` > 0
// and the norm is greater, all gradients are scaled down to it. Returns the norm before. A norm that
// is NaN or infinite is Error{Fault::diverged}: no factor could mend such gradients.
double clip_gradients(Parameters& parameters, double largest);
// Throws that error for such a norm.
void check_norm(double norm);
// The same on a device without looking at the norm, which it returns squared, (): nothing is thrown, and gradients
// that are not finite stay as they are. For steps that are recorded.
Tensor clip_gradients_on(const Device& device, Parameters& parameters, double largest);

enum class Schedule { cosine, constant };

// The learning rate of the step after `step` steps of `total`: linear warm-up lr (s + 1) / W over the first W
// steps, then lr (1 + cos(pi (s - W) / (T - W))) / 2, or constant.
double learning_rate_at(Schedule schedule, double learning_rate, int64_t step, int64_t warmup, int64_t total);

}  // namespace vitrine
