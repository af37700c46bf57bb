// class_tokens.h: where prompts start that start from class tokens (prompt.h: PromptStart). In one pass over the training
// images, without augmentation and without prompts, the frozen net's class tokens are added up class by class.
//
// The paper (arXiv 2203.12119, ablation of initialisation) takes each class's mean embedding, for each layer its own. Read
// here: before the final norm, for prompts stand among tokens that no norm has seen, and each block norms them itself; and
// behind block i, for what enters the first block is the same for every image, so that all its prompts would be one.
#pragma once

#include <span>

#include "models/training/tune.h"

namespace vitrine {

// Sums of class tokens, for the prompts of one model.
class ClassTokens {
 public:
  // Of a ViT whose model has prompts beside its tokens, as many as classes.
  ClassTokens(const TunedModel& model, const Memory& memory);

  // Images (B, 3, H, W) where the model lives, and their classes. Each sum grows in the order of images, in f64: what
  // comes out does not depend on how they were cut into batches.
  void add(const Tensor& images, std::span<const int64_t> labels);
  // The mean of a class, (L, D) for L blocks with prompts of their own. It must have images.
  std::vector<float> mean(int64_t label) const;
  int64_t images(int64_t label) const { return images_.at(static_cast<size_t>(label)); }

 private:
  const TunedModel& model_;
  int64_t first_, last_;  // the blocks behind which tokens are taken: [first, last)
  Tensor sums_;           // (P, L, D) f64
  std::vector<int64_t> images_;
};

// Lets the prompts of a fresh model start there. Several processes share the classes, each adding up some of them alone,
// so that the bits do not depend on their number. Throws for too many damaged images and for a class that has no other.
void start_from_class_tokens(TunedModel& model, const TuneData& data, const TuneConfig& config,
                             Processes& processes, const Memory& memory);

}  // namespace vitrine
