#include "data/suite.h"

#include <array>

#include "engine/check.h"

#ifdef VITRINE_FILES
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "data/lines.h"
#include "engine/text.h"

// The parser is built right here, without its shared library, and to go no deeper than a suite does.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_MAX_NESTED_VALUES 8
// Its assertions are within reach of malformed text: they stay, whatever the build, and are errors like any other.
#undef NDEBUG
#define TOML_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::vitrine::fail(::vitrine::Fault::input, "unexpected text"))
#include <toml++/toml.h>
#endif

namespace vitrine {
namespace {

constexpr std::array<std::string_view, 3> metric_names{"top1", "top5", "mean-class"};

}  // namespace

const char* name_of(Metric metric) { return metric_names[static_cast<size_t>(metric)].data(); }

std::shared_ptr<const Dataset> open_dataset(const SuiteTask& task, Split split, const OpenOptions& options) {
  auto dataset = open_dataset(task.data, split, options);
  check(!task.classes || *task.classes == dataset->classes(),
        "suite: task '{}': expected {} classes, {} has {}", task.name, task.classes.value_or(0), task.data,
        dataset->classes());
  return dataset;
}

#ifdef VITRINE_FILES

namespace {

constexpr int64_t most_bytes = 1 << 20, most_tasks = 1000;

// The parser's tables of blanks beyond ASCII have holes where its behaviour is undefined (3.3.0). So it sees none of them:
// bytes of 0x80 and more, and the tilde itself, go through it as a tilde and two letters.
std::string as_ascii(std::string_view words) {
  std::string out;
  for (const char c : words) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && c != '~') {
      out += c;
      continue;
    }
    out += '~';
    out += static_cast<char>('a' + (byte >> 4));
    out += static_cast<char>('a' + (byte & 15));
  }
  return out;
}

std::string from_ascii(std::string_view words) {
  const auto is_digit = [](char c) { return c >= 'a' && c <= 'p'; };
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == '~' && i + 2 < words.size() && is_digit(words[i + 1]) && is_digit(words[i + 2])) {
      out += static_cast<char>((words[i + 1] - 'a') << 4 | (words[i + 2] - 'a'));
      i += 2;
    } else {
      out += words[i];
    }
  }
  return out;
}

// A table whose keys are taken one by one; what is left over was not understood.
class Table {
 public:
  Table(const toml::table& table, std::string who) : table_(table), who_(std::move(who)) {}

  const std::string& who() const { return who_; }

