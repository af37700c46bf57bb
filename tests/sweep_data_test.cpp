// sweep_data_test.cpp: what the runs of a task learn from and are asked, and what they compute once.
#include "models/training/sweep_data.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "data/joined.h"
#include "data/subset.h"
#include "models/methods.h"
#include "sweep_runs.h"

namespace vitrine::testing {

TEST_CASE("sweep data: a task learns from as many images as its limit says, val among them") {
  const auto train = open_dataset("synthetic:colors", Split::train),
             val = open_dataset("synthetic:colors", Split::val);
  SuiteTask task = task_of("colors", 80);
  const Preprocess preprocess = preprocess_of(small_backbone());
  REQUIRE(has_own_val(task));
  // Without a limit train and val are taken as the data have them.
  task.train_limit.reset();
  const SweepData whole = open_task(task, preprocess, 0, 0);
  CHECK(whole.train == all_samples(*train));
  CHECK(whole.val.size() == static_cast<size_t>(val->size()));
  CHECK(whole.both() == all_samples(*whole.learned));
  CHECK(whole.learned->size() == train->size() + val->size());
  for (int64_t i = 0; i < val->size(); ++i) {
    CHECK(whole.val[static_cast<size_t>(i)] == train->size() + i);
    REQUIRE(whole.learned->image(train->size() + i).rgb == val->image(i).rgb);
    REQUIRE(whole.learned->label(train->size() + i) == val->label(i));
  }
  CHECK(whole.learned->image(3).rgb == train->image(3).rgb);
  CHECK_THROWS_AS(joined(train, open_dataset("synthetic:shapes", Split::val)), Error);
  // With one they are so many together, a fifth of them val.
  for (const int64_t limit : {16, 80, 500, 1100}) {
    task.train_limit = limit;
    const SweepData own = open_task(task, preprocess, 0, 0);
    CHECK(static_cast<int64_t>(own.both().size()) == limit);
    const int64_t fifth = std::min(limit / 5, val->size());
    CHECK(static_cast<int64_t>(own.val.size()) == std::max(fifth, limit - train->size()));
    if (limit - fifth < train->size()) CHECK(own.train == class_balanced(*train, limit - fifth, 0));
    for (const int64_t i : own.val) CHECK(i >= train->size());
    CHECK(std::set(own.val.begin(), own.val.end()).size() == own.val.size());
    CHECK(facts_of(task, own).train + facts_of(task, own).val == limit);
    CHECK(facts_of(task, own).offered == train->size() + val->size());
  }
  task.train_limit = 5000;
  CHECK(open_task(task, preprocess, 0, 0).digest == whole.digest);
  task.train_limit = 8;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("each of 8 classes"), Error);
  // The digest tells samples and seeds apart.
  task.train_limit = 80;
  const SweepData own = open_task(task, preprocess, 0, 0);
  task.train_limit = 72;
  CHECK(open_task(task, preprocess, 0, 0).digest != own.digest);
  task.train_limit = 80;
  CHECK(open_task(task, preprocess, 1, 0).digest != own.digest);
  CHECK(open_task(task, preprocess, 0, 99).digest == own.digest);
  // `val` says how many of them it is.
  task.val = 30;
  CHECK(open_task(task, preprocess, 0, 0).val.size() == 30);
  CHECK(open_task(task, preprocess, 0, 0).train.size() == 50);
  task.train_limit.reset();
  CHECK(open_task(task, preprocess, 0, 0).val.size() == 30);
  CHECK(open_task(task, preprocess, 0, 0).train.size() == static_cast<size_t>(train->size()));
  task.val = 201;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("at most 200 images"), Error);
  task.val.reset();
  task.classes = 9;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("task 'colors': expected 9"),
                       Error);
}

TEST_CASE("sweep data: val of few images has as many of each class as can be, and classes may be without") {
  const auto val = open_dataset("synthetic:colors", Split::val);
  for (const int64_t count : {0, 3, 8, 21, 200, 300}) {
    const std::vector<int64_t> some = spread_over_classes(*val, count, 5);
    CHECK(static_cast<int64_t>(some.size()) == std::min(count, val->size()));
    CHECK(std::ranges::is_sorted(some));
    std::vector<int64_t> counts(static_cast<size_t>(val->classes()));
    for (const int64_t i : some) ++counts[val->label(i)];
    CHECK(std::ranges::max(counts) - std::ranges::min(counts) <= 1);
  }
  CHECK(spread_over_classes(*val, 3, 5) != spread_over_classes(*val, 3, 6));
}

