#include "models/training/sweep_folder.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

namespace fs = std::filesystem;

void make_folder(const std::string& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (!problem && !fs::is_directory(folder)) problem = std::make_error_code(std::errc::not_a_directory);
  if (problem) fail(Fault::output, "cannot make the folder {}: {}", quote(folder), problem.message());
}

void remove_all(const std::string& path) {
  std::error_code problem;
  fs::remove_all(path, problem);
  if (problem) fail(Fault::output, "cannot remove {}: {}", quote(path), problem.message());
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void write_text(const std::string& path, const std::string& words) {
  write_file_atomically(path, std::as_bytes(std::span(words)));
}

}  // namespace

SweepFolder::SweepFolder(const std::string& path, const Plan& plan, Note note)
    : path_(path), plan_(plan), note_(std::move(note)) {
  for (const Cell& cell : plan.cells) {
    for (const PlannedRun& run : cell.search) cells_[run.name] = &cell;
    for (const auto& seeds : cell.finals)
      for (const PlannedRun& run : seeds) cells_[run.name] = &cell;
  }
  if (path.empty()) return;  // a plan alone
  read_others();
  read_ledger_file();
}

LedgerLine SweepFolder::read_result(const std::string& run) const {
  const std::string path = folder_of(run) + "/result.json";
  const std::vector<std::byte> bytes = read_file(path);
  LedgerLine line = ledger_line_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  check(line.run == run, "{}: is of run {}", path, line.run);
  return line;
}

const LedgerLine* SweepFolder::done(const std::string& run) {
  if (path_.empty()) return nullptr;
  if (const auto known = results_.find(run); known != results_.end()) return &known->second;
  const std::string path = folder_of(run) + "/result.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  try {
    LedgerLine line = read_result(run);
    // Left by a kill right after the result was written.
    if (const std::string state = folder_of(run) + "/state"; fs::exists(state, ignored))
      if (const auto lock = FileLock::try_take(folder_of(run) + "/lock")) remove_all(state);
    late_ = true;
    return &(results_[run] = std::move(line));
  } catch (const Error& e) {
    if (!fs::exists(path, ignored)) return nullptr;  // another process is about to do it again
    if (cells_.contains(run)) fail(e.fault(), "{}; --retry puts it aside and does the run again", e.what());
    if (unreadable_.insert(run).second && note_) note_(text("{}; it is left out", e.what()));
    return nullptr;
  }
}

const LedgerLine* SweepFolder::result(const std::string& run) {
  if (const LedgerLine* line = done(run)) return line;
  const auto claims = claims_.find(run);
  if (claims == claims_.end()) return nullptr;
  for (const auto& [digest, line] : claims->second)
    if (!line.other_pictures) return &line;
  return nullptr;
}

void SweepFolder::know(const LedgerLine& line) { absorb(line); }

void SweepFolder::tell_other_result(const LedgerLine& line, const LedgerLine& known) {
  if (!same_result(line, known) && line.failed.empty() && note_ && contradicted_.insert(line.run).second)
    note_(text("run {}: a ledger has another result than was here before, which counts", line.run));
}

void SweepFolder::absorb(LedgerLine line) {
  const LedgerLine* own = nullptr;
  try {
    own = done(line.run);
  } catch (const Error&) {  // is told when it is asked for
  }
  if (own != nullptr && same_pictures(*own, line)) return tell_other_result(line, *own);
  const Key key{line.run, line.pictures()};
  const auto keep = [&] {
    const auto [before, fresh] = rest_.try_emplace(key, line);
    if (!fresh) tell_other_result(line, before->second);
  };
  if (!cells_.contains(line.run)) {
    keep();
  } else if (line.failed.empty()) {
    line.other_pictures = line.other_pictures || own != nullptr;
    if (own != nullptr || rest_.contains(key)) return keep();
    const auto [before, fresh] = claims_[line.run].try_emplace(key.second, line);
    if (!fresh) tell_other_result(line, before->second);
  }
}

bool SweepFolder::settle(const std::string& run, const std::string& digest, const std::string& contents) {
  const auto found = claims_.find(run);
  if (found == claims_.end()) return false;
  auto claims = std::move(found->second);
  claims_.erase(found);
  bool others = false;
  for (auto& [of, line] : claims) {
    if (is_of_pictures(line, digest, contents)) {
      line.other_pictures = false;
      if (const auto lock = take(run)) finish(line, false);
    } else {
      line.other_pictures = others = true;
      rest_.try_emplace({run, of}, std::move(line));
    }
  }
  late_ = true;
  return others;
}

