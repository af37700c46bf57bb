#ifdef VITRINE_FILES

#include "data/image_files.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/sha256.h"
#include "engine/text.h"

namespace vitrine {
namespace {

namespace fs = std::filesystem;

class ImageFiles : public Dataset {
 public:
  ImageFiles(const std::string& who, const std::string& root, std::vector<std::string> paths,
             std::vector<int64_t> labels, std::vector<std::string> class_names, const OpenOptions& options)
      : Dataset(who, std::move(labels), std::move(class_names)),
        root_(root),
        paths_(std::move(paths)),
        options_(options) {}

  Image image(int64_t i) const override {
    const std::string& path = paths_[checked(i)];
    const std::vector<std::byte> file = read_file(path);
    Image image = decode_image(file, path);
    const int orientation = exif_orientation(file);
    if (orientation == 1) return image;
    if (options_.exif) return apply_orientation(image, orientation);
    if (options_.note && !noted_.exchange(true))
      options_.note(
          text("{} asks to be turned (EXIF orientation {}) and is used as stored; so are all others like it",
               quote(path), orientation));
    return image;
  }
  std::string name(int64_t i) const override { return paths_[checked(i)]; }
  std::string mark(int64_t i) const override {
    const fs::path path = paths_[checked(i)];
    std::error_code ignored;
    return text("{} {}", path.lexically_relative(root_).string(), fs::file_size(path, ignored));
  }
  std::string fingerprint(int64_t i) const override {
    return text("{} {}", mark(i), sha256_hex(read_file(paths_[checked(i)])));
  }

 private:
  std::string root_;
  std::vector<std::string> paths_;
  OpenOptions options_;
  mutable std::atomic<bool> noted_ = false;
};

}  // namespace

DatasetPointer image_files(const std::string& who, const std::string& root, std::vector<std::string> paths,
                           std::vector<int64_t> labels, std::vector<std::string> class_names,
                           const OpenOptions& options) {
  return std::make_shared<ImageFiles>(who, root, std::move(paths), std::move(labels), std::move(class_names),
                                      options);
}

void check_stays_inside(std::string_view path, const std::string& who) {
  const auto leaves = [](const fs::path& words) {
    return words.is_absolute() || std::find(words.begin(), words.end(), "..") != words.end();
  };
  check(!path.empty() && path.find('\0') == std::string_view::npos && !leaves(path),
        "{}: expected a path inside the data set, got {}", who, quote(path));
}

void note_shared(const std::string& who, Split split, const std::map<Split, std::vector<std::string>>& lists,
                 const OpenOptions& options) {
  const auto asked = lists.find(split);
  if (asked == lists.end() || (split != Split::val && split != Split::test)) return;
  std::set<std::string> learned;
  for (const Split part : {Split::train, Split::val, Split::train_val})
    if (const auto list = lists.find(part);
        list != lists.end() && (split == Split::test || part == Split::train))
      for (const std::string& path : list->second) learned.insert(one_spelling(path));
  const auto is_shared = [&](const std::string& path) { return learned.contains(one_spelling(path)); };
  const auto count = std::ranges::count_if(asked->second, is_shared);
  if (count == 0) return;
  options.note(text("{}: {} of {} pictures of {} stand among those to learn from as well, {} the first", who,
                    count, asked->second.size(), name_of(split),
                    quote(*std::ranges::find_if(asked->second, is_shared))));
}

std::string one_spelling(const std::string& path) { return fs::path(path).lexically_normal().string(); }

std::string folder_with(const std::vector<std::string>& folders, const std::string& path,
                        const std::string& who) {
  std::string tried;
  for (const std::string& folder : folders) {
    std::error_code ignored;
    if (fs::is_regular_file(fs::path(folder) / path, ignored)) return folder;
    tried += text("{}{}", tried.empty() ? "" : " nor in ", quote(folder));
  }
  fail(Fault::input, "{}: {} is a file neither in {}", who, quote(path), tried);
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void check_is_file(const std::string& path, const std::string& who) {
  std::error_code ignored;
  check(fs::is_regular_file(path, ignored), "{}: {} is no file", who, quote(path));
}

}  // namespace vitrine

#endif
