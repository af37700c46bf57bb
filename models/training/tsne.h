// tsne.h: t-distributed stochastic neighbour embedding (van der Maaten and Hinton, JMLR 9, 2008): points of many
// dimensions laid out in the plane so that neighbours stay neighbours. Exact: all pairs count, O(N^2) a step.
#pragma once

#include <functional>

#include "engine/tensor.h"

namespace vitrine {

struct TsneOptions {
  // About how many neighbours each point has; less if there are few points: at most (N - 1) / 3.
  double perplexity = 30;
  int64_t steps = 1000;
  // The affinities of the first steps are multiplied, so that clusters move as wholes.
  double exaggeration = 12;
  int64_t exaggerated_steps = 250;
  double learning_rate = 0;                    // 0: max(N / exaggeration / 4, 50)
  double momentum = 0.5, late_momentum = 0.8;  // before and after the exaggeration
};

// points (N, D) f64 -> (N, N): row i holds p(j | i), proportional to exp(-beta_i |x_i - x_j|^2), 0 at i itself, where beta_i
// is sought by bisection so that the row's perplexity, 2 to the entropy in bits, is the one asked for. (Where more points
// than that are at the same least distance it cannot be so small.) Throws unless N >= 2 and 1 <= perplexity <= N - 1.
Tensor conditional_affinities(const Tensor& points, double perplexity);
// (p(j | i) + p(i | j)) / 2 N: symmetric, of sum 1.
Tensor joint_affinities(const Tensor& conditional);

// Of a layout y (N, 2) under joint affinities p: the Kullback-Leibler divergence sum p log(p / q), and its gradient
//   4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2),  q_ij proportional to 1 / (1 + |y_i - y_j|^2).
double tsne_divergence(const Tensor& p, const Tensor& y);
Tensor tsne_gradient(const Tensor& p, const Tensor& y);

// points (N, D) f64 -> (N, 2). Starts from the first two principal components, made small, so no random number has a
// part in it; gradient descent with momentum and a gain of its own for each coordinate, as the paper's program has it.
// The same for any number of threads. `progress` is told after each step. N = 1000 takes seconds. N must be at least 2.
Tensor tsne(const Tensor& points, const TsneOptions& options = {},
            const std::function<void(int64_t done, int64_t all)>& progress = {});

}  // namespace vitrine
