#include "models/training/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>

#include "engine/check.h"

namespace vitrine {

namespace {

constexpr int most_exact = 25;

// Twice the rank of each size, from 1; equal ones share their mean, which is a half at most.
std::vector<int64_t> doubled_ranks(const std::vector<double>& sizes) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return sizes[i]; });
  std::vector<int64_t> ranks(sizes.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && sizes[order[end]] == sizes[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<int64_t>(begin + 1 + end);
    begin = end;
  }
  return ranks;
}

// The share of the 2^n choices of signs whose positive ranks sum to at least (at most) `sum`.
std::pair<double, double> tails(const std::vector<int64_t>& ranks, int64_t sum) {
  const int64_t most = std::accumulate(ranks.begin(), ranks.end(), int64_t{0});
  std::vector<double> ways(static_cast<size_t>(most) + 1);  // below 2^25: exact
  ways[0] = 1;
  for (const int64_t rank : ranks)
    for (int64_t s = most; s >= rank; --s)
      ways[static_cast<size_t>(s)] += ways[static_cast<size_t>(s - rank)];
  const double all = std::ldexp(1.0, static_cast<int>(ranks.size()));
  double above = 0, below = 0;
  for (int64_t s = 0; s <= most; ++s) {
    if (s >= sum) above += ways[static_cast<size_t>(s)];
    if (s <= sum) below += ways[static_cast<size_t>(s)];
  }
  return {above / all, below / all};
}

}  // namespace

// Sums from the smallest on, so that the order of the values changes no bit.
double mean_of(std::vector<double> values) {
  check(!values.empty(), "statistics: no values");
  std::ranges::sort(values);
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double deviation_of(std::vector<double> values) {
  const double mean = mean_of(values);
  if (values.size() == 1) return 0;
  for (double& v : values) v = (v - mean) * (v - mean);
  std::ranges::sort(values);
  return std::sqrt(std::accumulate(values.begin(), values.end(), 0.0) /
                   static_cast<double>(values.size() - 1));
}

SignedRank signed_rank(const std::vector<double>& differences) {
  std::vector<double> sizes, signs;
  for (const double d : differences) {
    check(std::isfinite(d), "signed rank: a difference is not finite");
    if (d == 0) continue;
    sizes.push_back(std::fabs(d));
    signs.push_back(d);
  }
  SignedRank out;
  out.n = static_cast<int>(sizes.size());
  if (out.n == 0) return out;
  const std::vector<int64_t> ranks = doubled_ranks(sizes);
  int64_t positive = 0;
  for (size_t i = 0; i < ranks.size(); ++i) positive += signs[i] > 0 ? ranks[i] : 0;
  out.positive = static_cast<double>(positive) / 2;
  out.exact = out.n <= most_exact;
  double below = 0;
  if (out.exact) {
    std::tie(out.greater, below) = tails(ranks, positive);
  } else {
    // A sum of independent terms rank or 0: mean sum / 2 and variance (sum of squares) / 4, shared ranks included.
    double squares = 0, sum = 0;
    for (const int64_t rank : ranks) {
      const double r = static_cast<double>(rank) / 2;
      squares += r * r;
      sum += r;
    }
    const double z = (out.positive - sum / 2) / std::sqrt(squares / 4);
    out.greater = std::erfc(z / std::sqrt(2.0)) / 2;
    below = std::erfc(-z / std::sqrt(2.0)) / 2;
  }
  out.two_sided = std::min(1.0, 2 * std::min(out.greater, below));
  return out;
}

}  // namespace vitrine
