// adder.h: options of a command as lines that say name, label, help, field and bounds. With options.cpp the only
// place that knows CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/text.h"
#include "options.h"

namespace vitrine::cli {

inline constexpr int64_t most = int64_t{1}
                                << 40;  // of any count; far above what makes sense, far below an overflow

// The whole of `words` as a number, or an error that names the option.
template <class T>
T whole(const std::string& option, const std::string& words, T low, T high) {
  T value{};
  const char* end = words.data() + words.size();
  const auto [stopped, problem] = std::from_chars(words.data(), end, value);
  check(problem == std::errc{} && stopped == end && value >= low && value <= high,
        "{}: expected a whole number{}, got {}", option,
        high == most || high == std::numeric_limits<T>::max() ? text(" from {}", low)
                                                              : text(" from {} to {}", low, high),
        quote(words));
  return value;
}

// The same for a number with a point.
double real(const std::string& option, const std::string& words, double low, double high);

// "512M", "1.5G", "4096": bytes, with K, M, G in steps of 1024.
size_t bytes(const std::string& option, const std::string& words);

// One of several words.
template <class T>
T choice(const std::string& option, const std::string& words,
         const std::vector<std::pair<std::string_view, T>>& choices) {
  std::vector<std::string_view> names;
  std::string all;
  for (const auto& [name, value] : choices) {
    if (name == words) return value;
    all += names.empty() ? "" : &name == &choices.back().first ? " or " : ", ";
    all += name;
    names.push_back(name);
  }
  const std::string meant = nearest(words, names);
  fail(Fault::input, "{}: expected {}, got {}{}", option, all, quote(words),
       meant.empty() ? "" : text("; did you mean {}?", meant));
}

// Adds options to a command; each keeps what it reads in a field that outlives the parsing.
class Adder {
 public:
  explicit Adder(CLI::App& app) : app_(app) {}

