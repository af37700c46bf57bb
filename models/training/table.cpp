#include "models/training/table.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/check.h"
#include "models/training/paper_numbers.h"
#include "models/training/table_facts.h"
#include "models/training/table_rows.h"

namespace vitrine {

namespace {

// Scores of one row on one task, in percent by seed, each with the run it is of.
struct Values {
  std::map<uint64_t, std::pair<std::string, double>> by_seed;
  int diverged = 0, failed = 0;
  double trained = 0, stored = 0, backbone = 0;  // parameters
};
using Task = std::pair<std::string, std::string>;  // group and name
using OfTasks = std::map<Task, Values>;

double mean_over_seeds(const Values& v) {
  std::vector<double> scores;
  for (const auto& [seed, score] : v.by_seed) scores.push_back(score.second);
  return mean_of(scores);
}

// The cell of some tasks, `tasks` being all that any row has. Seeds count for the deviation if all tasks have them.
TableCell cell_of(const OfTasks& values, const std::vector<Task>& tasks) {
  TableCell cell;
  cell.all_tasks = static_cast<int>(tasks.size());
  std::vector<double> means;
  std::map<uint64_t, std::vector<double>> by_seed;
  for (const Task& task : tasks) {
    const auto found = values.find(task);
    if (found == values.end()) continue;
    cell.diverged += found->second.diverged;
    cell.failed += found->second.failed;
    if (found->second.by_seed.empty()) continue;
    means.push_back(mean_over_seeds(found->second));
    for (const auto& [seed, score] : found->second.by_seed) by_seed[seed].push_back(score.second);
  }
  cell.tasks = static_cast<int>(means.size());
  if (means.empty()) return cell;
  cell.mean = mean_of(means);
  std::vector<double> of_seeds;
  for (const auto& [seed, scores] : by_seed)
    if (scores.size() == means.size()) of_seeds.push_back(mean_of(scores));
  cell.seeds = static_cast<int>(of_seeds.size());
  if (of_seeds.size() > 1) cell.deviation = deviation_of(of_seeds);
  return cell;
}

// The mean of the groups' means, over the groups that have any; its deviation over seeds that all of their tasks have.
TableCell mean_of_groups(const OfTasks& values, const Comparison& c) {
  TableCell out;
  std::vector<double> means;
  std::map<uint64_t, std::vector<double>> by_seed;
  for (const std::string& group : c.groups) {
    std::vector<double> of_tasks;
    std::map<uint64_t, std::vector<double>> scores;
    for (const Task& task : c.tasks) {
      const auto found = values.find(task);
      if (task.first != group || found == values.end() || found->second.by_seed.empty()) continue;
      of_tasks.push_back(mean_over_seeds(found->second));
      for (const auto& [seed, score] : found->second.by_seed) scores[seed].push_back(score.second);
    }
    if (of_tasks.empty()) continue;
    means.push_back(mean_of(of_tasks));
    for (const auto& [seed, list] : scores)
      if (list.size() == of_tasks.size()) by_seed[seed].push_back(mean_of(list));
  }
  if (means.empty()) return out;
  out.mean = mean_of(means);
  std::vector<double> of_seeds;
  for (const auto& [seed, list] : by_seed)
    if (list.size() == means.size()) of_seeds.push_back(mean_of(list));
  out.seeds = static_cast<int>(of_seeds.size());
  if (of_seeds.size() > 1) out.deviation = deviation_of(of_seeds);
  return out;
}

// Enters a line's score. Of two of one seed, which nothing in the ledger tells apart, that of the first run by name counts.
void enter(Values& v, const LedgerLine& l, const std::string& label, std::vector<std::string>& warnings) {
  v.diverged += !l.diverged.empty();
  v.failed += !l.failed.empty();
  if (!l.complete()) return;
  const auto [found, fresh] = v.by_seed.emplace(l.seed, std::pair(l.run, 100 * l.score));
  if (!fresh) {
    place_in(warnings, text("{} on {} has several results of one seed, and the ledger does not tell what "
                            "they differ in; one of them counts",
                            label, l.task));
    if (found->second.first < l.run) return;
    found->second = {l.run, 100 * l.score};
  }
  v.trained = static_cast<double>(l.trained_parameters);
  v.stored = static_cast<double>(l.stored_parameters);
  v.backbone = static_cast<double>(l.backbone_parameters);
}

// The most training images of each task: in its final runs, and in its searches.
struct Sizes {
  std::map<size_t, int64_t> finals, searches;
  Sizes(const TableRows& sorted, std::vector<std::string>& warnings) {
    for (const TableRows::Line& line : sorted.lines) {
      int64_t& most = (line.line->stage == Stage::final ? finals : searches)[line.task];
      if (line.line->stage == Stage::final && most != 0 && most != line.line->train_images)
        place_in(warnings, text("task {} was run with several numbers of training images; the largest "
                                "counts here, --by train-size shows all",
                                line.line->task));
      most = std::max(most, line.line->train_images);
    }
  }
  bool counts(const TableRows::Line& line) const {
    return (line.line->stage == Stage::final ? finals : searches).at(line.task) == line.line->train_images;
  }
};

// What plans have and the ledger has not, in words; failures of tasks are entered.
template <class ValuesOf>
void tell_missing(const TableRows& sorted, std::vector<std::string>& warnings, const ValuesOf& values_of) {
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
    bool ended = false;
    for (const size_t row : where.first)
      for (const size_t task : where.second) {
        const Values* v = values_of(row, task);
        if (v == nullptr) continue;
        most = std::max(most, static_cast<int64_t>(v->by_seed.size()) + v->diverged + v->failed);
        ended = ended || v->diverged > 0;
      }
    if (most == 0)
      missing.push_back(
          text("{} on {}", sorted.rows[where.first[0]].label, sorted.tasks[where.second[0]].second));
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
  for (const TableRows::Row& row : sorted.rows)
    c.rows.push_back({.label = row.label,
                      .method = row.line.method,
                      .variant = row.line.variant,
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
          values[row][task].failed = 1;
  tell_missing(sorted, c.warnings, [&](size_t row, size_t task) -> const Values* {
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
    const auto [full, several] = full_of(r);
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
    unclear = unclear || (several && row.method != "full");
    add_costs(row, own);
    add_paper(row, c, paper);
    if (row.method == "vpt-deep" && against_full) {
      const std::vector<double> better = differences(own, values[*full], c.tasks);
      if (!better.empty())
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
