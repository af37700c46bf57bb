// tune_test.cpp: the training loop: the same bits for any number of threads and after any stop, and what it refuses.
#include <doctest/doctest.h>

#include <algorithm>

#include <cmath>
#include <fstream>
#include <limits>

#include "engine/file.h"
#include "engine/parallel.h"
#include "models/training/checkpoint.h"
#include "models/training/tune_parts.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;
namespace fs = std::filesystem;

TEST_CASE("tune: the same bits for any number of threads and workers") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  std::string first;
  const int before = thread_count();
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    TuneConfig config = small_config();
    config.workers = threads - 1;
    const std::string now = digest(tune(backbone, data, config, "", false, {}).task);
    if (first.empty()) first = now;
    CHECK(now == first);
  }
  set_thread_count(before);
  TuneConfig other = small_config();
  other.seed = 1;
  CHECK(digest(tune(backbone, data, other, "", false, {}).task) != first);
}

TEST_CASE("tune: stopped after any step and resumed, a run ends with the same bytes") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const TuneConfig config = small_config();
  const std::string whole = digest(tune(backbone, data, config, "", false, {}).task);
  const int64_t steps = 3 * 3;  // 40 images in batches of 16
  for (int64_t stop_after = 1; stop_after <= steps; ++stop_after) {
    CAPTURE(stop_after);
    const Folder folder("resume");
    int64_t done = 0;
    TuneHooks hooks;
    hooks.stop = [&] { return ++done == stop_after; };
    CHECK(tune(backbone, data, config, folder.path, false, hooks).stopped);
    CHECK_THROWS_AS(tune(backbone, data, config, folder.path, false, {}), Error);  // it holds a run
    CHECK(digest(tune(backbone, data, config, folder.path, true, {}).task) == whole);
    CHECK(sha256_hex(write_safetensors(load_safetensors(folder.path + "/task.safetensors"))) == whole);
  }
}

TEST_CASE("tune: a damaged checkpoint is passed over aloud; other settings or data are refused") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const TuneConfig config = small_config();
  const Folder folder("damaged");
  const std::string whole = digest(tune(backbone, data, config, folder.path, false, {}).task);
  CHECK(fs::exists(folder.path + "/checkpoint-9.safetensors"));
  CHECK(fs::exists(folder.path + "/checkpoint-6.safetensors"));
  CHECK_FALSE(fs::exists(folder.path + "/checkpoint-3.safetensors"));  // the last two are kept

  std::vector<std::byte> bytes = read_file(folder.path + "/checkpoint-9.safetensors");
  bytes[bytes.size() - 5] ^= std::byte{1};
  write_file_atomically(folder.path + "/checkpoint-9.safetensors", bytes);
  std::vector<std::string> notes;
  TuneHooks hooks;
  hooks.note = [&](const std::string& note) { notes.push_back(note); };
  CHECK(digest(tune(backbone, data, config, folder.path, true, hooks).task) == whole);
  REQUIRE(notes.size() == 2);
  CHECK(notes[0].find("damaged") != std::string::npos);

  TuneConfig other = config;
  other.learning_rate = 2e-2;
  CHECK_THROWS_WITH_AS(tune(backbone, data, other, folder.path, true, {}),
                       doctest::Contains("other settings: learning_rate 0.01, given 0.02"), Error);
  TuneData fewer = data;
  fewer.train.pop_back();
  CHECK_THROWS_AS(tune(backbone, fewer, config, folder.path, true, {}), Error);
  // Another backbone of the same shape; another task to start from.
  Backbone changed = backbone;
  Tensor& weight = changed.file.tensors.at("norm.weight");
  weight = weight.clone();
  weight.mutable_data<float>()[0] += 1;
  CHECK_THROWS_WITH_AS(tune(changed, data, config, folder.path, true, {}),
                       doctest::Contains("another backbone"), Error);
  TuneConfig untrained = config;
  untrained.epochs = 0;
  const Task start = tune(backbone, data, untrained, "", false, {}).task;
  CHECK_THROWS_WITH_AS(tune(backbone, data, config, folder.path, true, {}, &start),
                       doctest::Contains("fresh prompts"), Error);
}

