#include "models/training/sweep_folder.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <tuple>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

namespace fs = std::filesystem;

void make_folder(const std::string& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (!problem && !fs::is_directory(folder)) problem = std::make_error_code(std::errc::not_a_directory);
  if (problem) fail(Fault::output, "cannot make the folder ", quote(folder), ": ", problem.message());
}

void remove_all(const std::string& path) {
  std::error_code problem;
  fs::remove_all(path, problem);
  if (problem) fail(Fault::output, "cannot remove ", quote(path), ": ", problem.message());
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void write_text(const std::string& path, const std::string& words) {
  write_file_atomically(path, std::as_bytes(std::span(words)));
}

}  // namespace

SweepFolder::SweepFolder(const std::string& path, const Plan& plan) : path_(path), plan_(plan) {
  make_folder(path_ + "/runs");
  for (const Cell& cell : plan.cells) {
    for (const PlannedRun& run : cell.search) cells_[run.name] = &cell;
    for (const auto& seeds : cell.finals)
      for (const PlannedRun& run : seeds) cells_[run.name] = &cell;
  }
  read_others();
}

const LedgerLine* SweepFolder::result(const std::string& run) {
  if (const auto known = results_.find(run); known != results_.end()) return &known->second;
  const std::string path = folder_of(run) + "/result.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  const std::vector<std::byte> bytes = read_file(path);
  LedgerLine line = ledger_line_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  check(line.run == run, path, ": is of run ", line.run);
  // Left by a kill right after the result was written.
  if (const std::string state = folder_of(run) + "/state"; fs::exists(state, ignored))
    if (const auto lock = FileLock::try_take(folder_of(run) + "/lock")) remove_all(state);
  late_ = true;
  return &(results_[run] = std::move(line));
}

void SweepFolder::know(const LedgerLine& line) {
  if (!cells_.contains(line.run) || !line.failed.empty()) return;
  if (const auto lock = take(line.run)) finish(line, false);
}

void SweepFolder::forget_failed() {
  for (const auto& [run, cell] : cells_) {
    const LedgerLine* known = result(run);
    if (known == nullptr || known->failed.empty()) continue;
    const auto lock = FileLock::try_take(folder_of(run) + "/lock");
    if (!lock) continue;  // somebody does it again already
    remove_all(folder_of(run) + "/result.json");
    remove_all(folder_of(run) + "/state");
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
  const std::string folder = folder_of(line.run);
  std::error_code problem;
  if (keep_task)
    for (const char* name : {"task.safetensors", "metrics.jsonl", "run.json"}) {
      const std::string from = text(folder, "/state/", name);
      if (fs::exists(from, problem)) fs::rename(from, text(folder, "/", name), problem);
      if (problem) fail(Fault::output, "cannot rename ", quote(from), ": ", problem.message());
    }
  write_text(folder + "/result.json", to_json(line) + "\n");
  remove_all(folder + "/state");
  results_[line.run] = line;
  late_ = true;
}

void SweepFolder::read_others() {
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(path_ + "/runs", problem)) {
    const std::string run = entry.path().filename().string();
    if (!cells_.contains(run) && entry.is_directory()) result(run);
  }
  if (problem) fail(Fault::output, "cannot read folder ", quote(path_ + "/runs"), ": ", problem.message());
}

void SweepFolder::write_plan(const LedgerPlan& plan) {
  make_folder(path_ + "/plans");
  const std::string path = text(path_, "/plans/", plan.name(), ".json");
  write_text(path, to_json(plan) + "\n");
}

std::vector<std::string> SweepFolder::plans() const {
  std::map<std::string, std::string> lines;  // by name
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(path_ + "/plans", problem)) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".json") continue;
    const std::vector<std::byte> bytes = read_file(path);
    lines[path] =
        to_json(ledger_plan_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path));
  }
  std::vector<std::string> out;
  for (auto& [path, line] : lines) out.push_back(std::move(line));
  return out;
}

void SweepFolder::write_ledger(bool wanted_now) {
  constexpr double share = 20;  // of the time between two writings, one part is spent on writing
  const double began = now();
  if (!wanted_now && (!late_ || began - written_ < share * took_)) return;
  // Whoever writes last has seen every result there is by then: they are looked for under the lock.
  const FileLock lock(path_ + "/ledger.lock");
  if (wanted_now) read_others();
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
  std::ranges::sort(others, {}, [](const LedgerLine* l) {
    return std::tie(l->task, l->method, l->variant, l->stage, l->form, l->prompts, l->learning_rate,
                    l->weight_decay, l->train_images, l->seed, l->run);
  });
  for (const LedgerLine* line : others) all += to_json(*line) + "\n";
  for (const std::string& plan : plans()) all += plan + "\n";
  remove_temporaries(path_);
  write_text(ledger(), all);
  late_ = false;
  written_ = now();
  took_ = written_ - began;
}

}  // namespace vitrine

#endif
