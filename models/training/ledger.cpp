#include "models/training/ledger.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/training/recipes.h"
#include "models/training/shallow_json.h"

namespace vitrine {

namespace {

using Json = nlohmann::ordered_json;

constexpr int form_version = 1;
constexpr int deepest = 4;             // a line, its settings, their prompt_variant, and a value there
constexpr size_t most_planned = 1000;  // tasks of a plan, as of a suite, and methods

// Takes the keys of an object one by one, and tells of what is missing, wrong or left.
class Reader {
 public:
  Reader(const Json& json, std::string who) : json_(json), who_(std::move(who)) {
    check(json.is_object(), "{}: expected a JSON object", who_);
  }

  std::string words(const char* key) {
    const Json& value = at(key);
    check(value.is_string(), "{}: expected {} to be a string", who_, key);
    return value.get<std::string>();
  }
  int64_t count(const char* key) {
    const Json& value = at(key);
    check(value.is_number_integer() && value.get<int64_t>() >= 0,
          "{}: expected {} to be a whole number of at least 0, got {}", who_, key, value.dump());
    return value.get<int64_t>();
  }
  uint64_t seed(const char* key) {
    const Json& value = at(key);
    check(value.is_number_unsigned(), "{}: expected {} to be a whole number of at least 0, got {}", who_, key,
          value.dump());
    return value.get<uint64_t>();
  }
  double number(const char* key, double low, double high) {
    const Json& value = at(key);
    check(value.is_number(), "{}: expected {} to be a number", who_, key);
    const auto number = value.get<double>();
    check(std::isfinite(number) && number >= low && number <= high, "{}: {} is {}", who_, key, value.dump());
    return number;
  }
  const Json& object(const char* key) {
    const Json& value = at(key);
    check(value.is_object(), "{}: expected {} to be an object", who_, key);
    return value;
  }
  bool yes(const char* key) {
    const Json& value = at(key);
    check(value.is_boolean(), "{}: expected {} to be true or false", who_, key);
    return value.get<bool>();
  }
  const Json& list(const char* key) {
    const Json& value = at(key);
    check(value.is_array(), "{}: expected {} to be a list", who_, key);
    return value;
  }
  bool has(const char* key) const { return json_.contains(key); }
  void end() {
    for (const auto& [key, unused] : json_.items())
      check(taken_.contains(key), "{}: unknown key {}", who_, quote(key));
  }

 private:
  const Json& at(const char* key) {
    check(json_.contains(key), "{}: no {}", who_, key);
    taken_.insert(key);
    return json_.at(key);
  }

