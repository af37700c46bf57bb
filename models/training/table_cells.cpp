#include "models/training/table_cells.h"

#include <algorithm>

#include "engine/check.h"
#include "models/training/statistics.h"
#include "models/training/table_facts.h"

namespace vitrine {

namespace {

using Task = std::pair<std::string, std::string>;  // group and name

// Means, and what each seed has of them.
struct Means {
  std::vector<double> all;
  std::map<uint64_t, std::vector<double>> by_seed;

  void add(const Values& v) {
    all.push_back(mean_over_seeds(v));
    for (const auto& [seed, score] : v.by_seed) by_seed[seed].push_back(score.second);
  }
  // The mean of others, of all and of each seed that has all.
  void add(const Means& others) {
    if (others.all.empty()) return;
    all.push_back(mean_of(others.all));
    for (const auto& [seed, mean] : others.of_seeds()) by_seed[seed].push_back(mean);
  }
  std::map<uint64_t, double> of_seeds() const {
    std::map<uint64_t, double> out;
    for (const auto& [seed, values] : by_seed)
      if (values.size() == all.size()) out.emplace(seed, mean_of(values));
    return out;
  }
  void fill(TableCell& cell) const {
    if (all.empty()) return;
    cell.mean = mean_of(all);
    std::vector<double> seeds;
    for (const auto& [seed, mean] : of_seeds()) seeds.push_back(mean);
    cell.seeds = static_cast<int>(seeds.size());
    if (seeds.size() > 1) cell.deviation = deviation_of(seeds);
  }
};

}  // namespace

double mean_over_seeds(const Values& v) {
  std::vector<double> scores;
  for (const auto& [seed, score] : v.by_seed) scores.push_back(score.second);
  return mean_of(scores);
}

TableCell cell_of(const OfTasks& values, const std::vector<Task>& tasks) {
  TableCell cell;
  cell.all_tasks = static_cast<int>(tasks.size());
  Means means;
  for (const Task& task : tasks) {
    const auto found = values.find(task);
    if (found == values.end()) continue;
    cell.diverged += found->second.diverged;
    cell.failed += found->second.failed;
    cell.unopened += found->second.unopened;
    if (!found->second.by_seed.empty()) means.add(found->second);
  }
  cell.tasks = static_cast<int>(means.all.size());
  means.fill(cell);
  return cell;
}

TableCell mean_of_groups(const OfTasks& values, const Comparison& c) {
  Means groups;
  for (const std::string& group : c.groups) {
    Means tasks;
    for (const auto& [task, v] : values)
      if (task.first == group && !v.by_seed.empty()) tasks.add(v);
    groups.add(tasks);
  }
  TableCell cell;
  groups.fill(cell);
  return cell;
}

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

Sizes::Sizes(const TableRows& sorted, std::vector<std::string>& warnings) {
  for (const TableRows::Line& line : sorted.lines) {
    int64_t& most = (line.line->stage == Stage::final ? finals : searches)[line.task];
    if (line.line->stage == Stage::final && most != 0 && most != line.line->train_images)
      place_in(warnings, text("task {} was run with several numbers of training images; the largest counts "
                              "here, --by train-size shows all",
                              line.line->task));
    most = std::max(most, line.line->train_images);
  }
}

}  // namespace vitrine
