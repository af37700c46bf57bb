// tuner_test.cpp: tuning a step at a time is the training loop's own arithmetic.
#include "models/training/tuner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// The batches of a run in data-set order, with the rate of each step.
struct Step {
  Tensor images, labels;
  double rate;
};
std::vector<Step> steps_of(const TuneData& data, const TuneConfig& config) {
  Loader loader(data.dataset, data.train, data.preprocess,
                {.batch_size = config.batch, .shuffle = false, .workers = 0});
  std::vector<Step> steps;
  const int64_t all = loader.batches() * config.epochs;
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    loader.start_epoch(static_cast<int>(epoch));
    Batch batch;
    while (loader.next(batch))
      steps.push_back({batch.images, batch.labels,
                       learning_rate_at(config.schedule, config.learning_rate,
                                        static_cast<int64_t>(steps.size()), 0, all)});
  }
  return steps;
}

TuneConfig plain_config(const char* method) {
  TuneConfig config = small_config();
  config.model = method_from_text(method);
  if (config.model.prompts.kind != PromptKind::none) config.model.prompts.count = 3;
  config.model.paper_head = true;  // prompts learn from the first step on
  config.sequential = true;
  config.keep_best = false;
  config.accumulate = 1;
  config.warmup_epochs = 0;
  config.augment = {};
  config.workers = 0;
  config.smoothing = 0.1;
  config.clip = 0.5;
  return config;
}

TunerConfig same(const TuneConfig& config, int64_t classes) {
  TunerConfig out{.model = config.model,
                  .optimizer = config.optimizer,
                  .smoothing = config.smoothing,
                  .clip = config.clip,
                  .seed = config.seed};
  out.model.classes = classes;
  return out;
}

void check_same(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    CAPTURE(name);
    REQUIRE(b.contains(name));
    CHECK(std::ranges::equal(tensor.raw(), b.at(name).raw()));
  }
}

}  // namespace

TEST_CASE("tuner: step by step it learns, to the last bit, what the training loop learns") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const auto classes = static_cast<int64_t>(data.dataset->class_names().size());
  for (const char* method : {"vpt-deep", "vpt-shallow", "linear", "bias", "full"}) {
    CAPTURE(method);
    TuneConfig config = plain_config(method);
    const Task whole = tune(backbone, data, config, "", false, {}).task;
    Tuner tuner(backbone, same(config, classes));
    for (const Step& step : steps_of(data, config)) tuner.step(step.images, step.labels, step.rate);
    const Task task = tuner.task(data.dataset->class_names(), data.preprocess);
    check_same(whole.tensors, task.tensors);
    CHECK(task.backbone_identity == whole.backbone_identity);
    CHECK(task.preprocess == whole.preprocess);
    // As a file it is a task as any other, and predicts what the tuner does.
    const Task again = task_from_file(to_file(task));
    const TunedModel model(backbone, again, DType::f32, {}, Use::prediction);
    const Tensor images = steps_of(data, config)[0].images;
    // (Ops whose weights learn are the plain compositions, which round otherwise.)
    const Tensor predicted = model.logits(images, {.history = false}).value(), own = tuner.logits(images);
    for (size_t i = 0; i < predicted.data<float>().size(); ++i)
      CHECK(predicted.data<float>()[i] == doctest::Approx(own.data<float>()[i]).epsilon(1e-5));
    if (!trains_inside(config.model.method)) CHECK(std::ranges::equal(predicted.raw(), own.raw()));
    CHECK(tuner.steps() == 9);
  }
}

TEST_CASE("tuner: computing blocks again changes no bit, and going on from a task begins where it was") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const auto classes = static_cast<int64_t>(data.dataset->class_names().size());
  const TuneConfig config = plain_config("vpt-deep");
  TunerConfig again = same(config, classes);
  again.recompute = 1;
  Tuner plain(backbone, same(config, classes)), recomputing(backbone, again);
  const std::vector<Step> steps = steps_of(data, config);
  for (const Step& step : steps) {
    plain.step(step.images, step.labels, step.rate);
    recomputing.step(step.images, step.labels, step.rate);
  }
  const Task task = plain.task(data.dataset->class_names(), data.preprocess);
  check_same(task.tensors, recomputing.task(data.dataset->class_names(), data.preprocess).tensors);

  Tuner on(backbone, task, same(config, classes));
  CHECK(std::ranges::equal(on.logits(steps[0].images).raw(), plain.logits(steps[0].images).raw()));
  const double before = on.step(steps[0].images, steps[0].labels, 1e-2);
  double after = before;
  for (int i = 0; i < 5; ++i) after = on.step(steps[0].images, steps[0].labels, 1e-2);
  CHECK(after < before);
}

TEST_CASE("tuner: a loss that is no number changes nothing") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const auto classes = static_cast<int64_t>(data.dataset->class_names().size());
  const TuneConfig config = plain_config("vpt-deep");
  Tuner tuner(backbone, same(config, classes));
  const Step step = steps_of(data, config)[0];
  tuner.step(step.images, step.labels, step.rate);
  const auto tensors = tuner.task(data.dataset->class_names(), data.preprocess).tensors;
  std::map<std::string, Tensor> before;
  for (const auto& [name, tensor] : tensors) before[name] = tensor.clone();
  Tensor bad = step.images.clone();
  bad.mutable_data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  try {
    tuner.step(bad, step.labels, step.rate);
    FAIL("a loss of NaN was taken");
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::diverged);
  }
  CHECK(tuner.steps() == 1);
  check_same(before, tuner.task(data.dataset->class_names(), data.preprocess).tensors);

  TunerConfig tokens = same(config, classes);
  tokens.model.prompts.start = PromptStart::class_tokens;
  tokens.model.prompts.count = classes;
  CHECK_THROWS_WITH_AS(Tuner(backbone, tokens), doctest::Contains("the pictures of all classes beforehand"),
                       Error);
  CHECK_THROWS_WITH_AS(tuner.task({"one"}, data.preprocess), doctest::Contains("names of classes, got 1"),
                       Error);
}
