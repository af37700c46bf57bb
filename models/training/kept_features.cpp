#include "models/training/kept_features.h"

#include <algorithm>

#include "engine/check.h"
#include "engine/device.h"
#include "engine/ops.h"

namespace vitrine {

KeptFeatures::KeptFeatures(std::shared_ptr<const Dataset> dataset, size_t limit)
    : dataset_(std::move(dataset)), limit_(limit) {
  check(dataset_ != nullptr, "kept features: no data set");
}

void KeptFeatures::belong_to(const Backbone& backbone, const Dataset* dataset, const Preprocess& preprocess) {
  check(dataset == dataset_.get(), "kept features: they are of other data");
  const Device* device = backbone.home.device();
  const std::string whose =
      text("{} {} {} {}", identity_of(backbone), name_of(backbone.precision),
           device == nullptr ? "" : text("{}{}", device->kind(), device->options().tf32 ? " tf32" : ""),
           to_json(preprocess));
  const std::lock_guard lock(mutex_);
  check(whose_.empty() || whose == whose_,
        "kept features: they are of another backbone or of pictures prepared in another way");
  whose_ = whose;
}

bool KeptFeatures::has(int64_t sample) const {
  const std::lock_guard lock(mutex_);
  return kept(sample);
}

Variable KeptFeatures::rows(const std::vector<int64_t>& samples, const std::function<Tensor()>& compute) {
  {
    const std::lock_guard lock(mutex_);
    if (std::ranges::all_of(samples, [&](int64_t i) { return kept(i); })) {
      std::vector<Variable> rows;
      for (const int64_t i : samples) {
        const Place& place = places_[static_cast<size_t>(i)];
        rows.emplace_back(blocks_[static_cast<size_t>(place.block)].rows(place.row, place.row + 1));
      }
      return concat(rows, 0);
    }
  }
  const Tensor fresh = compute();  // without the lock, for which loaders would wait
  const std::lock_guard lock(mutex_);
  keep(samples, fresh);
  return Variable(fresh);
}

// Rows that stand beside each other become one block, for a tensor of its own would take more than a small row does.
void KeptFeatures::keep(const std::vector<int64_t>& samples, const Tensor& fresh) {
  if (places_.empty()) places_.resize(static_cast<size_t>(dataset_->size()));
  const size_t row_bytes = fresh.bytes() / samples.size();
  for (size_t begin = 0; begin < samples.size();) {
    size_t end = begin;
    const size_t fits = row_bytes == 0 ? samples.size() : (limit_ - bytes_) / row_bytes;
    bool over = false;
    for (; end < samples.size() && !kept(samples[end]) && !over; ++end) {
      over = end - begin == fits;
      if (over) break;
      places_[static_cast<size_t>(samples[end])] = {static_cast<int32_t>(blocks_.size()),
                                                    static_cast<int32_t>(end - begin)};
    }
    if (end > begin) {
      blocks_.push_back(fresh.rows(static_cast<int64_t>(begin), static_cast<int64_t>(end)).clone());
      bytes_ += (end - begin) * row_bytes;
      computed_ += static_cast<int64_t>(end - begin);
    }
    if (over) {
      computed_ += std::count_if(samples.begin() + static_cast<std::ptrdiff_t>(end), samples.end(),
                                 [&](int64_t i) { return !kept(i); });
      return;
    }
    begin = std::max(end, begin + 1);
  }
}

Embedded KeptEmbedded::rows(const std::vector<int64_t>& samples, const std::function<Embedded()>& compute) {
  const Variable tokens = tokens_.rows(samples, [&] {
    const Embedded fresh = compute();
    const std::lock_guard lock(mutex_);
    grid_ = fresh.grid;
    return fresh.tokens.value();
  });
  const std::lock_guard lock(mutex_);
  return {tokens, grid_};
}

int64_t KeptFeatures::computed() const {
  const std::lock_guard lock(mutex_);
  return computed_;
}

}  // namespace vitrine
