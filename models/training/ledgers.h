// ledgers.h: the ledgers of one sweep or of several, read as one.
#pragma once

#ifdef VITRINE_FILES

#include <string>
#include <vector>

#include "models/training/ledger.h"
#include "models/training/table.h"

namespace vitrine {

struct Ledgers {
  std::vector<LedgerLine> lines;
  std::vector<std::string>
      folders;  // of each line: its run's in the folder of its sweep; empty: the ledger stood alone
  std::vector<LedgerPlan> plans;
  std::vector<std::string> contradictions;  // in words: runs of which two ledgers say different things
};

// The ledger that is meant by a file, or by the folder of a sweep. Throws for a folder that holds none.
std::string ledger_of(const std::string& where);

// Reads ledgers (files, or folders of sweeps) one behind the other. What several say alike counts once; of a run with
// different results of the same pictures the first one counts. Throws as read_ledger does.
Ledgers read_ledgers(const std::vector<std::string>& where);

// One line for each run: its settings, score in percent, the row of the table that it counts in, and its task file if that
// was kept.
std::string runs_text(const Ledgers& ledgers, TableFormat format);

}  // namespace vitrine

#endif
