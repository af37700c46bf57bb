// tune_test.cpp: the training loop: the same bits for any number of threads and after any stop, what it
// refuses, and what it promises about memory.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "data/subset.h"
#include "engine/file.h"
#include "engine/parallel.h"
#include "engine/sha256.h"
#include "models/training/checkpoint.h"
#include "models/training/tune.h"
#include "vit_files.h"

using namespace vitrine;
namespace fs = std::filesystem;

namespace {

const VitConfig small{.image_size = 32, .patch = 8, .width = 16, .depth = 3, .heads = 2, .mlp_width = 32};

Backbone small_backbone() {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  return make_backbone(file, "sine");
}

TuneData small_data(const Backbone& backbone) {
  const auto dataset = open_dataset("synthetic:colors", Split::train);
  const TrainVal split = split_validation(class_balanced(*dataset, 50, 0), *dataset, 10, 0);
  return {dataset, split.train, split.val, nullptr, preprocess_of(backbone)};
}

TuneConfig small_config() {
  TuneConfig config;
  config.model.prompts = {.count = 3, .dropout = 0.1};
  config.model.drop_path = 0.1;
  config.epochs = 3;
  config.batch = 16;
  config.accumulate = 2;
  config.warmup_epochs = 1;
  config.learning_rate = 1e-2;
  config.clip = 1;
  config.augment.flip = true;
  config.keep_best = true;
  return config;
}

std::string digest(const Task& task) { return sha256_hex(write_safetensors(to_file(task))); }

struct Folder {
  std::string path;
  explicit Folder(const std::string& name)
      : path((fs::temp_directory_path() / ("vitrine-tune-test-" + name)).string()) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

}  // namespace

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
  CHECK_THROWS_AS(tune(backbone, data, other, folder.path, true, {}), Error);
  TuneData fewer = data;
  fewer.train.pop_back();
  CHECK_THROWS_AS(tune(backbone, fewer, config, folder.path, true, {}), Error);
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
    const TunedVit again(backbone, task_from_file(to_file(task)));
    const Evaluation e = evaluate(again, data.dataset, data.val, data.preprocess, 4, 0);
    CHECK(e.samples == 10);
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

TEST_CASE("forecast_memory: a real step stays below it, and not far below") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  for (const Method method : {Method::vpt_deep, Method::vpt_shallow, Method::full}) {
    TuneConfig config = small_config();
    config.model.method = method;
    config.accumulate = 1;
    config.workers = 0;  // how far workers run ahead depends on the moment
    config.model.classes = data.dataset->classes();
    const MemoryForecast forecast = forecast_memory(backbone, config);
    const Memory memory = Memory::counted();
    Backbone counted = backbone;
    size_t mapped = 0;
    for (auto& [name, tensor] : counted.file.tensors) {
      tensor = tensor.with_memory(memory);
      mapped += tensor.bytes();
    }
    const int before = thread_count();
    set_thread_count(1);
    tune(counted, {data.dataset, data.train, {}, nullptr, data.preprocess}, config, "", false, {}, nullptr,
         memory);
    set_thread_count(before);
    const size_t measured = memory.statistics().peak + mapped;
    CAPTURE(name_of(method));
    CAPTURE(measured);
    CAPTURE(forecast.peak());
    CHECK(measured <= forecast.peak());
    CHECK(static_cast<double>(forecast.peak()) <= 1.5 * static_cast<double>(measured));
  }
}
