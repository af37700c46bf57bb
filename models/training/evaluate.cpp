// evaluate.cpp: what a model is worth.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "engine/check.h"
#include "models/training/metrics.h"
#include "models/training/pass_over.h"
#include "models/training/tune.h"
#include "models/training/tune_parts.h"

namespace vitrine {

namespace {

struct BatchSum {
  double loss;  // of all its images together
  int64_t images;
};
// What one process found.
struct Found {
  Metrics metrics;
  std::vector<BatchSum> batches{};
  std::vector<float> logits{};
  std::vector<BadImage> bad{};

  // Logits (B, C) of a batch.
  void add(const Tensor& y, const Tensor& labels, bool keep_logits) {
    const int64_t n = y.dim(0);
    batches.push_back({cross_entropy(y, labels).value().item() * static_cast<double>(n), n});
    const auto rows = y.data<float>();
    metrics.add(rows, labels.data<int64_t>());
    if (keep_logits) logits.insert(logits.end(), rows.begin(), rows.end());
  }
};

Evaluation evaluation_of(Found found) {
  Evaluation out;
  for (const BatchSum& batch : found.batches) {
    out.loss += batch.loss;
    out.samples += batch.images;
  }
  check(out.samples > 0, "evaluate: no image could be read");
  out.accuracy = found.metrics.top1();
  out.top5 = found.metrics.top5();
  out.mean_class_accuracy = found.metrics.mean_class();
  out.roc_auc = found.metrics.roc_auc();
  out.loss /= static_cast<double>(out.samples);
  out.bad = std::move(found.bad);
  return out;
}

Found evaluate_here(const TunedModel& model, std::shared_ptr<const Dataset> dataset,
                    const std::vector<int64_t>& samples, const Preprocess& preprocess, int64_t batch_size,
                    int workers, int64_t max_bad, bool keep_logits,
                    const std::function<void(int64_t, int64_t)>& progress, const Memory& memory,
                    const Kept& kept) {
  Found out{.metrics = Metrics(model.config().classes)};
  int64_t done = 0;
  out.bad =
      pass_over(model, std::move(dataset), samples, preprocess,
                {.batch = batch_size, .workers = workers, .max_bad = max_bad, .memory = memory, .kept = kept},
                [&](const Batch& batch, const Variable& features) {
                  out.add(in_main_memory(model.classify(features).value()), batch.labels, keep_logits);
                  done += batch.labels.dim(0);
                  if (progress) progress(done, static_cast<int64_t>(samples.size()));
                });
  return out;
}

// What all processes found, in the order of samples: each has a range of whole batches.
Found all_found(const Found& own, int64_t max_bad, Processes& processes) {
  MessageWriter message;
  message.put_all(std::span(own.batches)).put_all(std::span(own.logits));
  put_bad(message, own.bad);
  own.metrics.put(message);
  Found out{.metrics = Metrics(own.metrics.classes())};
  for (const Processes::Bytes& bytes : processes.exchange(message.bytes())) {
    MessageReader reader(bytes);
    std::ranges::copy(reader.get_all<BatchSum>(), std::back_inserter(out.batches));
    std::ranges::copy(reader.get_all<float>(), std::back_inserter(out.logits));
    for (const BadImage& image : get_bad(reader)) {
      if (std::ranges::find(out.bad, image.sample, &BadImage::sample) != out.bad.end()) continue;
      if (static_cast<int64_t>(out.bad.size()) >= max_bad) fail_for(image, max_bad);
      out.bad.push_back(image);
    }
    out.metrics.add(reader);
  }
  return out;
}

}  // namespace

Evaluation evaluate(const TunedModel& model, std::shared_ptr<const Dataset> dataset,
                    const std::vector<int64_t>& samples, const Preprocess& preprocess, int64_t batch_size,
                    int workers, int64_t max_bad, Tensor* logits,
                    const std::function<void(int64_t, int64_t)>& progress, const Memory& memory,
                    Processes* processes, const Kept& kept) {
  Found found{.metrics = Metrics(model.config().classes)};
  if (processes == nullptr || processes->count() == 1) {
    found = evaluate_here(model, std::move(dataset), samples, preprocess, batch_size, workers, max_bad,
                          logits != nullptr, progress, memory, kept);
  } else {
    processes->together([&] {
      const auto all = static_cast<int64_t>(samples.size()), size = std::max<int64_t>(batch_size, 1);
      const int64_t batches = (all + size - 1) / size, rank = processes->rank(), count = processes->count();
      const std::vector<int64_t> own(samples.begin() + std::min(all, batches * rank / count * size),
                                     samples.begin() + std::min(all, batches * (rank + 1) / count * size));
      Found here{.metrics = Metrics(model.config().classes)};
      // Which are too many is told by the damaged images of all processes.
      if (!own.empty() || samples.empty())
        here = evaluate_here(model, dataset, own, preprocess, batch_size, workers, std::max(max_bad, all),
                             logits != nullptr, progress, memory, kept);
      found = all_found(here, max_bad, *processes);
    });
  }
  const std::vector<float> rows = std::move(found.logits);
  Evaluation out = evaluation_of(std::move(found));
  if (logits) *logits = Tensor::of<float>({out.samples, model.config().classes}, rows);
  return out;
}

EnsembleEvaluation evaluate(const Ensemble& ensemble, std::shared_ptr<const Dataset> dataset,
                            const std::vector<int64_t>& samples, const Preprocess& preprocess,
                            int64_t batch_size, int workers, int64_t max_bad, Tensor* logits,
                            const std::function<void(int64_t, int64_t)>& progress, const Memory& memory) {
  const int64_t classes = ensemble.member(0).config().classes, count = static_cast<int64_t>(ensemble.size());
  std::vector<Found> members(ensemble.size(), Found{.metrics = Metrics(classes)});
  Found together{.metrics = Metrics(classes)};
  int64_t done = 0;
  together.bad = pass_images(
      ensemble.member(0), std::move(dataset), samples, preprocess,
      {.batch = std::max<int64_t>(batch_size / count, 1),
       .workers = workers,
       .max_bad = max_bad,
       .memory = memory},
      nullptr, [&](const Batch& batch, const std::function<Tensor()>& images) {
        const Variable all = ensemble.member_logits(images());  // (E, B, C)
        const Tensor y = in_main_memory(all.value());
        const int64_t n = y.dim(1);
        for (int64_t i = 0; i < count; ++i)
          members[static_cast<size_t>(i)].add(y.rows(i, i + 1).reshape({n, classes}), batch.labels, false);
        together.add(in_main_memory(Ensemble::together(all).value()), batch.labels, logits != nullptr);
        done += n;
        if (progress) progress(done, static_cast<int64_t>(samples.size()));
      });
  const std::vector<float> rows = std::move(together.logits);
  EnsembleEvaluation out{.together = evaluation_of(std::move(together)), .members = {}};
  for (Found& member : members) out.members.push_back(evaluation_of(std::move(member)));
  if (logits) *logits = Tensor::of<float>({out.together.samples, classes}, rows);
  return out;
}

}  // namespace vitrine
