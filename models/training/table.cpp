#include "models/training/table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/check.h"
#include "models/training/paper_numbers.h"
#include "models/training/table_cells.h"
#include "models/training/table_facts.h"

namespace vitrine {

namespace {

using Task = std::pair<std::string, std::string>;  // group and name

// What plans have and the ledger has not, in words; failures of tasks are entered.
template <class ValuesOf>
void tell_missing(const TableRows& sorted, const std::set<std::pair<size_t, size_t>>& of_other_sizes,
                  std::vector<std::string>& warnings, const ValuesOf& values_of) {
  constexpr size_t told = 4;
  std::map<std::pair<std::vector<size_t>, std::vector<size_t>>, std::pair<int64_t, bool>> planned;
  for (const TableRows::Planned& p : sorted.planned) {
    auto& [seeds, failed] = planned[{p.rows, p.tasks}];
    seeds = std::max(seeds, p.seeds);
    failed = failed || p.failed;
  }
  std::vector<std::string> missing;
  int64_t fewer = 0;
  for (const auto& [where, what] : planned) {
    if (what.second) continue;  // which is told already
    int64_t most = 0;
    bool ended = false, elsewhere = false;
    for (const size_t row : where.first)
      for (const size_t task : where.second) {
        elsewhere = elsewhere || of_other_sizes.contains({row, task});
        const Values* v = values_of(row, task);
        if (v == nullptr) continue;
        most = std::max(most, static_cast<int64_t>(v->by_seed.size()) + v->diverged + v->failed);
        ended = ended || v->diverged > 0;
      }
    const std::string name =
        text("{} on {}", sorted.rows[where.first[0]].label, sorted.tasks[where.second[0]].second);
    if (most == 0 && elsewhere)
      warnings.push_back(
          text("{} has results of fewer training images alone, which --by train-size shows", name));
    else if (most == 0)
      missing.push_back(name);
    else if (most < what.first && !ended)
      ++fewer;
  }
  if (!missing.empty()) {
    std::string list;
    for (size_t i = 0; i < std::min(told, missing.size()); ++i)
      list += text("{}{}", i > 0 ? ", " : "", missing[i]);
    if (missing.size() > told) list += text(" and {} more", missing.size() - told);
    warnings.push_back(
        text("{} of {} planned results are missing: {}", missing.size(), planned.size(), list));
  }
  if (fewer > 0)
    warnings.push_back(text("{} of {} planned results have fewer seeds than planned", fewer, planned.size()));
}

// What a row costs, over the tasks that it has.
void add_costs(TableRow& row, const OfTasks& values) {
  std::vector<double> trained;
  double stored = 0, backbone = 0;
  const bool whole =
      row.method == "full";  // each task brings all weights of the backbone, and needs it no longer
  for (const auto& [task, v] : values) {
    if (v.by_seed.empty()) continue;
    trained.push_back(v.trained);
    stored += v.stored;
    backbone = v.backbone;
  }
  if (trained.empty() || backbone <= 0) return;
  row.tuned_parameters = mean_of(trained);
  row.tuned_share = row.tuned_parameters / backbone;
  row.total = ((whole ? 0 : backbone) + stored) / backbone;
}

// Whether the tasks of a group are those of the paper's: a mean over others, or over some of them, is another number.
bool has_the_papers_tasks(const Comparison& c, const std::string& group) {
  const std::string_view papers = paper_group(group);
  std::vector<std::string_view> own;
  for (const Task& task : c.tasks)
    if (task.first == group) own.push_back(paper_task(papers, task.second));
  std::vector<std::string_view> expected = paper_tasks(papers);
  std::ranges::sort(own);
  std::ranges::sort(expected);
  return !papers.empty() && own == expected;
}

void add_paper(TableRow& row, const Comparison& c, PaperRows paper) {
  if (paper == PaperRows::none || !row.variant.empty()) return;
  const std::string backbone = text("{}{}", row.net,
                                    paper == PaperRows::mae       ? ", MAE"
                                    : paper == PaperRows::moco_v3 ? ", MoCo v3"
                                                                  : "");
  const PaperRow* known = paper_row(backbone, row.method);
  if (known == nullptr) return;
  for (size_t g = 0; g < c.groups.size(); ++g)
    for (const PaperGroup& group : known->groups)
      if (group.group == paper_group(c.groups[g]) && has_the_papers_tasks(c, c.groups[g])) {
        row.groups[g].paper = group.mean;
        row.groups[g].paper_wins = group.wins;
        row.paper_table = known->table;
        row.paper_total = known->total;
      }
  for (size_t t = 0; t < c.tasks.size(); ++t) {
    const std::string_view group = paper_group(c.tasks[t].first);
    if (!group.empty()) row.tasks[t].paper = paper_value(*known, group, paper_task(group, c.tasks[t].second));
  }
}

// The tasks on which two rows have a result, and how much better the first one is on each.
std::vector<double> differences(const OfTasks& a, const OfTasks& b, const std::vector<Task>& tasks) {
  std::vector<double> out;
  for (const Task& task : tasks) {
    const auto one = a.find(task), other = b.find(task);
    if (one == a.end() || other == b.end() || one->second.by_seed.empty() || other->second.by_seed.empty())
      continue;
    // Means of scores differ by more than this or not at all; what is left of sums is no difference.
    constexpr double grain = 1e-9;
    const double difference = mean_over_seeds(one->second) - mean_over_seeds(other->second);
    out.push_back(std::round(difference / grain) * grain);
  }
  return out;
}

int positive(const std::vector<double>& values) {
  return static_cast<int>(std::ranges::count_if(values, [](double v) { return v > 0; }));
}

}  // namespace

Comparison compare(const std::vector<LedgerLine>& lines, PaperRows paper,
                   const std::vector<LedgerPlan>& plans) {
  Comparison c;
  const TableRows sorted = table_rows(lines, plans);
  c.warnings = sorted.warnings;
  const Sizes sizes(sorted, c.warnings);
  std::vector<OfTasks> values(sorted.rows.size());
  struct Searched {
    int runs = 0, diverged = 0, failed = 0;
  };
  std::map<std::pair<size_t, size_t>, Searched> searched;
  std::set<std::pair<size_t, size_t>>
      of_other_sizes;  // rows and tasks with results of fewer images than are shown
  for (const TableRows::Row& row : sorted.rows)
    c.rows.push_back({.label = row.label,
                      .method = row.line.method,
                      .variant = row.line.variant,
                      .recipe = row.line.recipe,
                      .net = row.line.net,
                      .backbone_identity = row.line.backbone_identity,
                      .groups = {},
                      .tasks = {},
                      .all = {},
                      .mean_of_groups = {},
                      .paper_table = {},
                      .paper_total = {}});
  for (const auto& task : sorted.tasks) place_in(c.groups, task.first);
  for (const TableRows::Line& line : sorted.lines) {
    const LedgerLine& l = *line.line;
    if (l.stage == Stage::search) {
      Searched& own = searched[{line.row, line.task}];
      ++own.runs;
      own.diverged += !l.diverged.empty();
      own.failed += !l.failed.empty();
    } else if (sizes.counts(line)) {
      enter(values[line.row][sorted.tasks[line.task]], l, sorted.rows[line.row].label, c.warnings);
    } else if (l.failed.empty()) {
      of_other_sizes.emplace(line.row, line.task);
    }
  }
  // Tasks stand by their groups.
  c.tasks = sorted.tasks;
  std::ranges::stable_sort(c.tasks, {}, [&](const Task& task) {
    return std::ranges::find(c.groups, task.first) - c.groups.begin();
  });
  // Where every point of a grid diverged, or one failed, there is nothing to test.
  for (const auto& [where, own] : searched)
    if ((own.failed > 0 || own.diverged == own.runs) &&
        !values[where.first].contains(sorted.tasks[where.second])) {
      Values& v = values[where.first][sorted.tasks[where.second]];
      v.diverged = own.diverged;
      v.failed = own.failed;
    }
  // Nor where the pictures could not be opened.
  for (const TableRows::Planned& p : sorted.planned)
    if (p.failed)
      for (const size_t row : p.rows)
        if (const Task& task = sorted.tasks[p.tasks[0]]; !values[row].contains(task))
          values[row][task].unopened = true;
  tell_missing(sorted, of_other_sizes, c.warnings, [&](size_t row, size_t task) -> const Values* {
    const auto found = values[row].find(sorted.tasks[task]);
    return found == values[row].end() ? nullptr : &found->second;
  });

  // Full tuning of the same backbone and recipe; of several, that with the same other settings.
  struct Full {
    std::optional<size_t> row;
    bool unclear = false;  // there are several, and none or more than one of these settings
  };
  const auto full_of = [&](size_t row) -> Full {
    const TableRows::Row& own = sorted.rows[row];
    std::vector<size_t> all, same;
    for (size_t other = 0; other < sorted.rows.size(); ++other) {
      const TableRows::Row& full = sorted.rows[other];
      if (full.line.method != "full" || full.line.backbone_identity != own.line.backbone_identity ||
          full.line.recipe != own.line.recipe)
        continue;
      all.push_back(other);
      if (full.words == own.words) same.push_back(other);
    }
    if (all.size() == 1) return {all[0]};
    if (same.size() == 1) return {same[0]};
    return {{}, !all.empty()};
  };
  bool unclear = false;
  for (size_t r = 0; r < c.rows.size(); ++r) {
    TableRow& row = c.rows[r];
    const OfTasks& own = values[r];
    const Full found = full_of(r);
    const std::optional<size_t> full = found.row;
    const bool against_full = full && *full != r;
    const auto cell_against_full = [&](const std::vector<Task>& tasks) {
      TableCell cell = cell_of(own, tasks);
      if (const std::vector<double> better =
              against_full ? differences(own, values[*full], tasks) : std::vector<double>{};
          !better.empty())
        cell.wins = positive(better);
      return cell;
    };
    for (const std::string& group : c.groups) {
      std::vector<Task> tasks;
      std::ranges::copy_if(c.tasks, std::back_inserter(tasks),
                           [&](const Task& task) { return task.first == group; });
      row.groups.push_back(cell_against_full(tasks));
    }
    for (const Task& task : c.tasks) row.tasks.push_back(cell_of(own, {task}));
    row.all = cell_against_full(c.tasks);
    row.mean_of_groups = mean_of_groups(own, c);
    unclear = unclear || (found.unclear && row.method != "full");
    add_costs(row, own);
    add_paper(row, c, paper);
    if (row.method == "vpt-deep" && against_full) {
      const std::vector<double> better = differences(own, values[*full], c.tasks);
      if (better.size() > 1)
        c.significance.push_back(
            {row.label, c.rows[*full].label, static_cast<int>(better.size()), positive(better),
             static_cast<int>(std::ranges::count_if(better, [](double d) { return d < 0; })),
             signed_rank(better)});
    }
  }
  if (unclear)
    c.warnings.emplace_back(
        "full tuning has rows of several settings; wins against it are counted for rows of the same settings "
        "alone");
  if ((paper == PaperRows::mae || paper == PaperRows::moco_v3) &&
      std::ranges::all_of(c.rows, [](const TableRow& row) { return row.paper_table.empty(); }))
    c.warnings.emplace_back("the paper has no such rows of these nets, methods and groups of tasks");
  return c;
}

}  // namespace vitrine
