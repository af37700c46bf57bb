// table.h: the tables of a comparison, out of its ledger.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/training/ledger.h"
#include "models/training/statistics.h"

namespace vitrine {

// What several runs gave, in percent. Nothing is made up for what is missing.
struct TableCell {
  std::optional<double> mean;  // over seeds, and for a group over its tasks; none: no run has come to its end
  std::optional<double> deviation;  // over seeds (of a group: of its mean for each seed); none for one seed
  int seeds = 0;
  int tasks = 0, all_tasks = 0;  // of a group: with a result for this row, and for any row
  std::optional<int> wins;       // of a group: tasks better than full tuning's, where both are
  int diverged = 0, failed = 0;  // runs that are missing for that reason
  int unopened = 0;              // tasks that are, their pictures could not be opened
  std::optional<double> paper;   // the paper's own number
  std::optional<int> paper_wins;
};

struct TableRow {
  std::string label, method, variant, recipe, net, backbone_identity;
  std::vector<TableCell> groups, tasks;  // as in Comparison
  TableCell all;                         // the mean over all tasks
  TableCell mean_of_groups;              // mean, deviation and seeds of it
  double tuned_parameters = 0;           // mean over tasks
  double tuned_share = 0;                // of the backbone's
  // What has to be stored for all tasks of this row, as a multiple of the backbone's parameters: the backbone, unless each
  // task brings all of its weights, and what each task adds.
  double total = 0;
  std::string paper_table;            // where the paper has this row; empty: nowhere
  std::optional<double> paper_total;  // there, for its 24 tasks (19 in table 2)
};

struct Significance {
  std::string label, against;
  int tasks = 0, better = 0, worse = 0;
  SignedRank test;
};

struct Comparison {
  std::vector<std::string> groups;
  std::vector<std::pair<std::string, std::string>> tasks;  // group and name
  std::vector<TableRow> rows;
  std::vector<Significance> significance;  // VPT-deep against full, for each backbone
  std::vector<std::string> warnings;
};

// The paper's rows that stand beside: of the backbone's form if there are any (for a ViT-B/16 those of supervised
// pretraining), those of MAE or MoCo v3, or none.
enum class PaperRows { of_form, mae, moco_v3, none };

// Table 1 of the paper for what was run: the test scores of the final runs. Rows come in the paper's order; a row is a
// method, and where the ledger mixes backbones, recipes or other settings one for each of them, which a warning tells
// (table_rows.h). The numbers do not depend on the order of the lines. Tasks and methods of `plans` stand there with or
// without results, and a warning says what is missing.
Comparison compare(const std::vector<LedgerLine>& lines, PaperRows paper = PaperRows::of_form,
                   const std::vector<LedgerPlan>& plans = {});

// By what else a table can have columns.
enum class By {
  train_size,  // training images of the final runs, val among them (the paper's figure 3)
  backbone,    // (figure 4)
  prompts  // prompt length: the best of the search's validation scores, for the test is asked of one length alone
};
struct Series {
  By by = By::train_size;
  std::vector<std::string> columns;
  struct Row {
    std::string label;
    std::vector<TableCell> cells;
  };
  struct Section {
    std::string group;  // or "all tasks"
    std::vector<Row> rows;
  };
  std::vector<Section> sections;
  std::vector<std::string> warnings;
};
Series series(const std::vector<LedgerLine>& lines, By by, const std::vector<LedgerPlan>& plans = {});

enum class TableFormat { markdown, csv, json };
std::string table_text(const Comparison& comparison, TableFormat format);
std::string table_text(const Series& series, TableFormat format);
// Words from outside, so that they stay in one cell.
std::string markdown_cell(const std::string& words);
std::string csv_cell(const std::string& words);

}  // namespace vitrine
