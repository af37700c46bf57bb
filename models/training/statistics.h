// statistics.h: whether one method is better than another over many tasks.
#pragma once

#include <cstddef>
#include <vector>

namespace vitrine {

// The mean, and the standard deviation with n - 1 (0 of one value). `values` is not empty.
double mean_of(std::vector<double> values);
double deviation_of(std::vector<double> values);

// Wilcoxon's signed-rank test (1945) of paired differences.
struct SignedRank {
  int n = 0;            // differences that are not 0; the others are left out
  double positive = 0;  // sum of the ranks of positive differences; equal sizes share their mean rank
  double two_sided = 1,
         greater = 1;  // p: that ranks lie so far to either side, or so far to the positive one, by chance
  bool exact =
      true;  // counted over all 2^n signs; with more than 25 differences the normal distribution stands in
};
SignedRank signed_rank(const std::vector<double>& differences);

}  // namespace vitrine
