// table_series.cpp: tables by training images, backbone or prompts.
#include <algorithm>
#include <map>

#include "engine/check.h"
#include "models/training/table_cells.h"
#include "models/training/table_facts.h"

namespace vitrine {

Series series(const std::vector<LedgerLine>& lines, By by, const std::vector<LedgerPlan>& plans) {
  Series out;
  out.by = by;
  const TableRows sorted = table_rows(lines, plans, by == By::backbone);
  out.warnings = sorted.warnings;
  std::vector<std::string> told;
  const Sizes sizes(sorted, by == By::train_size ? told : out.warnings);
  std::map<std::string, std::string> net_names;  // by identity
  const auto net_name = [&](const LedgerLine& l) -> const std::string& {
    const auto [found, fresh] = net_names.try_emplace(l.backbone_identity);
    if (fresh) found->second = TableRows::net_name(l, lines);
    return found->second;
  };
  std::map<std::pair<std::string, std::string>, OfTasks> values;  // by row and column
  std::vector<std::string> rows, groups;
  using Task = std::pair<std::string, std::string>;  // group and name
  std::vector<Task> tasks;
  std::vector<std::pair<int64_t, std::string>> columns;  // in the order of their numbers
  for (const TableRows::Line& line : sorted.lines) {
    const LedgerLine& l = *line.line;
    if ((l.stage == Stage::search) != (by == By::prompts) || (by == By::prompts && l.prompts == 0)) continue;
    if (by != By::train_size && !sizes.counts(line)) continue;
    const int64_t number = by == By::train_size ? l.train_images
                           : by == By::prompts  ? l.prompts
                                                : l.backbone_parameters;
    const std::string column = by == By::backbone ? net_name(l) : std::to_string(number),
                      label = sorted.rows[line.row].label;
    place_in(groups, sorted.tasks[line.task].first);
    place_in(tasks, sorted.tasks[line.task]);
    place_in(columns, {number, column});
    Values& v = values[{label, column}][sorted.tasks[line.task]];
    if (by != By::prompts) {
      enter(v, l, label, out.warnings);
    } else if (l.complete()) {  // the best of the rest of the grid
      double& best = v.by_seed.emplace(0, std::pair(std::string(), 0.0)).first->second.second;
      best = std::max(best, 100 * l.score);
    }
  }
  for (const TableRows::Row& row : sorted.rows)
    if (std::ranges::any_of(values, [&](const auto& value) { return value.first.first == row.label; }))
      place_in(rows, row.label);
  // Tasks that are planned count for the means, with or without results.
  if (!rows.empty())
    for (const TableRows::Planned& p : sorted.planned)
      for (const size_t task : p.tasks) {
        place_in(groups, sorted.tasks[task].first);
        place_in(tasks, sorted.tasks[task]);
      }
  std::ranges::stable_sort(columns, {}, &std::pair<int64_t, std::string>::first);
  for (const auto& [number, column] : columns) out.columns.push_back(column);
  const auto add = [&](const std::string& name, const std::vector<Task>& of) {
    Series::Section section{name, {}};
    for (const std::string& row : rows) {
      Series::Row cells{row, {}};
      for (const std::string& column : out.columns) cells.cells.push_back(cell_of(values[{row, column}], of));
      section.rows.push_back(std::move(cells));
    }
    out.sections.push_back(std::move(section));
  };
  for (const std::string& group : groups) {
    std::vector<Task> of;
    std::ranges::copy_if(tasks, std::back_inserter(of), [&](const Task& t) { return t.first == group; });
    add(group, of);
  }
  if (groups.size() > 1) add("all tasks", tasks);
  return out;
}

}  // namespace vitrine