TEST_CASE("sweep data: kept features and prepared pictures change no bit, and each is computed once") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model = method_from_text("linear");
  config.model.paper_head = true;
  config.augment = {};
  config.keep_best = false;
  REQUIRE(keeps_features(config));
  data.val.clear();
  const auto test = open_dataset("synthetic:colors", Split::test);
  const std::vector<int64_t> asked{5, 3, 400, 77, 78, 79, 80};
  const auto run = [&](const Kept& kept, const Kept& test_kept, uint64_t seed, double rate, int workers) {
    TuneData own = data;
    own.kept = kept;
    TuneConfig c = config;
    c.seed = seed;
    c.learning_rate = rate;
    c.workers = workers;
    const TuneResult result = tune(backbone, own, c, "", false, {});
    const TunedModel model(backbone, result.task);
    Tensor logits;
    evaluate(model, test, asked, data.preprocess, 3, workers, 0, &logits, {}, {}, nullptr, test_kept);
    return digest(result.task) + sha256_hex(logits.raw());
  };
  const Kept kept{std::make_shared<KeptFeatures>(data.dataset),
                  {},
                  std::make_shared<PreparedImages>(data.dataset, data.preprocess, size_t{1} << 30)},
      test_kept{std::make_shared<KeptFeatures>(test),
                {},
                std::make_shared<PreparedImages>(test, data.preprocess, size_t{1} << 30)};
  for (const int workers : {0, 2})
    for (const uint64_t seed : {0, 1})
      for (const double rate : {1e-2, 1e-1})
        CHECK(run({}, {}, seed, rate, 0) == run(kept, test_kept, seed, rate, workers));
  CHECK(kept.features->computed() == static_cast<int64_t>(data.train.size()));
  CHECK(test_kept.features->computed() == static_cast<int64_t>(asked.size()));
  CHECK(kept.images->decoded() == static_cast<int64_t>(data.train.size()));

  // What else learns from features shares them.
  config.model = method_from_text("mlp-2");
  CHECK(run({}, {}, 1, 1e-2, 0) == run(kept, test_kept, 1, 1e-2, 0));
  CHECK(kept.features->computed() == static_cast<int64_t>(data.train.size()));

  // Where prompts learn, the pictures alone are shared; mirrored ones, too.
  config.model = method_from_text("vpt-deep");
  config.model.prompts.count = 2;
  config.augment.flip = true;
  REQUIRE(!keeps_features(config));
  const Kept pictures{
      {}, {}, std::make_shared<PreparedImages>(data.dataset, data.preprocess, size_t{1} << 30)};
  const Kept few{{}, {}, std::make_shared<PreparedImages>(data.dataset, data.preprocess, 5 * 32 * 32 * 3)};
  const std::string alone = run({}, {}, 1, 1e-2, 0);
  CHECK(alone == run(pictures, {}, 1, 1e-2, 0));
  CHECK(alone == run(pictures, {}, 1, 1e-2, 2));
  CHECK(pictures.images->decoded() == static_cast<int64_t>(data.train.size()));
  CHECK(alone == run(few, {}, 1, 1e-2, 0));
  CHECK(few.images->decoded() > static_cast<int64_t>(data.train.size()));

  // What goes into the first block, of each method that leaves it as it is; in a store of some pictures only, too.
  config.augment = {};
  const Backbone swin = small_swin();
  for (const bool is_swin : {false, true})
    for (const std::string method :
         {"vpt-deep", "vpt-shallow", "vpt-gated", "partial-1", "partial-3", "adapter-4", "lora-2", "bias",
          "full", "ssf", "vpt-deep+bias", "sidetune", "cls"}) {
      if (is_swin && method == "cls") continue;
      CAPTURE(is_swin);
      CAPTURE(method);
      const Backbone& net = is_swin ? swin : backbone;
      config.model = method_from_text(method);
      if (config.model.prompts.kind != PromptKind::none) config.model.prompts.count = 2;
      config.model.drop_path = 0.1;
      const bool keeps = keeps_embedding(config, net);
      CHECK(keeps == std::set<std::string>{"vpt-deep", "vpt-shallow", "vpt-gated", "partial-1", "partial-3",
                                           "adapter-4", "lora-2"}
                         .contains(method));
      const auto of = [&](const Kept& own, const Kept& test_own) {
        TuneData shared = data;
        shared.kept = own;
        const Task task = tune(net, shared, config, "", false, {}).task;
        Tensor logits;
        evaluate(TunedModel(net, task, DType::f32, {}, Use::prediction), test, asked, data.preprocess, 3, 1,
                 0, &logits, {}, {}, nullptr, test_own);
        return digest(task) + sha256_hex(logits.raw());
      };
      const size_t one = embedded_bytes(net.config, 32);
      for (const size_t most : {size_t{1000} * one, 5 * one + 1}) {
        const Kept own{{}, std::make_shared<KeptEmbedded>(data.dataset, most), {}},
            test_own{{}, keeps ? std::make_shared<KeptEmbedded>(test, most) : nullptr, {}};
        const std::string apart = of({}, {});
        CHECK(of(own, test_own) == apart);
        CHECK(of(own, test_own) == apart);
        if (!keeps) {
          CHECK(own.embedded->computed() == 0);
        } else if (most > 6 * one) {
          CHECK(own.embedded->computed() == static_cast<int64_t>(data.train.size()));
          CHECK(test_own.embedded->computed() == static_cast<int64_t>(asked.size()));
        } else {
          CHECK(own.embedded->computed() > static_cast<int64_t>(data.train.size()));
        }
      }
      // Pictures that are mirrored now and then are no longer what they were.
      TuneConfig mirrored = config;
      mirrored.augment.flip = true;
      CHECK(!keeps_embedding(mirrored, net));
    }
  config.model = method_from_text("vpt-deep");

  // They are of one data set, backbone and preprocessing.
  Preprocess other = data.preprocess;
  other.mean[0] += 0.1F;
  CHECK_THROWS_AS(kept.features->belong_to(backbone, data.dataset.get(), other), Error);
  CHECK_THROWS_AS(kept.features->belong_to(backbone, test.get(), data.preprocess), Error);
  CHECK_THROWS_AS(kept.features->belong_to(with_precision(backbone, Precision::bf16), data.dataset.get(),
                                           data.preprocess),
                  Error);
  CHECK_THROWS_AS(run({}, kept, 0, 1e-2, 0), Error);
  CHECK_THROWS_AS(run({{}, {}, test_kept.images}, {}, 0, 1e-2, 0), Error);
}