  // Throws for a key that is none of these.
  template <size_t N>
  void check_keys(const std::array<std::string_view, N>& known) const {
    for (const auto& [key, value] : table_) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      const std::string own = from_ascii(key.str()), meant = nearest(own, known);
      fail(Fault::input, "{}, line {}: unknown key {}{}", who_, value.source().begin.line, quote(own),
           meant.empty() ? "" : text("; did you mean '{}'?", meant));
    }
  }

  const toml::node* find(std::string_view key) const { return table_.get(key); }

  std::optional<std::string> words(std::string_view key) const {
    const toml::node* node = find(key);
    if (!node) return std::nullopt;
    auto value = node->value_exact<std::string>();
    check(value && !value->empty(), "{}: expected '{}' to be words in quotes", who_, key);
    value = from_ascii(*value);
    check(is_utf8(*value), "{}: expected '{}' to be UTF-8, got {}", who_, key, quote(*value));
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
    check(value->size() <= 4096 && std::none_of(value->begin(), value->end(), is_control),
          "{}: expected '{}' to have at most 4096 bytes and no control characters, got {}", who_, key,
          quote(*value));
    return value;
  }

  std::optional<int64_t> number(std::string_view key, int64_t least, int64_t most) const {
    const toml::node* node = find(key);
    if (!node) return std::nullopt;
    const auto value = node->value_exact<int64_t>();
    check(value && *value >= least && *value <= most, "{}: expected '{}' to be a whole number of {} to {}{}",
          who_, key, least, most, value ? text(", got {}", *value) : "");
    return value;
  }

  // The place of the value among `names`, which come with a hint.
  template <size_t N>
  std::optional<size_t> choice(std::string_view key, const std::array<std::string_view, N>& names) const {
    const auto value = words(key);
    if (!value) return std::nullopt;
    return place_of(key, *value, names);
  }

  template <size_t N>
  size_t place_of(std::string_view key, std::string_view word,
                  const std::array<std::string_view, N>& names) const {
    const auto found = std::find(names.begin(), names.end(), word);
    if (found == names.end()) {
      std::string known;
      for (const std::string_view name : names) known += text("{}{}", known.empty() ? "" : ", ", name);
      const std::string meant = nearest(word, names);
      fail(Fault::input, "{}: unknown {} {}; known are {}{}", who_, key, quote(word), known,
           meant.empty() ? "" : text("; did you mean '{}'?", meant));
    }
    return static_cast<size_t>(found - names.begin());
  }

 private:
  const toml::table& table_;
  std::string who_;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_letter_or_digit(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// The words with the environment's values in place of $NAME and ${NAME}.
std::string expanded(std::string_view words, const std::string& who) {
  std::string out;
  for (size_t i = 0; i < words.size();) {
    if (words[i] != '$') {
      out += words[i++];
      continue;
    }
    ++i;
    if (i < words.size() && words[i] == '$') {
      out += words[i++];
      continue;
    }
    const bool braced = i < words.size() && words[i] == '{';
    if (braced) ++i;
    const size_t begin = i;
    while (i < words.size() && is_letter_or_digit(words[i])) ++i;
    const std::string name(words.substr(begin, i - begin));
    check(!name.empty() && is_letter(name[0]) && (!braced || (i < words.size() && words[i] == '}')),
          "{}: expected $NAME, ${NAME} or $$ in {}", who, quote(words));
    if (braced) ++i;
    const char* value = std::getenv(name.c_str());
    check(value != nullptr && *value != '\0', "{}: {} needs the environment variable {}, which is not set",
          who, quote(words), name);
    out += value;
  }
  return out;
}

// The data set that a suite in `folder` means.
std::string data_of(std::string_view words, const std::string& folder, const std::string& who) {
  const std::string spec = expanded(words, who);
  const size_t colon = words.find(':');
  const bool own_place = colon != std::string_view::npos && words.substr(colon + 1).starts_with('$') &&
                         !words.substr(colon + 1).starts_with("$$");
  try {
    return spec_below(spec, own_place ? "" : folder);
  } catch (const Error& error) {
    fail(error.fault(), "{}: {}", who, error.what());
  }
}

Augment augment_of(const Table& table) {
  Augment augment;
  const toml::node* node = table.find("augment");
  if (!node) return augment;
  const toml::array* list = node->as_array();
  check(list != nullptr, "{}: expected 'augment' to be a list such as [\"flip\", \"crop\"]", table.who());
  constexpr std::array<std::string_view, 3> names{"flip", "crop", "shift"};
  const std::array<bool*, 3> flags{&augment.flip, &augment.crop, &augment.shift};
  for (const toml::node& entry : *list) {
    const auto word = entry.value_exact<std::string>();
    check(word.has_value(), "{}: expected 'augment' to be a list such as [\"flip\", \"crop\"]", table.who());
    const size_t place = table.place_of("augment", from_ascii(*word), names);
    check(!*flags[place], "{}: {} is twice in 'augment'", table.who(), quote(*word));
    *flags[place] = true;
  }
  check(!augment.crop || !augment.shift, "{}: expected 'crop' or 'shift' in 'augment', got both",
        table.who());
  return augment;
}

SuiteTask task_of(const toml::table& entry, size_t number, const std::string& folder,
                  const std::string& file) {
  const Table unnamed(entry, text("{}: task {}", file, number));
  const auto name = unnamed.words("name");
  check(name.has_value(), "{}: missing key 'name'", unnamed.who());
  check(name->size() <= 100, "{}: expected a name of at most 100 bytes, got {}", unnamed.who(), quote(*name));
  const Table table(entry, text("{}: task {}", file, quote(*name)));
  constexpr std::array<std::string_view, 9> keys{"name",    "data",   "group",  "train_limit", "val",
                                                 "classes", "metric", "resize", "augment"};
  table.check_keys(keys);
  const auto data = table.words("data");
  check(data.has_value(), "{}: missing key 'data'", table.who());
  constexpr std::array<std::string_view, 3> resize_names{"own", "crop", "squash"};
  constexpr int64_t most = int64_t{1} << 40;
  SuiteTask task;
  task.name = *name;
  task.group = table.words("group").value_or("tasks");
  task.data = data_of(*data, folder, table.who());
  task.train_limit = table.number("train_limit", 1, most);
  task.val = table.number("val", 1, most);
  task.classes = table.number("classes", 1, 1 << 20);
  check(!task.val || !task.train_limit || *task.val < *task.train_limit,
        "{}: expected 'val' to be less than 'train_limit', of which it is a part", table.who());
  task.metric = static_cast<Metric>(table.choice("metric", metric_names).value_or(0));
  task.resize = static_cast<ResizeMode>(table.choice("resize", resize_names).value_or(0));
  task.augment = augment_of(table);
  return task;
}

// The value of an option, as it would stand on a command line; none for `true`.
std::optional<std::string> option_value(const Table& table, const std::string& key, const toml::node& node) {
  if (node.value_exact<bool>().value_or(false)) return std::nullopt;
  if (const auto words = node.value_exact<std::string>(); words && !words->empty())
    return expanded(from_ascii(*words), table.who());
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto number = node.value_exact<double>()) return text("{}", *number);
  const toml::array* list = node.as_array();
  check(list != nullptr && !list->empty(),
        "{}: expected {} to be text that is not empty, a number, true, or a list of these", table.who(),
        quote(key));
  std::string out;
  for (const toml::node& entry : *list) {
    const auto value = entry.is_array() ? std::nullopt : option_value(table, key, entry);
    check(value.has_value(), "{}: expected {} to be a list of text and numbers", table.who(), quote(key));
    out += text("{}{}", out.empty() ? "" : ",", *value);
  }
  return out;
}

