// fgvc.cpp: fine-grained tasks (CUB, NABirds, Oxford Flowers, Stanford Dogs and Cars) in the layout of the paper's code:
// for each split one JSON object of paths and classes. That code numbers the classes of each split on its own, so that
// a split which lacks a class shifts all behind it; here all splits together number them.
#ifdef VITRINE_FILES

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "data/image_files.h"
#include "data/lines.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

namespace fs = std::filesystem;
constexpr int64_t most_bytes = int64_t{64} << 20;  // NABirds, the largest, has 48,562 pictures
constexpr std::array<Split, 3> splits{Split::train, Split::val, Split::test};

struct Entry {
  std::string path;
  int64_t class_id;
};

// Follows nlohmann's SAX events, which keep the file's order and show keys that come twice.
class Reader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Reader(const std::string& path) : who_(text("fgvc: {}", quote(path))) {}

  std::vector<Entry> entries;
  const std::string& who() const { return who_; }

  bool null() override { return no_class("null"); }
  bool boolean(bool) override { return no_class("a boolean"); }
  bool number_float(number_float_t, const string_t& words) override { return no_class(words); }
  bool binary(binary_t&) override { return no_class("binary data"); }
  bool number_integer(number_integer_t number) override { return no_class(std::to_string(number)); }
  bool number_unsigned(number_unsigned_t number) override {
    if (!open_ || number > INT64_MAX) return no_class(std::to_string(number));
    entries.push_back({key_, static_cast<int64_t>(number)});
    return true;
  }
  bool string(string_t& words) override {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    number_unsigned_t number = 0;
    const auto [end, wrong] = std::from_chars(words.data(), words.data() + words.size(), number);
    if (wrong != std::errc{} || end != words.data() + words.size() || !is_digit(words[0]))
      return no_class(quote(words));
    return number_unsigned(number);
  }
  bool start_object(std::size_t) override {
    if (open_) return no_class("an object");
    return open_ = true;
  }
  bool key(string_t& words) override {
    check_stays_inside(words, who_);
    check(seen_.insert(one_spelling(words)).second, "{}: {} appears twice", who_, quote(words));
    key_ = std::move(words);
    return true;
  }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return no_class("an array"); }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception&) override {
    fail(Fault::input, "{}: is not valid JSON in UTF-8 at its byte {}, near {}", who_, position,
         quote(token));
  }

 private:
  bool no_class(std::string_view what) const {
    check(open_, "{}: expected an object of paths and classes, got {}", who_, what);
    fail(Fault::input, "{}: {}: expected a whole number of 0 or more as its class, got {}", who_, quote(key_),
         what);
  }

  std::string who_;
  std::string key_;
  std::unordered_set<std::string> seen_;
  bool open_ = false;
};

std::string file_of(const std::string& where, Split split) {
  return (fs::path(where) / text("{}.json", name_of(split))).string();
}

std::vector<Entry> read_split(const std::string& path) {
  Reader reader(path);
  const std::string words = read_text(path, most_bytes, "fgvc");
  check(words.find('\0') == std::string::npos, "{}: holds a NUL", reader.who());  // nlohmann would end there
  nlohmann::json::sax_parse(words.begin(), words.end(), &reader);
  check(!reader.entries.empty(), "{}: holds no picture", reader.who());
  return std::move(reader.entries);
}

}  // namespace

bool fgvc_has_split(const std::string& where, Split split) { return is_there(file_of(where, split)); }

DatasetPointer open_fgvc(const std::string& where, Split split, const OpenOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(where, ignored))
    fail(Fault::output, "fgvc: {} is not a folder that can be read", quote(where));
  std::map<Split, std::vector<Entry>> present;
  std::map<int64_t, int64_t> numbers;  // of the classes
  for (const Split part : splits) {
    if (!fgvc_has_split(where, part)) continue;
    present[part] = read_split(file_of(where, part));
    for (const Entry& entry : present[part]) numbers.emplace(entry.class_id, 0);
  }
  std::vector<std::string> class_names;
  for (auto& [class_id, number] : numbers) {
    number = static_cast<int64_t>(class_names.size());
    class_names.push_back(std::to_string(class_id));
  }

  const Split needed = split == Split::train_val ? Split::train : split;
  check(split == Split::all ? !present.empty() : present.contains(needed),
        "fgvc: {} has no {} split: there is no {}.json", quote(where), name_of(needed),
        split == Split::all ? "train" : name_of(needed));
  if (options.note) {
    std::map<Split, std::vector<std::string>> lists;
    for (const auto& [part, entries] : present)
      for (const Entry& entry : entries) lists[part].push_back(entry.path);
    note_shared(text("fgvc: {}", quote(where)), split, lists, options);
  }
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
  for (const auto& [part, entries] : present) {
    if (!includes(split, part)) continue;
    const std::string who = text("fgvc: {}", quote(file_of(where, part)));
    const fs::path folder = where;
    const fs::path root =
        folder_with({(folder / "images").string(), (folder / "Images").string(), folder.string()},
                    entries.front().path, who);
    for (const Entry& entry : entries) {
      paths.push_back((root / entry.path).string());
      check_is_file(paths.back(), who);
      labels.push_back(numbers.at(entry.class_id));
    }
  }
  return image_files(text("fgvc:{}", where), where, std::move(paths), std::move(labels),
                     std::move(class_names), options);
}

}  // namespace vitrine

#endif
