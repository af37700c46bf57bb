#include "models/training/table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "engine/check.h"
#include "models/training/paper_numbers.h"

namespace vitrine {

namespace {

// Scores of one row on one task, in percent by seed.
struct Values {
  std::map<uint64_t, double> by_seed;
  int diverged = 0, failed = 0;
  double trained = 0, stored = 0, backbone = 0;  // parameters
};
using Task = std::pair<std::string, std::string>;  // group and name
using OfTasks = std::map<Task, Values>;

template <class T>
void append_new(std::vector<T>& list, const T& item) {
  if (std::ranges::find(list, item) == list.end()) list.push_back(item);
}

double mean_over_seeds(const Values& v) {
  std::vector<double> scores;
  for (const auto& [seed, score] : v.by_seed) scores.push_back(score);
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
    for (const auto& [seed, score] : found->second.by_seed) by_seed[seed].push_back(score);
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

// What tells rows apart: a method, and where there are several of them the recipe and the backbone.
class Labels {
 public:
  explicit Labels(const std::vector<LedgerLine>& lines, bool backbones_are_columns = false) {
    for (const LedgerLine& l : lines) {
      append_new(recipes_, l.recipe);
      append_new(versions_, l.version);
      append_new(identities_, l.backbone_identity);
      nets_[l.net].insert(l.backbone_identity);
    }
    with_backbone_ = identities_.size() > 1 && !backbones_are_columns;
  }
  std::string net(const LedgerLine& l) const {
    return nets_.at(l.net).size() > 1 ? text(l.net, " ", l.backbone_identity.substr(0, 8)) : l.net;
  }
  std::string row(const LedgerLine& l) const {
    return text(l.method, l.variant.empty() ? "" : text(" (", l.variant, ")"),
                with_backbone_ ? text(", ", net(l)) : "",
                recipes_.size() > 1 ? text(", recipe ", l.recipe) : "");
  }
  std::vector<std::string> warnings() const {
    std::vector<std::string> out;
    if (with_backbone_)
      out.push_back(
          text("the ledger has results of ", identities_.size(),
               " backbones; each has rows of its own, and rows of different backbones do not compare "
               "methods"));
    if (recipes_.size() > 1)
      out.push_back(text("the ledger has results of ", recipes_.size(),
                         " recipes; each has rows of its own, and rows of different recipes do not compare "
                         "methods"));
    if (versions_.size() > 1)
      out.push_back(text("the ledger has results of ", versions_.size(), " versions of the program"));
    return out;
  }

 private:
  std::vector<std::string> recipes_, versions_, identities_;
  std::map<std::string, std::set<std::string>> nets_;
  bool with_backbone_ = false;
};

// Enters a line's score, unless that seed has one.
void enter(Values& v, const LedgerLine& l, const std::string& label, std::vector<std::string>& warnings) {
  v.diverged += !l.diverged.empty();
  v.failed += !l.failed.empty();
  if (!l.complete()) return;
  if (!v.by_seed.emplace(l.seed, 100 * l.score).second) {
    append_new(warnings, text(label, " on ", l.task,
                              " has several results of one seed, with other settings; the first one counts"));
    return;
  }
  v.trained = static_cast<double>(l.trained_parameters);
  v.stored = static_cast<double>(l.stored_parameters);
  v.backbone = static_cast<double>(l.backbone_parameters);
}

// What a row costs, over the tasks that it has.
void add_costs(TableRow& row, const OfTasks& values) {
  std::vector<double> trained;
  double stored = 0, backbone = 0;
  bool whole = true;  // each task brings all weights
  for (const auto& [task, v] : values) {
    if (v.by_seed.empty()) continue;
    trained.push_back(v.trained);
    stored += v.stored;
    backbone = v.backbone;
    whole = whole && v.stored >= v.backbone;
  }
  if (trained.empty() || backbone <= 0) return;
  row.tuned_parameters = mean_of(trained);
  row.tuned_share = row.tuned_parameters / backbone;
  row.total = ((whole ? 0 : backbone) + stored) / backbone;
}

void add_paper(TableRow& row, const Comparison& c, PaperRows paper) {
  if (paper == PaperRows::none || !row.variant.empty()) return;
  const std::string backbone = text(row.net, paper == PaperRows::mae       ? ", MAE"
                                             : paper == PaperRows::moco_v3 ? ", MoCo v3"
                                                                           : "");
  const PaperRow* known = paper_row(backbone, row.method);
  if (known == nullptr) return;
  for (size_t g = 0; g < c.groups.size(); ++g)
    for (const PaperGroup& group : known->groups)
      if (group.group == paper_group(c.groups[g])) {
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
    out.push_back(mean_over_seeds(one->second) - mean_over_seeds(other->second));
  }
  return out;
}

int positive(const std::vector<double>& values) {
  return static_cast<int>(std::ranges::count_if(values, [](double v) { return v > 0; }));
}

}  // namespace

Comparison compare(const std::vector<LedgerLine>& lines, PaperRows paper) {
  Comparison c;
  const Labels labels(lines);
  c.warnings = labels.warnings();
  std::map<Task, int64_t> sizes;  // the most training images of a task
  for (const LedgerLine& l : lines) {
    append_new(c.groups, l.group);
    if (l.stage != Stage::final) continue;
    int64_t& most = sizes[{l.group, l.task}];
    if (most != 0 && most != l.train_images)
      append_new(c.warnings,
                 text("task ", l.task,
                      " was run with several numbers of training images; the largest counts here, "
                      "--by train-size shows all"));
    most = std::max(most, l.train_images);
  }
  std::vector<std::string> rows;
  std::map<std::string, OfTasks> values;
  std::map<std::pair<std::string, Task>, std::pair<int, int>> searched;  // runs, and those that diverged
  std::map<std::string, std::string> full_of;                            // by identity and recipe
  for (const LedgerLine& l : lines) {
    const std::string label = labels.row(l);
    const Task task{l.group, l.task};
    if (std::ranges::find(rows, label) == rows.end()) {
      rows.push_back(label);
      c.rows.push_back({.label = label,
                        .method = l.method,
                        .variant = l.variant,
                        .net = l.net,
                        .backbone_identity = l.backbone_identity,
                        .groups = {},
                        .tasks = {},
                        .all = {},
                        .mean_of_groups = {},
                        .paper_table = {},
                        .paper_total = {}});
    }
    if (l.method == "full") full_of.emplace(l.backbone_identity + l.recipe, label);
    append_new(c.tasks, task);
    if (l.stage == Stage::search) {
      auto& [all, diverged] = searched[{label, task}];
      ++all;
      diverged += !l.diverged.empty();
    } else if (l.train_images == sizes[task]) {
      enter(values[label][task], l, label, c.warnings);
    }
  }
  // Tasks stand by their groups.
  std::ranges::stable_sort(c.tasks, {}, [&](const Task& task) {
    return std::ranges::find(c.groups, task.first) - c.groups.begin();
  });
  // Where every point of a grid diverged there is nothing to test.
  for (const auto& [where, counts] : searched)
    if (counts.first == counts.second && !values[where.first].contains(where.second))
      values[where.first][where.second].diverged = counts.second;

  std::map<std::string, std::string> recipe_of_row;
  for (const LedgerLine& l : lines) recipe_of_row.emplace(labels.row(l), l.recipe);
  for (TableRow& row : c.rows) {
    const OfTasks& own = values[row.label];
    const auto full = full_of.find(row.backbone_identity + recipe_of_row[row.label]);
    const bool against_full = full != full_of.end() && full->second != row.label;
    std::vector<double> group_means;
    for (const std::string& group : c.groups) {
      std::vector<Task> tasks;
      std::ranges::copy_if(c.tasks, std::back_inserter(tasks),
                           [&](const Task& task) { return task.first == group; });
      TableCell cell = cell_of(own, tasks);
      if (against_full && cell.mean) cell.wins = positive(differences(own, values[full->second], tasks));
      if (cell.mean) group_means.push_back(*cell.mean);
      row.groups.push_back(cell);
    }
    for (const Task& task : c.tasks) row.tasks.push_back(cell_of(own, {task}));
    row.all = cell_of(own, c.tasks);
    if (!group_means.empty()) row.mean_of_groups = mean_of(group_means);
    add_costs(row, own);
    add_paper(row, c, paper);
    if (row.method == "vpt-deep" && against_full) {
      const std::vector<double> better = differences(own, values[full->second], c.tasks);
      if (!better.empty())
        c.significance.push_back(
            {row.label, full->second, static_cast<int>(better.size()), positive(better),
             static_cast<int>(std::ranges::count_if(better, [](double d) { return d < 0; })),
             signed_rank(better)});
    }
  }
  return c;
}

Series series(const std::vector<LedgerLine>& lines, By by) {
  Series out;
  out.by = by;
  const Labels labels(lines, by == By::backbone);
  out.warnings = labels.warnings();
  std::map<std::pair<std::string, std::string>, OfTasks> values;  // by row and column
  std::vector<std::string> rows, groups;
  std::vector<Task> tasks;
  std::vector<std::pair<int64_t, std::string>> columns;  // numbers are sorted
  for (const LedgerLine& l : lines) {
    if ((l.stage == Stage::search) != (by == By::prompts) || (by == By::prompts && l.prompts == 0)) continue;
    const int64_t number = by == By::train_size ? l.train_images : by == By::prompts ? l.prompts : 0;
    const std::string column = by == By::backbone ? labels.net(l) : std::to_string(number),
                      label = labels.row(l);
    append_new(rows, label);
    append_new(groups, l.group);
    append_new(tasks, {l.group, l.task});
    append_new(columns, {number, column});
    Values& v = values[{label, column}][{l.group, l.task}];
    if (by != By::prompts) {
      enter(v, l, label, out.warnings);
    } else if (l.complete()) {  // the best of the rest of the grid
      double& best = v.by_seed.emplace(0, 0).first->second;
      best = std::max(best, 100 * l.score);
    }
  }
  if (by != By::backbone) std::ranges::sort(columns);
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
