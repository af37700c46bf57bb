// prepared.h: pictures prepared once and shared by all loaders of a data set, as those of many runs.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "data/dataset.h"
#include "data/preprocess.h"

namespace vitrine {

// All functions may be called from several threads at once.
class PreparedImages {
 public:
  // Keeps up to `limit` bytes of pixels; pictures beyond are prepared each time.
  PreparedImages(std::shared_ptr<const Dataset> dataset, const Preprocess& preprocess, size_t limit);

  const Dataset& dataset() const { return *dataset_; }
  const Preprocess& preprocess() const { return preprocess_; }
  // prepare() of picture `sample`. Throws as Dataset::image, and keeps nothing then.
  std::shared_ptr<const Image> image(int64_t sample);
  int64_t decoded() const;  // how many pictures were decoded for that, all together

 private:
  std::shared_ptr<const Dataset> dataset_;
  Preprocess preprocess_;
  size_t limit_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<const Image>> kept_;
  size_t bytes_ = 0;
  int64_t decoded_ = 0;
};

}  // namespace vitrine