TEST_CASE(
    "sweep data: embedded pictures are kept where they fit beside the prepared ones, and change no result") {
  const Folder whole("sweep-cache");
  Made made(whole.path);
  made.config.plan.methods = {"vpt-deep"};
  // Behind features, of which 16 numbers belong to each picture, and prepared pictures.
  const size_t pictures = (48 + 500) * (32 * 32 * 3 + 16 * sizeof(float)),
               one = embedded_bytes(made.config.plan.net, 32);
  const SweepResult all = sweep(made.config, {});
  CHECK(all.embedded_computed == 48 + 500);
  const std::vector<std::string> expected = without_times(all.ledger);
  const auto with_cache = [&](size_t cache) {
    const Folder folder("sweep-less-cache");
    made.config.out = folder.path;
    made.config.cache = cache;
    const SweepResult result = sweep(made.config, {});
    CHECK(without_times(result.ledger) == expected);
    return result.embedded_computed;
  };
  CHECK(with_cache(pictures + 48 * one - 1) == 0);
  CHECK(with_cache(pictures + 48 * one) == 48);
  CHECK(with_cache(pictures + (48 + 500) * one) == 48 + 500);
  CHECK(with_cache(0) == 0);
}

TEST_CASE("kept features: those of a test set are kept as far as the limit goes, and change no bit") {
  const Backbone backbone = with_identity(small_backbone());
  const auto test = open_dataset("synthetic:colors", Split::test);
  TunedConfig config = method_from_text("linear");
  config.classes = test->classes();
  const TunedModel model(backbone, config, 1);
  const Preprocess preprocess = preprocess_of(backbone);
  const std::vector<int64_t> asked = all_samples(*test);
  const auto logits_of = [&](const Kept& kept) {
    Tensor logits;
    evaluate(model, test, asked, preprocess, 64, 0, 0, &logits, {}, {}, nullptr, kept);
    return sha256_hex(logits.raw());
  };
  const std::string expected = logits_of({});
  constexpr int64_t row = 16 * sizeof(float);
  for (const int64_t fits : {0, 1, 63, 64, 100, 499, 500}) {
    CAPTURE(fits);
    Kept kept;
    kept.features = std::make_shared<KeptFeatures>(test, static_cast<size_t>(fits * row + row - 1));
    int64_t has = 0;
    for (int time = 0; time < 3; ++time) CHECK(logits_of(kept) == expected);
    for (const int64_t i : asked) has += kept.features->has(i);
    CHECK(has == fits);
    // Those that do not fit, in each time.
    CHECK(kept.features->computed() == fits + 3 * (500 - fits));
  }
  // A sweep's cache bounds them; what is learned from is kept whole.
  SuiteTask task = task_of("colors");
  const auto limited = [&](size_t cache) {
    const SweepData data = open_task(task, preprocess, 0, cache, {}, 0, row);
    Kept kept = data.test_kept;
    kept.images = nullptr;
    evaluate(model, data.test, asked, preprocess, 64, 0, 0, nullptr, {}, {}, nullptr,
             {.features = kept.features, .embedded = nullptr, .images = nullptr});
    int64_t has = 0;
    for (const int64_t i : asked) has += kept.features->has(i);
    return has;
  };
  CHECK(limited(0) == 0);
  CHECK(limited((48 + 10) * row) == 10);
  CHECK(limited(size_t{1} << 30) == 500);
}

}  // namespace vitrine::testing
