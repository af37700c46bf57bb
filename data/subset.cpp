// subset.cpp: per class, a seeded shuffle and the first few of it.
#include "data/subset.h"

#include <algorithm>
#include <numeric>

#include "engine/check.h"
#include "engine/random.h"
#include "engine/text.h"

namespace vitrine {
namespace {

// The random streams of the two drawings and of their ties.
enum Lane : uint32_t { limit_samples, limit_ties, val_samples, val_ties, spread_samples, spread_ties };

// The samples of each class, in a random order of their own.
std::vector<std::vector<int64_t>> by_class(const std::vector<int64_t>& indices, const Dataset& dataset,
                                           uint64_t data_seed, Lane lane) {
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(dataset.classes()));
  for (const int64_t i : indices) members[static_cast<size_t>(dataset.label(i))].push_back(i);
  for (size_t c = 0; c < members.size(); ++c) {
    std::sort(members[c].begin(), members[c].end());
    Random(data_seed, Purpose::subset, 0, static_cast<uint32_t>(c), lane).shuffle(members[c]);
  }
  return members;
}

int64_t count_present(const std::vector<std::vector<int64_t>>& members) {
  return std::count_if(members.begin(), members.end(), [](const auto& of) { return !of.empty(); });
}

std::vector<int64_t> shuffled_classes(const Dataset& dataset, uint64_t data_seed, Lane lane) {
  std::vector<int64_t> order(static_cast<size_t>(dataset.classes()));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random(data_seed, Purpose::subset, 0, 0, lane).shuffle(order);
  return order;
}

// Each round gives one sample of every class that has more, in an order that only matters in the last round. There are
// at least `limit` samples.
std::vector<int64_t> in_rounds(const std::vector<std::vector<int64_t>>& members,
                               const std::vector<int64_t>& order, int64_t limit) {
  std::vector<int64_t> chosen;
  for (size_t round = 0; static_cast<int64_t>(chosen.size()) < limit; ++round)
    for (const int64_t c : order) {
      const auto& samples = members[static_cast<size_t>(c)];
      if (round < samples.size() && static_cast<int64_t>(chosen.size()) < limit)
        chosen.push_back(samples[round]);
    }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace

std::vector<int64_t> all_samples(const Dataset& dataset) {
  std::vector<int64_t> all(static_cast<size_t>(dataset.size()));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

std::vector<int64_t> class_balanced(const Dataset& dataset, int64_t limit, uint64_t data_seed) {
  const auto members = by_class(all_samples(dataset), dataset, data_seed, limit_samples);
  check(limit >= count_present(members),
        "subset: expected a limit of at least one sample for each of the {} classes, got {}",
        count_present(members), limit);
  if (limit >= dataset.size()) return all_samples(dataset);
  return in_rounds(members, shuffled_classes(dataset, data_seed, limit_ties), limit);
}

std::vector<int64_t> spread_over_classes(const Dataset& dataset, int64_t count, uint64_t data_seed) {
  check(count >= 0, "subset: cannot take {} samples", count);
  if (count >= dataset.size()) return all_samples(dataset);
  return in_rounds(by_class(all_samples(dataset), dataset, data_seed, spread_samples),
                   shuffled_classes(dataset, data_seed, spread_ties), count);
}

TrainVal split_validation(const std::vector<int64_t>& indices, const Dataset& dataset, int64_t val_count,
                          uint64_t data_seed) {
  const auto members = by_class(indices, dataset, data_seed, val_samples);
  const auto total = static_cast<int64_t>(indices.size());
  check(val_count >= 0 && val_count <= total - count_present(members),
        "subset: cannot take {} validation samples from {} and leave one of each of the {} classes for "
        "training",
        val_count, total, count_present(members));

  // Shares by largest remainders: the whole part first, then one more by falling remainder,
  // ties in a random order.
  std::vector<int64_t> order = shuffled_classes(dataset, data_seed, val_ties);
  std::vector<int64_t> take(members.size()), remainder(members.size());
  int64_t taken = 0;
  for (size_t c = 0; c < members.size(); ++c) {
    const auto count = static_cast<int64_t>(members[c].size());
    if (count == 0) continue;
    const int64_t share = checked_multiply(val_count, count, "subset");
    take[c] = std::min(share / total, count - 1);
    remainder[c] = share % total;
    taken += take[c];
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return remainder[static_cast<size_t>(a)] > remainder[static_cast<size_t>(b)];
  });
  while (taken < val_count)
    for (const int64_t c : order) {
      const auto class_ = static_cast<size_t>(c);
      if (taken == val_count || take[class_] + 1 >= static_cast<int64_t>(members[class_].size())) continue;
      ++take[class_];
      ++taken;
    }

  TrainVal parts;
  for (size_t c = 0; c < members.size(); ++c) {
    const auto middle = members[c].begin() + take[c];
    parts.val.insert(parts.val.end(), members[c].begin(), middle);
    parts.train.insert(parts.train.end(), middle, members[c].end());
  }
  std::sort(parts.train.begin(), parts.train.end());
  std::sort(parts.val.begin(), parts.val.end());
  return parts;
}

}  // namespace vitrine
