// sweep_folder.h: the folder of a comparison, which processes share and may be killed in at any moment.
//
//   runs/NAME/lock         held by who does the run
//   runs/NAME/state/       its run folder (tune.h) while it is done
//   runs/NAME/result.json  written at once or not at all: then the run is done
//   runs/NAME/task.safetensors, metrics.jsonl, run.json  if tasks are kept
//   plans/NAME.json        what a sweep set out to do, and which tasks it could not open
//   ledger.jsonl           all results, and the plans
#pragma once

#ifdef VITRINE_FILES

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/file.h"
#include "models/training/plan.h"

namespace vitrine {

class SweepFolder {
 public:
  // Makes the folder if need be. The plan outlives this.
  SweepFolder(const std::string& path, const Plan& plan);

  // The result of a run, as soon as any process has written it; null before. The pointer stays good.
  const LedgerLine* result(const std::string& run);
  // Takes a line of another ledger for done, if it is of this plan and did not fail.
  void know(const LedgerLine& line);
  // Removes the results of runs of this plan that failed, so that they are done again.
  void forget_failed();

  // The lock of a run that is to be done; null if somebody else has it or it is done.
  std::unique_ptr<const FileLock> take(const std::string& run);
  std::string state_folder(const std::string& run) const;  // made if need be
  // Writes the result and removes what the run needed on the way; with `keep_task` its task file moves up, with
  // its metrics and its record, so that there can be a report of it.
  void finish(const LedgerLine& line, bool keep_task);

  std::string ledger() const { return path_ + "/ledger.jsonl"; }
  // Keeps what a plan wants beside the results, in place of what was said of it before.
  void write_plan(const LedgerPlan& plan);
  // Makes the ledger anew: results of the plan in its order, then those of other plans in this folder, sorted, then all
  // plans. Unless `now` it is put off when writing would take much of the time.
  void write_ledger(bool now);

 private:
  std::string folder_of(const std::string& run) const { return path_ + "/runs/" + run; }
  void read_others();
  std::vector<std::string> plans() const;  // their lines

  std::string path_;
  const Plan& plan_;
  std::map<std::string, const Cell*> cells_;  // by run, of all in the plan
  std::map<std::string, LedgerLine> results_;
  double written_ = -1e9, took_ = 0;  // of a steady clock, in seconds
  bool late_ = false;                 // the ledger lacks a result
};

}  // namespace vitrine

#endif
