// ensemble_test.cpp: members that are asked together answer as each does alone.
#include <doctest/doctest.h>

#include <algorithm>
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
          {"vpt-deep", "vpt-shallow", "linear", "mlp-2", "vpt-deep", "linear"}}) {
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
  const Task first = task_of(backbone, "vpt-deep", 1);
  Task other = first;
  other.class_names[3] = "e";
  CHECK_THROWS_WITH(Ensemble(backbone, {first, other}),
                    "ensemble: class 3 is 'e' in task 2, but 'd' in task 1");
  // By their names, if they have some.
  CHECK_THROWS_WITH(Ensemble(backbone, {first, other}, DType::f32, {}, {"a/task", "b/task"}),
                    "ensemble: class 3 is 'e' in 'b/task', but 'd' in 'a/task'");
  other = first;
  other.class_names.pop_back();
  CHECK_THROWS_WITH(Ensemble(backbone, {first, other}, DType::f32, {}, {"a/task", "b/task"}),
                    "ensemble: 'b/task' tells 3 classes apart, 'a/task' 4");
  other = first;
  other.backbone_identity[0] = other.backbone_identity[0] == '0' ? '1' : '0';
  CHECK_THROWS_WITH(Ensemble(backbone, {first, other}, DType::f32, {}, {"a/task", "b/task"}),
                    doctest::Contains("'b/task' belongs to another backbone"));
  CHECK_THROWS_WITH(Ensemble(backbone, {first, other}, DType::f32, {}, {"a/task"}),
                    "ensemble: 1 names for 2 tasks");
}

TEST_CASE("ensemble: who goes through the net together, and how much of the work that spares") {
  const Backbone backbone = testing::small_backbone();
  const auto& net = std::get<VitConfig>(backbone.config);
  const auto ensemble_of = [&](const Backbone& on,
                               const std::vector<std::pair<std::string, int64_t>>& methods) {
    std::vector<Task> tasks;
    for (const auto& [method, prompts] : methods)
      tasks.push_back(task_of(on, method, tasks.size() + 1, prompts));
    return Ensemble(on, tasks);
  };
  const auto groups_of = [](const Ensemble& ensemble) {
    std::vector<std::vector<size_t>> out;
    for (const Transformer::Group& group : ensemble.groups()) out.push_back(group.members);
    return out;
  };
  const Ensemble mixed = ensemble_of(backbone, {{"vpt-deep", 3},
                                                {"linear", 0},
                                                {"vpt-deep", 2},
                                                {"vpt-shallow", 3},
                                                {"vpt-deep", 3},
                                                {"mlp-2", 0},
                                                {"vpt-shallow", 3}});
  CHECK(groups_of(mixed) == std::vector<std::vector<size_t>>{{0, 4}, {1, 5}, {2}, {3}, {6}});
  CHECK(mixed.groups()[1].same);
  CHECK(!mixed.groups()[0].same);

  // Heads on the same features: the net is asked once.
  CHECK(ensemble_of(backbone, {{"linear", 0}, {"linear", 0}, {"mlp-2", 0}, {"linear", 0}}).shared_work() ==
        doctest::Approx(0.75).epsilon(1e-12));
  CHECK(ensemble_of(backbone, {{"vpt-deep", 3}}).shared_work() == 0);
  // What products of the patch embedding and of the first block's queries, keys and values take, of all.
  const auto whole = static_cast<double>(multiply_accumulates(with_classes(backbone.config, 0)));
  const auto rows = static_cast<double>(net.patches()), width = static_cast<double>(net.width);
  const double embedding = rows * 3 * 64 * width, joint = (rows + 1) * 3 * width * width;
  CHECK(ensemble_of(backbone, {{"vpt-deep", 3}, {"vpt-deep", 3}, {"vpt-deep", 3}}).shared_work() ==
        doctest::Approx(2 * (embedding + joint) / (3 * whole)).epsilon(1e-12));
  CHECK(ensemble_of(backbone, {{"vpt-deep", 3}, {"vpt-shallow", 3}}).shared_work() ==
        doctest::Approx(embedding / (2 * whole)).epsilon(1e-12));
  // A Swin's members share the patch embedding alone: 8 x 8 patches of 4 x 4 pixels.
  const Backbone swin = testing::small_swin();
  CHECK(ensemble_of(swin, {{"vpt-deep", 3}, {"vpt-deep", 3}}).shared_work() ==
        doctest::Approx(64 * 48 * 8 /
                        (2 * static_cast<double>(multiply_accumulates(with_classes(swin.config, 0)))))
            .epsilon(1e-12));
}

