// task_set_test.cpp: images of several tasks in one batch get the logits that each task gives alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "engine/parallel.h"
#include "models/task_set.h"
#include "op_checks.h"
#include "tune_runs.h"

using namespace vitrine;

namespace {

struct Form {
  std::string method;
  int64_t prompts = 0;
  PromptConfig how{};
};

Task task_of(const Backbone& backbone, const Form& form, uint64_t seed) {
  TunedConfig config = method_from_text(form.method);
  config.prompts = form.how;
  config.classes = 2 + static_cast<int64_t>(seed % 3);
  config.paper_head = true;
  config.prompts.count = prompt_kind(config.method) == PromptKind::none ? 0 : form.prompts;
  const TunedModel model(backbone, config, seed);
  std::vector<std::string> names;
  for (int64_t c = 0; c < config.classes; ++c) names.push_back(text("class {}", c));
  return {model.config(), names, "small", identity_of(backbone), 2, "", "", "{}", "{}", model.task_tensors()};
}

std::vector<Form> forms_of(const Backbone& backbone) {
  std::vector<Form> forms{{"vpt-deep", 3},    {"linear"},
                          {"vpt-deep", 3},    {"vpt-shallow", 2},
                          {"vpt-deep", 5},    {"mlp-2"},
                          {"vpt-shallow", 2}, {"linear"},
                          {"vpt-shallow", 4}, {"vpt-deep", 3, {.shared = true}},
                          {"vpt-gated", 2},   {"bias"},
                          {"adapter-2"}};
  if (std::holds_alternative<SwinConfig>(backbone.config)) return forms;
  forms.push_back({"vpt-shallow", 3, {.location = PromptLocation::pixels}});
  forms.push_back({"vpt-deep", 3, {.first = 0, .last = 2}});
  forms.push_back({"full"});
  return forms;
}

std::vector<Backbone> backbones() {
  return {testing::small_backbone(), testing::small_swin(), testing::small_descendant(Pooling::token),
          testing::small_descendant(Pooling::map), testing::small_descendant(Pooling::mean)};
}

// The logits of image i of `images` under a task alone, in whatever batch: here by itself.
Tensor alone(const Backbone& backbone, const Task& task, const Tensor& image, DType dtype) {
  const TunedModel model(backbone, task, dtype, {}, Use::prediction);
  const Tensor logits = model.logits(image, {.history = false}).value();
  return logits.reshape({logits.dim(1)});
}

// Two images of each of so many tasks, mixed up: 7 is prime to their number.
std::vector<size_t> mixed_up(size_t tasks) {
  std::vector<size_t> out;
  for (size_t i = 0; i < 2 * tasks; ++i) out.push_back(i * 7 % (2 * tasks) / 2);
  return out;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::ranges::equal(a.raw(), b.raw());
}

}  // namespace

TEST_CASE("task set: each image of a mixed batch gets the bits that its task gives alone") {
  for (const Backbone& backbone : backbones())
    for (const DType dtype : {DType::f32, DType::f64}) {
      TaskSet set(backbone, dtype);
      const std::vector<Form> forms = forms_of(backbone);
      std::vector<Task> tasks;
      for (const Form& form : forms) {
        tasks.push_back(task_of(backbone, form, tasks.size() + 1));
        set.put(text("task {}", tasks.size()), tasks.back());
      }
      REQUIRE(tasks.size() % 7 != 0);
      const std::vector<size_t> which = mixed_up(tasks.size());
      const auto count = static_cast<int64_t>(which.size());
      const Tensor images = sine_image(count, 32).to(dtype);
      std::vector<std::shared_ptr<const ReadyTask>> whose;
      for (const size_t task : which) whose.push_back(set.get(text("task {}", task + 1)));
      for (const int threads : {1, 2}) {
        set_thread_count(threads);
        const std::vector<Tensor> together = set.logits(images, whose);
        REQUIRE(together.size() == whose.size());
        for (int64_t i = 0; i < count; ++i) {
          CAPTURE(forms[which[i]].method);
          CHECK(same_bits(together[i], alone(backbone, tasks[which[i]], images.rows(i, i + 1), dtype)));
        }
      }
    }
  set_thread_count(2);
}