  void group(const std::string& name) { group_ = name; }
  // The options that --help explains; of all others it says the names, and --help all explains them, too. None: all.
  void often_used(std::vector<std::string> names) { often_used_ = std::move(names); }
  const std::vector<std::string>& often_used() const { return often_used_; }
  CLI::Option* words(const std::string& name, const char* label, const char* what,
                     std::function<void(const std::string&)> take) {
    return app_
        .add_option_function<std::string>(
            name,
            [name, take = std::move(take)](const std::string& words) {
              check(!words.empty(), "{}: expected a value, got none", name);
              take(words);
            },
            what)
        ->type_name(label)
        ->group(group_);
  }
  // The same for an option that may be given several times.
  CLI::Option* words_each(const std::string& name, const char* label, const char* what,
                          std::function<void(const std::string&)> take) {
    return app_
        .add_option_function<std::vector<std::string>>(
            name,
            [name, take = std::move(take)](const std::vector<std::string>& all) {
              for (const std::string& words : all) {
                check(!words.empty(), "{}: expected a value, got none", name);
                take(words);
              }
            },
            what)
        ->type_name(label)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->group(group_);
  }
  CLI::Option* each(const std::string& name, const char* label, const char* what,
                    std::vector<std::string>& field) {
    return words_each(name, label, what, [&field](const std::string& words) { field.push_back(words); });
  }
  template <class Field>
  CLI::Option* path(const std::string& name, const char* label, const char* what, Field& field) {
    return words(name, label, what, [&field](const std::string& words) { field = words; });
  }
  template <class Field>
  CLI::Option* count(const std::string& name, const char* label, const char* what, Field& field,
                     int64_t low = 1, int64_t high = most) {
    return words(name, label, what, [=, &field](const std::string& words) {
      field = static_cast<std::decay_t<decltype(Field(0))>>(whole<int64_t>(name, words, low, high));
    });
  }
  CLI::Option* count(const std::string& name, const char* label, const char* what,
                     std::optional<int64_t>& field, int64_t low = 1, int64_t high = most) {
    return words(name, label, what,
                 [=, &field](const std::string& words) { field = whole<int64_t>(name, words, low, high); });
  }
  // Numbers with commas between them.
  CLI::Option* counts(const std::string& name, const char* label, const char* what,
                      std::vector<int64_t>& field, int64_t high) {
    return words(name, label, what, [=, &field](const std::string& words) {
      field.clear();
      for (size_t begin = 0; begin <= words.size();) {
        const size_t end = std::min(words.find(',', begin), words.size());
        field.push_back(whole<int64_t>(name, words.substr(begin, end - begin), 1, high));
        begin = end + 1;
      }
    });
  }
  CLI::Option* seed(const std::string& name, const char* what, uint64_t& field) {
    return words(name, "S", what, [=, &field](const std::string& words) {
      field = whole<uint64_t>(name, words, 0, std::numeric_limits<uint64_t>::max());
    });
  }
  template <class Field>
  CLI::Option* number(const std::string& name, const char* label, const char* what, Field& field,
                      double low = 0, double high = 1e12) {
    return words(name, label, what,
                 [=, &field](const std::string& words) { field = real(name, words, low, high); });
  }
  template <class T, class Field>
  CLI::Option* one_of(const std::string& name, const char* label, const char* what, Field& field,
                      const std::vector<std::pair<std::string_view, T>>& choices) {
    return words(name, label, what,
                 [=, &field](const std::string& words) { field = choice<T>(name, words, choices); });
  }
  CLI::Option* flag(const std::string& name, const char* what, bool& field, bool value = true) {
    return app_
        .add_flag_callback(
            name, [&field, value] { field = value; }, what)
        ->group(group_);
  }
  template <class Field>
  void method(const char* what, Field& field) {
    words("--method", "M", what, [&field](const std::string& words) { field = method_from_text(words); });
  }
  template <class Field>
  void optimizer(const char* what, Field& field) {
    one_of<OptimizerKind>("--optimizer", "sgd|adamw", what, field,
                          {{"sgd", OptimizerKind::sgd}, {"adamw", OptimizerKind::adamw}});
  }
  template <class Field>
  void precision(Field& field,
                 const char* what = "how the frozen backbone is packed: f32, bf16 or int8 [f32]") {
    one_of<Precision>("--precision", "P", what, field,
                      {{"f32", Precision::f32}, {"bf16", Precision::bf16}, {"int8", Precision::int8}});
  }
  void prompt_variant(PromptConfig& variant);
  void device(Placement& place) {
    words("--device", "D", "cpu, cuda, cuda:1 (the second one) or emulator [cpu]",
          [&place](const std::string& words) { place.device = words; });
    flag("--tf32", "on a device, let products of f32 round to 10 bits", place.tf32);
  }
  // `size_what` explains --image-size; null: where there is nothing to choose.
  void hints(BackboneHints& hints, const char* size_what = nullptr) {
    count("--heads", "H", "attention heads, for a file whose width does not tell", hints.heads, 1, 4096);
    words("--backbone-config", "NAME", "what the file does not tell: deit, augreg, ... or its config.json",
          [&hints](const std::string& words) { hints.config = words; });
    if (size_what == nullptr) return;
    words("--pictures", "NAME",
          "how its pictures were prepared: deit, google-vit, ..., or its preprocessor_config.json",
          [&hints](const std::string& words) { hints.pictures = words; });
    count("--image-size", "N", size_what, hints.image_size, 1, 4096);
    std::vector<std::pair<std::string_view, std::optional<PositionFilter>>> filters;
    for (const PositionFilter filter : all_position_filters) filters.emplace_back(name_of(filter), filter);
    one_of<std::optional<PositionFilter>>("--positions", "FILTER",
                                          "how a ViT's position embeddings are resized for another "
                                          "--image-size: bicubic, bilinear, ... [as its program does]",
                                          hints.positions, filters);
  }
  void placement(Placement& place) {
    device(place);
    precision(place.given, "of the frozen backbone: f32, bf16 or int8 [f32; bf16 on a device]");
  }
  void common(Common& common) {
    words("--threads", "N", "processor threads [all cores]",
          [&common](const std::string& words) { common.threads = whole<int>("--threads", words, 1, 1024); });
    words("--instructions", "SET", "kernels: avx512_bf16, avx512, avx2, portable [the best here]",
          [&common](const std::string& words) { common.instructions = words; });
    flag("--json", "one JSON object on standard output at the end", common.json);
  }

 private:
  CLI::App& app_;
  std::string group_;
  std::vector<std::string> often_used_;
};

// The help of a command, one option a line: of the options in `explained`, and the names of all others; none: of all.
std::string help_of(const CLI::App& app, const std::string& usage,
                    const std::vector<std::string>& explained = {});

// Tells unknown options and missing values by name, and takes out of `words` what belongs to no option:
// CLI11 would take `--data` in `--out --data x` for a folder, speaks of the first missing option before the
// first unknown one, and splits a word such as [a,b].
std::vector<std::string> take_positionals(const CLI::App& app, std::vector<std::string>& words);

}  // namespace vitrine::cli
