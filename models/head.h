// head.h: the head of a task: features to logits, through one linear layer or several.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "nn/layers.h"

namespace vitrine {

// What a layer of batch normalisation remembers, in its present state.
struct Statistic {
  std::string name;
  Tensor value, seen;  // `seen`: in the last training pass; zeros before one
};

class Head {
 public:
  Head() = default;
  // `layers` linear layers. Before the last one: linear (D, D), relu, batch normalisation, dropout of 0.1 (the paper's MLP-k);
  // those start kaiming normal with fan-out, the last one as `last_init` says. Asks for "weight" and "bias", and for
  // "hidden.<i>.weight", "hidden.<i>.bias", "hidden_norm.<i>.weight", ... of the others.
  Head(int64_t width, int64_t classes, int64_t layers, const Scope& scope, const Init& last_init);

  // features (B, D) -> logits (B, classes), in the head's type.
  Variable operator()(const Variable& features, const Pass& pass = {}) const;
  DType dtype() const { return last_.weight.dtype(); }

  // Ends a training pass on so many images: statistics move towards what was seen (BatchNorm::settle).
  void settle(int64_t images);
  std::vector<Statistic> statistics() const;

 private:
  struct Hidden {
    Linear linear;
    BatchNorm norm;
  };
  std::vector<Hidden> hidden_;
  Linear last_;
};

// What the logits of one image say of its classes, in f64.
class Softmax {
 public:
  // Throws if a logit is no number, or all of them are infinite.
  explicit Softmax(std::span<const float> logits);
  double operator()(float logit) const { return std::exp(static_cast<double>(logit) - most_) / sum_; }

 private:
  double most_ = 0, sum_ = 0;
};

}  // namespace vitrine
