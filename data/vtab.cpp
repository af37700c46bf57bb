// vtab.cpp: tasks of VTAB-1k (Zhai et al., arXiv 1910.04867) in the layout in which the community passes them on: pictures
// in folders, and beside them a list for each split whose lines are a path and a label.
#ifdef VITRINE_FILES

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <unordered_map>

#include "data/image_files.h"
#include "data/lines.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

namespace fs = std::filesystem;
constexpr int64_t most_bytes = int64_t{64} << 20;  // the longest list of VTAB-1k has 73,728 lines
constexpr int64_t most_label = 1 << 20;

struct Entry {
  std::string path;
  int64_t label;
  int64_t line;
};

struct List {
  std::string who;  // "vtab: 'DIR/test.txt'"
  std::vector<Entry> entries;
  int64_t greatest = -1;  // of the labels
};

std::string line_of(const List& list, int64_t number) { return text("{} line {}", list.who, number); }

// "path label", where the path may have blanks in it.
Entry entry_of(const Line& line, const std::string& who) {
  const size_t blank = line.words.find_last_of(" \t");
  check(blank != std::string_view::npos, "{}: expected a path and a label, got {}", who, quote(line.words));
  const std::string_view digits = line.words.substr(blank + 1);
  Entry entry{std::string(line.words.substr(0, line.words.find_last_not_of(" \t", blank) + 1)), 0,
              line.number};
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), entry.label);
  check(wrong == std::errc{} && end == digits.data() + digits.size() && entry.label >= 0 &&
            entry.label < most_label,
        "{}: expected a label of 0 to {}, got {}", who, most_label - 1, quote(digits));
  check_stays_inside(entry.path, who);
  return entry;
}

// The list of this name; none if there is no such file.
std::optional<List> read_list(const fs::path& folder, const char* name) {
  const std::string path = (folder / name).string();
  if (!is_there(path)) return std::nullopt;
  List list{text("vtab: {}", quote(path)), {}};
  const std::string words = read_text(path, most_bytes, "vtab");
  std::unordered_map<std::string, int64_t> lines;
  for (const Line& line : lines_of(words)) {
    const std::string who = line_of(list, line.number);
    Entry entry = entry_of(line, who);
    const auto [first, is_new] = lines.emplace(one_spelling(entry.path), line.number);
    check(is_new, "{}: {} is already on line {}", who, quote(entry.path), first->second);
    list.greatest = std::max(list.greatest, entry.label);
    list.entries.push_back(std::move(entry));
  }
  check(!list.entries.empty(), "{}: lists no picture", list.who);
  return list;
}

// What an opened split is made of.
struct Pictures {
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
};

// Appends a list's pictures, each of which must be there.
void collect(const List& list, const fs::path& folder, Pictures& pictures) {
  const Entry& first = list.entries.front();
  const fs::path root =
      folder_with({(folder / "images").string(), folder.string()}, first.path, line_of(list, first.line));
  for (const Entry& entry : list.entries) {
    std::string path = (root / entry.path).string();
    check_is_file(path, line_of(list, entry.line));
    pictures.paths.push_back(std::move(path));
    pictures.labels.push_back(entry.label);
  }
}

std::vector<std::string> class_names(const fs::path& folder, int64_t greatest) {
  const std::string path = (folder / "classes.txt").string();
  if (!is_there(path)) return numbered_classes(greatest, "vtab");
  const std::string words = read_text(path, most_bytes, "vtab");
  std::vector<std::string> names;
  std::unordered_map<std::string, int64_t> lines;
  for (const Line& line : lines_of(words)) {
    names.emplace_back(line.words);
    const auto [first, is_new] = lines.emplace(names.back(), line.number);
    check(is_new, "vtab: {} line {}: {} is already on line {}", quote(path), line.number, quote(line.words),
          first->second);
  }
  check(static_cast<int64_t>(names.size()) == greatest + 1,
        "vtab: expected {} names in {}, as the greatest label is {}, got {}", greatest + 1, quote(path),
        greatest, names.size());
  return names;
}

constexpr const char* list_of(Split split) {
  return split == Split::train  ? "train800.txt"
         : split == Split::val  ? "val200.txt"
         : split == Split::test ? "test.txt"
                                : "train800val200.txt";
}

// The lists that make up a split, in this order. Train and val together are a list of their own where there is one.
std::vector<Split> lists_of(const std::string& where, Split split) {
  const auto has = [&](Split part) { return vtab_has_split(where, part); };
  std::vector<Split> lists;
  if (split == Split::train_val || split == Split::all) {
    const bool joined = has(Split::train_val) && (split == Split::train_val || !has(Split::train));
    lists = {joined ? Split::train_val : Split::train};
    if (!joined && has(Split::val)) lists.push_back(Split::val);
    if (split == Split::all && has(Split::test)) lists.push_back(Split::test);
  } else {
    lists = {split};
  }
  return lists;
}

}  // namespace

bool vtab_has_split(const std::string& where, Split split) {
  return is_there((fs::path(where) / list_of(split)).string());
}

DatasetPointer open_vtab(const std::string& where, Split split, const OpenOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(where, ignored))
    fail(Fault::output, "vtab: {} is not a folder that can be read", quote(where));
  std::map<Split, List> lists;  // all that there are: each may hold the greatest label
  int64_t greatest = -1;
  for (const Split part : {Split::train, Split::val, Split::train_val, Split::test})
    if (std::optional<List> list = read_list(where, list_of(part))) {
      greatest = std::max(greatest, list->greatest);
      lists.emplace(part, std::move(*list));
    }
  if (options.note) {
    std::map<Split, std::vector<std::string>> paths;
    for (const auto& [part, list] : lists)
      for (const Entry& entry : list.entries) paths[part].push_back(entry.path);
    note_shared(text("vtab: {}", quote(where)), split, paths, options);
  }
  Pictures pictures;
  for (const Split part : lists_of(where, split)) {
    const auto list = lists.find(part);
    check(list != lists.end(), "vtab: {} has no {} split: there is no {}", quote(where), name_of(part),
          list_of(part));
    collect(list->second, where, pictures);
  }
  return image_files(text("vtab:{}", where), where, std::move(pictures.paths), std::move(pictures.labels),
                     class_names(where, greatest), options);
}

}  // namespace vitrine

#endif
