// serving_test.cpp: what a server stands on: images of many threads answered in batches, tunings that run behind it.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "models/prediction_queue.h"
#include "models/training/tuning_jobs.h"
#include "tune_runs.h"

using namespace vitrine;

namespace {

Task task_of(const Backbone& backbone, const std::string& method, uint64_t seed) {
  TunedConfig config = method_from_text(method);
  config.classes = 3;
  config.paper_head = true;
  if (prompt_kind(config.method) != PromptKind::none) config.prompts.count = 3;
  const TunedModel model(backbone, config, seed);
  return {model.config(), {"a", "b", "c"},     "small", identity_of(backbone), 2, "", "", "{}",
          "{}",           model.task_tensors()};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.raw(), b.raw());
}

TuningState wait_for_end(const TuningJobs& jobs, int64_t id) {
  while (true) {
    const auto state = jobs.find(id);
    REQUIRE(state.has_value());
    if (state->ended()) return *state;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

TEST_CASE("prediction queue: many threads get what each image gives alone, in fewer batches") {
  const Backbone backbone = testing::small_backbone();
  TaskSet set(backbone);
  const std::vector tasks{set.put("deep", task_of(backbone, "vpt-deep", 1)),
                          set.put("linear", task_of(backbone, "linear", 2)),
                          set.put("bias", task_of(backbone, "bias", 3))};
  constexpr size_t threads = 4, each = 12;
  const Tensor images = sine_image(threads * each, 32).to(DType::f32);
  std::vector<Tensor> expected(threads * each), found(threads * each);
  const auto image = [&](size_t i) {
    return images.rows(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1).reshape({3, 32, 32});
  };
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = set.logits(std::vector{image(i)}, std::vector{tasks[i % 3]})[0];
  {
    PredictionQueue queue(set, threads * each, 8);
    std::vector<std::thread> askers;
    for (size_t t = 0; t < threads; ++t)
      askers.emplace_back([&, t] {
        std::vector<std::future<Tensor>> answers;
        for (size_t i = 0; i < each; ++i)
          answers.push_back(std::move(*queue.ask(image(t * each + i), tasks[(t * each + i) % 3])));
        for (size_t i = 0; i < each; ++i) found[t * each + i] = answers[i].get();
      });
    for (std::thread& asker : askers) asker.join();
    // The last answers are there before they are counted.
    while (queue.statistics().images < threads * each) std::this_thread::yield();
    const PredictionQueue::Statistics statistics = queue.statistics();
    CHECK(statistics.images == threads * each);
    CHECK(statistics.batches >= threads * each / 8);
    CHECK(statistics.batches < threads * each);
    CHECK(statistics.waiting == 0);
    CHECK(statistics.refused == 0);
  }
  for (size_t i = 0; i < expected.size(); ++i) CHECK(same_bits(found[i], expected[i]));
}

TEST_CASE(
    "prediction queue: it is bounded, one bad image is its own, and what waits at the end is answered") {
  const Backbone backbone = testing::small_backbone();
  TaskSet set(backbone);
  const auto task = set.put("deep", task_of(backbone, "vpt-deep", 1));
  const Tensor image = sine_image(1, 32).reshape({3, 32, 32}).to(DType::f32),
               wrong = sine_image(1, 16).reshape({3, 16, 16}).to(DType::f32);
  const Tensor expected = set.logits(std::vector{image}, std::vector{task})[0];
  std::vector<std::future<Tensor>> answers;
  size_t refused = 0;
  {
    PredictionQueue queue(set, 3, 2);
    for (int i = 0; i < 200; ++i) {
      auto answer = queue.ask(i % 3 == 0 ? wrong : image, task);
      if (answer)
        answers.push_back(std::move(*answer));
      else
        ++refused;
      CHECK(queue.statistics().waiting <= 3);
    }
    CHECK(queue.statistics().refused == refused);
  }
  CHECK(refused > 0);
  CHECK(answers.size() >= 3);
  size_t bad = 0;
  for (std::future<Tensor>& answer : answers) {
    try {
      const Tensor logits = answer.get();
      CHECK(same_bits(logits, expected));
    } catch (const Error& e) {
      CHECK(std::string(e.what()).find("expected images (B, 3, 32, 32)") != std::string::npos);
      ++bad;
    }
  }
  CHECK(bad > 0);
  CHECK(bad < answers.size());
}

TEST_CASE("tuning jobs: a task learned behind a program is the one that tune() learns") {
  const Backbone backbone = testing::small_backbone();
  const TuneConfig config = testing::small_config();
  const TuneData data = testing::small_data(backbone);
  const Task expected = tune(backbone, data, config, "", false, {}).task;
  std::vector<std::pair<std::string, std::string>> learned;
  TuningJobs jobs(
      backbone,
      [&](const std::string& name, const Task& task) {
        if (name == "refused") fail(Fault::output, "the disk is full");
        learned.emplace_back(name, testing::digest(task));
      },
      3);
  const auto first = jobs.submit("first", data, config), second = jobs.submit("refused", data, config);
  REQUIRE(first.has_value());
  const TuningState end = wait_for_end(jobs, *first);
  CHECK(end.stage == TuningState::Stage::done);
  CHECK(end.step.step == end.step.steps);
  REQUIRE(end.epoch.has_value());
  CHECK(end.epoch->epoch == config.epochs);
  CHECK(end.seconds > 0);
  const TuningState failed = wait_for_end(jobs, *second);
  CHECK(failed.stage == TuningState::Stage::failed);
  CHECK(failed.why == "the disk is full");
  CHECK(learned == std::vector<std::pair<std::string, std::string>>{{"first", testing::digest(expected)}});
}

TEST_CASE("tuning jobs: they are bounded, can be cancelled, and stop when the program ends") {
  const Backbone backbone = testing::small_backbone();
  TuneConfig config = testing::small_config();
  config.epochs = 100000;
  const TuneData data = testing::small_data(backbone);
  int learned = 0;
  {
    TuningJobs jobs(
        backbone, [&](const std::string&, const Task&) { ++learned; }, 2);
    const auto running = jobs.submit("long", data, config);
    while (jobs.find(*running)->stage == TuningState::Stage::waiting || jobs.find(*running)->step.step < 2)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto second = jobs.submit("second", data, config), third = jobs.submit("third", data, config);
    CHECK(!jobs.submit("fourth", data, config).has_value());
    CHECK(jobs.all().size() == 3);
    CHECK(jobs.cancel(*second));
    CHECK(jobs.find(*second)->stage == TuningState::Stage::cancelled);
    CHECK(!jobs.cancel(*second));
    CHECK(!jobs.cancel(77));
    CHECK(!jobs.find(77).has_value());
    CHECK(jobs.cancel(*running));
    CHECK(wait_for_end(jobs, *running).stage == TuningState::Stage::cancelled);
    while (jobs.find(*third)->stage == TuningState::Stage::waiting)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(jobs.find(*third)->stage == TuningState::Stage::running);
    TuneConfig senseless = config;
    senseless.batch = 0;
    CHECK_THROWS_AS(jobs.submit("senseless", data, senseless), Error);
  }  // ends in the midst of the third
  CHECK(learned == 0);
}
