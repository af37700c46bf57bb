#include "data/prepared.h"

#include "engine/check.h"

namespace vitrine {

PreparedImages::PreparedImages(std::shared_ptr<const Dataset> dataset, const Preprocess& preprocess,
                               size_t limit)
    : dataset_(std::move(dataset)), preprocess_(preprocess), limit_(limit) {
  check(dataset_ != nullptr, "prepared images: no data set");
  check_preprocess(preprocess);
  kept_.resize(static_cast<size_t>(dataset_->size()));
}

std::shared_ptr<const Image> PreparedImages::image(int64_t sample) {
  check(sample >= 0 && sample < dataset_->size(), "prepared images: sample {} of {}", sample,
        dataset_->size());
  const auto place = static_cast<size_t>(sample);
  {
    const std::lock_guard lock(mutex_);
    if (kept_[place]) return kept_[place];
  }
  // Two threads that want the same picture at once both prepare it, to the same bytes.
  auto fresh = std::make_shared<const Image>(prepare(dataset_->image(sample), preprocess_));
  const std::lock_guard lock(mutex_);
  ++decoded_;
  if (!kept_[place] && fresh->rgb.size() <= limit_ - bytes_) {
    bytes_ += fresh->rgb.size();
    kept_[place] = fresh;
  }
  return fresh;
}

int64_t PreparedImages::decoded() const {
  const std::lock_guard lock(mutex_);
  return decoded_;
}

}  // namespace vitrine
