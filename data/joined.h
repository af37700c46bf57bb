// joined.h: two parts of a data set as one.
#pragma once

#include <memory>

#include "data/dataset.h"

namespace vitrine {

// The samples of `first` and behind them those of `second`, for a run that trains on train and val together. Throws
// unless both have the same classes, and both or neither hold pictures that are prepared already.
std::shared_ptr<const Dataset> joined(std::shared_ptr<const Dataset> first,
                                      std::shared_ptr<const Dataset> second);

}  // namespace vitrine
