#include "models/training/metric.h"

#include "engine/check.h"

namespace vitrine {

namespace {

double share(int64_t part, int64_t all) { return static_cast<double>(part) / static_cast<double>(all); }

}  // namespace

double score_of(Metric metric, const Tensor& logits, const std::vector<int64_t>& labels) {
  const auto images = static_cast<int64_t>(labels.size());
  check(images > 0 && logits.shape().rank() == 2 && logits.dim(0) == images, "metric: logits ",
        logits.shape(), " of ", images, " images");
  const auto classes = static_cast<size_t>(logits.dim(1));
  const Tensor here = in_main_memory(logits);
  std::vector<int64_t> hits(classes), counts(classes);
  int64_t all_hits = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto label = static_cast<size_t>(labels[i]);
    check(label < classes, "metric: label ", labels[i], " of ", classes, " classes");
    const auto row = here.data<float>().subspan(i * classes, classes);
    size_t before = 0;  // logits that go before the label's
    for (size_t c = 0; c < classes; ++c) before += row[c] > row[label] || (row[c] == row[label] && c < label);
    const bool hit = before < (metric == Metric::top5 ? 5 : 1);
    ++counts[label];
    hits[label] += hit;
    all_hits += hit;
  }
  if (metric != Metric::mean_class) return share(all_hits, images);
  double sum = 0;
  int64_t occurring = 0;
  for (size_t c = 0; c < classes; ++c) {
    if (counts[c] == 0) continue;
    sum += share(hits[c], counts[c]);
    ++occurring;
  }
  return sum / static_cast<double>(occurring);
}

}  // namespace vitrine