bool SweepFolder::disclaim(const std::string& run, const std::string& digest, const std::string& contents) {
  const auto found = claims_.find(run);
  if (found == claims_.end()) return false;
  return std::erase_if(found->second, [&](const auto& claim) {
           return !is_of_pictures(claim.second, digest, contents);
         }) > 0;
}

void SweepFolder::forget_contents(const SuiteTask& task) {
  for (const auto& [run, cell] : cells_) {
    if (cell->task.group != task.group || cell->task.name != task.name) continue;
    try {
      const LedgerLine* line = done(run);
      if (line == nullptr || line->contents.empty() || !line->failed.empty()) continue;
    } catch (const Error&) {  // is told when it is asked for
      continue;
    }
    const auto lock = FileLock::try_take(folder_of(run) + "/lock");
    if (!lock) continue;
    LedgerLine& line = results_.at(run);
    line.contents.clear();
    write_text(folder_of(run) + "/result.json", to_json(line) + "\n");
    late_ = true;
  }
}

void SweepFolder::forget_failed() {
  for (const auto& [run, cell] : cells_) {
    const std::string folder = folder_of(run);
    std::error_code problem;
    if (!fs::exists(folder + "/result.json", problem)) continue;
    bool readable = true;
    try {
      if (done(run) == nullptr || done(run)->failed.empty()) continue;
    } catch (const Error&) {
      readable = false;
    }
    const auto lock = FileLock::try_take(folder + "/lock");
    if (!lock) continue;  // somebody does it again already
    if (!readable) fs::rename(folder + "/result.json", folder + "/unreadable.json", problem);
    if (problem)
      fail(Fault::output, "cannot rename {}: {}", quote(folder + "/result.json"), problem.message());
    // First those that stand: who is killed in between finds a failed run, and begins again here.
    if (readable) forget_contents(cell->task);
    remove_all(folder + "/result.json");
    remove_all(folder + "/state");
    results_.erase(run);
    late_ = true;
  }
}

std::unique_ptr<const FileLock> SweepFolder::take(const std::string& run) {
  if (result(run) != nullptr) return nullptr;
  make_folder(folder_of(run));
  auto lock = FileLock::try_take(folder_of(run) + "/lock");
  if (!lock || result(run) != nullptr) return nullptr;  // who had it may have finished meanwhile
  remove_temporaries(folder_of(run));
  return lock;
}

std::string SweepFolder::state_folder(const std::string& run) const {
  std::string folder = folder_of(run) + "/state";
  make_folder(folder);
  return folder;
}

void SweepFolder::finish(const LedgerLine& line, bool keep_task) {
  const std::string folder = folder_of(line.run), words = to_json(line);
  ledger_line_from_json(words, folder + "/result.json");  // what is written can be read
  std::error_code problem;
  if (keep_task)
    for (const char* name : {"task.safetensors", "metrics.jsonl", "run.json"}) {
      const std::string from = text("{}/state/{}", folder, name);
      if (fs::exists(from, problem)) fs::rename(from, text("{}/{}", folder, name), problem);
      if (problem) fail(Fault::output, "cannot rename {}: {}", quote(from), problem.message());
    }
  write_text(folder + "/result.json", words + "\n");
  remove_all(folder + "/state");
  results_[line.run] = line;
  late_ = true;
}

void SweepFolder::read_others() {
  std::error_code problem;
  if (!fs::exists(path_ + "/runs", problem)) return;
  for (const auto& entry : fs::directory_iterator(path_ + "/runs", problem)) {
    const std::string run = entry.path().filename().string();
    if (!cells_.contains(run) && entry.is_directory()) done(run);
  }
  if (problem) fail(Fault::output, "cannot read folder {}: {}", quote(path_ + "/runs"), problem.message());
}

void SweepFolder::read_ledger_file() {
  std::error_code ignored;
  if (!fs::exists(ledger(), ignored)) return;
  std::vector<LedgerPlan> plans;
  try {
    for (LedgerLine& line : read_ledger(ledger(), &plans)) absorb(std::move(line));
  } catch (const Error& e) {
    if (e.fault() == Fault::resources || !fs::exists(path_ + "/runs", ignored)) throw;
    fail(e.fault(), "{}; once it is moved away, the same sweep writes what is in {} anew", e.what(),
         quote(path_ + "/runs"));
  }
  for (const LedgerPlan& plan : plans) plans_[plan.name()] = to_json(plan);
}

