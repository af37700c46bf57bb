// sweep_run.h: one run of a comparison, from its pictures to its line of the ledger.
#pragma once

#ifdef VITRINE_FILES

#include "models/training/sweep.h"
#include "models/training/sweep_data.h"
#include "models/training/sweep_folder.h"

namespace vitrine {

struct Stopped {};  // thrown when SweepHooks::stop said so; the state is saved

// Does the run, whose lock the caller holds, or goes on with it from its state in the folder. That it diverged, or
// what is wrong with its input, stands in the line. Throws Stopped, and for faults of the machine (a full disk, too little
// memory). The result is not written yet.
LedgerLine do_planned_run(const SweepConfig& config, const SweepHooks& hooks, const SweepFolder& folder,
                          const SweepData& data, const Cell& cell, const PlannedRun& run);

}  // namespace vitrine

#endif