TEST_CASE("task set: ... also where the backbone is packed in bf16 or int8") {
  for (const Precision precision : {Precision::bf16, Precision::int8})
    for (const Backbone& plain : {testing::small_backbone(), testing::small_swin()}) {
      const Backbone backbone = with_precision(plain, precision);
      TaskSet set(backbone);
      const Tensor images = sine_image(3, 32).to(DType::f32);
      const std::vector<Task> tasks{task_of(backbone, {"vpt-deep", 3}, 1), task_of(backbone, {"linear"}, 2),
                                    task_of(backbone, {"vpt-deep", 3}, 3)};
      const std::vector<Tensor> together = set.logits(
          images, std::vector{set.put("a", tasks[0]), set.put("b", tasks[1]), set.put("c", tasks[2])});
      for (int64_t i = 0; i < 3; ++i)
        CHECK(same_bits(together[i], alone(backbone, tasks[i], images.rows(i, i + 1), DType::f32)));
    }
}

TEST_CASE("task set: images of several sizes are as many batches") {
  const Backbone backbone = testing::small_swin();
  TaskSet set(backbone);
  const std::vector<Task> tasks{task_of(backbone, {"vpt-deep", 3}, 1), task_of(backbone, {"linear"}, 2)};
  const std::vector ready{set.put("a", tasks[0]), set.put("b", tasks[1])};
  std::vector<Tensor> images;
  std::vector<std::shared_ptr<const ReadyTask>> whose;
  for (const size_t i : {0, 1, 2, 3, 4}) {
    const int64_t side = i % 2 == 0 ? 32 : 24;
    images.push_back(sine_image(1, side, 32).reshape({3, side, 32}).to(DType::f32));
    whose.push_back(ready[i / 2 % 2]);
  }
  const std::vector<Tensor> logits = set.logits(images, whose);
  for (size_t i = 0; i < images.size(); ++i)
    CHECK(same_bits(logits[i], alone(backbone, tasks[i / 2 % 2],
                                     images[i].reshape({1, 3, images[i].dim(1), 32}), DType::f32)));
  CHECK_THROWS_WITH(set.logits(images, std::vector{ready[0]}), "task set: 5 images and 1 tasks");
  images[1] = Tensor();
  CHECK_THROWS_WITH(set.logits(images, whose), "task set: expected images (3, H, W)");
}

TEST_CASE("task set: who shares the pass") {
  for (const Backbone& backbone : {testing::small_backbone(), testing::small_swin()}) {
    TaskSet set(backbone);
    const bool swin = std::holds_alternative<SwinConfig>(backbone.config);
    for (const std::string method : {"linear", "mlp-2", "vpt-deep", "vpt-shallow"})
      CHECK(set.put(method, task_of(backbone, {method, 3}, 1))->shares_pass());
    for (const std::string method : {"full", "partial-1", "bias", "adapter-2", "vpt-deep+bias", "lora-2",
                                     "ssf", "vpt-gated", "sidetune"})
      if (!swin || method != "sidetune")
        CHECK(!set.put(method, task_of(backbone, {method, 3}, 1))->shares_pass());
    CHECK(set.put("shared", task_of(backbone, {"vpt-deep", 3, {.shared = true}}, 1))->shares_pass());
    if (swin) continue;
    CHECK(set.put("cls", task_of(backbone, {"cls"}, 1))->own != nullptr);
    CHECK(set.put("pixels", task_of(backbone, {"vpt-shallow", 3, {.location = PromptLocation::pixels}}, 1))
              ->shares_pass());
    for (const PromptConfig& how :
         {PromptConfig{.location = PromptLocation::add}, PromptConfig{.pooling = PromptPooling::prompts},
          PromptConfig{.first = 1, .last = 3}, PromptConfig{.first = 0, .last = 2}}) {
      Form form{"vpt-deep", 3, how};
      if (how.location == PromptLocation::add) form.prompts = std::get<VitConfig>(backbone.config).tokens();
      CHECK(!set.put("unusual", task_of(backbone, form, 1))->shares_pass());
    }
  }
}

