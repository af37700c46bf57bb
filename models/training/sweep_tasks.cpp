// sweep_tasks.cpp: the tasks of a sweep, before any of its runs: which can be opened, and whether what is done already is of
// the same pictures.
#include <algorithm>

#include "engine/text.h"
#include "models/training/sweep_data.h"
#include "models/training/sweep_work.h"

#ifdef VITRINE_FILES

namespace vitrine {

namespace {

// Opens a cell's task and closes it again.
TaskFacts opened_facts(const Cell& cell, const PlanConfig& plan, const OpenOptions& open) {
  return facts_of(cell.task, open_task(cell.task, cell.preprocess, plan.data_seed, 0, open));
}

// Of the sizes that a task is asked for, those that it has not so many images for are left out.
bool has_too_few(const TaskFacts& facts, const PlanConfig& plan) {
  return !plan.train_sizes.empty() && facts.offered < facts.task.train_limit.value_or(0);
}

std::string gone_text(const std::string& why) {
  return text("{}; all of its runs are done, and their results stand", why);
}

}  // namespace

std::string place_of(const SuiteTask& task) {
  return text("{}/{}/{}", task.group, task.name, task.train_limit.value_or(-1));
}

bool Sweep::claimed(const Cell& cell) const {
  const auto one = [&](const PlannedRun& run) { return folder_.claimed(run.name); };
  return std::ranges::any_of(cell.search, one) ||
         std::ranges::any_of(cell.finals, [&](const auto& seeds) { return std::ranges::any_of(seeds, one); });
}

// Results of other pictures must not stand beside those to come, nor be taken for this task's.
void Sweep::check_results(const Cell& cell, const TaskFacts& facts) {
  each_run_at(cell, [&](const PlannedRun& run) {
    const LedgerLine* line = folder_.done(run.name);
    check(line == nullptr || is_of_pictures(*line, facts.digest, facts.contents),
          "task {}: its pictures are not those of run {}, which is done already; take another folder, or "
          "move {} out of this one",
          quote(cell.task.name), run.name, quote(folder_.folder_of(run.name)));
  });
}

// What ledgers claim becomes results if it is of these pictures.
void Sweep::check_known(const Cell& cell, const TaskFacts& facts) {
  int64_t set_aside = 0;
  each_run_at(cell, [&](const PlannedRun& run) {
    set_aside += folder_.settle(run.name, facts.digest, facts.contents);
  });
  check_results(cell, facts);
  if (set_aside > 0 && hooks_.note)
    hooks_.note(
        text("task {}: {}{} of the ledger had other pictures; kept there, they count for nothing, and are "
             "done again",
             quote(cell.task.name), set_aside, set_aside == 1 ? " run" : " runs"));
}

// A task that is done to its end may be gone.
void Sweep::look_at(const Cell& cell, bool done) {
  TaskFacts facts;
  try {
    facts = opened_facts(cell, config_.plan, config_.open);
  } catch (const Error& e) {
    if (!done || e.fault() == Fault::resources) throw;
    if (hooks_.note) hooks_.note(gone_text(e.what()));
    return;
  }
  if (has_too_few(facts, config_.plan)) {
    too_large_.insert(place_of(cell.task));
    if (hooks_.note)
      hooks_.note(text("task {}: it has {} images to learn from; the size {} is left out",
                       quote(cell.task.name), facts.offered, facts.task.train_limit.value_or(0)));
    return;
  }
  check_known(cell, facts);
  if (done) return;
  facts_.emplace(place_of(cell.task), facts);
  if (hooks_.task) hooks_.task(facts);
  if (!facts.lacking.empty() && hooks_.note)
    hooks_.note(text("task {}: {}", quote(cell.task.name), facts.lacking));
}

// Of tasks with runs to do, or with results that were only claimed so far.
std::set<std::string> Sweep::places_left() {
  std::set<std::string> left;
  for (Cell& cell : plan_.cells)
    if (undone(cell) > 0 || claimed(cell)) left.insert(place_of(cell.task));
  return left;
}

// Opens each task, so that what is wrong with one is told before hours of work and not after them.
void Sweep::look_at_tasks() {
  std::set<std::string> seen;
  const std::set<std::string> left = places_left();
  LedgerPlan record = ledger_plan(config_.plan, plan_);
  for (Cell& cell : plan_.cells) {
    const std::string place = place_of(cell.task);
    if (!seen.insert(place).second) continue;
    try {
      look_at(cell, !left.contains(place));
    } catch (const Error& e) {
      if (e.fault() == Fault::resources) throw;
      const std::string why = e.what();
      const bool told =
          std::ranges::any_of(unusable_, [&](const auto& other) { return other.second == why; });
      unusable_.emplace(place, why);
      const std::string begin = text("task {}: ", quote(cell.task.name));
      for (LedgerPlan::Task& task : record.tasks)
        if (task.task == cell.task.name && task.group == cell.task.group)
          task.failed = why.starts_with(begin) ? why.substr(begin.size()) : why;
      if (hooks_.note && !told) hooks_.note(text("{}; the other tasks are done without it", why));
    }
  }
  folder_.write_plan(record);
}

SweepLook Sweep::look() {
  SweepLook out;
  std::set<std::string> seen;
  const std::set<std::string> left = places_left();
  for (const Cell& cell : plan_.cells) {
    const std::string place = place_of(cell.task);
    if (!seen.insert(place).second) continue;
    TaskLook look{.task = cell.task};
    try {
      look.facts = opened_facts(cell, config_.plan, config_.open);
    } catch (const Error& e) {
      look.gone = !left.contains(place);
      look.problem = look.gone ? gone_text(e.what()) : e.what();
    }
    if (look.facts && has_too_few(*look.facts, config_.plan)) {
      look.too_few = true;
      too_large_.insert(place);
    } else if (look.facts) {
      each_run_at(cell, [&](const PlannedRun& run) {
        folder_.disclaim(run.name, look.facts->digest, look.facts->contents);
      });
      try {
        check_results(cell, *look.facts);
      } catch (const Error& e) {
        look.problem = e.what();
      }
    }
    out.tasks.push_back(std::move(look));
  }
  out.counts = counts();
  return out;
}

SweepLook look_at_sweep(const SweepConfig& config) {
  SweepConfig looking = config;
  looking.retry_failed = false;
  const SweepHooks none;
  return Sweep(looking, none).look();
}

}  // namespace vitrine

#endif
