#include "models/training/sweep.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "engine/check.h"
#include "engine/text.h"
#include "models/training/sweep_data.h"
#include "models/training/sweep_run.h"

namespace vitrine {

namespace {

// The items of a list from a share of it on, and then those before.
template <class T>
std::vector<T*> rotated(std::vector<T>& items, int part, int parts) {
  std::vector<T*> out;
  for (T& item : items) out.push_back(&item);
  const auto begin =
      static_cast<std::ptrdiff_t>(items.size() * static_cast<size_t>(part) / static_cast<size_t>(parts));
  std::rotate(out.begin(), out.begin() + begin, out.end());
  return out;
}

class Sweep {
 public:
  Sweep(const SweepConfig& config, const SweepHooks& hooks)
      : config_(config),
        hooks_(hooks),
        plan_(make_plan(config.plan)),
        folder_(config.out, plan_, hooks.note) {
    check(config.parts >= 1 && config.part >= 0 && config.part < config.parts,
          "sweep: part {} of {} makes no sense", config.part, config.parts);
    if (config.retry_failed) folder_.forget_failed();
    for (const LedgerLine& line : config.known) folder_.know(line);
  }

  SweepCounts counts();
  SweepLook look();
  SweepResult run();

 private:
  std::optional<std::vector<PlannedRun>*> finals_of(Cell& cell);
  int64_t undone(Cell& cell);
  bool pass();
  bool pass(Cell& cell);
  void attempt(Cell& cell, PlannedRun& run);
  SweepData& data_of(const Cell& cell);
  bool claimed(const Cell& cell) const;
  template <class Each>
  void each_run_at(const Cell& cell, const Each& each) const;
  void check_results(const Cell& cell, const TaskFacts& facts);
  void check_known(const Cell& cell, const TaskFacts& facts);
  void look_at(const Cell& cell, bool done);
  std::set<std::string> places_left();
  void look_at_tasks();
  double work_of(const Cell& cell, Stage stage) const;
  double seconds_left();
  bool stop() const { return hooks_.stop && hooks_.stop(); }