TEST_CASE("ensemble: asked about a data set, each member scores as it does alone") {
  const Backbone backbone = testing::small_backbone();
  const auto dataset = open_dataset("synthetic:colors", Split::test);
  const Preprocess preprocess = preprocess_of(backbone);
  std::vector<Task> tasks;
  for (const uint64_t seed : {1, 2, 3}) {
    TuneConfig config = testing::small_config();
    config.seed = seed;
    config.epochs = 1;
    config.warmup_epochs = 0;
    const TuneData data = testing::small_data(backbone);
    tasks.push_back(tune(backbone, data, config, "", false, {}).task);
  }
  const std::vector<int64_t> samples{3, 7, 20, 21, 22, 100, 101, 102, 103, 104};
  const Ensemble ensemble(backbone, tasks);
  Tensor logits;
  const EnsembleEvaluation found = evaluate(ensemble, dataset, samples, preprocess, 12, 0, 0, &logits);
  REQUIRE(found.members.size() == 3);
  REQUIRE(logits.shape() == Shape{10, dataset->classes()});
  std::vector<double> mean(static_cast<size_t>(logits.numel()), 0);
  const auto classes = static_cast<size_t>(dataset->classes());
  for (size_t i = 0; i < 3; ++i) {
    const TunedModel alone(backbone, tasks[i], DType::f32, {}, Use::prediction);
    Tensor own;
    const Evaluation e = evaluate(alone, dataset, samples, preprocess, 4, 0, 0, &own);
    CHECK(found.members[i].accuracy == e.accuracy);
    CHECK(found.members[i].loss == doctest::Approx(e.loss).epsilon(1e-5));
    CHECK(found.members[i].samples == 10);
    for (size_t b = 0; b < 10; ++b) {
      double all = 0;
      for (size_t c = 0; c < classes; ++c)
        all += std::exp(static_cast<double>(own.data<float>()[b * classes + c]));
      for (size_t c = 0; c < classes; ++c)
        mean[b * classes + c] += std::exp(static_cast<double>(own.data<float>()[b * classes + c])) / all / 3;
    }
  }
  double loss = 0, hits = 0;
  for (size_t b = 0; b < 10; ++b) {
    const auto label = static_cast<size_t>(dataset->label(samples[b]));
    const auto row = mean.begin() + static_cast<std::ptrdiff_t>(b * classes);
    loss -= std::log(mean[b * classes + label]) / 10;
    hits +=
        static_cast<size_t>(std::max_element(row, row + static_cast<std::ptrdiff_t>(classes)) - row) == label;
    for (size_t c = 0; c < classes; ++c)
      CHECK(logits.data<float>()[b * classes + c] ==
            doctest::Approx(std::log(mean[b * classes + c])).epsilon(1e-4));
  }
  CHECK(found.together.loss == doctest::Approx(loss).epsilon(1e-4));
  CHECK(found.together.accuracy == doctest::Approx(hits / 10));
  // Whatever the batches.
  Tensor other;
  evaluate(ensemble, dataset, samples, preprocess, 1, 1, 0, &other);
  CHECK(std::ranges::equal(logits.data<float>(), other.data<float>()));
}
