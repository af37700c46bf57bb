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

// So many images are taken of data that have no val of their own, for a task that says no limit.
inline constexpr int64_t usual_limit = 1000;

struct SweepData {
  std::shared_ptr<const Dataset> learned;  // train and val
  std::vector<int64_t> train, val;         // of `learned`, ascending
  std::shared_ptr<const Dataset> test;
  Preprocess preprocess;
  std::string digest;    // of samples, labels and marks; not of how they are prepared
  std::string contents;  // of what is in up to 64 pictures each of train, val and test, evenly spread
  int64_t offered = 0;   // images of train, and of a val of its own, from which these were taken
  Kept kept, test_kept;

  std::vector<int64_t> both() const;  // train and val, ascending
};

// Whether a task's data has a val of its own; false, too, if that cannot be told yet.
bool has_own_val(const SuiteTask& task);

// Opens a task. Its final runs learn from `train` and `val` together, which are train_limit images in all, if the task has
// a limit. A data set with a val of its own gives `val` of it (all of it; with a limit, a fifth of that), spread over the
// classes, and of its train, class-balanced, what the limit leaves (all of it without a limit). From others train_limit
// images (1,000 if the task has none; all, if there are fewer) are taken, class-balanced, and `val` of them, stratified
// (a fifth if the task does not say), are set apart. Up to `cache` bytes are kept of it (and all features of train and
// val): first of features, of `feature` bytes for each picture, then of prepared pictures, and if they leave enough, of the
// tokens that go into the first block, of `embedded` bytes (0: none): of train and val all or none, of test as many as fit.
// Throws, naming the task, if it lacks a test split or what it says of itself is not so.
SweepData open_task(const SuiteTask& task, const Preprocess& preprocess, uint64_t data_seed, size_t cache,
                    const OpenOptions& open = {}, size_t embedded = 0, size_t feature = 0);

// What a task looks like, for people; nothing is kept open.
struct TaskFacts {
  SuiteTask task;
  int64_t train = 0, val = 0, test = 0,
          classes = 0;           // images that search learns from, that it asks, that are tested
  int64_t offered = 0;           // images of train, and of val, that the data have
  std::string digest, contents;  // as in SweepData
  std::string lacking;           // words on classes without images to learn from; "": none
};
TaskFacts facts_of(const SuiteTask& task, const SweepData& data);

}  // namespace vitrine
