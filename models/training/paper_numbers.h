// paper_numbers.h: what the paper (arXiv 2203.12119) measured, to stand beside what was measured here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vitrine {

// The tasks of its groups, in the order of its tables 13 and 14: "cifar", "caltech101", ...
const std::vector<std::string_view>& paper_tasks(std::string_view group);
std::vector<std::string_view> paper_groups();  // FGVC, Natural, Specialized, Structured

// A group by another spelling ("natural"), and a task of it by one of its usual names ("vtab-cifar", "cifar100"); empty if
// the paper has none such.
std::string_view paper_group(std::string_view name);
std::string_view paper_task(std::string_view group, std::string_view name);

struct PaperGroup {
  std::string_view group;
  double mean;              // percent, as printed
  std::optional<int> wins;  // tasks better than full tuning, where it is printed
};
struct PaperRow {
  std::string_view backbone;    // "vit-b16", "swin-b", and by what it was pretrained: "vit-b16, MAE"
  std::string_view table;       // "table 1"
  std::string_view method;      // in Vitrine's words: "vpt-deep"
  std::optional<double> total;  // all parameters for all tasks, as a multiple of one backbone's
  std::vector<PaperGroup> groups;
  std::vector<double> tasks;  // percent, by group in the order of paper_groups, those of VTAB or all; or none
};
const std::vector<PaperRow>& paper_rows();

// Null if it has none. `backbone` and `method` as in PaperRow.
const PaperRow* paper_row(std::string_view backbone, std::string_view method);
// Of one task, in percent, if it is printed.
std::optional<double> paper_value(const PaperRow& row, std::string_view group, std::string_view task);

}  // namespace vitrine
