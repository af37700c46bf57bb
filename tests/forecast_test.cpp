// forecast_test.cpp: what a run promises about its memory, and how it keeps to a limit.
#include <doctest/doctest.h>

#include <algorithm>

#include "engine/parallel.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// The most that a whole run had at once, validation included: tensors, packed weights and the mapped file.
size_t measured_peak(const Backbone& backbone, const TuneData& data, const TuneConfig& config) {
  const Memory memory = Memory::counted();
  const auto [counted, mapped] = counted_in(memory, backbone);
  tune(counted, data, config, "", false, {}, nullptr, memory);
  return memory.statistics().peak + mapped;
}

size_t foretold_peak(const Backbone& backbone, const TuneData& data, const TuneConfig& config) {
  return forecast_memory(backbone, config, static_cast<int64_t>(data.train.size()),
                         static_cast<int64_t>(data.val.size()), data.preprocess.size)
      .peak();
}

}  // namespace

TEST_CASE("forecast_memory: measured <= foretold <= 1.1 measured, whatever the run") {
  const int before = thread_count();
  for (const bool swin : {false, true})
    for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full})
      for (const int64_t batch : {1, 2, 7, 32})
        for (const int threads : {1, 3, 8})
          for (const int64_t recompute : {0, 1, 2}) {
            const Backbone backbone = swin ? small_swin() : small_backbone();
            const TuneData data = small_data(backbone);
            TuneConfig config = small_config();
            config.model.method = method;
            config.model.classes = data.dataset->classes();
            if (method == Method::linear || method == Method::full) config.model.prompts = {};
            config.epochs = batch == 2 ? 2 : 1;
            config.batch = batch;
            // Each of these changes what a step keeps.
            config.accumulate = batch == 7 ? 3 : 1;
            config.augment.flip = recompute != 1;
            config.keep_best = threads == 3;
            config.model.drop_path = threads == 8 ? 0.1 : 0;
            config.model.prompts.dropout = threads == 8 && method != Method::linear ? 0.1 : 0;
            config.optimizer.kind = threads == 1 ? OptimizerKind::sgd : OptimizerKind::adamw;
            config.clip = threads == 3 ? 1 : 0;
            config.warmup_epochs = 0;
            config.recompute = recompute;
            config.workers = 0;  // workers may be late
            set_thread_count(threads);
            const size_t measured = measured_peak(backbone, data, config),
                         foretold = foretold_peak(backbone, data, config);
            CAPTURE(swin);
            CAPTURE(name_of(method));
            CAPTURE(batch);
            CAPTURE(threads);
            CAPTURE(recompute);
            CAPTURE(measured);
            CAPTURE(foretold);
            CHECK(measured <= foretold);
            CHECK(10 * foretold <= 11 * measured);
          }
  set_thread_count(before);
}

TEST_CASE("forecast_memory: what workers load ahead is in it") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model.classes = data.dataset->classes();
  for (const int workers : {1, 3}) {
    config.workers = workers;
    CHECK(measured_peak(backbone, data, config) <= foretold_peak(backbone, data, config));
  }
}

TEST_CASE("MemoryPlanner: the least recomputation that fits, and the run keeps to it with the same bits") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model.classes = data.dataset->classes();
  config.accumulate = 1;
  config.workers = 0;
  const std::string whole = digest(tune(backbone, data, config, "", false, {}).task);
  MemoryPlanner planner(backbone, config, static_cast<int64_t>(data.train.size()),
                        static_cast<int64_t>(data.val.size()));
  REQUIRE(planner.most_recompute() == 2);
  std::vector<size_t> peaks;
  for (int64_t k = 0; k <= 2; ++k) peaks.push_back(planner.forecast(k, 1).peak());
  CHECK(peaks[0] > peaks[1]);
  CHECK(peaks[1] >= peaks[2]);  // a small net's greatest moment may lie elsewhere by then
  for (int64_t k = 0; k <= 2; ++k) {
    const auto fit = planner.fit(peaks[k]);
    REQUIRE(fit);
    const int64_t least = std::ranges::find(peaks, peaks[k]) - peaks.begin();
    CHECK(fit->recompute == least);
    CHECK(fit->peak() == peaks[k]);
    config.recompute = k;
    const Memory pool = Memory::counted(peaks[k] - fit->weights);
    CHECK(digest(tune(backbone, data, config, "", false, {}, nullptr, pool).task) == whole);
    if (k == 0 || least < k) continue;
    // Nothing less would have done.
    config.recompute = k - 1;
    CHECK_THROWS_AS(tune(backbone, data, config, "", false, {}, nullptr, pool), Error);
  }
  CHECK_FALSE(planner.fit(peaks[2] - 1));
  REQUIRE(planner.within(peaks[2] - 1, 2, 2));
}

TEST_CASE("tune: a run that was stopped goes on with another recomputation, to the same bytes") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  const std::string whole = digest(tune(backbone, data, config, "", false, {}).task);
  const Folder folder("recompute");
  int64_t done = 0;
  TuneHooks hooks;
  hooks.stop = [&] { return ++done == 4; };
  config.recompute = 2;
  CHECK(tune(backbone, data, config, folder.path, false, hooks).stopped);
  config.recompute = 1;
  CHECK(digest(tune(backbone, data, config, folder.path, true, {}).task) == whole);
}