TEST_CASE("task set: tasks come, are replaced and go, and who holds one goes on") {
  const Backbone backbone = testing::small_backbone();
  const Memory memory = Memory::counted();
  TaskSet set(backbone, DType::f32, memory);
  CHECK(set.names().empty());
  const Tensor image = sine_image(1, 32).to(DType::f32);
  const Task first = task_of(backbone, {"vpt-deep", 3}, 1), second = task_of(backbone, {"linear"}, 2);
  const auto asked = [&](const std::shared_ptr<const ReadyTask>& task) {
    return set.logits(image, std::vector{task})[0];
  };
  set.put("b", second);
  asked(set.get("b"));  // packs
  const size_t before = memory.statistics().current;
  set.put("a", first);
  CHECK(set.names() == std::vector<std::string>{"a", "b"});
  CHECK(memory.statistics().current - before == set.get("a")->bytes);
  const std::shared_ptr<const ReadyTask> held = set.get("a");
  CHECK(same_bits(asked(held), alone(backbone, first, image, DType::f32)));
  CHECK(held->task.class_names == first.class_names);
  CHECK(held->task.tensors.empty());

  set.put("a", second);
  CHECK(set.size() == 2);
  CHECK(same_bits(asked(set.get("a")), alone(backbone, second, image, DType::f32)));
  CHECK(set.remove("a"));
  CHECK(!set.remove("a"));
  CHECK_THROWS_WITH(set.get("a"), "task set: no task 'a'; nearest: b");
  CHECK(same_bits(asked(held), alone(backbone, first, image, DType::f32)));
}

TEST_CASE("task set: what does not fit is refused, and the set stays as it was") {
  const Backbone backbone = testing::small_backbone();
  TaskSet set(backbone);
  const Task task = task_of(backbone, {"vpt-deep", 3}, 1);
  const auto ready = set.put("a", task);
  CHECK_THROWS_WITH(set.put("a", task_of(testing::small_descendant(Pooling::mean), {"linear"}, 1)),
                    doctest::Contains("belongs to another backbone"));
  Task misshapen = task;
  misshapen.tensors["prompts"] = Tensor::zeros({2, 3, 16}, DType::f32);
  CHECK_THROWS_AS(set.put("a", misshapen), Error);
  Task more = task;
  more.tensors["delta.norm.weight"] = Tensor::zeros({16}, DType::f32);
  CHECK_THROWS_WITH(set.put("a", more), doctest::Contains("'delta.norm.weight' belongs to no"));
  CHECK(set.get("a") == ready);
  const Tensor images = sine_image(2, 32).to(DType::f32);
  CHECK_THROWS_WITH(set.logits(images, std::vector{ready}),
                    "task set: expected images (1, 3, H, W), one for each task, got (2, 3, 32, 32)");
  CHECK_THROWS_WITH(set.logits(images, std::vector<std::shared_ptr<const ReadyTask>>{ready, nullptr}),
                    "task set: image 1 has no task");
  CHECK(set.logits(Variable(images.rows(0, 0)), {}).empty());
}

TEST_CASE("task set: tasks come and go while others are asked") {
  const Backbone backbone = testing::small_backbone();
  TaskSet set(backbone);
  const Task steady = task_of(backbone, {"vpt-deep", 3}, 1), other = task_of(backbone, {"vpt-deep", 5}, 2);
  const auto ready = set.put("steady", steady);
  const Tensor images = sine_image(2, 32).to(DType::f32);
  const Tensor first = alone(backbone, steady, images.rows(0, 1), DType::f32),
               second = alone(backbone, other, images.rows(1, 2), DType::f32);
  std::atomic<bool> done = false;
  std::thread changes([&] {
    while (!done) {
      set.put("other", other);
      set.remove("other");
    }
  });
  const auto held = set.put("mine", other);
  for (int i = 0; i < 50; ++i) {
    const std::vector<Tensor> logits = set.logits(images, std::vector{set.get("steady"), set.get("mine")});
    CHECK(same_bits(logits[0], first));
    CHECK(same_bits(logits[1], second));
  }
  done = true;
  changes.join();
  CHECK(set.names() == std::vector<std::string>{"mine", "steady"});
}
