// plan.h: the runs of a comparison, before any of them is done (docs/comparison.md).
//
// A cell is a method on a task. Its grid is searched on train and val; with the settings that won every seed trains on
// both and is tested once. Which final runs there are is known when the search is done, so a plan lists cells.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/suite.h"
#include "models/training/ledger.h"
#include "models/training/recipes.h"

namespace vitrine {

struct PlanConfig {
  std::vector<SuiteTask> tasks;
  std::vector<std::string> methods;  // rows of the table: "linear", "vpt-deep", "adapter", ...
  std::string preset = "quick";
  GridChanges changes{};
  int64_t seeds = 3;  // 0, 1, ...
  uint64_t data_seed = 0;
  std::vector<int64_t>
      train_sizes{};  // each task with so many images in all, in place of its own train_limit (sweep_data.h), of which
                      // its own val keeps its share
  int workers = 1;  // of loaders; changes no bit
  int64_t max_bad = 0;
  // The backbone, by what runs depend on.
  TransformerConfig net{};
  std::string backbone_identity;
  // In which precision it is packed for a method; empty: f32.
  std::function<Precision(const TunedConfig&)> precision{};
  std::string device{};  // its kind; empty: the CPU
  bool tf32 = false;
  Preprocess preprocess{};  // of the backbone (preprocess_of)
};

// What a run does. Everything that its result depends on is in its name.
struct PlannedRun {
  // Of its folder: the first 20 digits of a SHA-256 of the backbone, the task, the method, the settings and the stage.
  std::string name{};
  Stage stage = Stage::search;
  std::string method;  // with its size: "adapter-64"
  TuneConfig config;   // with the seed; classes 0, which the data tell
};

struct Cell {
  SuiteTask task;      // with its train_limit, if train_sizes has one
  std::string method;  // the row: "adapter" if sizes are searched, else with its size: "adapter-8"
  const Recipe* recipe = nullptr;
  Preprocess preprocess{};
  std::vector<PlannedRun> search{};  // one for each point of the grid; none if there is only one
  // finals[p]: the seeds of point p.
  std::vector<std::vector<PlannedRun>> finals{};
};

struct Plan {
  std::vector<Cell> cells;  // tasks in their order, of each its sizes, of each the methods
  int64_t search_runs = 0, final_runs = 0;
};

// Throws for no tasks, no methods, a task or a method named twice, two tasks whose runs would be the same, and where
// grid_of does.
Plan make_plan(const PlanConfig& config);

// What the ledger says of a plan.
LedgerPlan ledger_plan(const PlanConfig& config, const Plan& plan);

// The point whose search run won: the greatest accuracy (of the last epoch, which is all that was asked); of equals the
// smaller learning rate, then the smaller weight decay, then the fewer trained parameters, then the first. Runs that
// diverged or failed cannot win. `results` has one line for each search run, in its order. Empty: none can win.
std::optional<size_t> winner(const std::vector<const LedgerLine*>& results);

}  // namespace vitrine