TEST_CASE("tune: when every checkpoint is damaged, what is saved next is kept") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const TuneConfig config = small_config();
  const Folder folder("all-damaged");
  const std::string whole = digest(tune(backbone, data, config, folder.path, false, {}).task);
  for (const int step : {6, 9}) {
    const std::string path = folder.path + "/checkpoint-" + std::to_string(step) + ".safetensors";
    std::vector<std::byte> bytes = read_file(path);
    bytes.pop_back();
    write_file_atomically(path, bytes);
  }
  int64_t done = 0;
  TuneHooks hooks;
  hooks.stop = [&] { return ++done == 2; };
  CHECK(tune(backbone, data, config, folder.path, true, hooks).stopped);
  CHECK(fs::exists(folder.path + "/checkpoint-2.safetensors"));
  CHECK(fs::exists(folder.path + "/checkpoint-9.safetensors.damaged"));
  hooks = {};
  std::string notes;
  hooks.note = [&](const std::string& note) { notes += note; };
  CHECK(digest(tune(backbone, data, config, folder.path, true, hooks).task) == whole);
  CHECK(notes.find("going on after step 2") != std::string::npos);
}

TEST_CASE("tune: one run at a time in a folder; what a killed one left is cleared away") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const Folder folder("taken");
  const std::string leftover = folder.path + "/.vitrine-1-0.tmp";
  write_file_atomically(leftover, std::vector<std::byte>(3));
  {
    const FolderLock other(folder.path);
    CHECK_THROWS_WITH_AS(tune(backbone, data, small_config(), folder.path, false, {}),
                         doctest::Contains("in use by another run"), Error);
    CHECK(fs::exists(leftover));
  }
  tune(backbone, data, small_config(), folder.path, false, {});
  CHECK_FALSE(fs::exists(leftover));
}

TEST_CASE("tune: a batch in parts is the batch as a whole, with class weights, too") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  // 12 images of the first class, 3 of each other one
  std::vector<int64_t> seen(static_cast<size_t>(data.dataset->classes()), 0), kept;
  const auto all = all_samples(*data.dataset);
  for (const int64_t i : all) {
    const int64_t label = data.dataset->label(i);
    if (++seen[label] <= (label == 0 ? 12 : 3)) kept.push_back(i);
  }
  data.train = kept;
  data.val = {};
  for (const bool balanced : {false, true}) {
    std::vector<float> first;
    for (const int64_t parts : {1, 2, 4}) {
      TuneConfig config = small_config();
      config.keep_best = false;
      config.model.prompts.dropout = 0;
      config.optimizer.kind = OptimizerKind::sgd;
      config.balance_classes = balanced;
      config.accumulate = parts;
      const Task task = tune(backbone, data, config, "", false, {}).task;
      const auto head = task.tensors.at("head.weight").data<float>();
      if (first.empty()) first.assign(head.begin(), head.end());
      CAPTURE(balanced);
      CAPTURE(parts);
      for (size_t i = 0; i < first.size(); ++i) CHECK(std::abs(first[i] - head[i]) < 1e-5f);
    }
  }
}

TEST_CASE("tune: the metrics of a run resumed at an epoch's end are those of one that never stopped") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const auto rates = [](const std::string& folder) {
    std::ifstream lines(folder + "/metrics.jsonl");
    std::vector<std::string> out;
    for (std::string line; std::getline(lines, line);) {
      const size_t at = line.find("learning_rate");
      out.push_back(line.substr(at, line.find(',', at) - at));
    }
    return out;
  };
  const Folder whole("rates-whole"), parts("rates-parts");
  tune(backbone, data, small_config(), whole.path, false, {});
  int64_t done = 0;
  TuneHooks hooks;
  hooks.stop = [&] { return ++done == 3; };  // 3 steps are an epoch
  CHECK(tune(backbone, data, small_config(), parts.path, false, hooks).stopped);
  tune(backbone, data, small_config(), parts.path, true, {});
  CHECK(rates(whole.path).size() == 3);
  CHECK(rates(parts.path) == rates(whole.path));
}

