// kept_features.h: what runs on the same pictures can share: the pictures as they are prepared, what goes into the first
// block of the frozen backbone, and, where only a head learns, what comes out of the last one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/prepared.h"
#include "models/backbone.h"

namespace vitrine {

// Features of the samples of one data set under one backbone, one preprocessing and no augmentation. A feature is
// computed once, in whatever batch it came first: rows of a batch do not depend on each other, so these are the bits
// that every later run would have got by itself. All functions may be called from several threads at once.
class KeptFeatures {
 public:
  // Keeps up to `limit` bytes; what is beyond is computed each time.
  explicit KeptFeatures(std::shared_ptr<const Dataset> dataset, size_t limit = SIZE_MAX);

  // Throws unless these are of `dataset`, or if they were asked for with another backbone (by identity, precision or
  // place) or preprocessing before.
  void belong_to(const Backbone& backbone, const Dataset* dataset, const Preprocess& preprocess);
  const Dataset& dataset() const { return *dataset_; }
  bool has(int64_t sample) const;
  // (B, ...) of so many samples. `compute` is asked for all of them if one is missing.
  Variable rows(const std::vector<int64_t>& samples, const std::function<Tensor()>& compute);
  int64_t computed() const;  // how many went through the net

 private:
  std::shared_ptr<const Dataset> dataset_;
  mutable std::mutex mutex_;  // guards what follows
  std::string whose_;
  std::map<int64_t, Tensor> rows_;  // each (1, ...)
  size_t limit_, bytes_ = 0;
  int64_t computed_ = 0;
};

// The same of images behind the patch embedding, for methods that leave it as it is (methods.h: keeps_embedding).
class KeptEmbedded {
 public:
  KeptEmbedded(std::shared_ptr<const Dataset> dataset, size_t limit) : tokens_(std::move(dataset), limit) {}
  KeptFeatures& tokens() { return tokens_; }
  bool has(int64_t sample) const { return tokens_.has(sample); }
  int64_t computed() const { return tokens_.computed(); }
  Embedded rows(const std::vector<int64_t>& samples, const std::function<Embedded()>& compute);

 private:
  KeptFeatures tokens_;
  std::mutex mutex_;
  WindowGrid grid_{};  // the same for all images, which are prepared alike
};

// Each may be null: then nothing is shared.
struct Kept {
  std::shared_ptr<KeptFeatures> features{};
  std::shared_ptr<KeptEmbedded> embedded{};
  std::shared_ptr<PreparedImages> images{};
};

}  // namespace vitrine
