// sweep_data.h: the pictures of a task, for all of its runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/suite.h"
#include "models/training/recipes.h"

namespace vitrine {

// How a task's pictures are prepared under a recipe: as the backbone's are, but for what the task and the recipe say.
Preprocess preprocess_for(const SuiteTask& task, const Recipe& recipe, const Preprocess& of_backbone);

struct SweepData {
  std::shared_ptr<const Dataset> learned;  // train and val
  std::vector<int64_t> train, val;         // of `learned`, ascending
  std::shared_ptr<const Dataset> test;
  Preprocess preprocess;
  std::string digest;  // of samples, labels and marks; not of how they are prepared
  Kept kept, test_kept;

  std::vector<int64_t> both() const;  // train and val, ascending
};

// Opens a task. A data set with a val of its own gives it; of train then train_limit images are taken, class-balanced,
// if the task has a limit. From others train_limit images (1,000 if the task has none; all, if there are fewer) are
// taken, and `val` of them, stratified (a fifth if the task does not say), are set apart. Up to `cache` bytes of
// prepared pictures are kept, and if they leave enough, the tokens that go into the first block, of `embedded` bytes for
// each picture (0: none): of train and val all or none, of test as many as fit. Throws, naming the task, if it lacks a test split or what it says of itself is not so.
SweepData open_task(const SuiteTask& task, const Preprocess& preprocess, uint64_t data_seed, size_t cache,
                    const OpenOptions& open = {}, size_t embedded = 0);

}  // namespace vitrine
