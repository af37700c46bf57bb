// table_cells.h: the numbers of one cell of a table, out of scores by seed; for table.cpp and table_series.cpp.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/training/table.h"
#include "models/training/table_rows.h"

namespace vitrine {

// Scores of one row on one task, in percent by seed, each with the run it is of.
struct Values {
  std::map<uint64_t, std::pair<std::string, double>> by_seed;
  int diverged = 0, failed = 0;
  bool unopened = false;                         // its pictures could not be opened
  double trained = 0, stored = 0, backbone = 0;  // parameters
};
using OfTasks = std::map<std::pair<std::string, std::string>, Values>;  // by group and name

// Enters a line's score. Of two of one seed, which nothing in the ledger tells apart, that of the first run by name counts.
void enter(Values& values, const LedgerLine& line, const std::string& label,
           std::vector<std::string>& warnings);
double mean_over_seeds(const Values& values);
// The cell of some tasks, `tasks` being all that any row has. Seeds count for the deviation if all tasks have them.
TableCell cell_of(const OfTasks& values, const std::vector<std::pair<std::string, std::string>>& tasks);
// The mean of the groups' means, over the groups that have any; its deviation over seeds that all of their tasks have.
TableCell mean_of_groups(const OfTasks& values, const Comparison& comparison);

// The most training images of each task: in its final runs, and in its searches.
struct Sizes {
  std::map<size_t, int64_t> finals, searches;
  Sizes(const TableRows& sorted, std::vector<std::string>& warnings);
  bool counts(const TableRows::Line& line) const {
    return (line.line->stage == Stage::final ? finals : searches).at(line.task) == line.line->train_images;
  }
};

}  // namespace vitrine
