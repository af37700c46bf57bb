// folder.cpp: a folder of class folders of image files.
#ifdef VITRINE_FILES

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <set>
#include <string_view>

#include "data/formats.h"
#include "data/image_files.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

namespace fs = std::filesystem;

// The names of all that is in a folder and not hidden, in bytewise order.
std::vector<std::string> list(const fs::path& folder) {
  try {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      std::string name = entry.path().filename().string();
      if (!name.starts_with('.')) names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    return names;
  } catch (const fs::filesystem_error& error) {
    fail(Fault::output, "folder: cannot list {}: {}", quote(folder.string()), error.code().message());
  }
}

// A link that leads nowhere or in a circle is an error, whatever its name: where folders are looked for, it
// may have been a class or a split, which must not be left out in silence.
bool is_folder(const fs::path& path) {
  std::error_code reason, ignored;
  const fs::file_status target = fs::status(path, reason);
  if (reason && fs::is_symlink(fs::symlink_status(path, ignored)))
    fail(Fault::output, "folder: {} is a link that cannot be followed: {}", quote(path.string()),
         reason.message());
  return fs::is_directory(target);
}

std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names = list(folder);
  std::erase_if(names, [&](const std::string& name) { return !is_folder(folder / name); });
  return names;
}

std::string in_small_letters(std::string words) {
  for (char& c : words)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return words;
}

std::string ending_of(const std::string& name) {
  return in_small_letters(fs::path(name).extension().string());
}

bool is_image_name(const std::string& name) {
  const std::string ending = ending_of(name);
  constexpr std::array<std::string_view, 4> endings{".jpg", ".jpeg", ".png", ".bmp"};
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

// Files that are not read, and how their names end.
struct LeftOut {
  size_t files = 0;
  std::set<std::string> endings;

  void add(const std::string& name) {
    ++files;
    const std::string ending = ending_of(name);
    endings.insert(ending.empty() ? "no ending" : ending);
  }
  // "4 files (.gif, .webp)"
  std::string words() const {
    constexpr size_t most = 8;
    std::string all;
    for (size_t i = 0; const std::string& ending : endings)
      if (i++ < most) all += text("{}{}", all.empty() ? "" : ", ", ending);
    return text("{}{}{}{}", files, files == 1 ? " file (" : " files (", all,
                endings.size() > most ? ", ...)" : ")");
  }
};

// Appends the images of one class folder.
void collect(const fs::path& folder, int64_t label, std::vector<std::string>& paths,
             std::vector<int64_t>& labels, LeftOut& left_out) {
  const size_t before = paths.size();
  LeftOut others;
  for (const std::string& name : list(folder)) {
    const fs::path path = folder / name;
    std::error_code ignored;
    check(!fs::is_directory(path, ignored), "folder: {} is a folder inside a class folder",
          quote(path.string()));
    if (!is_image_name(name)) {  // a link that leads nowhere, too: no class and no picture can be meant by it
      others.add(name);
      left_out.add(name);
      continue;
    }
    check(fs::is_regular_file(path, ignored), "folder: {} is not a regular file", quote(path.string()));
    paths.push_back(path.string());
    labels.push_back(label);
  }
  check(paths.size() > before, "folder: class folder {} holds no .jpg, .jpeg, .png or .bmp file{}",
        quote(folder.string()), others.files > 0 ? text(", only {}", others.words()) : "");
}

bool is_split_name(const std::string& name) { return name == "train" || name == "val" || name == "test"; }

// The split that a folder of this name may have been meant to be; empty for others.
std::string meant_split(const std::string& name) {
  const std::string small = in_small_letters(name);
  if (small == "train" || small == "training") return "train";
  if (small == "val" || small == "valid" || small == "validation" || small == "dev") return "val";
  if (small == "test" || small == "testing" || small == "eval") return "test";
  return "";
}

bool holds_pictures(const fs::path& folder) {
  const std::vector<std::string> names = list(folder);
  return std::any_of(names.begin(), names.end(), is_image_name);
}

void check_no_pictures(const fs::path& folder, const std::string& layout) {
  check(!fs::is_directory(folder) || !holds_pictures(folder),
        "folder: found pictures, not class folders, in {}; expected {}", quote(folder.string()), layout);
}

// Remarks on what a folder with splits holds beside them. Only who opens its training images is told.
void note_ignored(const fs::path& root, const std::vector<std::string>& splits,
                  const std::function<void(const std::string&)>& note) {
  for (const std::string& name : list(root)) {
    std::error_code ignored;
    if (!fs::is_directory(root / name, ignored) ||
        std::find(splits.begin(), splits.end(), name) != splits.end())
      continue;
    const std::string meant = meant_split(name);
    note(text("folder: {}: ignores {}{}", quote(root.string()), quote(name),
              is_split_name(name) && holds_pictures(root / name) ? ", which holds pictures, not class folders"
              : !meant.empty() && std::find(splits.begin(), splits.end(), meant) == splits.end()
                  ? text("; did you mean {}?", meant)
                  : ", which is no split: these are called train, val and test"));
  }
}

// A split's class folders must be the same as those that name the classes.
void check_same_classes(const fs::path& folder, const std::vector<std::string>& expected,
                        const fs::path& reference) {
  const std::vector<std::string> found = folders_in(folder);
  for (const std::string& name : expected)
    check(std::binary_search(found.begin(), found.end(), name), "folder: {} lacks class {}, which {} has",
          quote(folder.string()), quote(name), quote(reference.string()));
  for (const std::string& name : found)
    check(std::binary_search(expected.begin(), expected.end(), name),
          "folder: {} has class {}, which {} lacks", quote(folder.string()), quote(name),
          quote(reference.string()));
}

}  // namespace

