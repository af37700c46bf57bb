// device_task_set_test.cpp: a set of tasks on a device answers as each task does there by itself.
#include <doctest/doctest.h>

#include "models/task_set.h"
#include "tests/devices.h"
#include "tests/op_checks.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;

TEST_CASE("device: mixed tasks get the logits that each gives alone") {
  const auto device = open_test_device();
  for (const Backbone& plain : {small_backbone(), small_swin()})
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      const Backbone backbone = on_device(plain, device->memory(), precision);
      TaskSet set(backbone);
      std::vector<Task> tasks;
      std::vector<std::shared_ptr<const ReadyTask>> ready;
      for (const auto& [method, prompts] : std::vector<std::pair<std::string, int64_t>>{
               {"vpt-deep", 3}, {"linear", 0}, {"vpt-shallow", 2}, {"vpt-deep", 3}}) {
        TunedConfig config = method_from_text(method);
        config.classes = 3;
        config.paper_head = true;
        config.prompts.count = prompts;
        const TunedModel model(plain, config, tasks.size() + 1);
        tasks.push_back({model.config(),
                         {"a", "b", "c"},
                         "small",
                         identity_of(plain),
                         2,
                         "",
                         "",
                         "{}",
                         "{}",
                         model.task_tensors()});
        ready.push_back(set.put(text("{}", tasks.size()), tasks.back()));
      }
      const Tensor images = sine_image(4, 32).to(DType::f32);
      const std::vector<Tensor> together = set.logits(images, ready);
      for (int64_t i = 0; i < 4; ++i) {
        const TunedModel alone(backbone, tasks[i], DType::f32, {}, Use::prediction);
        const Tensor own = in_main_memory(alone.logits(images.rows(i, i + 1), {.history = false}).value());
        CHECK(together[i].device() == nullptr);
        CHECK(largest_difference(together[i].to(DType::f64), own.reshape({3}).to(DType::f64)) <=
              (precision == Precision::bf16 ? 1e-2 : 1e-5));
      }
    }
}
