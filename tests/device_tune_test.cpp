// device_tune_test.cpp: runs of the training loop on a device: stopped and gone on with, recorded and not, with images
// that change, that are kept, and that are damaged.
#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>
#include <set>

#include "tests/devices.h"
#include "tests/op_checks.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

// The loss of each step.
std::vector<double> losses_of(const Backbone& backbone, const TuneData& data, const TuneConfig& config,
                              TuneHooks hooks = {}, TuneResult* result = nullptr) {
  std::vector<double> out;
  hooks.step = [&](const StepReport& report) { out.push_back(report.loss); };
  TuneResult got = tune(backbone, data, config, "", false, hooks);
  if (result != nullptr) *result = std::move(got);
  return out;
}

void check_losses(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(2e-4));
}

}  // namespace

TEST_CASE("device: a run that was stopped and gone on with ends with the bytes of one that was not") {
  const auto device = open_test_device();
  const Backbone backbone = on_device(small_backbone(), device->memory(), Precision::bf16);
  TuneConfig config = small_config();
  config.epochs = 2;
  const TuneData data = small_data(backbone);
  const TuneResult whole = tune(backbone, data, config, "", false, {});
  const Folder folder("device");
  TuneHooks stopping;
  int steps = 0;
  stopping.stop = [&] { return ++steps == 2; };
  CHECK(tune(backbone, data, config, folder.path, false, stopping).stopped);
  const TuneResult resumed = tune(backbone, data, config, folder.path, true, {});
  CHECK(digest(resumed.task) == digest(whole.task));
  // The settings name the device: on the CPU it is another run, with other bits.
  const Folder again("device-cpu");
  steps = 0;
  tune(backbone, data, config, again.path, false, stopping);
  CHECK_THROWS_AS(tune(small_backbone(), data, config, again.path, true, {}), Error);
}

TEST_CASE("device: a recorded training step gives the bits of one that is not, whatever it is made of") {
  const auto device = open_test_device();
  struct Settings {
    std::string name;
    Method method;
    int64_t accumulate;
    double clip, dropout;
    bool flip, balance;
    Backbone here = small_backbone();
  };
  for (const Settings& s :
       std::vector<Settings>{{"deep, kept images", Method::vpt_deep, 1, 0, 0.1, false, false},
                             {"deep, flipped images", Method::vpt_deep, 1, 0.5, 0, true, false},
                             {"shallow, two parts", Method::vpt_shallow, 2, 0, 0.1, false, false},
                             {"two parts, class weights", Method::vpt_deep, 2, 1, 0, false, true},
                             {"full", Method::full, 1, 1, 0, false, false},
                             {"deep, two pooled tokens", Method::vpt_deep, 1, 0, 0.1, false, false,
                              small_descendant(Pooling::token)},
                             {"deep, attention pooling", Method::vpt_deep, 1, 0, 0, true, false,
                              small_descendant(Pooling::map)},
                             {"linear", Method::linear, 1, 0, 0, true, false},
                             {"linear, kept features, two parts", Method::linear, 2, 0, 0, false, false},
                             {"statistics of a head", Method::mlp, 2, 0, 0, true, false},
                             {"gates", Method::vpt_gated, 1, 0, 0, true, false},
                             {"factors", Method::ssf, 1, 0, 0, true, false}}) {
    CAPTURE(s.name);
    const Backbone& here = s.here;
    const bool trained = s.method == Method::full;
    TuneConfig config = small_config();
    config.model.method = s.method;
    config.model.size = s.method == Method::mlp ? 2 : 0;
    config.model.prompts.dropout = s.dropout;
    config.accumulate = s.accumulate;
    config.clip = s.clip;
    config.augment.flip = s.flip;
    config.balance_classes = s.balance;
    config.epochs = 3;
    config.batch = 14;  // 40 images: two whole batches and an odd one, so that kinds of steps take turns
    const TuneData data = small_data(here);
    const Backbone placed = on_device(here, device->memory(), Precision::f32, trained);
    TuneResult whole;
    check_losses(losses_of(placed, data, config, {}, &whole), losses_of(here, data, config));
    // A run of one epoch after the other starts anew each time: none of its steps is recorded twice, and the last one
    // ends with the same bits.
    const Folder folder("recorded");
    TuneHooks one;
    int steps = 0;
    one.stop = [&] { return ++steps % 2 == 0; };
    TuneResult last;
    do last = tune(placed, data, config, folder.path, true, one);
    while (last.stopped);
    for (const auto& [name, tensor] : whole.task.tensors) {
      CAPTURE(name);
      CHECK(same_bits(last.task.tensors.at(name), tensor));
    }
  }
}

TEST_CASE("device: augmented images are those of their epoch, though the same samples come again") {
  const auto device = open_test_device();
  const Backbone here = small_backbone();
  TuneConfig config = small_config();
  config.sequential = true;
  config.augment.flip = true;
  config.epochs = 4;
  config.batch = 20;  // two batches: each room is used once in an epoch
  const TuneData data = small_data(here);
  check_losses(losses_of(on_device(here, device->memory(), Precision::f32), data, config),
               losses_of(here, data, config));
}

