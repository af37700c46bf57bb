// ensemble.h: several tasks of one backbone that tell the same classes apart, asked together (arXiv 2203.12119, prompt
// ensembling). A backbone is stored and computed once for what they have in common.
#pragma once

#include <memory>
#include <vector>

#include "models/tuned.h"

namespace vitrine {

class Ensemble {
 public:
  // Tasks whose backbone is this one, with the same class names, tuned by methods that leave the backbone alone: prompts,
  // linear, mlp. Throws otherwise, naming the task by its number.
  Ensemble(const Backbone& backbone, const std::vector<Task>& tasks, DType dtype = DType::f32,
           const Memory& memory = {});

  // images (B, 3, H, W) -> (B, C): the logarithm of the mean of the members' probabilities. It can stand where logits do.
  Variable logits(const Variable& images) const;
  // The logits of each member by itself: (E, B, C).
  Variable member_logits(const Variable& images) const;

  const TunedModel& member(size_t i) const { return *members_.at(i); }
  size_t size() const { return members_.size(); }

 private:
  std::vector<std::unique_ptr<TunedModel>> members_;
};

}  // namespace vitrine
