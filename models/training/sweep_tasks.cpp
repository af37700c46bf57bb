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
    // One that failed is no result: it may be what pictures were mended for.
    check(line == nullptr || !line->failed.empty() || is_of_pictures(*line, facts.digest, facts.contents),
          "task {}: its pictures are not those of run {}, which is done already; take another folder, or "
          "move {} out of this one",
          quote(cell.task.name), run.name, quote(folder_.folder_of(run.name)));
  });
}

// What ledgers claim of a cell's task becomes a result if it is of these pictures, or is as good as one where nothing is to be
// written. The number of runs of others that are to be done again.
int64_t Sweep::settle(const Cell& cell, const TaskFacts& facts, bool may_write) {
  int64_t to_do_again = 0;
  each_run_at(cell, [&](const PlannedRun& run) {
    const bool of_others = may_write ? folder_.settle(run.name, facts.digest, facts.contents)
                                     : folder_.disclaim(run.name, facts.digest, facts.contents);
    to_do_again += of_others && folder_.result(run.name) == nullptr;
  });
  return to_do_again;
}

void Sweep::note_set_aside(const SuiteTask& task, int64_t runs) const {
  if (runs > 0 && hooks_.note)
    hooks_.note(
        text("task {}: {}{} of the ledger had other pictures; kept there, they count for nothing, and are "
             "done again",
             quote(task.name), runs, runs == 1 ? " run" : " runs"));
}

// For what ledgers brought since the tasks were opened.
void Sweep::check_known(const Cell& cell, const TaskFacts& facts) {
  note_set_aside(cell.task, settle(cell, facts, true));
  check_results(cell, facts);
}

// What is there of a cell's task. One that is done to its end may be gone.
TaskLook Sweep::look_at(const Cell& cell, bool done, bool may_write) {
  TaskLook out{.task = cell.task, .done = done};
  try {
    out.facts = opened_facts(cell, config_.plan, config_.open);
  } catch (const Error& e) {
    if (e.fault() == Fault::resources) throw;
    out.gone = done;
    out.problem = done ? text("{}; all of its runs are done, and their results stand", e.what()) : e.what();
    return out;
  }
  out.too_few = has_too_few(*out.facts, config_.plan);
  if (out.too_few) {
    too_large_.insert(place_of(cell.task));
    return out;
  }
  out.set_aside = settle(cell, *out.facts, may_write);
  try {
    check_results(cell, *out.facts);
  } catch (const Error& e) {
    if (e.fault() == Fault::resources) throw;
    out.problem = e.what();
  }
  return out;
}

// Of tasks with runs to do, or with results that were only claimed so far.
std::set<std::string> Sweep::places_left() {
  std::set<std::string> left;
  for (Cell& cell : plan_.cells)
    if (undone(cell) > 0 || claimed(cell)) left.insert(place_of(cell.task));
  return left;
}

void Sweep::look_at_tasks(bool may_write, const std::function<void(const TaskLook&)>& then) {
  std::set<std::string> seen;
  const std::set<std::string> left = places_left();
  for (const Cell& cell : plan_.cells) {
    const std::string place = place_of(cell.task);
    if (seen.insert(place).second) then(look_at(cell, !left.contains(place), may_write));
  }
}

void Sweep::tell(const TaskLook& look) const {
  const auto note = [&](const std::string& words) {
    if (hooks_.note) hooks_.note(words);
  };
  const std::string name = quote(look.task.name);
  note_set_aside(look.task, look.set_aside);
  if (look.gone) {
    note(look.problem);
  } else if (!look.problem.empty()) {
    const bool told =
        std::ranges::any_of(unusable_, [&](const auto& other) { return other.second == look.problem; });
    if (!told) note(text("{}; the other tasks are done without it", look.problem));
  } else if (look.too_few) {
    note(text("task {}: it has {} images to learn from; the size {} is left out", name, look.facts->offered,
              look.task.train_limit.value_or(0)));
  } else if (!look.done) {
    if (hooks_.task) hooks_.task(*look.facts);
    if (!look.facts->lacking.empty()) note(text("task {}: {}", name, look.facts->lacking));
  }
}

// So that what is wrong with a task is told before hours of work and not after them.
void Sweep::open_tasks() {
  LedgerPlan record = ledger_plan(config_.plan, plan_);
  look_at_tasks(true, [&](const TaskLook& look) {
    tell(look);
    const std::string place = place_of(look.task), begin = text("task {}: ", quote(look.task.name));
    if (look.problem.empty() && !look.too_few && !look.done) facts_.emplace(place, *look.facts);
    if (look.problem.empty() || look.gone) return;
    unusable_.emplace(place, look.problem);
    for (LedgerPlan::Task& task : record.tasks)
      if (task.task == look.task.name && task.group == look.task.group)
        task.failed = look.problem.starts_with(begin) ? look.problem.substr(begin.size()) : look.problem;
  });
  folder_.write_plan(record);
}

SweepLook Sweep::look() {
  SweepLook out;
  look_at_tasks(false, [&](const TaskLook& look) {
    if (!look.problem.empty() && !look.gone) unusable_.emplace(place_of(look.task), look.problem);
    out.tasks.push_back(look);
  });
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
