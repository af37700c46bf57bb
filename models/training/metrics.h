// metrics.h: measures of a classifier, counted batch by batch without keeping its answers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/suite.h"
#include "models/training/message.h"
#include "models/training/tune.h"

namespace vitrine {

class Metrics {
 public:
  // Throws unless there is at least one class.
  explicit Metrics(int64_t classes);

  // A batch: logits (B, classes), row-major, and B labels. Throws for other sizes and for labels that are no class.
  void add(std::span<const float> logits, std::span<const int64_t> labels);

  // What another process counted, for the same classes: written there, added here.
  void put(MessageWriter& message) const;
  void add(MessageReader& message);

  int64_t classes() const { return static_cast<int64_t>(classes_); }
  int64_t samples() const { return samples_; }

  // What follows is 0 as long as there are no samples. Of equal logits the one of the first class goes before. An
  // image whose logits are not all numbers is named wrong.

  // The share of images whose label has the greatest logit, or one of the five greatest (of at most five classes: all).
  double top1() const;
  double top5() const;
  // The mean of the shares of each class that has images: balanced accuracy.
  double mean_class() const;
  // Of two classes the area under the receiver operating characteristic of class 1: the probability that an image of
  // class 1 has a greater difference of logits than one of class 0, where equal ones count half (Mann and Whitney).
  // None for other numbers of classes, without images of both, or where a difference is no number. Kept for it: a
  // number for each image.
  std::optional<double> roc_auc() const;

 private:
  size_t classes_;
  int64_t samples_ = 0, among_five_ = 0;
  std::vector<int64_t> hits_, counts_;  // of each class
  std::vector<std::pair<double, bool>>
      scores_;  // of two classes: logit 1 less logit 0, whether the label is 1
};

// What a suite asks for.
double value_of(Metric metric, const Evaluation& evaluation);

}  // namespace vitrine
