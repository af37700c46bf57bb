// serve_tasks.cpp: the tasks of a server, in memory and in their folder.
#include <algorithm>
#include <filesystem>

#include "engine/text.h"
#include "serve.h"

namespace vitrine::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* ending = ".safetensors";

std::string made(const std::string& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) fail(Fault::output, "cannot make the folder {}: {}", quote(folder), problem.message());
  return folder;
}

// The pictures of a task must be such as its net sees.
void check_pictures(const Task& task, const Backbone& backbone) {
  check_image_size(backbone.config, preprocess_from_json(task.preprocess).size);
}

}  // namespace

void check_task_name(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool fits =
      !name.empty() && name.size() <= 64 && plain(name[0]) &&
      std::ranges::all_of(name, [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
  if (!fits)
    throw Refusal{
        400,
        text("the name of a task has 1 to 64 letters and digits, and behind the first of them . _ -; got {}",
             quote(name))};
}

KeptTasks::KeptTasks(const Backbone& backbone, const std::string& folder, int64_t most,
                     const std::function<void(const std::string&)>& note)
    : folder_(folder), most_(static_cast<size_t>(most)), lock_(made(folder)), set_(backbone) {
  remove_temporaries(folder);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ending) files.push_back(entry.path());
  std::ranges::sort(files);
  for (const fs::path& path : files) {
    try {
      check(set_.size() < most_, "there are {} tasks already (--max-tasks)", most_);
      check_task_name(path.stem().string());
      const std::vector<std::byte> bytes = read_file(path.string());
      const Task task = task_from_file(read_safetensors(bytes, nullptr, path.string()));
      check_pictures(task, backbone);
      set_.put(path.stem().string(), task);
    } catch (const Refusal& refusal) {
      note(text("{} is left out: {}", quote(path.string()), refusal.why));
    } catch (const Error& e) {
      if (e.fault() == Fault::resources) throw;
      note(text("{} is left out: {}", quote(path.string()), e.what()));
    }
  }
}

std::string KeptTasks::path_of(const std::string& name) const {
  return (fs::path(folder_) / (name + ending)).string();
}

bool KeptTasks::put(const std::string& name, const Task& task) {
  check_task_name(name);
  check_pictures(task, set_.backbone());
  const std::shared_ptr<const ReadyTask> ready = set_.ready(task);
  const std::vector<std::byte> bytes = write_safetensors(to_file(task));
  const std::lock_guard lock(changes_);
  const bool fresh = find(name) == nullptr;
  if (fresh && set_.size() >= most_)
    throw Refusal{507, text("there are {} tasks already (--max-tasks); delete one first", most_)};
  write_file_atomically(path_of(name), bytes);
  set_.put(name, ready);
  return fresh;
}

bool KeptTasks::remove(const std::string& name) {
  check_task_name(name);
  const std::lock_guard lock(changes_);
  if (find(name) == nullptr) return false;
  std::error_code problem;
  fs::remove(path_of(name), problem);
  if (problem) fail(Fault::output, "cannot delete {}: {}", quote(path_of(name)), problem.message());
  return set_.remove(name);
}

std::shared_ptr<const ReadyTask> KeptTasks::find(const std::string& name) const { return set_.find(name); }

}  // namespace vitrine::cli
