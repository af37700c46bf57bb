#include "models/training/table_facts.h"

#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"
#include "models/training/recipes.h"

namespace vitrine {

namespace {

std::string number_text(double value) { return nlohmann::json(value).dump(); }

nlohmann::json settings_of(const LedgerLine& l) {
  nlohmann::json settings = nlohmann::json::parse(l.settings, nullptr, false);
  check(settings.is_object(), "table: the settings of run {} are no JSON object", l.run);
  return settings;
}

std::string value_text(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  const std::string words = value.dump();
  return value.is_number_float() && words.ends_with(".0") ? words.substr(0, words.size() - 2) : words;
}

}  // namespace

LedgerLine planned_line(const LedgerPlan& plan, const LedgerPlan::Task& task,
                        const LedgerPlan::Method& method) {
  LedgerLine l;
  l.task = task.task;
  l.group = task.group;
  l.metric = task.metric;
  l.method = l.form = method.method;
  l.recipe = method.recipe;
  l.settings = method.settings;
  const nlohmann::json settings = settings_of(l);
  l.epochs = settings.value("epochs", int64_t{0});
  l.batch = settings.value("batch", int64_t{0});
  l.prompts = settings.value("prompts", int64_t{0});
  l.variant = variant_words(l.settings, usual_dropout(l.recipe, l.method));
  l.net = plan.net;
  l.backbone_identity = plan.backbone_identity;
  l.seed = static_cast<uint64_t>(plan.seeds);
  l.failed = task.failed;
  return l;
}

Facts asking_of(const LedgerLine& l) {
  Facts out{{"metric", l.metric}, {"random_shift", "false"}};  // which is told only if it was done
  const nlohmann::json settings = settings_of(l);
  for (const char* key : {"flip", "random_crop", "crop_scale_min", "random_shift"})
    if (const auto found = settings.find(key); found != settings.end()) out[key] = value_text(*found);
  return out;
}

Facts protocol_of(const LedgerLine& l) {
  static const std::set<std::string> others{"seed",          "learning_rate", "weight_decay", "prompts",
                                            "method",        "batch",         "accumulate",   "classes",
                                            "max_bad",       "flip",          "random_crop",  "random_shift",
                                            "crop_scale_min"};
  Facts out;
  const nlohmann::json settings = settings_of(l);
  for (const auto& [key, value] : settings.items())
    if (!others.contains(key)) out[key] = value_text(value);
  out["epochs"] = std::to_string(l.epochs);
  return out;
}

Facts preparation_of(const LedgerLine& l, bool of_task) {
  if (l.preprocess.empty()) return {};
  const nlohmann::json prepared = nlohmann::json::parse(l.preprocess, nullptr, false);
  check(prepared.is_object(), "table: the preparation of run {} is no JSON object", l.run);
  if (of_task) {  // in the words of a suite
    const bool squash = prepared.value("squash", false), crop = prepared.value("crop_squashed", false);
    return {{"resize", crop ? "squash and crop" : squash ? "squash" : "crop"}};
  }
  Facts out{{"exif", "false"}};
  for (const auto& [key, value] : prepared.items())
    if (key != "squash" && key != "crop_squashed") out[key] = value_text(value);
  return out;
}

std::vector<std::pair<std::string, std::string>> unusual_of(const LedgerLine& l) {
  const std::vector<std::string_view> presets = preset_names();
  if (std::ranges::find(presets, l.recipe) == presets.end()) return {};
  const Recipe& usual = recipe_of(l.recipe, l.method);
  const nlohmann::json settings = settings_of(l);
  std::vector<std::pair<std::string, std::string>> out;
  const auto tell = [&](const char* key, const std::vector<nlohmann::json>& expected) {
    const auto found = settings.find(key);
    if (found != settings.end() && std::ranges::find(expected, *found) == expected.end())
      out.emplace_back(key, value_text(*found));
  };
  // Which size the net has does not stand in a ledger, so the numbers of any size are usual.
  const BySize &epochs = usual.epochs, &few = usual.batch, &many = usual.batch_of_many;
  tell("epochs", {epochs.base, epochs.large, epochs.huge});
  tell("batch", {few.base, few.large, few.huge, many.base, many.large, many.huge});
  tell("optimizer", {usual.optimizer == OptimizerKind::sgd ? "sgd" : "adamw"});
  tell("drop_path", {usual.drop_path});
  // Warm-up shrinks with the epochs by itself.
  tell("warmup_epochs", {usual.warmup, std::min(usual.warmup, static_cast<double>(l.epochs) / 10)});
  return out;
}

std::vector<std::string> telling(const std::vector<Facts>& all) {
  static const std::vector<std::string> first{"epochs", "batch",     "optimizer", "learning rate",
                                              "metric", "drop_path", "device",    "precision"};
  std::vector<std::string> keys = first, chosen;
  std::set<std::string> rest;
  for (const Facts& facts : all)
    for (const auto& [key, unused] : facts)
      if (key != "warmup_epochs" && key != "pictures" && key != "contents") rest.insert(key);
  for (const std::string& key : rest) place_in(keys, key);
  std::stable_partition(keys.begin(), keys.end(), [&](const std::string& key) {
    return std::ranges::all_of(all, [&](const Facts& facts) { return facts.contains(key); });
  });
  keys.insert(keys.end(), {"warmup_epochs", "pictures", "contents"});
  const auto kinds = [&](const std::vector<std::string>& by) {
    std::set<std::vector<std::string>> seen;
    for (const Facts& facts : all) {
      std::vector<std::string> values;
      for (const std::string& key : by) values.push_back(facts.contains(key) ? facts.at(key) : "");
      seen.insert(values);
    }
    return seen.size();
  };
  size_t now = 1;
  for (const std::string& key : keys) {
    chosen.push_back(key);
    if (const size_t then = kinds(chosen); then > now)
      now = then;
    else
      chosen.pop_back();
  }
  return chosen;
}

std::string words_of(const Facts& facts, const std::vector<std::string>& keys) {
  std::string out;
  for (const std::string& key : keys) {
    const auto found = facts.find(key);
    if (found == facts.end()) continue;
    std::string name = key;
    std::ranges::replace(name, '_', ' ');
    out += text("{}{} {}", out.empty() ? "" : ", ", name, found->second);
  }
  return out;
}

std::string key_of(const Facts& facts) { return nlohmann::json(facts).dump(); }

Facts point_of(const LedgerLine& l) {
  Facts out{{"learning rate", number_text(l.learning_rate)}, {"weight decay", number_text(l.weight_decay)}};
  if (l.form != l.method) out["form"] = l.form;
  if (l.prompts > 0 && l.variant.find("init class-tokens") == std::string::npos)
    out["prompts"] = std::to_string(l.prompts);
  return out;
}

}  // namespace vitrine
