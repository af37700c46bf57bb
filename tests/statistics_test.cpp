// statistics_test.cpp: the signed-rank test, means and deviations against their definitions.
#include "models/training/statistics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/random.h"

namespace vitrine::testing {

namespace {

// p by going through all signs.
std::pair<double, double> by_enumeration(const std::vector<double>& differences) {
  std::vector<double> d;
  std::ranges::copy_if(differences, std::back_inserter(d), [](double v) { return v != 0; });
  const size_t n = d.size();
  std::vector<double> ranks(n);
  for (size_t i = 0; i < n; ++i) {
    double below = 0, equal = 0;
    for (size_t k = 0; k < n; ++k) {
      below += std::fabs(d[k]) < std::fabs(d[i]);
      equal += std::fabs(d[k]) == std::fabs(d[i]);
    }
    ranks[i] = below + (equal + 1) / 2;
  }
  double seen = 0;
  for (size_t i = 0; i < n; ++i) seen += d[i] > 0 ? ranks[i] : 0;
  double above = 0, under = 0;
  for (size_t signs = 0; signs < size_t{1} << n; ++signs) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (signs >> i & 1) != 0 ? ranks[i] : 0;
    above += sum >= seen;
    under += sum <= seen;
  }
  const double all = std::ldexp(1.0, static_cast<int>(n));
  return {above / all, std::min(1.0, 2 * std::min(above, under) / all)};
}

}  // namespace

TEST_CASE("statistics: the signed-rank test is what going through all signs gives") {
  Random random(7, Purpose::init);
  for (int n = 1; n <= 12; ++n)
    for (int trial = 0; trial < 8; ++trial) {
      std::vector<double> d;
      for (int i = 0; i < n; ++i) {
        // Every other trial from few values: ties and zeros.
        const double v = random.uniform(-3, 5);
        d.push_back(trial % 2 == 0 ? v : std::round(v));
      }
      const SignedRank test = signed_rank(d);
      const auto [greater, two_sided] = by_enumeration(d);
      CHECK(test.exact);
      CHECK(test.greater == doctest::Approx(greater).epsilon(1e-12));
      CHECK(test.two_sided == doctest::Approx(two_sided).epsilon(1e-12));
    }
  CHECK(signed_rank({}).two_sided == 1);
  CHECK(signed_rank({0, 0}).n == 0);
  // All of n positive: one of 2^n choices of signs.
  CHECK(signed_rank({1, 2, 3, 4, 5}).greater == doctest::Approx(1.0 / 32));
  // Beyond 25 the normal distribution: close to the exact value just below.
  std::vector<double> many;
  for (int i = 1; i <= 25; ++i) many.push_back(i % 3 == 0 ? -i : i);
  const SignedRank exact = signed_rank(many);
  CHECK(exact.exact);
  many.push_back(1e-9);  // one more rank, the smallest
  const SignedRank normal = signed_rank(many);
  CHECK(!normal.exact);
  CHECK(normal.greater == doctest::Approx(exact.greater).epsilon(0.15));
  CHECK_THROWS_AS(signed_rank({1, std::nan("")}), Error);
}

TEST_CASE("statistics: means and deviations by their definitions") {
  CHECK(mean_of({1, 2, 6}) == 3);
  CHECK(deviation_of({1, 2, 6}) == doctest::Approx(std::sqrt((4 + 1 + 9) / 2.0)));
  CHECK(deviation_of({4}) == 0);
  CHECK_THROWS_AS(mean_of({}), Error);
}

}  // namespace vitrine::testing
