// hits.h: how many images a model names right.
#pragma once

#include <algorithm>
#include <span>

#include "engine/tensor.h"

namespace vitrine {

// logits (B, C) f32, wherever they are, one label for each row: the rows whose greatest logit (the first of
// equals) is the label's.
inline int64_t count_hits(const Tensor& logits, std::span<const int64_t> labels) {
  const auto classes = static_cast<size_t>(logits.dim(1));
  const Tensor here = in_main_memory(logits);
  int64_t hits = 0;
  for (size_t b = 0; b < labels.size(); ++b) {
    const auto row = here.data<float>().subspan(b * classes, classes);
    hits += std::ranges::max_element(row) - row.begin() == labels[b];
  }
  return hits;
}

}  // namespace vitrine
