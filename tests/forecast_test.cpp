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
  const Backbone counted = counted_in(memory, backbone);
  tune(counted, data, config, "", false, {}, nullptr, memory);
  return memory.statistics().peak + resident_bytes(counted);
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
            const Backbone two_forms = swin ? small_swin() : small_backbone();
            const Backbone backbone = threads == 3 ? with_one_form(two_forms) : two_forms;
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

TEST_CASE("forecast_memory: measured <= foretold <= 1.1 measured for every other method") {
  const int before = thread_count();
  for (const bool swin : {false, true})
    for (const std::string method : {"mlp-3", "sidetune", "partial-1", "bias", "vpt-deep+bias", "adapter-4",
                                     "lora-2", "ssf", "vpt-gated"})
      for (const int64_t batch : {1, 7, 32}) {
        const Backbone backbone = swin ? small_swin() : small_backbone();
        const TuneData data = small_data(backbone);
        TuneConfig config = small_config();
        const PromptConfig prompts = config.model.prompts;
        config.model = method_from_text(method);
        config.model.classes = data.dataset->classes();
        if (prompt_kind(config.model.method) != PromptKind::none) config.model.prompts = prompts;
        config.epochs = 1;
        config.batch = batch;
        config.accumulate = batch == 7 ? 3 : 1;
        config.warmup_epochs = 0;
        config.recompute = batch == 7 ? 1 : 0;
        config.workers = 0;
        set_thread_count(batch == 32 ? 8 : 1);
        const size_t measured = measured_peak(backbone, data, config),
                     foretold = foretold_peak(backbone, data, config);
        CAPTURE(swin);
        CAPTURE(method);
        CAPTURE(batch);
        CAPTURE(measured);
        CAPTURE(foretold);
        CHECK(measured <= foretold);
        CHECK(10 * foretold <= 11 * measured);
      }
  set_thread_count(before);
}

TEST_CASE("forecast_memory: measured <= foretold <= 1.1 measured for what the ViT's descendants have") {
  for (const Pooling pooling : {Pooling::token, Pooling::map, Pooling::normed_mean})
    for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::full})
      for (const int64_t recompute : {0, 2}) {
        const Backbone backbone = small_descendant(pooling);
        const TuneData data = small_data(backbone);
        TuneConfig config = small_config();
        config.model.method = method;
        config.model.classes = data.dataset->classes();
        if (method == Method::full) config.model.prompts = {};
        config.epochs = 1;
        config.warmup_epochs = 0;
        config.batch = 7;
        config.recompute = recompute;
        config.workers = 0;  // workers may be late
        const size_t measured = measured_peak(backbone, data, config),
                     foretold = foretold_peak(backbone, data, config);
        CAPTURE(static_cast<int>(pooling));
        CAPTURE(name_of(method));
        CAPTURE(recompute);
        CAPTURE(measured);
        CHECK(measured <= foretold);
        CHECK(10 * foretold <= 11 * measured);
      }
}

TEST_CASE("forecast_memory: batches larger than the data, and features of a batch in many parts") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model.classes = data.dataset->classes();
  config.augment.flip = false;
  config.workers = 0;
  const auto images = static_cast<int64_t>(data.train.size());
  for (const Method method : {Method::vpt_deep, Method::linear})
    for (const auto& [batch, accumulate] : {std::pair<int64_t, int64_t>{images + 1, 1},
                                            {3 * images, 1},
                                            {2 * images, 3},
                                            {images, 3},
                                            {24, 5}}) {
      CAPTURE(name_of(method));
      CAPTURE(batch);
      CAPTURE(accumulate);
      config.model.method = method;
      config.model.prompts = method == Method::linear ? PromptConfig{} : PromptConfig{.count = 3};
      config.model.drop_path = method == Method::linear ? 0 : 0.1;
      config.batch = batch;
      config.accumulate = accumulate;
      const size_t measured = measured_peak(backbone, data, config),
                   foretold = foretold_peak(backbone, data, config);
      CHECK(measured <= foretold);
      CHECK(10 * foretold <= 11 * measured);
    }
}

TEST_CASE("forecast_memory: the pass in which class tokens are found, where it takes the most") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.workers = 0;
  config.model.prompts.start = PromptStart::class_tokens;
  config.model.prompts.count = 0;
  config.model = for_classes(config.model, data.dataset->classes());
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow})
    for (const int64_t epochs : {0, 2})  // without steps there is nothing else
      for (const int64_t batch : {1, 7, 32}) {
        CAPTURE(name_of(method));
        CAPTURE(epochs);
        CAPTURE(batch);
        config.model.method = method;
        config.epochs = epochs;
        config.warmup_epochs = 0;
        config.batch = batch;
        config.accumulate = batch == 7 ? 3 : 1;
        const size_t measured = measured_peak(backbone, data, config),
                     foretold = foretold_peak(backbone, data, config);
        CHECK(measured <= foretold);
        if (epochs > 0) CHECK(10 * foretold <= 11 * measured);
      }
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

TEST_CASE("MemoryPlanner: the cheapest way that fits, and the run keeps to it with the same bits") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model.classes = data.dataset->classes();
  config.accumulate = 1;
  config.workers = 0;
  const std::string whole = digest(tune(backbone, data, config, "", false, {}).task);
  const auto planner_of = [&](const Backbone& b) {
    return MemoryPlanner(b, config, static_cast<int64_t>(data.train.size()),
                         static_cast<int64_t>(data.val.size()));
  };
  struct Way {
    bool one_form;
    int64_t recompute;
    size_t peak;
  };
  std::vector<Way> ways;  // as they cost more
  for (const auto& [one_form, recompute] :
       {std::pair<bool, int64_t>{false, 0}, {true, 0}, {true, 1}, {true, 2}})
    ways.push_back({one_form, recompute,
                    planner_of(one_form ? with_one_form(backbone) : backbone).forecast(recompute, 1).peak()});
  CHECK(ways[0].peak > ways[1].peak);
  CHECK(ways[1].peak > ways[2].peak);
  CHECK(ways[2].peak >= ways[3].peak);  // a small net's greatest moment may lie elsewhere by then
  const auto run = [&](const Way& way, size_t limit) {
    config.recompute = way.recompute;
    const Memory pool = Memory::counted(limit);
    const Backbone used = counted_in(pool, way.one_form ? with_one_form(backbone) : backbone);
    return digest(tune(used, data, config, "", false, {}, nullptr, pool).task);
  };
  for (size_t i = 0; i < ways.size(); ++i) {
    MemoryPlanner planner = planner_of(backbone);
    REQUIRE(planner.most_recompute() == 2);
    const auto fit = planner.fit(ways[i].peak);
    REQUIRE(fit);
    const Way& least = *std::ranges::find(ways, ways[i].peak, &Way::peak);
    CHECK(fit->recompute == least.recompute);
    CHECK(fit->one_form == least.one_form);
    CHECK(fit->peak() == ways[i].peak);
    const size_t limit = ways[i].peak - fit->resident;
    CHECK(run(least, limit) == whole);
    if (i > 0 && least.peak < ways[i - 1].peak)  // nothing less would have done
      CHECK_THROWS_AS(run(ways[i - 1], limit), Error);
  }
  MemoryPlanner planner = planner_of(backbone);
  CHECK_FALSE(planner.fit(ways[3].peak - 1));
  REQUIRE(planner.within(ways[3].peak - 1, 2, 2));
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
