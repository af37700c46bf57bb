// ensemble.h: several tasks of one backbone that tell the same classes apart, asked together (arXiv 2203.12119, prompt
// ensembling). A backbone is stored and computed once for what they have in common.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/tuned.h"

namespace vitrine {

class Ensemble {
 public:
  // Tasks whose backbone is this one, with the same class names, tuned by methods that leave the backbone alone: prompts,
  // linear, mlp. Throws otherwise, naming the task by its number, or by its name if `names` are given.
  Ensemble(const Backbone& backbone, const std::vector<Task>& tasks, DType dtype = DType::f32,
           const Memory& memory = {}, const std::vector<std::string>& names = {});

  // images (B, 3, H, W) -> (B, C): the logarithm of the mean of the members' probabilities. It can stand where logits do.
  Variable logits(const Variable& images) const { return together(member_logits(images)); }
  // The logits of each member by itself: (E, B, C).
  Variable member_logits(const Variable& images) const;
  // What they say together: (E, B, C) -> (B, C).
  static Variable together(const Variable& member_logits);

  // Which members go through the net as one (transformer.h), and which share of the multiply-adds of all members, each
  // asked alone, is made for them only once (of products in the backbone; prompts are not counted).
  std::vector<Transformer::Group> groups() const;
  double shared_work() const;

  const TunedModel& member(size_t i) const { return *members_.at(i); }
  size_t size() const { return members_.size(); }

 private:
  std::vector<std::unique_ptr<TunedModel>> members_;
};

}  // namespace vitrine
