// suite.h: the tasks of a comparison.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/preprocess.h"

namespace vitrine {

enum class ResizeMode { own, crop, squash };  // own: as the backbone's preprocessing has it

enum class Metric { top1, top5, mean_class };
const char* name_of(Metric metric);

struct SuiteTask {
  std::string name, group, data;  // data: as open_dataset takes it
  std::optional<int64_t> train_limit, val, classes;
  Metric metric = Metric::top1;
  ResizeMode resize = ResizeMode::own;
  Augment augment{};
};

struct Suite {
  std::string name;
  std::vector<SuiteTask> tasks;
};

Suite read_suite(const std::string& path);

}  // namespace vitrine
