// table_rows.h: which results of a ledger may stand in one cell of a table.
//
// A cell is the mean over seeds of one method with one set of settings on one task. A ledger may hold more than that: the
// same method with other settings, a task that was asked by another metric, what a search tried and did not choose. Here
// each line gets the row and the task it belongs to, whatever the order of the lines.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/training/ledger.h"

namespace vitrine {

struct TableRows {
  struct Row {
    std::string label,
        words;        // "linear (epochs 30)" and "epochs 30", what of the settings makes it a row of its own
    LedgerLine line;  // one of it; numbers and seeds mean nothing
  };
  struct Line {
    const LedgerLine* line = nullptr;
    size_t row = 0, task = 0;
  };
  // A method on a task that a plan has: a result in any of these rows, of any of these tasks, is what it wants.
  struct Planned {
    std::vector<size_t> rows, tasks;
    int64_t seeds = 0;
    bool failed = false;  // the task could not be opened
  };
  std::vector<Row> rows;
  std::vector<std::pair<std::string, std::string>>
      tasks;                // group and name, in the order of their first lines
  std::vector<Line> lines;  // all but final runs of settings that a search did not choose
  std::vector<Planned> planned;
  std::vector<std::string> warnings;

  // What a backbone is called.
  static std::string net_name(const LedgerLine& line, const std::vector<LedgerLine>& all);
};

// A row is a method with a variant of prompts, a backbone and a recipe. It is split where other settings differ than
// those that a grid searches (learning rate, weight decay, prompts, sizes), and named with as few of them as tell the
// parts apart. Of those that a search tried, the final runs of the best on val count, and no others, even if these are
// missing. Lines of other pictures are left out. Final runs that no search led to are rows of their own if their task
// has several of them. Rows stand in the order of the paper's table 1, whatever that of the lines. Tasks are split
// where the metric, the augmentation, the pictures or how they become squares differ, rows where pictures were prepared
// otherwise else; a task that was moved to another group stands where its first line has it. What plans have is there,
// with or without results. `lines` must outlive the result.
TableRows table_rows(const std::vector<LedgerLine>& lines, const std::vector<LedgerPlan>& plans = {},
                     bool backbones_are_columns = false);

}  // namespace vitrine
