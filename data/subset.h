// subset.h: which samples of a data set an experiment uses.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace vitrine {

// 0, 1, ..., size - 1.
std::vector<int64_t> all_samples(const Dataset& dataset);

// `limit` samples, as many from each class as from any other while it has them (counts differ by at most
// one), drawn by `data_seed`, in ascending order. All samples if there are no more than `limit`. A class
// without samples gives none. Throws if there are more classes with samples than `limit`.
std::vector<int64_t> class_balanced(const Dataset& dataset, int64_t limit, uint64_t data_seed);

// The same where some classes may be left without a sample: `count` may be smaller than their number, and a class may have
// none to begin with.
std::vector<int64_t> spread_over_classes(const Dataset& dataset, int64_t count, uint64_t data_seed);

struct TrainVal {
  std::vector<int64_t> train;
  std::vector<int64_t> val;
};

// Moves `val_count` of `indices` to a validation part in which the classes have the same shares
// (largest remainders), drawn by `data_seed`; both parts in ascending order. Every class that has samples
// keeps at least one for training; throws if that is impossible.
TrainVal split_validation(const std::vector<int64_t>& indices, const Dataset& dataset, int64_t val_count,
                          uint64_t data_seed);

}  // namespace vitrine
