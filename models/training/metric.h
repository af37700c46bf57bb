// metric.h: what a task calls its score.
#pragma once

#include <cstdint>
#include <vector>

#include "data/suite.h"
#include "engine/tensor.h"

namespace vitrine {

// logits (N, C) f32 and N labels -> a score in [0, 1]. Of equal logits the first is the greater one.
//   top1, top5  the share of images whose label is among the 1 or 5 greatest logits (5: all, if there are fewer)
//   mean-class  the mean over the classes that occur of top1 among their images
double score_of(Metric metric, const Tensor& logits, const std::vector<int64_t>& labels);

}  // namespace vitrine
