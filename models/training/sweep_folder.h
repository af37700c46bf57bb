// sweep_folder.h: the folder of a comparison, which processes share and may be killed in at any moment.
//
//   runs/NAME/lock         held by who does the run
//   runs/NAME/state/       its run folder (tune.h) while it is done
//   runs/NAME/result.json  written at once or not at all: then the run is done
//   runs/NAME/task.safetensors, metrics.jsonl, run.json  if tasks are kept
//   plans/NAME.json        what a sweep set out to do, and which tasks it could not open
//   plans/complete         all plans are there as files (which a copied ledger or an older program may have brought as lines)
//   ledger.jsonl           all results and the plans: those of these folders, and whatever else stood there before
//
// A line of a ledger whose run has no folder here (the folder is a copy of its ledger alone, or the line came from another
// ledger) is a claim: the run counts as done, but whether it saw the same pictures is known only when those are opened.
// Then settle() makes a result of it, or sets it aside. No line is ever dropped but that of a run which failed and will be
// done again, and one that contradicts a line or a result that is there, which is told.
#pragma once

#ifdef VITRINE_FILES

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/file.h"
#include "models/training/plan.h"

namespace vitrine {

class SweepFolder {
 public:
  using Note = std::function<void(const std::string&)>;
  // Reads what is there; nothing is made or written before it has to be. The plan outlives this.
  SweepFolder(const std::string& path, const Plan& plan, Note note = {});

  // The result of a run, as soon as any process has written it, or what is claimed of it; null before. The pointer stays
  // good until the ledger is written, lines are settled or failures forgotten. Throws for a result that cannot be read.
  const LedgerLine* result(const std::string& run);
  // The same without claims.
  const LedgerLine* done(const std::string& run);
  // Takes a line of another ledger: as a claim if it is of this plan and did not fail, else to be kept.
  void know(const LedgerLine& line);
  // Whether there is anything to settle.
  bool claimed(const std::string& run) const { return claims_.contains(run); }
  // What of a run's claims is of the pictures with these digests (sweep_data.h) becomes its result; what is of others is set
  // aside, and true given.
  bool settle(const std::string& run, const std::string& digest, const std::string& contents);
  // Forgets what of a run's claims is of other pictures, and gives true if there is any; nothing is written.
  bool disclaim(const std::string& run, const std::string& digest, const std::string& contents);
  // Removes the results of runs of this plan that failed, and those that cannot be read, so that they are done again. What
  // is in the pictures of their tasks may have been mended since: other results of these tasks stand for any contents.
  void forget_failed();

  // The lock of a run that is to be done; null if somebody else has it or it is done.
  std::unique_ptr<const FileLock> take(const std::string& run);
  std::string folder_of(const std::string& run) const { return path_ + "/runs/" + run; }
  std::string state_folder(const std::string& run) const;  // made if need be
  // Writes the result and removes what the run needed on the way; with `keep_task` its task file moves up, with
  // its metrics and its record, so that there can be a report of it.
  void finish(const LedgerLine& line, bool keep_task);

  std::string ledger() const { return path_ + "/ledger.jsonl"; }
  // Keeps what a plan wants beside the results, in place of what was said of it before.
  void write_plan(const LedgerPlan& plan);
  // Makes the ledger anew: results of the plan in its order, then all other lines, sorted, then all plans. True if it was
  // written.
  bool write_ledger(const std::function<bool()>& stop = {});
  // The same unless writing would take much of the time, or another process writes at this moment.
  void write_ledger_if_late();

 private:
  using Key = std::pair<std::string, std::string>;  // a run, and its pictures
  LedgerLine read_result(const std::string& run) const;
  void read_others();
  void read_ledger_file();
  void read_plans();
  void absorb(LedgerLine line);
  void tell_other_result(const LedgerLine& line, const LedgerLine& known);
  void forget_contents(const SuiteTask& task);
  void write_locked();

  std::string path_;
  const Plan& plan_;
  Note note_;
  std::map<std::string, const Cell*> cells_;                         // by run, of all in the plan
  std::map<std::string, LedgerLine> results_;                        // of runs/
  std::map<std::string, std::map<std::string, LedgerLine>> claims_;  // by run and pictures
  std::map<Key, LedgerLine> rest_;                                   // lines that are kept, no more
  std::map<std::string, std::string> plans_;                         // lines by name
  std::set<std::string> unreadable_;    // results of other plans, and plans, told once
  std::set<std::string> contradicted_;  // runs of which a ledger tells otherwise, told once
  double written_ = -1e9, took_ = 0;    // of a steady clock, in seconds
  bool late_ = false;                   // the ledger lacks a result
};

}  // namespace vitrine

#endif
