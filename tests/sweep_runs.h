// sweep_runs.h: small sweeps, for their tests.
#pragma once

#include <string>
#include <vector>

#include "engine/file.h"
#include "models/methods.h"
#include "models/training/sweep.h"
#include "tune_runs.h"

namespace vitrine::testing {

inline SuiteTask task_of(const std::string& name, int64_t limit = 48) {
  SuiteTask task;
  task.name = name;
  task.group = "made up";
  task.data = "synthetic:" + name;
  task.train_limit = limit;
  return task;
}

// A sweep of the small net.
struct Made {
  Backbone backbone = with_identity(small_backbone());
  SweepConfig config;
  explicit Made(const std::string& folder) {
    PlanConfig& plan = config.plan;
    plan.tasks = {task_of("colors")};
    plan.methods = {"linear"};
    plan.seeds = 2;
    plan.changes.learning_rates = {1e-2, 1e-1};
    plan.changes.prompts = {2};
    plan.changes.epochs = 2;
    plan.net = backbone.config;
    plan.backbone_identity = backbone.identity;
    plan.preprocess = preprocess_of(backbone);
    plan.workers = 0;
    config.out = folder;
    config.backbone = [this](const TunedConfig&) -> const Backbone& { return backbone; };
    config.version = "test";
    config.poll_seconds = 0.05;
  }
};

inline std::string text_of(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// All of a ledger but what a clock says.
inline std::vector<std::string> without_times(const std::string& ledger) {
  std::vector<std::string> out;
  for (LedgerLine& line : read_ledger(ledger)) {
    line.seconds = 0;
    out.push_back(to_json(line));
  }
  return out;
}

}  // namespace vitrine::testing
