// class_tokens_test.cpp: prompts that start from class tokens, against means that a plain net gives picture by picture.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/parallel.h"
#include "models/training/class_tokens.h"
#include "tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

TuneConfig config_of(const std::string& method) {
  TuneConfig config = small_config();
  config.model = method_from_text(method);
  config.model.prompts.start = PromptStart::class_tokens;
  config.model.drop_path = 0.1;
  config.epochs = 0;
  config.warmup_epochs = 0;
  config.workers = 0;
  return config;
}

// The prompts of a task that no step has touched.
Tensor start_of(const Backbone& backbone, const TuneData& data, const TuneConfig& config) {
  return tune(backbone, data, config, "", false, {}).task.tensors.at("prompts");
}

// The textbook form: each picture alone, whole blocks, in f64. means[block][class] of D numbers.
std::vector<std::vector<std::vector<double>>> plain_means(const Backbone& backbone, const TuneData& data) {
  const auto& config = std::get<VitConfig>(backbone.config);
  const Vit net(config, frozen(backbone.file, DType::f64));
  const auto classes = static_cast<size_t>(data.dataset->classes()),
             width = static_cast<size_t>(config.width);
  std::vector<std::vector<std::vector<double>>> means(
      static_cast<size_t>(config.depth),
      std::vector<std::vector<double>>(classes, std::vector<double>(width, 0)));
  for (size_t c = 0; c < classes; ++c) {
    double images = 0;
    for (const int64_t i : data.train) images += data.dataset->label(i) == static_cast<int64_t>(c);
    for (const int64_t i : data.train) {
      if (data.dataset->label(i) != static_cast<int64_t>(c)) continue;
      Tensor pixels = Tensor::empty({1, 3, data.preprocess.size, data.preprocess.size}, DType::f32);
      normalise(prepare(data.dataset->image(i), data.preprocess), data.preprocess,
                pixels.mutable_data<float>());
      Variable x = net.embed(pixels.to(DType::f64));
      for (size_t b = 0; b < means.size(); ++b) {
        x = net.blocks()[b](x, {}, {});
        for (size_t d = 0; d < width; ++d) means[b][c][d] += x.value().data<double>()[d] / images;
      }
    }
  }
  return means;
}

double difference(const Tensor& prompts, size_t layer, const std::vector<std::vector<double>>& means) {
  double most = 0;
  const size_t width = means[0].size();
  const auto values = prompts.data<float>();
  for (size_t c = 0; c < means.size(); ++c)
    for (size_t d = 0; d < width; ++d)
      most = std::max(most, std::abs(values[(layer * means.size() + c) * width + d] - means[c][d]));
  return most;
}

}  // namespace

TEST_CASE("class tokens: prompts start at the means of their classes, block by block") {
  for (const Backbone& backbone : {small_backbone(), small_descendant(Pooling::token)}) {
    const TuneData data = small_data(backbone);
    const int64_t classes = data.dataset->classes();
    const auto means = plain_means(backbone, data);
    double largest = 0;
    for (const auto& block : means)
      for (const auto& mean : block)
        for (const double value : mean) largest = std::max(largest, std::abs(value));
    const double near = 1e-5 * largest;
    for (const char* method : {"vpt-deep", "vpt-deep+bias"}) {
      const Tensor deep = start_of(backbone, data, config_of(method));
      REQUIRE(deep.shape() == Shape{3, classes, 16});
      for (size_t i = 0; i < 3; ++i) CHECK(difference(deep, i, means[i]) < near);
      CHECK(difference(deep, 0, means[1]) > 100 * near);  // blocks differ
    }
    for (const char* method : {"vpt-shallow", "vpt-gated"}) {
      const Tensor shallow = start_of(backbone, data, config_of(method));
      REQUIRE(shallow.shape() == Shape{classes, 16});
      CHECK(difference(shallow, 0, means[2]) < near);
    }
    TuneConfig some = config_of("vpt-deep");
    some.model.prompts.first = 1;
    some.model.prompts.last = 2;
    CHECK(difference(start_of(backbone, data, some), 0, means[1]) < near);
    TuneConfig shared = config_of("vpt-deep");
    shared.model.prompts.shared = true;
    CHECK(difference(start_of(backbone, data, shared), 0, means[2]) < near);
  }
}

TEST_CASE(
    "class tokens: the same bits for any threads, workers and batches, whatever augments the pictures") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  std::vector<float> first;
  const int before = thread_count();
  for (const int threads : {1, 2, 3})
    for (const int64_t batch : {1, 3, 16, 40, 64}) {
      set_thread_count(threads);
      TuneConfig config = config_of("vpt-deep");
      config.workers = threads - 1;
      config.batch = batch;
      config.accumulate = batch == 16 ? 3 : 1;
      config.augment.flip = threads == 2;
      config.seed = static_cast<uint64_t>(threads);  // has no part in it
      const Tensor prompts = start_of(backbone, data, config);
      const std::vector<float> now(prompts.data<float>().begin(), prompts.data<float>().end());
      if (first.empty()) first = now;
      CHECK(now == first);
    }
  set_thread_count(before);
  // Prepared pictures that runs share change nothing.
  TuneData sharing = data;
  sharing.kept.images = std::make_shared<PreparedImages>(data.dataset, data.preprocess, size_t{1} << 30);
  const Tensor prompts = start_of(backbone, sharing, config_of("vpt-deep"));
  CHECK(std::vector<float>(prompts.data<float>().begin(), prompts.data<float>().end()) == first);
  CHECK(sharing.kept.images->decoded() == static_cast<int64_t>(data.train.size()));
}

