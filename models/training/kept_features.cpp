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
      text(identity_of(backbone), " ", name_of(backbone.precision), " ",
           device == nullptr ? "" : text(device->kind(), device->options().tf32 ? " tf32" : ""), " ",
           to_json(preprocess));
  const std::lock_guard lock(mutex_);
  check(whose_.empty() || whose == whose_,
        "kept features: they are of another backbone or of pictures prepared in another way");
  whose_ = whose;
}

bool KeptFeatures::has(int64_t sample) const {
  const std::lock_guard lock(mutex_);
  return rows_.contains(sample);
}

Variable KeptFeatures::rows(const std::vector<int64_t>& samples, const std::function<Tensor()>& compute) {
  const auto all_there = [&] {
    const std::lock_guard lock(mutex_);
    return std::ranges::all_of(samples, [&](int64_t i) { return rows_.contains(i); });
  };
  const Tensor fresh = all_there() ? Tensor() : compute();  // without the lock, for which loaders would wait
  std::vector<Variable> rows;
  const std::lock_guard lock(mutex_);
  for (size_t b = 0; b < samples.size(); ++b) {
    const auto row = static_cast<int64_t>(b);
    if (fresh.defined() && !rows_.contains(samples[b])) {
      ++computed_;
      const Tensor own = fresh.rows(row, row + 1);
      if (own.bytes() > limit_ - bytes_) continue;
      bytes_ += own.bytes();
      rows_[samples[b]] = own.clone();
    }
    rows.emplace_back(rows_.at(samples[b]));
  }
  return rows.size() < samples.size() ? Variable(fresh) : concat(rows, 0);
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