// Where a ledger alone is gone on with its plans become files, too; from then on the files say which plans there are, so
// that one of them can be removed.
void SweepFolder::write_plan(const LedgerPlan& plan) {
  const std::string folder = path_ + "/plans", complete = folder + "/complete";
  make_folder(folder);
  const FileLock lock(folder + "/lock");  // so that no temporary there is anybody's but of who was killed
  remove_temporaries(folder);
  const auto write = [&](const std::string& name, const std::string& words) {
    write_text(text("{}/{}.json", folder, name), words + "\n");
  };
  std::error_code ignored;
  if (!fs::exists(complete, ignored)) {
    for (const auto& [name, words] : plans_)
      if (!fs::exists(text("{}/{}.json", folder, name), ignored)) write(name, words);
    write_text(complete, "");
  }
  write(plan.name(), to_json(plan));
}

void SweepFolder::read_plans() {
  std::error_code problem;
  if (!fs::exists(path_ + "/plans", problem)) return;
  const auto before = plans_;
  if (fs::exists(path_ + "/plans/complete", problem)) plans_.clear();
  for (const auto& entry : fs::directory_iterator(path_ + "/plans", problem)) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".json") continue;
    try {
      const std::vector<std::byte> bytes = read_file(path);
      plans_[entry.path().stem().string()] =
          to_json(ledger_plan_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path));
    } catch (const Error& e) {
      if (unreadable_.insert(path).second && note_) note_(text("{}; it is left out", e.what()));
      if (const auto known = before.find(entry.path().stem().string()); known != before.end())
        plans_.insert(*known);
    }
  }
  if (problem) fail(Fault::output, "cannot read folder {}: {}", quote(path_ + "/plans"), problem.message());
}

bool SweepFolder::write_ledger(const std::function<bool()>& stop) {
  constexpr double patience = 2;  // seconds
  make_folder(path_ + "/runs");
  const double began = now();
  bool told = false;
  while (true) {
    if (const auto lock = FileLock::try_take(path_ + "/ledger.lock")) {
      write_locked();
      return true;
    }
    if (now() - began > patience) {
      if (stop && stop()) return false;
      if (!std::exchange(told, true) && note_)
        note_(text("waiting for {}, which another process holds", quote(path_ + "/ledger.lock")));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void SweepFolder::write_ledger_if_late() {
  constexpr double share = 20;  // of the time between two writings, one part is spent on writing
  if (!late_ || now() - written_ < share * took_) return;
  if (const auto lock = FileLock::try_take(path_ + "/ledger.lock")) write_locked();
}

// Whoever writes last has seen every result there is by then: they are looked for under the lock. Those of runs that failed
// are looked at again, for others may have done these runs anew; results of others never change.
void SweepFolder::write_locked() {
  const double began = now();
  std::erase_if(results_, [](const auto& item) { return !item.second.failed.empty(); });
  read_others();
  read_ledger_file();
  read_plans();
  std::string all;
  const auto add = [&](const std::string& run, const Cell& cell) {
    const LedgerLine* line = result(run);
    if (line == nullptr) return;
    LedgerLine own = *line;
    own.group = cell.task.group;  // which may have been changed since
    all += to_json(own) + "\n";
  };
  for (const Cell& cell : plan_.cells) {
    for (const PlannedRun& run : cell.search) add(run.name, cell);
    for (const auto& seeds : cell.finals)
      for (const PlannedRun& run : seeds) add(run.name, cell);
  }
  std::vector<const LedgerLine*> others;
  for (const auto& [run, line] : results_)
    if (!cells_.contains(run)) others.push_back(&line);
  for (const auto& [run, claims] : claims_)
    for (const auto& [digest, line] : claims)
      if (&line != result(run)) others.push_back(&line);
  for (const auto& [key, line] : rest_) {
    const LedgerLine* own = done(key.first);
    if (own == nullptr || !same_pictures(*own, line)) others.push_back(&line);
  }
  std::ranges::sort(others, {}, [](const LedgerLine* l) {
    return std::tie(l->task, l->method, l->variant, l->stage, l->form, l->prompts, l->learning_rate,
                    l->weight_decay, l->train_images, l->seed, l->run, l->data_digest, l->contents);
  });
  for (const LedgerLine* line : others) all += to_json(*line) + "\n";
  for (const auto& [name, plan] : plans_) all += plan + "\n";
  remove_temporaries(path_);
  write_text(ledger(), all);
  late_ = false;
  written_ = now();
  took_ = written_ - began;
}

}  // namespace vitrine

#endif