  const Json& json_;
  std::string who_;
  std::set<std::string> taken_;
};

}  // namespace

std::string variant_words(const std::string& settings, std::optional<double> usual_dropout,
                          const std::string& who) {
  std::string out;
  const Json j = shallow_object<Json>(settings, deepest, who);
  const auto add = [&](const std::string& words) { out += text("{}{}", out.empty() ? "" : ", ", words); };
  if (j.contains("prompt_variant")) {
    const Json& variant = j.at("prompt_variant");
    check(variant.is_object(), "{}: expected prompt_variant to be an object, got {}", who, variant.dump());
    // Blocks [first, last), in people's numbers, which begin with 1.
    if (variant.contains("first") || variant.contains("last")) {
      const Json first = variant.value("first", Json(0)), last = variant.value("last", Json(0));
      check(first.is_number_integer() && first >= 0 && first <= 1 << 20 && last.is_number_integer(),
            "{}: prompt_variant has no such blocks: {}", who, variant.dump());
      add(text("blocks {}-{}", first.get<int64_t>() + 1, last == 0 ? "" : last.dump()));
    }
    for (const auto& [key, value] : variant.items()) {
      if (key == "first" || key == "last") continue;
      add(value.is_boolean()
              ? key
              : text("{} {}", key, value.is_string() ? value.get<std::string>() : value.dump()));
    }
  }
  const Json projection = j.value("prompt_projection", Json(0)), dropout = j.value("prompt_dropout", Json(0));
  check(projection.is_number_integer() && dropout.is_number(),
        "{}: expected numbers, got prompt_projection {} and prompt_dropout {}", who, projection.dump(),
        dropout.dump());
  if (projection > 0) add(text("projection {}", projection.dump()));
  if (usual_dropout && j.contains("prompt_dropout") && dropout.get<double>() != *usual_dropout)
    add(text("dropout {}", dropout.dump()));
  return out;
}

// Of a method with prompts under a recipe of this program.
std::optional<double> usual_dropout(const std::string& recipe, const std::string& method) {
  const std::vector<std::string_view> names = preset_names();
  if (std::ranges::find(names, recipe) == names.end()) return {};
  try {
    if (method_from_text(method).prompts.kind == PromptKind::none) return {};
  } catch (const Error&) {  // of another version
    return {};
  }
  return recipe_of(recipe, method).prompt_dropout;
}

std::string too_great(double loss) { return text("the loss of the trained model is {}", loss); }

const char* name_of(Stage stage) { return stage == Stage::search ? "search" : "final"; }

bool is_of_pictures(const LedgerLine& line, const std::string& digest, const std::string& contents) {
  return line.data_digest == digest &&
         (line.contents.empty() || contents.empty() || line.contents == contents);
}

bool same_pictures(const LedgerLine& a, const LedgerLine& b) {
  return is_of_pictures(a, b.data_digest, b.contents);
}

bool same_result(const LedgerLine& a, const LedgerLine& b) {
  const auto outcome = [](const LedgerLine& l) {
    return std::tie(l.accuracy, l.score, l.loss, l.asked_images, l.train_images, l.trained_parameters,
                    l.stored_parameters, l.diverged, l.failed);
  };
  return a.run == b.run && outcome(a) == outcome(b);
}

std::string to_json(const LedgerLine& l) {
  Json j{{"ledger", form_version}, {"run", l.run},       {"task", l.task},
         {"group", l.group},       {"data", l.data},     {"metric", l.metric},
         {"method", l.method},     {"form", l.form},     {"stage", name_of(l.stage)},
         {"seed", l.seed},         {"recipe", l.recipe}, {"settings", Json::parse(l.settings)}};
  if (l.other_pictures) j["other_pictures"] = true;
  if (l.complete()) {
    j[l.stage == Stage::search ? "val" : "test"] = {
        {"top1", l.accuracy}, {"score", l.score}, {"loss", l.loss}, {"images", l.asked_images}};
    j["trained_parameters"] = l.trained_parameters;
    j["stored_parameters"] = l.stored_parameters;
  }
  if (!l.diverged.empty()) j["diverged"] = l.diverged;
  if (!l.failed.empty()) j["failed"] = l.failed;
  j["train_images"] = l.train_images;
  j["classes"] = l.classes;
  j["backbone_parameters"] = l.backbone_parameters;
  j["backbone"] = l.backbone;
  j["net"] = l.net;
  j["backbone_identity"] = l.backbone_identity;
  j["data_digest"] = l.data_digest;
  if (!l.contents.empty()) j["contents"] = l.contents;
  if (!l.preprocess.empty()) j["preprocess"] = Json::parse(l.preprocess);
  j["seconds"] = std::round(l.seconds * 1000) / 1000;
  j["threads"] = l.threads;
  j["version"] = l.version;
  // An error's words may have a file's name in them.
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

LedgerLine ledger_line_from_json(std::string_view json, const std::string& who) {
  const Json parsed = shallow_object<Json>(json, deepest, who);
  Reader r(parsed, who);
  const int64_t form = r.count("ledger");
  check(form == form_version, "{}: is of form {} of the ledger, this program knows {}", who, form,
        form_version);
  LedgerLine l;
  l.run = r.words("run");
  check(!l.run.empty() && l.run.size() <= 64 &&
            l.run.find_first_not_of("0123456789abcdef") == std::string::npos,
        "{}: {} is no name of a run", who, quote(l.run));
  l.task = r.words("task");
  l.group = r.words("group");
  l.data = r.words("data");
  l.metric = r.words("metric");
  l.method = r.words("method");
  l.form = r.words("form");
  const std::string stage = r.words("stage");
  check(stage == "search" || stage == "final", "{}: expected stage search or final, got {}", who,
        quote(stage));
  l.stage = stage == "search" ? Stage::search : Stage::final;
  l.seed = r.seed("seed");
  l.recipe = r.words("recipe");
  const Json& settings = r.object("settings");
  l.settings = settings.dump();
  Reader s(settings, text("{}: settings", who));
  l.learning_rate = s.number("learning_rate", 0, 1e9);
  l.weight_decay = s.number("weight_decay", 0, 1e9);
  l.prompts = s.count("prompts");
  l.epochs = s.count("epochs");
  l.batch = s.count("batch");
  l.variant = variant_words(l.settings, usual_dropout(l.recipe, l.form), text("{}: settings", who));
  if (r.has("other_pictures")) l.other_pictures = r.yes("other_pictures");
  if (r.has("diverged")) l.diverged = r.words("diverged");
  if (r.has("failed")) l.failed = r.words("failed");
  if (l.complete()) {
    const char* asked = l.stage == Stage::search ? "val" : "test";
    Reader a(r.object(asked), text("{}: {}", who, asked));
    l.accuracy = a.number("top1", 0, 1);
    l.score = a.number("score", 0, 1);
    l.loss = a.number("loss", 0, std::numeric_limits<double>::max());
    l.asked_images = a.count("images");
    a.end();
    l.trained_parameters = r.count("trained_parameters");
    l.stored_parameters = r.count("stored_parameters");
    if (l.loss > greatest_loss) {  // written by a version without that bound
      l.diverged = too_great(l.loss);
      l.accuracy = l.score = l.loss = 0;
      l.asked_images = l.trained_parameters = l.stored_parameters = 0;
    }
  }
  l.train_images = r.count("train_images");
  l.classes = r.count("classes");
  l.backbone_parameters = r.count("backbone_parameters");
  check(l.backbone_parameters > 0, "{}: backbone_parameters is 0", who);
  l.backbone = r.words("backbone");
  l.net = r.words("net");
  l.backbone_identity = r.words("backbone_identity");
  l.data_digest = r.words("data_digest");
  if (r.has("contents")) l.contents = r.words("contents");
  if (r.has("preprocess")) l.preprocess = r.object("preprocess").dump();
  l.seconds = r.number("seconds", 0, 1e12);
  l.threads = static_cast<int>(r.number("threads", 0, 1e6));
  l.version = r.words("version");
  r.end();
  return l;
}

std::string to_json(const LedgerPlan& plan) {
  Json tasks = Json::array(), methods = Json::array();
  for (const LedgerPlan::Task& t : plan.tasks) {
    tasks.push_back({{"task", t.task}, {"group", t.group}, {"metric", t.metric}});
    if (!t.failed.empty()) tasks.back()["failed"] = t.failed;
  }
  for (const LedgerPlan::Method& m : plan.methods)
    methods.push_back({{"method", m.method}, {"recipe", m.recipe}, {"settings", Json::parse(m.settings)}});
  return Json{{"ledger", form_version},
              {"plan",
               {{"net", plan.net},
                {"backbone_identity", plan.backbone_identity},
                {"seeds", plan.seeds},
                {"train_sizes", plan.train_sizes},
                {"tasks", std::move(tasks)},
                {"methods", std::move(methods)}}}}
      .dump();
}

std::string LedgerPlan::name() const {
  LedgerPlan bare = *this;
  for (Task& task : bare.tasks) task.failed.clear();
  const std::string words = to_json(bare);
  return sha256_hex(std::as_bytes(std::span(words))).substr(0, 20);
}

LedgerPlan ledger_plan_from_json(std::string_view json, const std::string& who) {
  const Json parsed = shallow_object<Json>(json, deepest + 3, who);  // settings stand deeper here
  Reader line(parsed, who);
  const int64_t form = line.count("ledger");
  check(form == form_version, "{}: is of form {} of the ledger, this program knows {}", who, form,
        form_version);
  const std::string whose = text("{}: plan", who);
  Reader r(line.object("plan"), whose);
  line.end();
  LedgerPlan plan;
  plan.net = r.words("net");
  plan.backbone_identity = r.words("backbone_identity");
  plan.seeds = r.count("seeds");
  for (const Json& size : r.list("train_sizes")) {
    check(size.is_number_integer(), "{}: expected train_sizes to be whole numbers, got {}", whose,
          size.dump());
    plan.train_sizes.push_back(size.get<int64_t>());
  }
  for (const Json& one : r.list("tasks")) {
    Reader t(one, text("{}: a task", whose));
    LedgerPlan::Task task{t.words("task"), t.words("group"), t.words("metric")};
    if (t.has("failed")) task.failed = t.words("failed");
    t.end();
    plan.tasks.push_back(std::move(task));
  }
  for (const Json& one : r.list("methods")) {
    Reader m(one, text("{}: a method", whose));
    plan.methods.push_back({m.words("method"), m.words("recipe"), m.object("settings").dump()});
    m.end();
  }
  r.end();
  check(plan.tasks.size() <= most_planned && plan.methods.size() <= most_planned,
        "{}: expected at most {} tasks and methods, got {} and {}", whose, most_planned, plan.tasks.size(),
        plan.methods.size());
  return plan;
}

#ifdef VITRINE_FILES
std::vector<LedgerLine> read_ledger(const std::string& path, std::vector<LedgerPlan>* plans) {
  const std::vector<std::byte> bytes = read_file(path);
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<LedgerLine> lines;
  std::map<std::pair<std::string, std::string>, size_t> seen;  // by run and pictures
  int64_t number = 0;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) continue;
    check(line[first] == '{' || !lines.empty(),
          "{}, line {}: expected the ledger of a sweep, objects of JSON, got {}", path, number,
          quote(line.substr(0, 40)));
    // {"ledger":1,"plan":, with blanks or without; the name of a run stands in that place otherwise.
    if (line.substr(0, 32).find("\"plan\"") != std::string_view::npos) {
      LedgerPlan plan = ledger_plan_from_json(line, text("{}, line {}", path, number));
      if (plans != nullptr) plans->push_back(std::move(plan));
      continue;
    }
    LedgerLine read = ledger_line_from_json(line, text("{}, line {}", path, number));
    const auto [before, fresh] = seen.emplace(std::pair(read.run, read.pictures()), lines.size());
    check(fresh || same_result(lines[before->second], read),
          "{}, line {}: run {} stands there before with another result; remove one of the lines", path,
          number, read.run);
    if (fresh) lines.push_back(std::move(read));
  }
  return lines;
}
#endif

}  // namespace vitrine
