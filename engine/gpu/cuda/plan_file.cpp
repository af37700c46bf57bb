#include "engine/gpu/cuda/plan_file.h"

#include <utility>

#ifdef VITRINE_FILES
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#endif

namespace vitrine::gpu {

#ifdef VITRINE_FILES

namespace {

constexpr size_t longest_line = 1000;
constexpr size_t most_lines = 20000;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool printable(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::string plan_path() {
  if (const std::string given = variable("VITRINE_PLANS"); !given.empty())
    return given == "none" ? "" : given;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty())
    return cache + "/vitrine/plans.txt";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/vitrine/plans.txt";
  return "";
}

void PlanFile::read() {
  std::error_code error;
  const auto size =
      std::filesystem::file_size(path_, error);  // fails for all but files: a pipe would keep us waiting
  if (error || size > longest_line * most_lines) return;
  std::ifstream file(path_);
  for (std::string line; lines_.size() < most_lines && std::getline(file, line);) {
    const size_t tab = line.find('\t');
    if (line.size() > longest_line || tab == std::string::npos) continue;
    std::string key = line.substr(0, tab), value = line.substr(tab + 1);
    // The first that is read stands: a choice in use is not exchanged.
    if (printable(key) && printable(value)) lines_.emplace(std::move(key), std::move(value));
  }
}

void PlanFile::make_folder() const {
  std::error_code ignored;  // write() tells
  const std::filesystem::path path(path_);
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ignored);
}

bool PlanFile::write() const {
  std::error_code error;
  const std::string unfinished = path_ + "." + std::to_string(getpid()) + ".tmp";
  std::ofstream file(unfinished);
  for (const auto& [key, value] : lines_) file << key << '\t' << value << '\n';
  file.close();
  if (file) std::filesystem::rename(unfinished, path_, error);
  if (file && !error) return true;
  std::filesystem::remove(unfinished, error);
  return false;
}

#else

std::string plan_path() { return ""; }
void PlanFile::read() {}
void PlanFile::make_folder() const {}
bool PlanFile::write() const { return false; }

#endif

PlanFile::PlanFile(std::string path) : path_(std::move(path)) {
  if (keeps()) read();
}

const std::string* PlanFile::find(const std::string& key) const {
  const auto at = lines_.find(key);
  return at == lines_.end() ? nullptr : &at->second;
}

#ifdef VITRINE_FILES

// While it lives, nobody else who asks for one changes a file of this folder.
class PlanFile::Turn {
 public:
  explicit Turn(const std::string& path)
      : file_(::open((std::filesystem::path(path).parent_path() / ".").c_str(),
                     O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (file_ >= 0) ::flock(file_, LOCK_EX);
  }
  ~Turn() {
    if (file_ >= 0) ::close(file_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int file_;
};

#else

class PlanFile::Turn {
 public:
  explicit Turn(const std::string&) {}
};

#endif

bool PlanFile::remember(const std::string& key, const std::string& value) {
  if (!keeps()) return false;
  make_folder();
  const Turn mine(path_);
  read();
  lines_.insert_or_assign(key, value);
  if (write()) return true;
  lines_.erase(key);
  path_.clear();
  return false;
}

}  // namespace vitrine::gpu