// A folder `train` that itself holds folders is a split; one that holds pictures is a class of that name.
bool folder_has_split(const std::string& where, Split split) {
  const fs::path folder = fs::path(where) / name_of(split);
  return is_folder(folder) && !folders_in(folder).empty();
}

DatasetPointer open_folder(const std::string& where, Split split, const OpenOptions& options) {
  const fs::path root(where);
  if (!is_folder(root)) fail(Fault::output, "folder: {} is not a folder that can be read", quote(where));

  std::vector<Split> present;
  for (const Split s : {Split::train, Split::val, Split::test})
    if (folder_has_split(where, s)) present.push_back(s);

  std::vector<fs::path> wanted;
  fs::path reference = root;  // whose class folders name the classes
  if (present.empty()) {
    const std::vector<std::string> folders = folders_in(root);
    if (folders.empty()) check_no_pictures(root, "DIR/<class>/*");
    // Pictures right in DIR/train and in nothing but its like.
    if (std::all_of(folders.begin(), folders.end(), [](const auto& f) { return !meant_split(f).empty(); }))
      for (const std::string& name : folders)
        if (is_split_name(name)) check_no_pictures(root / name, text("DIR/{}/<class>/*", name));
    check(includes(split, Split::train),
          "folder: {} has no {} split: it has no folders train, val and test, so all its pictures are the "
          "train split",
          quote(where), name_of(split));
    wanted = {root};
  } else {
    reference = root / name_of(present.front());
    for (const Split s : present)
      if (includes(split, s)) wanted.push_back(root / name_of(s));
    std::string have;
    for (const Split s : present) have += text("{}{}", have.empty() ? "" : ", ", name_of(s));
    if (wanted.empty()) check_no_pictures(root / name_of(split), text("DIR/{}/<class>/*", name_of(split)));
    const Split needed = split == Split::train_val ? Split::train : split;
    check(split == Split::all || std::find(present.begin(), present.end(), needed) != present.end(),
          "folder: {} has no {} split, only {}", quote(where), name_of(needed), have);
  }

  const std::vector<std::string> classes = folders_in(reference);
  check(!classes.empty(), "folder: {} holds no class folders", quote(reference.string()));
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
  LeftOut left_out;
  for (const fs::path& folder : wanted) {
    check_same_classes(folder, classes, reference);
    for (size_t c = 0; c < classes.size(); ++c)
      collect(folder / classes[c], static_cast<int64_t>(c), paths, labels, left_out);
    for (const std::string& name : list(folder))
      if (is_image_name(name)) left_out.add(name);
  }
  if (options.note && left_out.files > 0)
    options.note(
        text("folder: {}, split {}: left out {}; what is read is .jpg, .jpeg, .png and .bmp in class folders",
             quote(where), name_of(split), left_out.words()));
  if (options.note && !present.empty() && split != Split::val && split != Split::test) {
    std::vector<std::string> splits;
    for (const Split s : present) splits.emplace_back(name_of(s));
    note_ignored(root, splits, options.note);
  }
  return image_files(text("folder:{}", where), where, std::move(paths), std::move(labels), classes, options);
}

}  // namespace vitrine

#endif
