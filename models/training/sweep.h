// sweep.h: a comparison of methods on tasks, run by run (docs/comparison.md tells the protocol).
#pragma once

#ifdef VITRINE_FILES

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/training/plan.h"
#include "models/training/sweep_data.h"

namespace vitrine {

struct SweepConfig {
  PlanConfig plan;
  std::string out;  // the folder (sweep_folder.h)
  // The backbone on which a configuration is tuned: the same for all, but on a device full tuning wants weights of its
  // own there (backbone.h: on_device). All have the identity that the plan was made for.
  std::function<const Backbone&(const TunedConfig&)> backbone;
  std::string version;  // of the program, for the ledger
  // Of other ledgers: runs of this plan among them, if their pictures are the same, are not done again; all others are kept
  // in this one's ledger.
  std::vector<LedgerLine> known;
  size_t cache =
      size_t{2}
      << 30;  // bytes of features and of prepared and embedded pictures that are kept of the present task
  bool keep_tasks = false;    // the task file of every run
  bool retry_failed = false;  // runs that failed are done again
  // Of several processes that share the folder this is number `part` of `parts`: it begins elsewhere in the plan than
  // the others do. Which runs are done depends on locks alone.
  int part = 0, parts = 1;
  double poll_seconds = 1;  // how often is asked whether a run that somebody else does is done
  OpenOptions open{};
};

struct SweepCounts {
  int64_t runs = 0, done = 0;        // of the plan, by whatever process
  int64_t diverged = 0, failed = 0;  // of those done
  double seconds_left = -1;  // of work, told from the mean time of each method; -1: nothing was measured yet
};

struct SweepHooks {
  std::function<void(const TaskFacts&)> task;  // one with runs to do, before any of them begins
  std::function<void(const SweepCounts&)> began;
  std::function<void(const Cell&, const PlannedRun&, const SweepCounts&)> run;  // is about to begin
  std::function<void(const LedgerLine&, const SweepCounts&)> finished;          // here, not elsewhere
  std::function<void(const StepReport&)> step;
  std::function<void(const std::string&)> note;
  std::function<void(int64_t runs)> waiting;  // others do all runs that are left now; told once
  std::function<bool()> stop;                 // true: save and end
};

struct SweepResult {
  bool stopped = false;  // by the hook; states are saved, and the same sweep goes on from there
  SweepCounts counts;
  std::vector<std::string> failures;  // of runs, and of tasks that could not be opened
  std::string ledger;                 // its path
  int64_t features_computed = 0;      // images that went through the net for features to keep, here
  int64_t embedded_computed = 0;      // and through its patch embedding alone
};

// Does what is left of the plan, beside other processes that do the same. First all tasks are opened: of one whose
// pictures cannot be opened (unless it is done to its end), or are not those of results that are there already, no run
// is done, which a note and the ledger say. Sizes beyond what a task has are left out. A run that diverged is a result.
// A run whose input is wrong (a damaged picture) is recorded, too, and the sweep goes on; where a point of a grid
// failed so, nothing is tested. Throws for what concerns all runs, and for what the machine lacks (a full disk, too
// little memory): no result comes of that, and the run is done another time.
SweepResult sweep(const SweepConfig& config, const SweepHooks& hooks = {});

// What sweep would begin with: the tasks, each opened and closed again (with train_sizes a task is there for each of
// them), and the counts. Nothing is done or written. Without a folder (config.out is empty) nothing is done already.
struct TaskLook {
  SuiteTask task{};
  std::optional<TaskFacts> facts{};
  bool done = false;      // all of its runs are
  std::string problem{};  // why it cannot be opened, or that results in the folder are of other pictures
  bool gone = false;      // it cannot be opened, which does not matter: it is done
  bool too_few = false;   // images for its size, which is left out
  int64_t set_aside = 0;  // runs of a ledger that had other pictures, and are done again
};
struct SweepLook {
  std::vector<TaskLook> tasks;
  SweepCounts counts;
};
SweepLook look_at_sweep(const SweepConfig& config);

}  // namespace vitrine

#endif
