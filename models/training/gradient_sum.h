// gradient_sum.h: the gradient of a batch from those of its micro-batches.
#pragma once

#include <vector>

#include "models/training/processes.h"
#include "nn/scope.h"

namespace vitrine {

// The gradient of each micro-batch is computed by itself, from leaves without gradients, and then added to the sum of those
// before it, in the order of micro-batches: ((g1 + g2) + g3) + g4. One process does the same as several that compute
// some each, to the last bit. (Left at the leaves, backward would add what several uses of a leaf give to that sum one by
// one, and round differently.)
//
// Process r of n computes micro-batches r, r + n, r + 2n, ...; so there is never more than one gradient beside the sum,
// however many micro-batches there are.
class GradientSum {
 public:
  // Both outlive it. Clears the leaves. They are f32, and without processes wherever they like.
  GradientSum(Parameters& parameters, Processes& processes);
  // Takes the gradients that stand at the leaves, those of the next micro-batches, one of each process; a process that had
  // none has none there.
  void add();
  // Puts the sums at the leaves.
  void finish();

 private:
  Parameters& parameters_;
  Processes& processes_;
  std::vector<Tensor> sums_;  // undefined: of a leaf that had no part in any
};

}  // namespace vitrine