  const SweepConfig& config_;
  const SweepHooks& hooks_;
  Plan plan_;
  SweepFolder folder_;
  std::map<std::string, std::string> unusable_;  // tasks, and why
  std::map<std::string, TaskFacts> facts_;       // of those that were opened
  std::set<std::string> too_large_;              // sizes of tasks that have not so many images
  std::set<std::string> done_here_;              // runs
  const SuiteTask* opened_ = nullptr;            // whose data these are
  std::string opened_as_;                        // prepared so
  std::optional<SweepData> data_;
  bool progressed_ = false;
  int64_t busy_ = 0;  // runs of this pass that others do
  void count_computed() {
    for (const Kept* kept : {&data_->kept, &data_->test_kept}) {
      features_computed_ += kept->features->computed();
      if (kept->embedded) embedded_computed_ += kept->embedded->computed();
    }
  }
  int64_t features_computed_ = 0, embedded_computed_ = 0;
};

std::string place_of(const SuiteTask& task) {
  return text("{}/{}/{}", task.group, task.name, task.train_limit.value_or(-1));
}

// The final runs of a cell, if it is known which ones these are; null if a point of its grid failed (it might have won), or
// all diverged.
std::optional<std::vector<PlannedRun>*> Sweep::finals_of(Cell& cell) {
  if (cell.search.empty()) return &cell.finals[0];
  std::vector<const LedgerLine*> results;
  for (const PlannedRun& run : cell.search) {
    results.push_back(folder_.result(run.name));
    if (results.back() == nullptr) return std::nullopt;
  }
  const bool failed = std::ranges::any_of(results, [](const LedgerLine* l) { return !l->failed.empty(); });
  const std::optional<size_t> won = failed ? std::nullopt : winner(results);
  return won ? &cell.finals[*won] : nullptr;
}

int64_t Sweep::undone(Cell& cell) {
  if (too_large_.contains(place_of(cell.task))) return 0;
  int64_t left = std::ranges::count_if(
      cell.search, [&](const PlannedRun& run) { return folder_.result(run.name) == nullptr; });
  const auto finals = finals_of(cell);
  if (!finals) return left + static_cast<int64_t>(cell.finals[0].size());
  if (*finals != nullptr)
    left += std::ranges::count_if(**finals,
                                  [&](const PlannedRun& run) { return folder_.result(run.name) == nullptr; });
  return left;
}

SweepCounts Sweep::counts() {
  SweepCounts out;
  int64_t left = 0;
  const auto add = [&](const PlannedRun& run) {
    const LedgerLine* line = folder_.result(run.name);
    if (line == nullptr) return;
    out.diverged += !line->diverged.empty();
    out.failed += !line->failed.empty();
  };
  for (Cell& cell : plan_.cells) {
    if (too_large_.contains(place_of(cell.task))) continue;
    out.runs += static_cast<int64_t>(cell.search.size());
    const auto finals = finals_of(cell);
    // Where nothing came to its end there is nothing to test.
    if (!finals || *finals != nullptr) out.runs += static_cast<int64_t>(cell.finals[0].size());
    for (const PlannedRun& run : cell.search) add(run);
    if (finals && *finals != nullptr)
      for (const PlannedRun& run : **finals) add(run);
    left += undone(cell);
  }
  out.done = out.runs - left;
  out.seconds_left = seconds_left();
  return out;
}

// Images that a run goes through: in training, epoch by epoch, and when it is asked.
double images_of(int64_t train, int64_t epochs, int64_t asked) {
  return static_cast<double>(train * std::max<int64_t>(epochs, 1) + asked);
}

double Sweep::work_of(const Cell& cell, Stage stage) const {
  const auto found = facts_.find(place_of(cell.task));
  if (found == facts_.end()) return 0;
  const TaskFacts& f = found->second;
  const int64_t epochs = cell.finals[0][0].config.epochs;
  return stage == Stage::search ? images_of(f.train, epochs, f.val)
                                : images_of(f.train + f.val, epochs, f.test);
}

// Each run that is left takes as long for an image as those of its method in its stage did, or else as those of its method,
// or else as all. Where nothing is known of a task, it is as large as the others are in the mean.
double Sweep::seconds_left() {
  struct Mean {
    double seconds = 0, images = 0;
    int64_t count = 0;
    void add(const LedgerLine& l) {
      seconds += l.seconds;
      images += images_of(l.train_images, l.epochs, l.asked_images);
      ++count;
    }
  };
  std::map<std::pair<std::string, Stage>, Mean> of_stage;
  std::map<std::string, Mean> of_method;
  Mean of_all;
  const auto see = [&](const Cell& cell, const PlannedRun& run) {
    const LedgerLine* line = folder_.result(run.name);
    if (line == nullptr || !line->complete()) return;
    of_stage[{cell.method, run.stage}].add(*line);
    of_method[cell.method].add(*line);
    of_all.add(*line);
  };
  for (Cell& cell : plan_.cells) {
    for (const PlannedRun& run : cell.search) see(cell, run);
    if (const auto finals = finals_of(cell); finals && *finals != nullptr)
      for (const PlannedRun& run : **finals) see(cell, run);
  }
  if (of_all.count == 0) return -1;
  double seconds = 0;
  for (Cell& cell : plan_.cells) {
    const auto expected = [&](Stage stage) {
      const Mean& stages = of_stage[{cell.method, stage}];
      const Mean& methods = of_method[cell.method];
      const Mean& m = stages.count > 0 ? stages : methods.count > 0 ? methods : of_all;
      const double images = work_of(cell, stage);
      return images > 0 && m.images > 0 ? m.seconds * images / m.images
                                        : m.seconds / static_cast<double>(m.count);
    };
    const int64_t all = undone(cell), search = std::ranges::count_if(cell.search, [&](const PlannedRun&run) {
                                        return folder_.result(run.name) == nullptr;
                                      });
    seconds += static_cast<double>(search) * expected(Stage::search) +
               static_cast<double>(all - search) * expected(Stage::final);
  }
  return seconds;
}

// Each run of a cell's task.
template <class Each>
void Sweep::each_run_at(const Cell& cell, const Each& each) const {
  for (const Cell& other : plan_.cells) {
    if (place_of(other.task) != place_of(cell.task)) continue;
    for (const PlannedRun& run : other.search) each(run);
    for (const auto& seeds : other.finals)
      for (const PlannedRun& run : seeds) each(run);
  }
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

// Opens a cell's task and closes it again.
TaskFacts opened_facts(const Cell& cell, const PlanConfig& plan, const OpenOptions& open) {
  return facts_of(cell.task, open_task(cell.task, cell.preprocess, plan.data_seed, 0, open));
}

// Of the sizes that a task is asked for, those that it has not so many images for are left out.
bool has_too_few(const TaskFacts& facts, const PlanConfig& plan) {
  return !plan.train_sizes.empty() && facts.offered < facts.task.train_limit.value_or(0);
}

// A task that is done to its end may be gone.
std::string gone_text(const std::string& why) {
  return text("{}; all of its runs are done, and their results stand", why);
}

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

SweepData& Sweep::data_of(const Cell& cell) {
  const std::string as = to_json(cell.preprocess);
  if (data_ && place_of(*opened_) == place_of(cell.task) && opened_as_ == as) return *data_;
  if (data_) {
    count_computed();
    data_.reset();  // before the next is opened: memory holds one task
  }
  SweepData fresh =
      open_task(cell.task, cell.preprocess, config_.plan.data_seed, config_.cache, config_.open,
                config_.plan.device.empty() ? embedded_bytes(config_.plan.net, cell.preprocess.size) : 0,
                static_cast<size_t>(feature_width(config_.plan.net)) * sizeof(float));
  check_known(cell, facts_of(cell.task, fresh));
  opened_ = &cell.task;
  opened_as_ = as;
  return data_.emplace(std::move(fresh));
}

// Does a run, unless it is done or somebody else does it.
void Sweep::attempt(Cell& cell, PlannedRun& run) {
  if (folder_.result(run.name) != nullptr) return;
  const auto lock = folder_.take(run.name);
  if (!lock) {
    if (folder_.result(run.name) == nullptr) ++busy_;
    return;
  }
  try {
    data_of(cell);
  } catch (const Error& e) {
    if (e.fault() == Fault::resources) throw;
    unusable_.emplace(place_of(cell.task), e.what());
    if (hooks_.note) hooks_.note(e.what());
    return;
  }
  if (hooks_.run) hooks_.run(cell, run, counts());
  const LedgerLine line = do_planned_run(config_, hooks_, folder_, *data_, cell, run);
  folder_.finish(line, config_.keep_tasks);
  done_here_.insert(run.name);
  progressed_ = true;
  folder_.write_ledger_if_late();
  if (hooks_.finished) hooks_.finished(line, counts());
}

bool Sweep::claimed(const Cell& cell) const {
  const auto one = [&](const PlannedRun& run) { return folder_.claimed(run.name); };
  return std::ranges::any_of(cell.search, one) ||
         std::ranges::any_of(cell.finals, [&](const auto& seeds) { return std::ranges::any_of(seeds, one); });
}

// One way through a cell; false to stop.
bool Sweep::pass(Cell& cell) {
  if (too_large_.contains(place_of(cell.task))) return true;
  // What another process did not settle.
  if (const auto facts = facts_.find(place_of(cell.task)); facts != facts_.end() && claimed(cell))
    check_known(cell, facts->second);
  const auto all_of = [&](std::vector<PlannedRun>& runs) {
    for (PlannedRun* run : rotated(runs, config_.part, config_.parts)) {
      if (unusable_.contains(place_of(cell.task))) return true;
      if (stop()) return false;
      attempt(cell, *run);
    }
    return true;
  };
  if (!all_of(cell.search)) return false;
  const auto finals = finals_of(cell);
  return !finals || *finals == nullptr || all_of(**finals);
}

bool Sweep::pass() {
  progressed_ = false;
  busy_ = 0;
  for (Cell* cell : rotated(plan_.cells, config_.part, config_.parts))
    if (!pass(*cell)) return false;
  return true;
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

SweepResult Sweep::run() {
  SweepResult out;
  try {
    look_at_tasks();
    if (!folder_.write_ledger(hooks_.stop)) throw Stopped{};
    if (hooks_.began) hooks_.began(counts());
    bool told = false;
    while (true) {
      if (!pass()) throw Stopped{};
      if (progressed_) continue;  // a search may have ended elsewhere meanwhile
      if (busy_ == 0) break;
      if (!std::exchange(told, true) && hooks_.waiting) hooks_.waiting(busy_);
      folder_.write_ledger_if_late();
      const auto naps = static_cast<int64_t>(std::ceil(config_.poll_seconds / 0.05));
      for (int64_t nap = 0; nap < naps; ++nap) {
        if (stop()) throw Stopped{};
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  } catch (const Stopped&) {
    out.stopped = true;
  } catch (...) {
    try {
      folder_.write_ledger(hooks_.stop);
    } catch (const Error&) {  // the first one is what counts
    }
    throw;
  }
  if (!folder_.write_ledger(hooks_.stop) && hooks_.note)
    hooks_.note("the ledger is held by another process and was not written; whoever goes on here writes it");
  out.counts = counts();
  for (const auto& [task, why] : unusable_)
    if (std::ranges::find(out.failures, why) == out.failures.end()) out.failures.push_back(why);
  const auto add = [&](const PlannedRun& run) {
    const LedgerLine* line = folder_.result(run.name);
    if (line != nullptr && !line->failed.empty())
      out.failures.push_back(text("{} on {} (run {}{}): {}", line->form, line->task, line->run,
                                  done_here_.contains(run.name) ? "" : ", of an earlier sweep",
                                  line->failed));
  };
  for (Cell& cell : plan_.cells) {
    if (too_large_.contains(place_of(cell.task))) continue;
    for (const PlannedRun& run : cell.search) add(run);
    if (const auto finals = finals_of(cell); finals && *finals != nullptr)
      for (const PlannedRun& run : **finals) add(run);
  }
  out.ledger = folder_.ledger();
  if (data_) count_computed();
  out.features_computed = features_computed_;
  out.embedded_computed = embedded_computed_;
  return out;
}

}  // namespace

SweepResult sweep(const SweepConfig& config, const SweepHooks& hooks) {
  check(!config.out.empty(), "sweep: expected a folder, got none");
  return Sweep(config, hooks).run();
}

SweepLook look_at_sweep(const SweepConfig& config) {
  SweepConfig looking = config;
  looking.retry_failed = false;
  const SweepHooks none;
  return Sweep(looking, none).look();
}

}  // namespace vitrine

#endif
