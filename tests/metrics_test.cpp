// metrics_test.cpp: the measures of a classifier against their textbook forms, which keep everything.
#include "models/training/metrics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/random.h"
#include "tests/tune_runs.h"

using namespace vitrine;

namespace {

struct Answers {
  int64_t classes;
  std::vector<float> logits;
  std::vector<int64_t> labels;
  std::vector<float> row(size_t i) const {
    const auto from = logits.begin() + static_cast<std::ptrdiff_t>(i) * classes;
    return {from, from + classes};
  }
};

// Of few different values, so that many are equal.
Answers random_answers(int64_t classes, int64_t count, int values, uint32_t seed) {
  Random random(1, Purpose::test, 0, seed);
  Answers answers{classes, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    answers.labels.push_back(random.below(static_cast<uint32_t>(classes)));
    for (int64_t c = 0; c < classes; ++c)
      answers.logits.push_back(static_cast<float>(random.below(static_cast<uint32_t>(values))) / 4 - 1);
  }
  return answers;
}

Metrics measured(const Answers& answers, size_t batch) {
  Metrics metrics(answers.classes);
  const auto classes = static_cast<size_t>(answers.classes);
  for (size_t begin = 0; begin < answers.labels.size(); begin += batch) {
    const size_t count = std::min(batch, answers.labels.size() - begin);
    metrics.add(std::span(answers.logits).subspan(begin * classes, count * classes),
                std::span(answers.labels).subspan(begin, count));
  }
  return metrics;
}

// The classes of a row, the most probable first: a stable sort by falling logit.
std::vector<int64_t> ranking(const std::vector<float>& row) {
  std::vector<int64_t> order(row.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  return order;
}

double share_among_first(const Answers& answers, size_t k, std::optional<int64_t> of_class = {}) {
  double hits = 0, all = 0;
  for (size_t i = 0; i < answers.labels.size(); ++i) {
    if (of_class && answers.labels[i] != *of_class) continue;
    const auto order = ranking(answers.row(i));
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(k, order.size()));
    hits += std::find(order.begin(), end, answers.labels[i]) != end;
    all += 1;
  }
  return hits / all;
}

// Over all pairs.
double area(const Answers& answers) {
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < answers.labels.size(); ++i)
    for (size_t j = 0; j < answers.labels.size(); ++j) {
      if (answers.labels[i] != 1 || answers.labels[j] != 0) continue;
      const double a = answers.row(i)[1] - answers.row(i)[0], b = answers.row(j)[1] - answers.row(j)[0];
      wins += a > b ? 1.0 : a == b ? 0.5 : 0.0;
      pairs += 1;
    }
  return wins / pairs;
}

}  // namespace

TEST_CASE("metrics equal their textbook forms for any batches") {
  for (const int64_t classes : {1, 2, 3, 5, 6, 20})
    for (const int values : {2, 5, 1000}) {
      CAPTURE(classes);
      CAPTURE(values);
      const Answers answers =
          random_answers(classes, 157, values, static_cast<uint32_t>(classes * 7 + values));
      double mean = 0, present = 0;
      for (int64_t c = 0; c < classes; ++c) {
        if (std::count(answers.labels.begin(), answers.labels.end(), c) == 0) continue;
        mean += share_among_first(answers, 1, c);
        present += 1;
      }
      for (const size_t batch : {size_t{1}, size_t{10}, size_t{157}}) {
        const Metrics metrics = measured(answers, batch);
        CHECK(metrics.samples() == 157);
        CHECK(metrics.top1() == doctest::Approx(share_among_first(answers, 1)).epsilon(1e-12));
        CHECK(metrics.top5() == doctest::Approx(share_among_first(answers, 5)).epsilon(1e-12));
        CHECK(metrics.mean_class() == doctest::Approx(mean / present).epsilon(1e-12));
        REQUIRE(metrics.roc_auc().has_value() == (classes == 2));
        if (classes == 2) CHECK(*metrics.roc_auc() == doctest::Approx(area(answers)).epsilon(1e-12));
      }
    }
}

TEST_CASE("metrics: classes without images, none at all, and answers that are no numbers") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Metrics empty(4);
  CHECK(empty.top1() == 0);
  CHECK(empty.mean_class() == 0);
  Metrics rare(4);  // classes 1 and 3 have no image
  rare.add(std::vector<float>{9, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9, 0}, std::vector<int64_t>{0, 0, 2});
  CHECK(rare.mean_class() == doctest::Approx(0.75));
  CHECK(rare.top1() == doctest::Approx(2.0 / 3));
  Metrics broken(2);
  broken.add(std::vector<float>{nan, nan, 1, nan, nan, 1, 0, 1}, std::vector<int64_t>{0, 0, 1, 1});
  CHECK(broken.top1() == 0.25);
  CHECK(broken.top5() == 0.25);
  CHECK(!broken.roc_auc());
  Metrics infinite(2);
  infinite.add(std::vector<float>{inf, 0, 0, inf}, std::vector<int64_t>{0, 1});
  CHECK(*infinite.roc_auc() == 1);
  Metrics one_sided(2);
  one_sided.add(std::vector<float>{1, 0}, std::vector<int64_t>{0});
  CHECK(!one_sided.roc_auc());
  CHECK_THROWS_AS(Metrics(0), Error);
  CHECK_THROWS_AS(empty.add(std::vector<float>{1, 2, 3}, std::vector<int64_t>{0}), Error);
  CHECK_THROWS_AS(empty.add(std::vector<float>{1, 2, 3, 4}, std::vector<int64_t>{4}), Error);
}

TEST_CASE("evaluate fills in all measures, and a suite picks one") {
  using namespace vitrine::testing;
  const Backbone backbone = small_backbone();
  const auto dataset = open_dataset("mini:count", Split::val);
  TunedConfig config;
  config.method = Method::linear;
  config.classes = dataset->classes();
  config.paper_head = true;  // of zeros all logits were equal
  const TunedModel model(backbone, config, 5);
  Tensor logits;
  const Evaluation evaluation =
      evaluate(model, dataset, all_samples(*dataset), preprocess_of(backbone), 32, 0, 0, &logits);
  Metrics metrics(config.classes);
  metrics.add(logits.data<float>(), dataset->labels());
  CHECK(evaluation.accuracy == metrics.top1());
  CHECK(evaluation.top5 == metrics.top5());
  CHECK(evaluation.top5 > evaluation.accuracy);
  CHECK(evaluation.mean_class_accuracy == metrics.mean_class());
  CHECK(!evaluation.roc_auc);
  CHECK(value_of(Metric::top1, evaluation) == evaluation.accuracy);
  CHECK(value_of(Metric::top5, evaluation) == evaluation.top5);
  CHECK(value_of(Metric::mean_class, evaluation) == evaluation.mean_class_accuracy);
}
