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
#include "models/training/sweep_work.h"

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

// Images that a run goes through: in training, epoch by epoch, and when it is asked.
double images_of(int64_t train, int64_t epochs, int64_t asked) {
  return static_cast<double>(train * std::max<int64_t>(epochs, 1) + asked);
}

}  // namespace

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

// Its task cannot be used, or has not so many images.
bool Sweep::is_left_out(const Cell& cell) const {
  const std::string place = place_of(cell.task);
  return too_large_.contains(place) || unusable_.contains(place);
}

int64_t Sweep::undone(Cell& cell) {
  if (is_left_out(cell)) return 0;
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
    if (is_left_out(cell)) continue;
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

// One way through a cell; false to stop.
bool Sweep::pass(Cell& cell) {
  if (is_left_out(cell)) return true;
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

SweepResult Sweep::run() {
  SweepResult out;
  try {
    open_tasks();
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
    if (is_left_out(cell)) continue;
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

SweepResult sweep(const SweepConfig& config, const SweepHooks& hooks) {
  check(!config.out.empty(), "sweep: expected a folder, got none");
  return Sweep(config, hooks).run();
}

}  // namespace vitrine

#endif