TEST_CASE("device: where images do not fit beside the work, none is kept, and the bits are the same") {
  if (std::getenv("VITRINE_TEST_DEVICE") != nullptr) return;  // a GPU has room
  TuneConfig config = small_config();
  config.augment.flip = false;
  const TuneData data = small_data(small_backbone());
  config.epochs = 2;
  const auto run_with = [&](size_t bytes) {
    setenv("VITRINE_EMULATOR_MEMORY", std::to_string(bytes).c_str(), 1);
    const auto device = Device::open("emulator");
    unsetenv("VITRINE_EMULATOR_MEMORY");
    const Memory memory = device->memory();
    const TuneResult result =
        tune(on_device(small_backbone(), memory, Precision::f32), data, config, "", false, {});
    return std::pair(digest(result.task), memory.statistics().idle);
  };
  const auto [digest_with, idle_with] = run_with(1'000'000'000);
  const size_t images = data.train.size() * 32 * 32 * 3;
  // What a run has had lies idle after it. With less and less memory until it does not suffice for the work: the last run that did has kept none.
  std::pair<std::string, size_t> last;
  size_t runs = 0;
  for (size_t bytes = idle_with + 6 * images;; bytes -= images, ++runs) {
    try {
      last = run_with(bytes);
    } catch (const Error& error) {
      CHECK(error.fault() == Fault::resources);
      break;
    }
    CHECK(last.first == digest_with);
  }
  CHECK(runs > 0);
  CHECK(last.second <= idle_with - images);
}

TEST_CASE("device: images that are numbers keep their size, which a Swin takes") {
  const auto device = open_test_device();
  const Backbone here = small_swin();
  const Folder folder("device-numbers");
  TensorFile file;
  file.tensors["images"] = random_tensor({12, 3, 48, 48}, DType::f32, 1);
  file.tensors["labels"] = make_input({{12}, Fill::labels, true, 2}, DType::i64, 2);
  save_safetensors(folder.path + "/numbers", file);
  TuneData data;
  data.dataset = open_dataset("tensors:" + folder.path + "/numbers", Split::train);
  for (int64_t i = 0; i < 12; ++i) data.train.push_back(i);
  data.preprocess = preprocess_of(here);
  TuneConfig config = small_config();
  config.model.drop_path = 0;
  config.augment.flip = false;
  config.keep_best = false;
  config.batch = 5;
  check_losses(losses_of(on_device(here, device->memory(), Precision::f32), data, config),
               losses_of(here, data, config));
}

TEST_CASE("device: a damaged image ends a run in its own step, and is left out where that is allowed") {
  const auto device = open_test_device();
  const Backbone here = small_backbone(), there = on_device(here, device->memory(), Precision::f32);
  TuneConfig config = small_config();
  config.sequential = true;
  config.batch = 8;
  TuneData data = small_data(here);
  data.val = {};
  config.keep_best = false;
  const auto damaged_from = [&](size_t first, size_t end) {
    TuneData out = data;
    const std::set<int64_t> bad(data.train.begin() + static_cast<long>(first),
                                data.train.begin() + static_cast<long>(end));
    out.dataset = std::make_shared<Damaged>(data.dataset, [bad](int64_t i) { return bad.contains(i); });
    return out;
  };
  // The third batch holds it: two steps are reported before.
  int steps = 0;
  TuneHooks hooks;
  hooks.step = [&](const StepReport&) { ++steps; };
  CHECK_THROWS_WITH_AS(tune(there, damaged_from(20, 21), config, "", false, hooks),
                       doctest::Contains("is damaged"), Error);
  CHECK(steps == 2);
  // A whole batch of them is passed over, and what is saved before it goes on behind it.
  config.max_bad = 8;
  const TuneData holed = damaged_from(16, 24);
  check_losses(losses_of(there, holed, config), losses_of(here, holed, config));
  const Folder folder("device-damaged"), on_cpu("device-damaged-cpu");
  const auto stopped_at = [&](const Backbone& backbone, const std::string& path) {
    TuneHooks stopping;
    int done = 0;
    stopping.stop = [&] { return ++done == 2; };
    CHECK(tune(backbone, holed, config, path, false, stopping).stopped);
    return load_safetensors(path + "/checkpoint-2.safetensors").metadata.at("position");
  };
  CHECK(stopped_at(there, folder.path) == stopped_at(here, on_cpu.path));
}

TEST_CASE("device: a loss that is not finite names its step, also where gradients are clipped") {
  const auto device = open_test_device();
  Backbone here = small_backbone();
  Tensor bad = here.file.tensors["norm.bias"].clone();
  bad.mutable_data<float>()[0] = std::numeric_limits<float>::infinity();
  here.file.tensors["norm.bias"] = bad.seal();
  const Backbone there = on_device(here, device->memory(), Precision::f32);
  REQUIRE(small_config().clip > 0);
  CHECK_THROWS_WITH_AS(tune(there, small_data(here), small_config(), "", false, {}),
                       doctest::Contains("in step 1 (epoch 1)"), Error);
}
