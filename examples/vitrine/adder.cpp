#include "adder.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

namespace vitrine::cli {

double real(const std::string& option, const std::string& words, double low, double high) {
  double value{};
  const char* end = words.data() + words.size();
  const auto [stopped, problem] = std::from_chars(words.data(), end, value);
  check(problem == std::errc{} && stopped == end && std::isfinite(value) && value >= low && value <= high,
        "{}: expected a number{}, got {}", option,
        high < 1e9 || (problem == std::errc{} && value > high) ? text(" from {} to {}", low, high)
                                                               : text(" from {}", low),
        quote(words));
  return value;
}

size_t bytes(const std::string& option, const std::string& words) {
  double unit = 1;
  std::string number = words;
  if (!number.empty()) {
    constexpr std::string_view units = "KMG";
    const size_t found =
        units.find(static_cast<char>(std::toupper(static_cast<unsigned char>(number.back()))));
    if (found != std::string_view::npos) {
      unit = std::ldexp(1.0, 10 * static_cast<int>(found + 1));
      number.pop_back();
    }
  }
  double value{};
  const auto [stopped, problem] = std::from_chars(number.data(), number.data() + number.size(), value);
  check(problem == std::errc{} && stopped == number.data() + number.size() && value > 0 &&
            value * unit >= 1 && value * unit < 0x1p60,
        "{}: expected a number of bytes such as 800M or 2G, got {}", option, quote(words));
  return static_cast<size_t>(value * unit);
}

namespace {

// "3-12"
void read_blocks(const std::string& words, PromptConfig& prompts) {
  const size_t dash = words.find('-');
  check(dash != std::string::npos, "--prompt-blocks: expected two numbers such as 1-6, got {}", quote(words));
  check(!words.starts_with("0-"), "--prompt-blocks: the first block is 1, got {}", quote(words));
  const auto first = whole<int64_t>("--prompt-blocks", words.substr(0, dash), 1, 1 << 20);
  prompts.first = first - 1;
  prompts.last = whole<int64_t>("--prompt-blocks", words.substr(dash + 1), 1, 1 << 20);
  check(first <= prompts.last, "--prompt-blocks: expected the smaller number first, got {}", quote(words));
}

}  // namespace

void Adder::prompt_variant(PromptConfig& variant) {
  words("--prompt-location", "L", "prepend, add (to each token) or pixels (vpt-shallow) [prepend]",
        [&variant](const std::string& given) { variant.location = prompt_location_of(given); });
  words("--prompt-pooling", "W", "backbone, images, prompts or all: what is averaged [backbone]",
        [&variant](const std::string& given) { variant.pooling = prompt_pooling_of(given); });
  words("--prompt-blocks", "A-B", "vpt-deep of a ViT: blocks A to B alone, counted from 1 [all]",
        [&variant](const std::string& given) { read_blocks(given, variant); });
  words("--prompt-init", "I", "how they start: random, or class-tokens, one for each class [random]",
        [&variant](const std::string& given) { variant.start = prompt_start_of(given); });
  flag("--prompt-shared", "vpt-deep: the same prompts in all blocks", variant.shared);
}

namespace {

constexpr size_t width = 80;  // what a terminal shows of a line

// `left` and the words of `right` beside it from `column` on, in lines of a terminal.
std::string beside(std::string left, const std::string& right, size_t column) {
  std::string out;
  if (column > 0 && left.size() + 2 > column) {
    out = left + "\n";
    left.clear();
  }
  left.resize(column, ' ');
  bool empty = true;  // of words
  for (size_t begin = 0; begin < right.size();) {
    const size_t from = std::min(right.find_first_not_of(" \n", begin), right.size()),
                 end = std::min(right.find_first_of(" \n", from), right.size());
    const std::string word = right.substr(from, end - from);
    begin = end;
    if (word.empty()) break;
    if (!empty && left.size() + 1 + word.size() > width) {
      out += left + "\n";
      left.assign(column, ' ');
      empty = true;
    }
    left += text("{}{}", empty ? "" : " ", word);
    empty = false;
  }
  return text("{}{}\n", out, left);
}

}  // namespace

std::string help_of(const CLI::App& app, const std::string& usage,
                    const std::vector<std::string>& explained) {
  std::string more, line;
  constexpr size_t column = 28;  // where explanations begin
  std::string out = text("vitrine {}\n", usage);
  const std::string what = app.get_description();
  for (size_t begin = 0; begin < what.size();) {
    const size_t end = std::min(what.find('\n', begin), what.size());
    out += beside("", what.substr(begin, end - begin), 0);
    begin = end + 1;
  }
  for (const std::string& group : app.get_groups()) {
    bool headed = false;
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_group() != group || option->get_positional()) continue;
      const std::string& name = option->get_name();
      if (!explained.empty() && std::find(explained.begin(), explained.end(), name) == explained.end()) {
        if (line.size() + 1 + name.size() > width - 1) more += std::exchange(line, "") + "\n";
        line += text("{}{}", line.empty() ? "  " : " ", name);
        continue;
      }
      if (!std::exchange(headed, true)) out += text("\n{}:\n", group);
      std::string left = "  " + option->get_name();
      if (!option->get_type_name().empty()) left += text(" {}", option->get_type_name());
      out += beside(left, option->get_description(), column);
    }
  }
  if (!line.empty())
    out += text("\nMore, explained by vitrine {} --help all:\n{}{}\n", usage.substr(0, usage.find(' ')), more,
                line);
  return out;
}

std::vector<std::string> take_positionals(const CLI::App& app, std::vector<std::string>& words) {
  std::vector<std::string> known{"--help"}, positionals, rest;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back(text("--{}", name));
  const std::vector<std::string_view> names(known.begin(), known.end());
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      positionals.insert(positionals.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (words[i].size() < 2 || words[i][0] != '-') {
      positionals.push_back(words[i]);
      continue;
    }
    const size_t equals = words[i].find('=');
    const std::string name = words[i].substr(0, equals);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string meant = nearest(name, names);
      fail(Fault::input, "unknown option {}{}", quote(name),
           meant.empty() ? "" : text("; did you mean {}?", meant));
    }
    const CLI::Option* option = app.get_option_no_throw(name);
    const bool takes_value = option != nullptr && option->get_items_expected_max() > 0;
    check(takes_value || equals == std::string::npos, "{}: takes no value", name);
    check(equals != words[i].size() - 1, "{}: expected a value after the equals sign", name);
    rest.push_back(words[i]);
    if (!takes_value || equals != std::string::npos) continue;
    check(i + 1 < words.size() && !words[i + 1].starts_with("--"), "{}: expected a value after it", name);
    rest.push_back(words[++i]);
  }
  words = std::move(rest);
  return positionals;
}

}  // namespace vitrine::cli
