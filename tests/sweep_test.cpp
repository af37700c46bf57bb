// sweep_test.cpp: the protocol of a comparison: searches, final runs, and what a stop may not spoil (tests/sweep_test.sh
// kills).
#include "models/training/sweep.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "models/training/sweep_folder.h"
#include "models/training/table.h"
#include "sweep_runs.h"

namespace vitrine::testing {

TEST_CASE("sweep: search, final runs and ledger; features go through the net once") {
  const Folder folder("sweep");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
  made.config.plan.methods = {"linear", "vpt-deep"};
  std::vector<std::string> done;
  SweepHooks hooks;
  hooks.finished = [&](const LedgerLine& line, const SweepCounts& counts) {
    done.push_back(line.run);
    CHECK(counts.done == static_cast<int64_t>(done.size()));
    CHECK(counts.runs == 16);
    CHECK(counts.seconds_left >= 0);
  };
  CHECK(look_at_sweep(made.config).counts.runs == 16);
  const SweepResult result = sweep(made.config, hooks);
  CHECK(done.size() == 16);
  CHECK(result.counts.done == 16);
  CHECK(result.failures.empty());
  CHECK(!result.stopped);
  // Of each task train, val and test once, not for each of its four linear runs, nor in each epoch of the others.
  CHECK(result.features_computed == 2 * (48 + 500));
  CHECK(result.embedded_computed == 2 * (48 + 500));
  const std::vector<LedgerLine> lines = read_ledger(result.ledger);
  const std::vector<std::string> whole = without_times(result.ledger);
  REQUIRE(lines.size() == 16);
  std::vector<std::string> in_order;
  for (const LedgerLine& line : lines) in_order.push_back(line.run);
  CHECK(in_order == done);  // of one process, which goes through the plan
  for (size_t cell = 0; cell < 4; ++cell) {
    const LedgerLine* own = &lines[4 * cell];
    CHECK(own[0].stage == Stage::search);
    CHECK(own[1].stage == Stage::search);
    CHECK(own[0].train_images == 48 - 48 / 5);
    CHECK(own[0].asked_images == 48 / 5);
    const bool second = own[1].score > own[0].score;
    for (int seed = 0; seed < 2; ++seed) {
      CHECK(own[2 + seed].stage == Stage::final);
      CHECK(own[2 + seed].seed == static_cast<uint64_t>(seed));
      CHECK(own[2 + seed].learning_rate == own[second].learning_rate);
      CHECK(own[2 + seed].train_images == 48);
      CHECK(own[2 + seed].asked_images == 500);
    }
  }
  CHECK(lines[0].trained_parameters == 17 * 8);
  CHECK(lines[4].trained_parameters == 17 * 8 + 3 * 2 * 16);
  CHECK(lines[4].stored_parameters == lines[4].trained_parameters);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path))
    CHECK_MESSAGE(!entry.path().string().ends_with(".safetensors"), entry.path().string());

  // A run is what tune and evaluate make of the same settings.
  {
    const SweepData data = open_task(made.config.plan.tasks[0], made.config.plan.preprocess, 0, 0);
    for (const size_t place : {0, 2, 4, 6}) {
      const Plan plan = make_plan(made.config.plan);
      const Cell& cell = plan.cells[place / 4];
      TuneConfig c = place % 4 == 0 ? cell.search[0].config : cell.finals[0][0].config;
      c.learning_rate = lines[place].learning_rate;
      const TuneData own{
          data.learned, place % 4 == 0 ? data.train : data.both(), {}, nullptr, data.preprocess, {}};
      const TunedModel model(made.backbone, tune(made.backbone, own, c, "", false, {}).task);
      const bool search = place % 4 == 0;
      const Evaluation e = evaluate(model, search ? data.learned : data.test,
                                    search ? data.val : all_samples(*data.test), data.preprocess, 64, 0);
      CHECK(e.accuracy == lines[place].accuracy);
      CHECK(e.loss == lines[place].loss);
    }
  }
  // A second sweep does nothing, and other methods join.
  {
    done.clear();
    const std::string before = text_of(result.ledger);
    CHECK(sweep(made.config, {}).features_computed == 0);
    CHECK(text_of(result.ledger) == before);
    made.config.plan.methods = {"vpt-shallow"};
    CHECK(sweep(made.config, {}).counts.done == 8);
    CHECK(read_ledger(result.ledger).size() == 24);
    made.config.plan.methods = {"linear", "vpt-deep"};
  }
  // A ledger stands for its runs.
  {
    const Folder other("sweep-seeded");
    made.config.out = other.path;
    made.config.known = lines;
    made.config.known.resize(15);
    done.clear();
    hooks.finished = [&](const LedgerLine& line, const SweepCounts&) { done.push_back(line.run); };
    sweep(made.config, hooks);
    CHECK(done == std::vector<std::string>{lines[15].run});
    CHECK(without_times(other.path + "/ledger.jsonl") == whole);
  }
}