TEST_CASE("tune: weights that became infinite are never saved") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const Folder folder("infinite");
  TuneConfig config = small_config();
  config.model.method = Method::linear;
  config.model.prompts = {};
  config.model.drop_path = 0;
  config.batch = 40;  // one step an epoch: its loss is that of the weights before it
  config.clip = 0;
  config.schedule = Schedule::constant;
  config.warmup_epochs = 0;
  config.optimizer = {.kind = OptimizerKind::sgd, .weight_decay = 1e5};
  config.learning_rate = 1e5;
  config.epochs = 4;
  try {
    tune(backbone, data, config, folder.path, false, {});
    FAIL("it went on");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::diverged);
  }
  for (const auto& entry : fs::directory_iterator(folder.path)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("checkpoint-")) continue;
    const TensorFile saved = load_safetensors(entry.path().string());
    for (const auto& [tensor, value] : saved.tensors)
      if (tensor.starts_with("model."))
        for (const float v : value.data<float>()) CHECK(std::isfinite(v));
  }
  CHECK_FALSE(fs::exists(folder.path + "/task.safetensors"));
}

TEST_CASE("tune: a class without images is told and learned around, also when all of them are damaged") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  std::erase_if(data.train, [&](int64_t i) { return data.dataset->label(i) == 1; });
  std::vector<std::string> notes;
  TuneHooks hooks;
  hooks.note = [&](const std::string& words) { notes.push_back(words); };
  TuneConfig balanced = small_config();
  balanced.balance_classes = true;
  balanced.smoothing = 0.1;
  const Tensor weights = class_weights(data, 8);
  for (int64_t c = 0; c < 8; ++c) {
    const auto count =
        std::ranges::count_if(data.train, [&](int64_t i) { return data.dataset->label(i) == c; });
    CHECK(weights.data<float>()[static_cast<size_t>(c)] == (c == 1 ? 0 : 1 / static_cast<float>(count)));
  }
  for (const TuneConfig& c : {small_config(), balanced}) {
    notes.clear();
    const TuneResult result = tune(backbone, data, c, "", false, hooks);
    CHECK(notes == std::vector<std::string>{
                       text("1 of 8 classes has no training images: '{}'", data.dataset->class_names()[1])});
    for (const auto& [name, tensor] : result.task.tensors)
      for (const float v : tensor.data<float>()) CHECK(std::isfinite(v));
    for (const EpochReport& r : result.epochs) CHECK(std::isfinite(r.loss));
    // Images of that class may be asked, and count as all others.
    CHECK(result.epochs.back().val->mean_class_accuracy >= 0);
  }

  data = small_data(backbone);
  data.dataset = std::make_shared<Damaged>(
      data.dataset, [whole = data.dataset](int64_t i) { return whole->label(i) == 1; });
  data.val = {};
  TuneConfig config = small_config();
  config.keep_best = false;
  config.max_bad = 1000;
  notes.clear();
  tune(backbone, data, config, "", false, hooks);
  // Once, not after each epoch.
  CHECK(std::ranges::count_if(notes, [](const std::string& n) {
          return n.starts_with("1 of 8 classes has no undamaged training images");
        }) == 1);
}

TEST_CASE("tune: it learns, and a task can be gone on from") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model.prompts.dropout = 0;
  config.model.drop_path = 0;
  config.augment.flip = false;
  config.epochs = 8;
  const TuneResult result = tune(backbone, data, config, "", false, {});
  REQUIRE(result.epochs.size() == 8);
  CHECK(result.epochs.back().loss < result.epochs.front().loss);
  CHECK(result.epochs.back().val.has_value());

  config.epochs = 0;
  config.warmup_epochs = 0;
  const TuneResult kept = tune(backbone, data, config, "", false, {}, &result.task);
  CHECK(std::ranges::equal(kept.task.tensors.at("prompts").data<float>(),
                           result.task.tensors.at("prompts").data<float>()));
  config.model.prompts.count = 4;
  CHECK_THROWS_AS(tune(backbone, data, config, "", false, {}, &result.task), Error);
}

