#include "models/training/sweep_data.h"

#include <algorithm>

#include "data/joined.h"
#include "data/subset.h"
#include "engine/check.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/training/tune_parts.h"

namespace vitrine {

namespace {

constexpr int64_t val_share = 5;

void open_learned(SweepData& out, const SuiteTask& task, uint64_t data_seed, const OpenOptions& open) {
  const auto train = open_dataset(task.data, Split::train, open);
  out.offered = train->size();
  if (!has_split(task.data, Split::val)) {
    out.learned = train;
    const std::vector<int64_t> taken =
        class_balanced(*train, task.train_limit.value_or(usual_limit), data_seed);
    const auto count = static_cast<int64_t>(taken.size());
    TrainVal parts = split_validation(taken, *train, task.val.value_or(count / val_share), data_seed);
    out.train = std::move(parts.train);
    out.val = std::move(parts.val);
    return;
  }
  const auto val = open_dataset(task.data, Split::val, open);
  out.offered += val->size();
  check(!task.val || *task.val <= val->size(),
        "expected at most {} images for validation, which is all that the data's own val has, but `val` asks "
        "for {}; without `val` all of it is taken",
        val->size(), task.val.value_or(0));
  out.learned = joined(train, val);
  int64_t asked = task.val.value_or(val->size());
  out.train = all_samples(*train);
  if (task.train_limit) {
    const int64_t limit = *task.train_limit;
    if (!task.val) asked = std::min(limit / val_share, val->size());
    check(
        limit - asked >= train->classes(),
        "expected an image of each of {} classes to learn from, but there are {} images in all (train_limit, "
        "or --train-sizes), and validation takes {} of them",
        train->classes(), limit, asked);
    out.train = class_balanced(*train, limit - asked, data_seed);
    // Where train has fewer than that, val may give more.
    if (!task.val) asked = std::clamp(limit - static_cast<int64_t>(out.train.size()), asked, val->size());
  }
  for (const int64_t i : spread_over_classes(*val, asked, data_seed)) out.val.push_back(train->size() + i);
}

void open_splits(SweepData& out, const SuiteTask& task, uint64_t data_seed, const OpenOptions& open) {
  try {
    open_learned(out, task, data_seed, open);
    if (!has_split(task.data, Split::test)) {
      open_dataset(task.data, Split::test, open);  // which says what is missing, if anything is
      fail(Fault::input, "{} has no test split", quote(task.data));
    }
    check(out.learned->classes() >= 2, "expected at least 2 classes, got {}", out.learned->classes());
    check(!out.val.empty(),
          "no images are left for validation, of {} to learn from; `val` of a suite says how many it gets",
          out.train.size());
    out.test = open_dataset(task.data, Split::test, open);
    check(out.test->class_names() == out.learned->class_names(),
          "the test split has other classes than the train split");
    check(!task.classes || *task.classes == out.learned->classes(), "expected {} classes, got {}",
          task.classes.value_or(0), out.learned->classes());
  } catch (const Error& e) {
    fail(e.fault(), "task {}: {}", quote(task.name), e.what());
  }
}

constexpr size_t most_read = 64;

// A digest of what is in up to most_read pictures, evenly spread.
std::string contents_of(const Dataset& dataset, const std::vector<int64_t>& samples) {
  Sha256 hash;
  const size_t every = (samples.size() + most_read - 1) / most_read;
  for (size_t k = 0; k < samples.size(); k += every)
    hash.update(dataset.fingerprint(samples[k])).update("\n");
  return hash.hex();
}

size_t pixels_of(int64_t images, const Preprocess& preprocess) {
  const auto side = static_cast<size_t>(preprocess.size);
  return static_cast<size_t>(images) * side * side * 3;
}

}  // namespace

Preprocess preprocess_for(const SuiteTask& task, const Recipe& recipe, const Preprocess& of_backbone) {
  Preprocess out = of_backbone;
  if (task.resize != ResizeMode::own) {
    out.squash = task.resize == ResizeMode::squash;
    out.crop_squashed = false;
  }
  if (recipe.imagenet_statistics) {
    out.mean = Preprocess{}.mean;
    out.std = Preprocess{}.std;
  }
  return out;
}

bool has_own_val(const SuiteTask& task) {
  try {
    return has_split(task.data, Split::val);
  } catch (const Error&) {
    return false;
  }
}

TaskFacts facts_of(const SuiteTask& task, const SweepData& data) {
  return {.task = task,
          .train = static_cast<int64_t>(data.train.size()),
          .val = static_cast<int64_t>(data.val.size()),
          .test = data.test->size(),
          .classes = data.learned->classes(),
          .offered = data.offered,
          .digest = data.digest,
          .contents = data.contents,
          .lacking = classes_without_images(
              {.dataset = data.learned, .train = data.both(), .val = {}, .val_set = {}, .preprocess = {}})};
}

std::vector<int64_t> SweepData::both() const {
  std::vector<int64_t> all = train;
  all.insert(all.end(), val.begin(), val.end());
  std::ranges::sort(all);
  return all;
}

SweepData open_task(const SuiteTask& task, const Preprocess& preprocess, uint64_t data_seed, size_t cache,
                    const OpenOptions& open, size_t embedded, size_t feature) {
  SweepData out;
  out.preprocess = preprocess;
  open_splits(out, task, data_seed, open);
  const TuneData learned{
      .dataset = out.learned, .train = out.train, .val = out.val, .val_set = {}, .preprocess = {}},
      tested{
          .dataset = out.test, .train = all_samples(*out.test), .val = {}, .val_set = {}, .preprocess = {}};
  out.digest = Sha256().update(digest_of(learned)).update(digest_of(tested)).hex().substr(0, 20);
  out.contents = Sha256()
                     .update(contents_of(*out.learned, out.train))
                     .update(contents_of(*out.learned, out.val))
                     .update(contents_of(*out.test, tested.train))
                     .hex()
                     .substr(0, 20);

  out.kept.features = std::make_shared<KeptFeatures>(out.learned);
  const size_t learned_count = out.train.size() + out.val.size();
  // What is learned from is gone through again in every epoch, so all of that is kept, as vitrine tune does; a test set may
  // be large, and what is beyond the limit streams through the net once more for each run.
  size_t left = cache - std::min(cache, learned_count * feature);
  const size_t tested_features = std::min(left, static_cast<size_t>(out.test->size()) * feature);
  out.test_kept.features = std::make_shared<KeptFeatures>(out.test, tested_features);
  left -= tested_features;
  if (!out.learned->tensors().defined()) {
    const size_t first = std::min(left, pixels_of(static_cast<int64_t>(learned_count), preprocess));
    out.kept.images = std::make_shared<PreparedImages>(out.learned, preprocess, first);
    out.test_kept.images = std::make_shared<PreparedImages>(out.test, preprocess, left - first);
    left -= first;
    left -= std::min(left, pixels_of(out.test->size(), preprocess));
  }
  // A batch of which one picture is missing is embedded as a whole, so some of train and val would be worth little.
  if (embedded == 0 || learned_count * embedded > left) return out;
  out.kept.embedded = std::make_shared<KeptEmbedded>(out.learned, learned_count * embedded);
  left -= learned_count * embedded;
  if (left >= embedded) out.test_kept.embedded = std::make_shared<KeptEmbedded>(out.test, left);
  return out;
}

}  // namespace vitrine