TEST_CASE("sweep: the time that is left is told by the images that runs go through") {
  const Folder folder("sweep-left");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors", 48), task_of("stripes", 480)};
  made.config.plan.changes.learning_rates = {1e-2};
  made.config.plan.seeds = 1;
  std::vector<std::pair<double, double>> seen;  // of each run its seconds, and what was said to be left
  SweepHooks hooks;
  hooks.finished = [&](const LedgerLine& line, const SweepCounts& counts) {
    seen.emplace_back(line.seconds, counts.seconds_left);
  };
  sweep(made.config, hooks);
  REQUIRE(seen.size() == 2);
  const double images = 48 * 2 + 500, more = 480 * 2 + 500;  // two epochs and a test
  CHECK(seen[0].second == doctest::Approx(seen[0].first * more / images));
  CHECK(seen[1].second == 0);
}

TEST_CASE("sweep: prompts that start from class tokens are as many as each task has classes") {
  const Folder folder("sweep-class-tokens");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
  made.config.plan.methods = {"vpt-deep"};
  made.config.plan.changes.prompts = {};
  made.config.plan.changes.variant.start = PromptStart::class_tokens;
  made.config.plan.changes.learning_rates = {1e-2};
  made.config.plan.seeds = 1;
  const SweepResult result = sweep(made.config, {});
  CHECK(result.failures.empty());
  const std::vector<LedgerLine> lines = read_ledger(result.ledger);
  REQUIRE(lines.size() == 2);
  const Plan plan = make_plan(made.config.plan);
  for (size_t i = 0; i < 2; ++i) {
    const SweepData data = open_task(made.config.plan.tasks[i], made.config.plan.preprocess, 0, 0);
    CHECK(lines[i].prompts == data.learned->classes());
    CHECK(lines[i].variant == "init class-tokens");
    // It is what tune makes of the same settings.
    const TuneData own{data.learned, data.both(), {}, nullptr, data.preprocess, {}};
    const TunedModel model(made.backbone,
                           tune(made.backbone, own, plan.cells[i].finals[0][0].config, "", false, {}).task);
    const Evaluation e = evaluate(model, data.test, all_samples(*data.test), data.preprocess, 64, 0);
    CHECK(e.loss == lines[i].loss);
  }
}

TEST_CASE("sweep: stopped after any step it goes on to the same ledger") {
  const Folder whole_folder("sweep-whole"), folder("sweep-stopped");
  Made made(whole_folder.path);
  made.config.plan.methods = {"linear", "vpt-deep"};
  made.config.plan.seeds = 1;
  made.config.plan.changes.batch = 40;
  const SweepResult whole = sweep(made.config, {});
  CHECK(!whole.stopped);
  made.config.out = folder.path;
  int sessions = 0, finished = 0;
  for (bool stopped = true; stopped; ++sessions) {
    int steps = 0;
    SweepHooks hooks;
    hooks.step = [&](const StepReport&) { ++steps; };
    hooks.finished = [&](const LedgerLine&, const SweepCounts&) { ++finished; };
    // A head on kept features has no states between: it needs to be let run at last.
    hooks.stop = [&] { return steps >= 2 + sessions; };
    stopped = sweep(made.config, hooks).stopped;
    REQUIRE(sessions < 100);
  }
  CHECK(sessions > 3);
  CHECK(finished == 6);
  CHECK(without_times(folder.path + "/ledger.jsonl") == without_times(whole.ledger));
}

