#include "models/training/checkpoint.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/sha256.h"

namespace vitrine {

namespace {

constexpr std::string_view stem = "checkpoint-", ending = ".safetensors";

struct Found {
  int64_t steps;
  std::string path;
};

// Newest first.
std::vector<Found> checkpoints_in(const std::string& folder) {
  std::vector<Found> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(stem) || !name.ends_with(ending)) continue;
    int64_t steps = 0;
    const char* end = name.data() + name.size() - ending.size();
    const auto [stop, wrong] = std::from_chars(name.data() + stem.size(), end, steps);
    if (wrong == std::errc{} && stop == end) found.push_back({steps, entry.path().string()});
  }
  if (error) fail(Fault::output, "cannot read folder '{}': {}", folder, error.message());
  std::ranges::sort(found, std::greater{}, &Found::steps);
  return found;
}

std::string digest_of(TensorFile file) {
  file.metadata.erase("digest");
  return sha256_hex(write_safetensors(file));
}

}  // namespace

std::shared_ptr<const FolderLock> take_run_folder(const std::string& folder) {
  auto lock = std::make_shared<const FolderLock>(folder);
  remove_temporaries(folder);
  return lock;
}

bool holds_run(const std::string& folder) {
  std::error_code ignored;
  const std::filesystem::path path(folder);
  if (!std::filesystem::is_directory(path, ignored)) return false;
  return std::filesystem::exists(path / "task.safetensors", ignored) || !checkpoints_in(folder).empty();
}

void save_checkpoint(const std::string& folder, int64_t steps, TensorFile state) {
  state.metadata["digest"] = digest_of(state);
  save_safetensors((std::filesystem::path(folder) / text("{}{}{}", stem, steps, ending)).string(), state);
  std::vector<Found> others = checkpoints_in(folder);
  std::erase_if(others, [&](const Found& found) { return found.steps == steps; });
  for (size_t i = 1; i < others.size(); ++i) {
    std::error_code ignored;  // an old checkpoint that cannot be removed harms nobody
    std::filesystem::remove(others[i].path, ignored);
  }
}

std::optional<TensorFile> newest_checkpoint(const std::string& folder,
                                            const std::function<void(const std::string&)>& note) {
  for (const Found& found : checkpoints_in(folder)) {
    try {
      TensorFile file = load_safetensors(found.path);
      const auto digest = file.metadata.find("digest");
      check(digest != file.metadata.end() && digest->second == digest_of(file), "{}: its digest is wrong",
            found.path);
      return file;
    } catch (const Error& error) {
      std::error_code problem;
      std::filesystem::rename(found.path, found.path + ".damaged", problem);
      if (note)
        note(text("passing over a damaged checkpoint: {}{}", error.what(),
                  problem ? "" : text("; it is now '{}.damaged'", found.path)));
    }
  }
  return std::nullopt;
}

}  // namespace vitrine

#endif