std::vector<SuiteOption> options_of(const toml::table& entry, const std::string& who) {
  const Table table(entry, who);
  std::vector<SuiteOption> out;
  for (const auto& [key, value] : entry) {
    const std::string name = from_ascii(key.str());
    check(!name.empty() && name[0] != '-' &&
              std::ranges::all_of(name, [](char c) { return is_letter_or_digit(c) || c == '-'; }),
          "{}: expected names of options without dashes before them, got {}", who, quote(name));
    out.emplace_back(name, option_value(table, name, value));
  }
  return out;
}

// A key of many parts nests as deep as it is long, and tables are destroyed by recursion.
void check_depth(std::string_view words, const std::string& who) {
  constexpr int64_t most_dots = 100;
  for (const Line& line : lines_of(words))
    check(std::count(line.words.begin(), line.words.end(), '.') <= most_dots,
          "{}, line {}: expected at most {} dots in a line", who, line.number, most_dots);
}

constexpr int most_depth = 8;

// `depth`: of how many suites it is whose tasks are taken from each other.
Suite read_text_of_suite(std::string_view words, const std::string& folder, const std::string& who,
                         int depth) {
  check(static_cast<int64_t>(words.size()) <= most_bytes, "{}: expected at most {} bytes, got {}", who,
        most_bytes, words.size());
  check(is_utf8(words), "{}: expected UTF-8", who);
  constexpr std::string_view mark = "\xEF\xBB\xBF";  // of the byte order, as some editors begin a file
  if (words.starts_with(mark)) words.remove_prefix(mark.size());
  check_depth(words, who);
  toml::table file;
  try {
    file = toml::parse(as_ascii(words));
  } catch (const toml::parse_error& error) {
    fail(Fault::input, "{}, line {}: malformed TOML: {}", who, error.source().begin.line,
         from_ascii(error.description()));
  } catch (const Error& error) {  // TOML_ASSERT
    fail(Fault::input, "{}: malformed TOML: {}", who, error.what());
  }
  const Table table(file, who);
  table.check_keys(std::array<std::string_view, 4>{"name", "task", "tasks_of", "sweep"});
  Suite suite;
  const auto name = table.words("name");
  check(name.has_value(), "{}: missing key 'name' before the first [[task]]: the suite's own name", who);
  suite.name = *name;
  if (const auto other = table.words("tasks_of")) {
    check(depth < most_depth, "{}: expected suites that take their tasks from each other to come to an end",
          who);
    const std::filesystem::path path =
        std::filesystem::path(other->starts_with('$') ? "" : folder) / expanded(*other, who);
    suite.tasks =
        read_text_of_suite(read_text(path.string(), most_bytes, "suite"), path.parent_path().string(),
                           text("suite {}", quote(path.string())), depth + 1)
            .tasks;
  }
  const auto tables_of = [&](const char* key) {
    std::vector<const toml::table*> out;
    const toml::node* node = table.find(key);
    if (node == nullptr) return out;
    const toml::array* list = node->as_array();
    check(list != nullptr && static_cast<int64_t>(list->size()) <= most_tasks,
          "{}: expected '{}' to be tables, at most {}: [[{}]]", who, key, most_tasks, key);
    for (const toml::node& entry : *list) {
      out.push_back(entry.as_table());
      check(out.back() != nullptr, "{}: expected '{}' to be tables: [[{}]]", who, key, key);
    }
    return out;
  };
  size_t number = 0;
  for (const toml::table* one : tables_of("task"))
    suite.tasks.push_back(task_of(*one, ++number, folder, who));
  check(!suite.tasks.empty(), "{}: expected at least one [[task]], or tasks_of", who);
  std::set<std::string> names;
  for (const SuiteTask& task : suite.tasks)
    check(names.insert(task.name).second, "{}: two tasks have the name {}", who, quote(task.name));
  for (const toml::table* one : tables_of("sweep"))
    suite.sweeps.push_back(options_of(*one, text("{}: sweep {}", who, suite.sweeps.size() + 1)));
  return suite;
}

}  // namespace

Suite read_suite_text(std::string_view words, const std::string& folder, const std::string& who) {
  return read_text_of_suite(words, folder, who, 0);
}

Suite read_suite(const std::string& path) {
  const std::string who = text("suite {}", quote(path));
  return read_suite_text(read_text(path, most_bytes, "suite"),
                         std::filesystem::path(path).parent_path().string(), who);
}

#endif

}  // namespace vitrine
