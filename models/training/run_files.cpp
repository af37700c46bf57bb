#include "models/training/run_files.h"

#ifdef VITRINE_FILES

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "data/dataset.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/shallow_json.h"

namespace vitrine {

namespace {

using Json = nlohmann::ordered_json;

std::string path_in(const std::string& folder, const char* name) {
  return (std::filesystem::path(folder) / name).string();
}

std::optional<std::string> content_of(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const std::vector<std::byte> bytes = read_file(path);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// A flat object: what lies deep is not ours.
Json object_of(std::string_view words, const std::string& who) { return shallow_object<Json>(words, 2, who); }

// The entries of an object, each of its type.
class Entries {
 public:
  Entries(const Json& json, const std::string& who) : json_(json), who_(who) {}
  double real(const char* key) const {
    const Json& value = at(key);
    if (value.is_null())
      return std::numeric_limits<double>::quiet_NaN();  // as JSON writes what is not finite
    check(value.is_number(), "{}: '{}': expected a number", who_, key);
    return value.get<double>();
  }
  std::optional<double> maybe_real(const char* key) const {
    if (!json_.contains(key)) return std::nullopt;
    return real(key);
  }
  int64_t count(const char* key) const {
    const Json& value = at(key);
    check(value.is_number_integer() && value >= 0 && value <= int64_t{1} << 53,
          "{}: '{}': expected a whole number from 0", who_, key);
    return value.get<int64_t>();
  }
  std::string words(const char* key) const {
    const Json& value = at(key);
    check(value.is_string(), "{}: '{}': expected words", who_, key);
    return value.get<std::string>();
  }
  bool yes(const char* key) const {
    const Json& value = at(key);
    check(value.is_boolean(), "{}: '{}': expected true or false", who_, key);
    return value.get<bool>();
  }

 private:
  const Json& at(const char* key) const {
    const auto found = json_.find(key);
    check(found != json_.end(), "{}: has no '{}'", who_, key);
    return *found;
  }
  const Json& json_;
  const std::string& who_;
};

}  // namespace

std::vector<EpochLine> read_metrics(const std::string& folder) {
  const std::string path = path_in(folder, "metrics.jsonl");
  const std::optional<std::string> content = content_of(path);
  std::vector<EpochLine> out;
  std::string_view rest = content ? *content : std::string_view();
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string who = text("{}: line {}", path, number);
    const Json json = object_of(rest.substr(0, end), who);
    const Entries entries(json, who);
    EpochLine line{.epoch = entries.count("epoch"),
                   .step = entries.count("step"),
                   .loss = entries.real("loss"),
                   .accuracy = entries.real("accuracy"),
                   .learning_rate = entries.real("learning_rate"),
                   .val_loss = entries.maybe_real("val_loss"),
                   .val_accuracy = entries.maybe_real("val_accuracy"),
                   .seconds = entries.maybe_real("seconds").value_or(0)};
    check(out.empty() || (line.epoch > out.back().epoch && line.step > out.back().step),
          "{}: epochs and steps do not rise", who);
    out.push_back(line);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

std::string with_absolute_place(const std::string& data) {
  std::error_code problem;
  const std::filesystem::path here = std::filesystem::current_path(problem);
  return problem ? data : spec_below(data, here.string());
}

void save_run_record(const std::string& folder, const RunRecord& r) {
  Json json{{"format", "vitrine run 1"},
            {"version", r.version},
            {"data", r.data},
            {"exif", r.exif},
            {"device", r.device},
            {"precision", r.precision},
            {"train_samples", r.train_samples},
            {"val_samples", r.val_samples},
            {"trained_parameters", r.trained_parameters},
            {"backbone_parameters", r.backbone_parameters}};
  if (r.test_accuracy) {
    json["test_accuracy"] = *r.test_accuracy;
    json["test_loss"] = r.test_loss.value_or(0);
    json["test_samples"] = r.test_samples;
  }
  if (!r.choice.empty()) json["choice"] = r.choice;
  // A path may hold anything; what is no UTF-8 is replaced, and then opens nothing.
  const std::string words = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  write_file_atomically(path_in(folder, "run.json"), std::as_bytes(std::span(words)));
}

std::optional<RunRecord> load_run_record(const std::string& folder) {
  const std::string path = path_in(folder, "run.json");
  const std::optional<std::string> content = content_of(path);
  if (!content) return std::nullopt;
  const Json json = object_of(*content, path);
  const Entries entries(json, path);
  check(entries.words("format") == "vitrine run 1", "{}: is not the record of a run of this version", path);
  RunRecord out{.version = entries.words("version"),
                .data = entries.words("data"),
                .exif = entries.yes("exif"),
                .device = entries.words("device"),
                .precision = entries.words("precision"),
                .train_samples = entries.count("train_samples"),
                .val_samples = entries.count("val_samples"),
                .trained_parameters = entries.count("trained_parameters"),
                .backbone_parameters = entries.count("backbone_parameters"),
                .test_accuracy = entries.maybe_real("test_accuracy"),
                .test_loss = entries.maybe_real("test_loss")};
  if (out.test_accuracy) out.test_samples = entries.count("test_samples");
  if (json.contains("choice")) out.choice = entries.words("choice");
  return out;
}

std::vector<std::pair<std::string, std::string>> words_of_json(const std::string& object,
                                                               const std::string& who) {
  const Json json = object_of(object, who);
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [key, value] : json.items())
    out.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());
  return out;
}

}  // namespace vitrine

#endif
