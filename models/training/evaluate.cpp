// evaluate.cpp: what a model is worth, and how its images are prepared.
#include <cmath>

#include "engine/check.h"
#include "models/training/metrics.h"
#include "models/training/tune.h"

namespace vitrine {

Evaluation evaluate(const TunedModel& model, std::shared_ptr<const Dataset> dataset,
                    const std::vector<int64_t>& samples, const Preprocess& preprocess, int64_t batch_size,
                    int workers, int64_t max_bad, Tensor* logits,
                    const std::function<void(int64_t, int64_t)>& progress, const Memory& memory,
                    const Kept& kept) {
  const bool on_device = model.home().device() != nullptr;
  const Tensor values = on_device ? values_of_bytes(preprocess).copied_to(model.home()) : Tensor();
  KeptFeatures* const features = kept.features.get();
  check(features == nullptr || &features->dataset() == dataset.get(),
        "evaluate: the kept features are of other data");
  Loader loader(std::move(dataset), samples, preprocess,
                {.batch_size = batch_size,
                 .workers = workers,
                 .max_bad = max_bad,
                 .cache_bytes = 0,
                 .memory = memory,
                 .as_bytes = on_device,
                 .prepared = kept.images,
                 .known = [features](int64_t sample) { return features && features->has(sample); }});
  const int64_t classes = model.config().classes;
  Evaluation out;
  std::vector<float> all;
  Metrics metrics(classes);
  loader.start_epoch(0);
  for (Batch batch; loader.next(batch);) {
    const auto images = [&] {
      return batch.pixels.defined() ? planes(batch.pixels.copied_to(model.home()), values, model.image_type())
                                    : batch.images;
    };
    const auto fresh = [&] { return model.features(images(), {.history = false}).value(); };
    const Variable y =
        in_main_memory((features ? model.classify(features->rows(batch.samples, fresh), {.history = false})
                                 : model.logits(images(), {.history = false}))
                           .value());
    const int64_t n = y.dim(0);
    out.loss += cross_entropy(y, batch.labels).value().item() * static_cast<double>(n);
    const auto rows = y.value().data<float>();
    metrics.add(rows, batch.labels.data<int64_t>());
    if (logits) all.insert(all.end(), rows.begin(), rows.end());
    out.samples += n;
    if (progress) progress(out.samples, static_cast<int64_t>(samples.size()));
  }
  check(out.samples > 0, "evaluate: no image could be read");
  out.accuracy = metrics.top1();
  out.top5 = metrics.top5();
  out.mean_class_accuracy = metrics.mean_class();
  out.roc_auc = metrics.roc_auc();
  out.loss /= static_cast<double>(out.samples);
  out.bad = loader.bad();
  if (logits) *logits = Tensor::of<float>({out.samples, classes}, all);
  return out;
}

Preprocess preprocess_of(const Backbone& backbone, int64_t side) {
  const int size = static_cast<int>(image_size(backbone.config));
  Preprocess out{.size = size, .resize = static_cast<int>(std::floor(size / 0.875))};
  if (const auto stored = backbone.file.metadata.find("preprocess"); stored != backbone.file.metadata.end())
    out = preprocess_from_json(stored->second);
  else
    check(
        !backbone.file.metadata.contains("dialect"), backbone.source,
        ": does not tell how its pictures were prepared; give --backbone-config with the name of its family, "
        "deit or augreg for example, or its config.json");
  check(out.size == size, backbone.source, ": its metadata prepares images of ", out.size,
        " pixels, the net sees ", size);
  if (side > 0 && side != size) {
    check_image_size(backbone.config, side);
    out = at_size(out, side);
  }
  return out;
}

}  // namespace vitrine
