// pretrain_prompts.h: prompts in place while a backbone is pretrained.
//
// A small net that never met prompts is disturbed by any: in a window of 16 tokens ten fresh ones take 38% of
// the attention. Here it meets them. In every fourth step it learns its usual tasks with fresh random prompts
// beside the tokens, so that prompts nobody has trained yet do no harm. In two of four steps prompts are trained
// with it: each image gets those of one of many tasks, and the answer, read off by a head that all tasks
// share, is that task's: a random sorting of the classes into 16 groups. Only the prompts tell which is asked,
// so the net learns to be led by them. Prompts and head are thrown away.
#pragma once

#include <vector>

#include "models/transformer.h"

namespace vitrine {

class PretrainPrompts {
 public:
  enum class Kind { none, fresh, tasks };

  static constexpr int64_t most = 10;     // prompts for each block
  static constexpr int64_t answers = 16;  // groups that a task sorts the classes into

  PretrainPrompts() = default;  // none: every step is as if there were no prompts
  // Asks `scope` for "pretrain_prompts<suffix>" (tasks, L most D) of each group of blocks and "pretrain_answers".
  PretrainPrompts(int64_t tasks, const TransformerConfig& config, uint64_t seed, const Scope& scope);

  // What step `step` does: none, fresh, tasks, tasks, and again.
  Kind kind_of(int64_t step) const;
  // Fresh prompts of this step, the same for all images; 1, 2, 5 or 10 of them.
  Prompts fresh(int64_t step) const;
  // Which task each of `images` images gets.
  std::vector<int64_t> draw_tasks(int64_t step, int64_t images) const;
  // The prompts of these tasks, one for each image; 1, 2, 5 or 10 of them, by the step.
  Prompts of_tasks(int64_t step, const std::vector<int64_t>& tasks) const;
  // labels (B) of the pictures -> what their tasks answer (B), each in 0 .. answers - 1.
  Tensor answers_of(const std::vector<int64_t>& tasks, const Tensor& labels) const;
  // features (B, D) -> logits (B, answers)
  Variable answer(const Variable& features) const { return head_(features); }

 private:
  int64_t count_of(int64_t step) const;
  int64_t tasks_ = 0;
  uint64_t seed_ = 0;
  PromptPlaces places_;
  std::vector<Variable> tables_;  // of each group
  Linear head_;
};

}  // namespace vitrine