TEST_CASE("sweep: several sweeps share a folder, and each run is done once") {
  const Folder alone("sweep-alone"), folder("sweep-shared");
  Made made(alone.path);
  made.config.plan.tasks = {task_of("colors"), task_of("shapes")};
  made.config.plan.changes.learning_rates = {1e-2, 2e-2, 1e-1};
  sweep(made.config, {});
  std::mutex mutex;
  std::vector<std::string> done;
  std::vector<std::thread> threads;
  for (int part = 0; part < 3; ++part)
    threads.emplace_back([&, part] {
      Made own(folder.path);
      own.config.plan = made.config.plan;
      own.config.part = part;
      own.config.parts = 3;
      SweepHooks hooks;
      hooks.finished = [&](const LedgerLine& line, const SweepCounts&) {
        const std::lock_guard lock(mutex);
        done.push_back(line.run);
      };
      const SweepResult result = sweep(own.config, hooks);
      CHECK(result.counts.done == result.counts.runs);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(done.size() == 10);
  CHECK(std::set(done.begin(), done.end()).size() == 10);
  CHECK(without_times(folder.path + "/ledger.jsonl") == without_times(alone.path + "/ledger.jsonl"));
}

TEST_CASE("sweep: who holds a run's lock is waited for, and taken over from") {
  const Folder folder("sweep-lock");
  Made made(folder.path);
  const Plan plan = make_plan(made.config.plan);
  SweepFolder shared(folder.path, plan);
  auto lock = shared.take(plan.cells[0].search[0].name);
  REQUIRE(lock != nullptr);
  CHECK(shared.take(plan.cells[0].search[0].name) == nullptr);
  SweepHooks hooks;
  int64_t waited_for = 0;
  hooks.waiting = [&](int64_t runs) {
    waited_for = runs;
    lock.reset();  // as if its owner had died
  };
  const SweepResult result = sweep(made.config, hooks);
  CHECK(waited_for == 1);
  CHECK(result.counts.done == 4);
}

TEST_CASE("sweep: what diverges is a result, what fails is told, and the sweep goes on") {
  const Folder folder("sweep-diverged");
  Made made(folder.path);
  made.config.plan.methods = {"vpt-deep", "linear"};
  SUBCASE("one point") {
    made.config.plan.changes.learning_rates = {1e5};
    made.config.plan.changes.weight_decays = {0, 1e5};  // each step makes weights 1e10 times as large
    made.config.plan.changes.optimizer = OptimizerKind::sgd;
    made.config.plan.methods = {"vpt-deep"};
    const SweepResult result = sweep(made.config, {});
    CHECK(result.counts.diverged == 1);
    CHECK(result.counts.done == 4);
    CHECK(result.failures.empty());
    const auto lines = read_ledger(result.ledger);
    CHECK(!lines[1].diverged.empty());
    CHECK(lines[2].weight_decay == 0);
  }
  SUBCASE("all points") {
    made.config.plan.changes.learning_rates = {1e4, 1e5};
    made.config.plan.changes.weight_decays = {1e5};
    made.config.plan.changes.optimizer = OptimizerKind::sgd;
    made.config.plan.methods = {"vpt-deep"};
    const SweepResult result = sweep(made.config, {});
    CHECK(result.counts.diverged == 2);
    CHECK(result.counts.done == result.counts.runs);  // there is nothing to test
    CHECK(result.counts.runs == 2);
  }
  SUBCASE("a damaged picture") {
    const std::string pictures = folder.path + "/pictures";
    for (const char* split : {"train", "val", "test"})
      for (int c = 0; c < 2; ++c) {
        const std::string where = text("{}/{}/{}", pictures, split, c);
        std::filesystem::create_directories(where);
        for (int i = 0; i < 3; ++i) {
          // 1 x 1 BMP
          std::vector<unsigned char> bmp(58, 0);
          const unsigned char head[] = {'B', 'M', 58, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0,  40,
                                        0,   0,   0,  1, 0, 0, 0, 1, 0, 0, 0,  1, 0, 24, 0};
          std::ranges::copy(head, bmp.begin());
          bmp[54] = static_cast<unsigned char>(80 * i + 40 * c);
          std::ofstream(text("{}/{}.bmp", where, i), std::ios::binary)
              .write(reinterpret_cast<const char*>(bmp.data()), static_cast<std::streamsize>(bmp.size()));
        }
      }
    SuiteTask task = task_of("colors");
    task.data = "folder:" + pictures;
    task.name = "pictures";
    task.train_limit.reset();
    made.config.plan.tasks = {task, task_of("colors")};
    made.config.plan.methods = {"vpt-deep"};
    const std::string sound = text_of(pictures + "/test/0/1.bmp");
    std::ofstream(pictures + "/test/0/1.bmp", std::ios::binary) << "BMx" << std::string(55, 'x');
    SweepResult result = sweep(made.config, {});
    CHECK(result.counts.failed == 2);  // both seeds; the search does not see the test
    CHECK(result.failures.size() == 2);
    CHECK(result.counts.done == 8);
    CHECK(result.failures[0].find("earlier") == std::string::npos);
    result = sweep(made.config, {});
    REQUIRE(result.failures.size() == 2);
    CHECK(result.failures[0].find("of an earlier sweep") != std::string::npos);
    std::ofstream(pictures + "/test/0/1.bmp", std::ios::binary | std::ios::trunc) << sound;
    made.config.retry_failed = true;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    CHECK(result.counts.done == 8);
    // The search learned and was asked before the picture was mended, which stops nobody later.
    made.config.retry_failed = false;
    made.config.plan.seeds = 3;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    CHECK(result.counts.done == 10);
  }
  SUBCASE("a task that cannot be opened") {
    SuiteTask lost = task_of("lost");
    lost.data = "folder:" + folder.path + "/nowhere";
    made.config.plan.tasks = {lost, task_of("colors")};
    made.config.plan.methods = {"linear"};
    std::vector<std::string> seen;
    SweepHooks hooks;
    hooks.note = [&](const std::string& words) { seen.push_back(words); };
    hooks.task = [&](const TaskFacts& facts) { seen.push_back("task " + facts.task.name); };
    hooks.began = [&](const SweepCounts&) { seen.push_back("began"); };
    hooks.run = [&](const Cell&, const PlannedRun&, const SweepCounts&) { seen.push_back("run"); };
    SweepResult result = sweep(made.config, hooks);
    CHECK(result.failures.size() == 1);
    CHECK(result.counts.done == 4);
    CHECK(result.counts.runs == 4);  // those of a task that cannot be used are none
    // It is told before anything is run, and the ledger knows.
    REQUIRE(seen.size() == 3 + 4);
    CHECK(seen[0].find("task 'lost'") != std::string::npos);
    CHECK(seen[1] == "task colors");
    CHECK(seen[2] == "began");
    const std::vector<TaskLook> looks = look_at_sweep(made.config).tasks;
    REQUIRE(looks.size() == 2);
    CHECK(!looks[0].facts);
    CHECK(looks[0].problem.find("task 'lost'") != std::string::npos);
    CHECK(looks[1].facts->test == 500);
    CHECK(looks[1].facts->classes == 8);
    std::vector<LedgerPlan> plans;
    const std::vector<LedgerLine> lines = read_ledger(result.ledger, &plans);
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].tasks[0].failed.find("nowhere") != std::string::npos);
    CHECK(plans[0].tasks[0].failed.find("task 'lost'") == std::string::npos);  // which the line says itself
    CHECK(plans[0].tasks[1].failed.empty());
    Comparison table = compare(lines, PaperRows::none, plans);
    REQUIRE(table.rows.size() == 1);  // that of the plan is that of its results
    CHECK(table.rows[0].all.tasks == 1);
    CHECK(table.rows[0].all.all_tasks == 2);
    // Once it can be opened it failed no longer.
    made.config.plan.tasks[0].data = "synthetic:stripes";
    made.config.plan.tasks[0].train_limit = 48;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    plans.clear();
    const std::vector<LedgerLine> all = read_ledger(result.ledger, &plans);
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].tasks[0].failed.empty());
    table = compare(all, PaperRows::none, plans);
    CHECK(table.rows[0].all.tasks == 2);
    CHECK(table.warnings.empty());
  }
}

}  // namespace vitrine::testing
