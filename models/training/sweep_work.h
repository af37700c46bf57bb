// sweep_work.h: a sweep at work; private to sweep.cpp, which does its runs, and sweep_tasks.cpp, which looks at its tasks.
#pragma once

#ifdef VITRINE_FILES

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/text.h"
#include "models/training/checkpoint.h"
#include "models/training/sweep.h"
#include "models/training/sweep_folder.h"

namespace vitrine {

class Sweep {
 public:
  Sweep(const SweepConfig& config, const SweepHooks& hooks)
      : config_(config),
        hooks_(hooks),
        plan_(make_plan(config.plan)),
        folder_(config.out, plan_, hooks.note) {
    check(!holds_run(config.out), "sweep: {} holds a run of its own; take another folder", quote(config.out));
    check(config.parts >= 1 && config.part >= 0 && config.part < config.parts,
          "sweep: part {} of {} makes no sense", config.part, config.parts);
    if (config.retry_failed) folder_.forget_failed();
    for (const LedgerLine& line : config.known) folder_.know(line);
  }

  SweepCounts counts();
  SweepLook look();
  SweepResult run();

 private:
  std::optional<std::vector<PlannedRun>*> finals_of(Cell& cell);
  bool is_left_out(const Cell& cell) const;
  int64_t undone(Cell& cell);
  bool pass();
  bool pass(Cell& cell);
  void attempt(Cell& cell, PlannedRun& run);
  SweepData& data_of(const Cell& cell);
  bool claimed(const Cell& cell) const;
  template <class Each>
  void each_run_at(const Cell& cell, const Each& each) const;  // each run of a cell's task
  void check_results(const Cell& cell, const TaskFacts& facts);
  int64_t settle(const Cell& cell, const TaskFacts& facts, bool may_write);
  void note_set_aside(const SuiteTask& task, int64_t runs) const;
  void check_known(const Cell& cell, const TaskFacts& facts);
  TaskLook look_at(const Cell& cell, bool done, bool may_write);
  std::set<std::string> places_left();
  void look_at_tasks(bool may_write, const std::function<void(const TaskLook&)>& then);
  void tell(const TaskLook& look) const;
  void open_tasks();
  double work_of(const Cell& cell, Stage stage) const;
  double seconds_left();
  bool stop() const { return hooks_.stop && hooks_.stop(); }

  const SweepConfig& config_;
  const SweepHooks& hooks_;
  Plan plan_;
  SweepFolder folder_;
  std::map<std::string, std::string> unusable_;  // tasks, and why
  std::map<std::string, TaskFacts> facts_;       // of those that were opened
  std::set<std::string> too_large_;              // sizes of tasks that have not so many images
  std::set<std::string> done_here_;              // runs
  const SuiteTask* opened_ = nullptr;            // whose data these are
  std::string opened_as_;                        // prepared so
  std::optional<SweepData> data_;
  bool progressed_ = false;
  int64_t busy_ = 0;  // runs of this pass that others do
  void count_computed() {
    for (const Kept* kept : {&data_->kept, &data_->test_kept}) {
      features_computed_ += kept->features->computed();
      if (kept->embedded) embedded_computed_ += kept->embedded->computed();
    }
  }
  int64_t features_computed_ = 0, embedded_computed_ = 0;
};

// The group, name and size of a task.
std::string place_of(const SuiteTask& task);

template <class Each>
void Sweep::each_run_at(const Cell& cell, const Each& each) const {
  for (const Cell& other : plan_.cells) {
    if (place_of(other.task) != place_of(cell.task)) continue;
    for (const PlannedRun& run : other.search) each(run);
    for (const auto& seeds : other.finals)
      for (const PlannedRun& run : seeds) each(run);
  }
}

}  // namespace vitrine

#endif