TEST_CASE("class tokens: a run learns from there, is the same after any stop, and says how it began") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = config_of("vpt-deep");
  config.epochs = 2;
  const TuneResult whole = tune(backbone, data, config, "", false, {});
  const Tensor start = start_of(backbone, data, config_of("vpt-deep")),
               end = whole.task.tensors.at("prompts");
  CHECK(!std::ranges::equal(start.data<float>(), end.data<float>()));
  for (int64_t stop_after = 1; stop_after <= 6; ++stop_after) {
    const Folder folder("class-tokens");
    int64_t done = 0;
    TuneHooks hooks;
    hooks.stop = [&] { return ++done == stop_after; };
    CHECK(tune(backbone, data, config, folder.path, false, hooks).stopped);
    CHECK(digest(tune(backbone, data, config, folder.path, true, {}).task) == digest(whole.task));
    TuneConfig random = config;
    random.model.prompts.start = PromptStart::random;
    random.model.prompts.count = data.dataset->classes();
    CHECK_THROWS_WITH_AS(
        tune(backbone, data, random, folder.path, true, {}),
        doctest::Contains("other settings: prompt_variant {\"init\":\"class-tokens\"}, given none"), Error);
  }
  const TensorFile file = to_file(whole.task);
  CHECK(file.metadata.at("prompt_variant") == variant_to_json({.start = PromptStart::class_tokens}));
  const Task back = task_from_file(read_safetensors(write_safetensors(file), nullptr, "task"));
  CHECK(back.config.prompts.start == PromptStart::class_tokens);
  // A task that goes on from it starts where it ended.
  TuneConfig further = config;
  further.epochs = 0;
  further.model = back.config;
  const TuneResult gone_on = tune(backbone, data, further, "", false, {}, &back);
  CHECK(std::ranges::equal(gone_on.task.tensors.at("prompts").data<float>(), end.data<float>()));
}

TEST_CASE("class tokens: damaged pictures have no part in a mean; what does not fit is refused") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  TuneConfig config = config_of("vpt-deep");
  TuneData sound = data;
  sound.train.erase(sound.train.begin() + 3);
  const int64_t lost = data.train[3];
  data.dataset = std::make_shared<Damaged>(data.dataset, [=](int64_t i) { return i == lost; });
  data.val.clear();
  CHECK_THROWS_WITH_AS(start_of(backbone, data, config), doctest::Contains("is damaged"), Error);
  config.max_bad = 1;
  const Tensor with = start_of(backbone, data, config), without = start_of(backbone, sound, config);
  CHECK(std::ranges::equal(with.data<float>(), without.data<float>()));
  const int64_t first_class = data.dataset->label(data.train[0]);
  TuneData empty = data;
  empty.dataset = std::make_shared<Damaged>(
      sound.dataset, [&](int64_t i) { return sound.dataset->label(i) == first_class; });
  config.max_bad = 40;
  // A class without any keeps the prompt that it came with; the others are what they were.
  {
    TuneData complete = empty;
    complete.dataset = sound.dataset;
    const Tensor some = start_of(backbone, empty, config), all = start_of(backbone, complete, config);
    TunedConfig fresh = config.model;
    fresh = for_classes(fresh, sound.dataset->classes());
    const TunedModel came(backbone, fresh, config.seed);
    const Tensor own = came.task_tensors().at("prompts");
    const int64_t classes = sound.dataset->classes(), width = 16;
    REQUIRE(some.numel() == own.numel());
    for (int64_t i = 0; i < some.numel(); ++i) {
      const bool lacks = i / width % classes == first_class;
      const auto at = static_cast<size_t>(i);
      CHECK(some.data<float>()[at] == (lacks ? own : all).data<float>()[at]);
    }
  }

  const auto refused = [&](const Backbone& net, auto change, const char* words) {
    TuneConfig wrong = config_of("vpt-deep");
    change(wrong.model.prompts);
    if (wrong.model.prompts.location != PromptLocation::prepend) wrong.model.method = Method::vpt_shallow;
    CHECK_THROWS_WITH_AS(start_of(net, small_data(net), wrong), words, Error);
  };
  refused(
      backbone, [](PromptConfig& p) { p.count = 3; },
      "prompts: those that start from class tokens are as many as there are classes, 8, not 3");
  refused(
      backbone, [](PromptConfig& p) { p.projection = 4; },
      "prompts: those that start from class tokens have no projection");
  refused(
      backbone, [](PromptConfig& p) { p.location = PromptLocation::pixels; },
      "prompts: those that start from class tokens stand beside the tokens, not pixels");
  refused(
      small_swin(), [](PromptConfig&) {}, "prompts: this backbone has no class token for them to start from");
  refused(
      small_descendant(Pooling::map), [](PromptConfig&) {},
      "prompts: this backbone has no class token for them to start from");
  // Where they would be added to tokens they are one for each of these, not for each class.
  const auto places = small.prompt_places();
  CHECK_THROWS_WITH_AS(
      check_prompts(
          {.kind = PromptKind::shallow, .location = PromptLocation::add, .start = PromptStart::class_tokens},
          places),
      "prompts: those that start from class tokens stand beside the tokens, not add", Error);
}
