// method_text.h: methods as they are written on a command line and in a ledger.
#pragma once

#include <string>

#include "models/tuned.h"

namespace vitrine {

// "vpt-deep", "linear", ...: a configuration of that method, in which the number of prompts (which is not part of the
// name) and of classes are 0. Throws for an unknown name, with the nearest.
TunedConfig method_from_text(const std::string& name);

// Whether all weights of the backbone are trained, so that a task brings its own and needs no backbone beside it.
bool trains_backbone(const TunedConfig& config);

}  // namespace vitrine
