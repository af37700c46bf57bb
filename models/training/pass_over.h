// pass_over.h: asking a model about every picture of a list: what evaluation and reports share.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/loader.h"
#include "engine/check.h"
#include "models/training/kept_features.h"
#include "models/tuned.h"

namespace vitrine {

struct PassOver {
  int64_t batch = 64;
  int workers = 1;
  int64_t max_bad = 0;
  Memory memory{};
  Kept kept{};  // of the data set; features and embedded pictures that are there are not computed again
};

// Calls each(batch, images) for the samples in their order, without augmentation; images() gives (B, 3, H, W) where the model
// lives. Pictures that are `known`, if that is given, are not loaded. Returns the damaged pictures that were left out; more
// than `max_bad` of them throw.
inline std::vector<BadImage> pass_images(
    const TunedModel& model, std::shared_ptr<const Dataset> dataset, const std::vector<int64_t>& samples,
    const Preprocess& preprocess, const PassOver& how, const std::function<bool(int64_t sample)>& known,
    const std::function<void(const Batch& batch, const std::function<Tensor()>& images)>& each) {
  const bool on_device = model.home().device() != nullptr;
  const Tensor values = on_device ? values_of_bytes(preprocess).copied_to(model.home()) : Tensor();
  Loader loader(std::move(dataset), samples, preprocess,
                {.batch_size = how.batch,
                 .workers = how.workers,
                 .max_bad = how.max_bad,
                 .cache_bytes = 0,
                 .memory = how.memory,
                 .as_bytes = on_device,
                 .prepared = how.kept.images,
                 .known = known});
  loader.start_epoch(0);
  for (Batch batch; loader.next(batch);)
    each(batch, [&] {
      return batch.pixels.defined() ? planes(batch.pixels.copied_to(model.home()), values, model.image_type())
                                    : batch.images;
    });
  return loader.bad();
}

// Calls each(batch, features (B, D)) for the samples in their order, without augmentation and without a history; features
// are where the model lives. Returns the damaged pictures that were left out; more than `max_bad` of them throw.
inline std::vector<BadImage> pass_over(
    const TunedModel& model, std::shared_ptr<const Dataset> dataset, const std::vector<int64_t>& samples,
    const Preprocess& preprocess, const PassOver& how,
    const std::function<void(const Batch& batch, const Variable& features)>& each) {
  KeptFeatures* const features = how.kept.features.get();
  check(features == nullptr || &features->dataset() == dataset.get(), "the kept features are of other data");
  KeptEmbedded* const embedded = features == nullptr ? how.kept.embedded.get() : nullptr;
  const auto known = [&](int64_t sample) {
    return features ? features->has(sample) : embedded && embedded->has(sample);
  };
  const Pass pass{.history = false};
  return pass_images(
      model, std::move(dataset), samples, preprocess, how, known,
      [&](const Batch& batch, const std::function<Tensor()>& images) {
        if (features != nullptr)
          each(batch, features->rows(batch.samples, [&] { return model.features(images(), pass).value(); }));
        else if (embedded != nullptr)
          each(batch,
               model.features(embedded->rows(batch.samples, [&] { return model.embed(images()); }), pass));
        else
          each(batch, model.features(images(), pass));
      });
}

}  // namespace vitrine