TEST_CASE("tune: every method ends with its own tensors") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full}) {
    TuneConfig config = small_config();
    config.model.method = method;
    config.epochs = 1;
    const Task task = tune(backbone, data, config, "", false, {}).task;
    CAPTURE(name_of(method));
    CHECK(task.tensors.contains("prompts") == (method == Method::vpt_deep || method == Method::vpt_shallow));
    CHECK(task.tensors.contains("delta.norm.bias") == (method == Method::full));
    const TunedModel again(backbone, task_from_file(to_file(task)));
    const Evaluation e = evaluate(again, data.dataset, data.val, data.preprocess, 4, 0);
    CHECK(e.samples == 10);
  }
}

TEST_CASE("tune: a Swin by every method: it learns, and ends with the same bytes after a stop") {
  const Backbone backbone = small_swin();
  const TuneData data = small_data(backbone);
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::linear, Method::full}) {
    CAPTURE(std::string(name_of(method)));
    TuneConfig config = small_config();
    config.model.method = method;
    if (prompt_kind(method) == PromptKind::none) config.model.prompts = {};
    const TuneResult result = tune(backbone, data, config, "", false, {});
    const std::string whole = digest(result.task);
    CHECK(result.epochs.back().loss < result.epochs.front().loss);
    for (const int stop_after : {1, 5}) {
      const Folder folder("swin");
      int done = 0;
      TuneHooks hooks;
      hooks.stop = [&] { return ++done == stop_after; };
      CHECK(tune(backbone, data, config, folder.path, false, hooks).stopped);
      CHECK(digest(tune(backbone, data, config, folder.path, true, {}).task) == whole);
    }
    // Its own tensors, which a file brings back.
    const auto& tensors = result.task.tensors;
    CHECK(tensors.contains("prompts.0") == (method == Method::vpt_deep));
    CHECK(tensors.contains("prompts.1") == (method == Method::vpt_deep));
    CHECK(tensors.contains("prompts") == (method == Method::vpt_shallow));
    const char* table = "delta.layers.1.blocks.1.attn.relative_position_bias_table";
    CHECK(tensors.contains(table) == (method == Method::full));
    const TunedModel again(backbone, task_from_file(to_file(result.task)));
    const Evaluation e = evaluate(again, data.dataset, data.val, data.preprocess, 4, 0);
    CHECK(e.samples == 10);
    REQUIRE(result.epochs.back().val.has_value());
    double best = 0;  // --keep best
    for (const EpochReport& epoch : result.epochs) best = std::max(best, epoch.val->accuracy);
    CHECK(e.accuracy == best);
  }
}

TEST_CASE("tune: a loss that is not finite ends the run and names the step") {
  Backbone backbone = small_backbone();
  Tensor bad = backbone.file.tensors["norm.bias"].clone();
  bad.mutable_data<float>()[0] = std::numeric_limits<float>::infinity();
  backbone.file.tensors["norm.bias"] = bad.seal();
  try {
    tune(backbone, small_data(backbone), small_config(), "", false, {});
    FAIL("it went on");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::diverged);
    CHECK(std::string(error.what()).find("in step 1 (epoch 1)") != std::string::npos);
  }
}

TEST_CASE("tune: settings that make no sense are named") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const auto refuses = [&](auto change) {
    TuneConfig config = small_config();
    change(config);
    CHECK_THROWS_AS(tune(backbone, data, config, "", false, {}), Error);
  };
  refuses([](TuneConfig& c) { c.epochs = -1; });
  refuses([](TuneConfig& c) { c.batch = 0; });
  refuses([](TuneConfig& c) { c.accumulate = 17; });
  refuses([](TuneConfig& c) { c.learning_rate = 0; });
  refuses([](TuneConfig& c) { c.learning_rate = NAN; });
  refuses([](TuneConfig& c) { c.warmup_epochs = 4; });
  refuses([](TuneConfig& c) { c.smoothing = 1; });
  refuses([](TuneConfig& c) { c.model.prompts.count = 0; });
  refuses([](TuneConfig& c) { c.model.classes = 3; });
  refuses([](TuneConfig& c) { c.model.drop_path = 1; });
}
