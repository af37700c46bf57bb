// ensemble_test.cpp: members that are asked together answer as each does alone.
#include <doctest/doctest.h>

#include <cmath>

#include "models/ensemble.h"
#include "op_checks.h"
#include "tune_runs.h"

using namespace vitrine;
using testing::largest_difference;

namespace {

Task task_of(const Backbone& backbone, const std::string& method, uint64_t seed, int64_t prompts = 3) {
  TunedConfig config = method_from_text(method);
  config.classes = 4;
  config.paper_head = true;
  if (prompt_kind(config.method) != PromptKind::none) config.prompts.count = prompts;
  const TunedModel model(backbone, config, seed);
  return {model.config(), {"a", "b", "c", "d"}, "small", identity_of(backbone), 2, "", "", "{}",
          "{}",           model.task_tensors()};
}

}  // namespace

TEST_CASE("ensemble: each member's logits are its own, and the answer is the mean of their probabilities") {
  for (const Backbone& backbone :
       {testing::small_backbone(), testing::small_swin(), testing::small_descendant(Pooling::token),
        testing::small_descendant(Pooling::map), testing::small_descendant(Pooling::mean)})
    for (const std::vector<std::string>& methods :
         {std::vector<std::string>{"vpt-deep", "vpt-deep", "vpt-deep"},
          {"vpt-deep", "vpt-shallow", "linear", "mlp-2"}}) {
      std::vector<Task> tasks;
      for (size_t i = 0; i < methods.size(); ++i) tasks.push_back(task_of(backbone, methods[i], i + 1));
      const Ensemble ensemble(backbone, tasks, DType::f64);
      const Tensor images = sine_image(2, 32);
      const Tensor together = ensemble.member_logits(images).value();
      std::vector<double> sums(8, 0);
      for (size_t e = 0; e < tasks.size(); ++e) {
        const TunedModel alone(backbone, tasks[e], DType::f64, {}, Use::prediction);
        const Tensor own = alone.logits(images).value();
        const auto row = static_cast<int64_t>(e);
        CHECK(largest_difference(together.rows(row, row + 1).reshape({2, 4}), own) < 1e-12);
        for (size_t b = 0; b < 2; ++b) {
          double all = 0;
          for (size_t c = 0; c < 4; ++c) all += std::exp(own.data<double>()[4 * b + c]);
          for (size_t c = 0; c < 4; ++c) sums[4 * b + c] += std::exp(own.data<double>()[4 * b + c]) / all;
        }
      }
      const Tensor answer = ensemble.logits(images).value();
      for (size_t i = 0; i < sums.size(); ++i)
        CHECK(answer.data<double>()[i] ==
              doctest::Approx(std::log(sums[i] / static_cast<double>(tasks.size()))).epsilon(1e-12));
    }
}

TEST_CASE("ensemble: tasks that do not go together are refused by their number") {
  const Backbone backbone = testing::small_backbone();
  CHECK_THROWS_WITH(Ensemble(backbone, {}), "ensemble: no tasks");
  CHECK_THROWS_WITH(Ensemble(backbone, {task_of(backbone, "vpt-deep", 1), task_of(backbone, "bias", 2)}),
                    "ensemble: task 2 was tuned by bias, which has a net of its own: its members share one");
  Task other = task_of(backbone, "vpt-deep", 1);
  other.class_names[3] = "e";
  CHECK_THROWS_WITH(Ensemble(backbone, {task_of(backbone, "vpt-deep", 1), other}),
                    "ensemble: task 2 has other classes than the first");
}
