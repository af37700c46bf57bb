#include "data/class_names.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"
#include "engine/text.h"
#ifdef VITRINE_FILES
#include "engine/file.h"
#endif

namespace vitrine {

namespace {

using nlohmann::json;

constexpr int deepest = 8;  // a config.json's other fields are no deeper

std::string shown(const json& value) {
  return quote(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

// Keys that appear twice are lost in what the parser gives, so they are looked for while it reads.
json parsed(std::string_view words, const std::string& who) {
  std::map<int, std::set<std::string>> keys;  // of the objects that are open, by depth
  const auto look = [&](int depth, json::parse_event_t event, const json& value) {
    check(depth <= deepest, "{}: expected names of classes, got JSON that is nested too deeply", who);
    if (event == json::parse_event_t::object_start) keys[depth + 1].clear();
    if (event == json::parse_event_t::key)
      check(keys[depth].insert(value.get<std::string>()).second, "{}: {} appears twice", who,
            quote(value.get<std::string>()));
    return true;
  };
  try {
    return json::parse(words, look);
  } catch (const json::parse_error& e) {
    fail(Fault::input, "{}: begins like JSON, but is none, by its byte {}", who, e.byte);
  } catch (const json::exception&) {  // a number that is none
    fail(Fault::input, "{}: has a number that is too large", who);
  }
}

std::string name_in(const json& entry, size_t number, const std::string& who) {
  check(entry != "", "{}: class {} has an empty name", who, number);
  if (entry.is_string()) return entry.get<std::string>();
  check(entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string(),
        "{}: class {}: expected a name, or a list of its synset and its name, got {}", who, number,
        shown(entry));
  return entry[1].get<std::string>();
}

std::vector<std::string> names_by_number(const json& object, const std::string& who) {
  std::vector<std::string> names;
  for (size_t c = 0; c < object.size(); ++c) {
    const auto found = object.find(std::to_string(c));
    check(found != object.end(),
          "{}: has {} entries, but none for class {}; its keys must be the numbers of classes", who,
          object.size(), c);
    names.push_back(name_in(*found, c, who));
  }
  return names;
}

std::vector<std::string> names_with_numbers(const json& object, const std::string& who) {
  std::vector<std::string> names(object.size());
  for (const auto& [name, number] : object.items()) {
    check(number.is_number_integer() && number >= 0 && number < object.size(),
          "{}: {}: expected the number of a class below {}, got {}", who, quote(name), object.size(),
          shown(number));
    std::string& place = names[number.get<size_t>()];
    check(place.empty(), "{}: {} and {} are both class {}", who, quote(place), quote(name), number.dump());
    check(!name.empty(), "{}: class {} has an empty name", who, number.dump());
    place = name;
  }
  return names;
}

std::vector<std::string> names_from_json(const json& all, const std::string& who) {
  if (all.is_array()) {
    std::vector<std::string> names;
    for (const json& entry : all) names.push_back(name_in(entry, names.size(), who));
    return names;
  }
  for (const char* field : {"id2label", "label2id", "label_names", "class_to_idx"})
    if (const auto found = all.find(field); found != all.end() && found->is_structured())
      return names_from_json(*found, text("{}: {}", who, field));
  check(!all.contains("model_type") && !all.contains("pretrained_cfg"),
        "{}: is a configuration without names of classes (id2label)", who);
  if (!all.empty() && all.begin()->is_number()) return names_with_numbers(all, who);
  return names_by_number(all, who);
}

}  // namespace

std::vector<std::string> class_names_from(std::string_view words, const std::string& who) {
  constexpr std::string_view mark = "\xef\xbb\xbf";  // editors write it in front of UTF-8
  if (words.starts_with(mark)) words.remove_prefix(mark.size());
  check(words.find('\0') == std::string_view::npos && is_utf8(words),
        "{}: expected names of classes in UTF-8, got other bytes (UTF-16, Latin-1?)", who);
  const size_t first = words.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && (words[first] == '[' || words[first] == '{'))
    return names_from_json(parsed(words, who), who);
  std::vector<std::string> names;
  while (!words.empty()) {
    const size_t end = std::min(words.find('\n'), words.size());
    std::string_view line = words.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    names.emplace_back(line);
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  while (!names.empty() && names.back().empty()) names.pop_back();
  for (size_t i = 0; i < names.size(); ++i)
    check(!names[i].empty(), "{}: line {} is empty: expected a name on each, of class {}", who, i + 1, i);
  return names;
}

#ifdef VITRINE_FILES
std::vector<std::string> read_class_names(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return class_names_from({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}
#endif

}  // namespace vitrine
