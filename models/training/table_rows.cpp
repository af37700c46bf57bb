#include "models/training/table_rows.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"
#include "models/training/plan.h"

namespace vitrine {

namespace {

using Facts = std::map<std::string, std::string>;  // of settings: "epochs" -> "30"

constexpr std::array<std::string_view, 4> augments{"flip", "random_crop", "crop_scale_min", "random_shift"};

template <class T>
size_t place_in(std::vector<T>& list, const T& item) {
  const auto found = std::ranges::find(list, item);
  if (found != list.end()) return static_cast<size_t>(found - list.begin());
  list.push_back(item);
  return list.size() - 1;
}

std::string number_text(double value) { return nlohmann::json(value).dump(); }

nlohmann::json settings_of(const LedgerLine& l) {
  nlohmann::json settings = nlohmann::json::parse(l.settings, nullptr, false);
  check(settings.is_object(), "table: the settings of run {} are no JSON object", l.run);
  return settings;
}

std::string value_text(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Settings of the protocol: all but the seed, what a grid searches, what belongs to the task, and what follows from the
// rest.
Facts protocol_of(const LedgerLine& l) {
  static const std::set<std::string> others{"seed",   "learning_rate", "weight_decay", "prompts",
                                            "method", "batch",         "accumulate",   "classes",
                                            "flip",   "random_crop",   "random_shift", "crop_scale_min"};
  Facts out;
  const nlohmann::json settings = settings_of(l);
  for (const auto& [key, value] : settings.items())
    if (!others.contains(key)) out[key] = value_text(value);
  out["epochs"] = std::to_string(l.epochs);
  return out;
}

// The facts that tell some sets of them apart, as few as will do, those that say most first.
std::vector<std::string> telling(const std::vector<Facts>& all) {
  static const std::vector<std::string> first{"epochs", "batch",     "optimizer", "learning rate",
                                              "metric", "drop_path", "device",    "precision"};
  std::vector<std::string> keys = first, chosen;
  std::set<std::string> rest;
  for (const Facts& facts : all)
    for (const auto& [key, unused] : facts)
      if (key != "warmup_epochs" && key != "pictures") rest.insert(key);
  for (const std::string& key : rest) place_in(keys, key);
  keys.insert(keys.end(), {"warmup_epochs", "pictures"});
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
    std::string name = key;
    std::ranges::replace(name, '_', ' ');
    const auto found = facts.find(key);
    out += text("{}{}", out.empty() ? "" : ", ",
                found == facts.end() ? text("no {}", name) : text("{} {}", name, found->second));
  }
  return out;
}

std::string key_of(const Facts& facts) { return nlohmann::json(facts).dump(); }

class Sorter {
 public:
  Sorter(const std::vector<LedgerLine>& lines, const std::vector<LedgerPlan>& plans,
         bool backbones_are_columns)
      : lines_(lines), plans_(plans), backbones_are_columns_(backbones_are_columns) {}

  TableRows sort() {
    int64_t aside = 0;
    for (const LedgerLine& l : lines_)
      if (l.other_pictures)
        ++aside;
      else
        all_.push_back({&l});
    if (aside > 0)
      out_.warnings.push_back(text("{}{} of other pictures than the sweep's are left out", aside,
                                   aside == 1 ? " result" : " results"));
    plan_lines();
    for (const LedgerLine& l : planned_) all_.push_back({&l, true});
    name_tasks();
    for (Entry& e : all_) e.base = base_of(*e.line);
    split_by_protocol();
    split_by_point();
    name_rows();
    leave_out_losers();
    place_planned();
    return std::move(out_);
  }

 private:
  struct Entry {
    const LedgerLine* line;
    bool planned = false;
    size_t task = 0;
    std::string base{};    // method, variant, backbone, recipe
    Facts protocol{};      // by which a base is split
    std::string part{};    // base and protocol
    Facts fixed{};         // of a part that is split by what was not searched
    bool searched = true;  // a search had these settings, or this is one
    bool left_out = false;
  };

  // Lines that stand for what plans have, one for each method and task.
  void plan_lines() {
    size_t count = 0;
    for (const LedgerPlan& plan : plans_) count += plan.methods.size() * plan.tasks.size();
    planned_.reserve(count);
    for (const LedgerPlan& plan : plans_)
      for (const LedgerPlan::Task& task : plan.tasks)
        for (const LedgerPlan::Method& method : plan.methods) {
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
          if (!task.failed.empty()) {
            l.failed = task.failed;
            place_in(unopened_, text("task {} could not be opened: {}", task.task, task.failed));
          }
          planned_.push_back(l);
        }
  }

  void name_tasks() {
    using Task = std::pair<std::string, std::string>;
    std::map<std::tuple<std::string, std::string, Stage, int64_t>, std::set<std::string>> digests;
    std::set<Task> several;
    for (const Entry& e : all_) {
      if (e.planned || e.line->data_digest.empty()) continue;
      std::set<std::string>& seen =
          digests[{e.line->group, e.line->task, e.line->stage, e.line->train_images}];
      seen.insert(e.line->data_digest);
      if (seen.size() > 1) several.insert({e.line->group, e.line->task});
    }
    const auto facts_of = [&](const LedgerLine& l) {
      Facts facts{{"metric", l.metric}};
      const nlohmann::json settings = settings_of(l);
      for (const std::string_view key : augments)
        if (const auto found = settings.find(key); found != settings.end())
          facts[std::string(key)] = value_text(*found);
      // Told only if it was done.
      if (!facts.contains("random_shift")) facts["random_shift"] = "false";
      if (several.contains({l.group, l.task})) facts["pictures"] = l.data_digest.substr(0, 6);
      return facts;
    };
    std::map<Task, std::vector<Facts>> kinds;
    for (const Entry& e : all_)
      if (!e.planned) place_in(kinds[{e.line->group, e.line->task}], facts_of(*e.line));
    for (Entry& e : all_) {
      const auto found = kinds.find({e.line->group, e.line->task});
      std::string name = e.line->task;
      if (found != kinds.end() && found->second.size() > 1) {
        std::vector<Facts> sorted = found->second;
        std::ranges::sort(sorted);
        const std::vector<std::string> keys = telling(sorted);
        // What a plan has counts for each of them; where it stands is the first one's place.
        name += text(" ({})", words_of(e.planned ? sorted[0] : facts_of(*e.line), keys));
        place_in(out_.warnings, text("task {} was run in several ways; each counts as a task", e.line->task));
      }
      e.task = place_in(out_.tasks, {e.line->group, name});
      of_task_[{e.line->group, e.line->task}].insert(e.task);
    }
  }

  std::string base_of(const LedgerLine& l) const {
    return nlohmann::json{l.method, l.variant, backbones_are_columns_ ? "" : l.backbone_identity, l.recipe}
        .dump();
  }

  // Large numbers of prompts may have a batch of their own in one grid, so a row is split by its batch only where few or
  // many prompts have several.
  static bool has_many(const LedgerLine& l) {
    const std::vector<std::string_view> presets = preset_names();
    return l.prompts >= 100 && std::ranges::find(presets, l.recipe) != presets.end() &&
           recipe_of(l.recipe, l.method).batch_of_many.base > 0;
  }

  void split_by_protocol() {
    std::map<std::string, std::set<int64_t>> few, many;
    for (Entry& e : all_) {
      e.protocol = protocol_of(*e.line);
      (has_many(*e.line) ? many : few)[e.base + key_of(e.protocol)].insert(e.line->batch);
    }
    for (Entry& e : all_) {
      const std::string key = e.base + key_of(e.protocol);
      if (few[key].size() > 1 || many[key].size() > 1) e.protocol["batch"] = std::to_string(e.line->batch);
      e.part = e.base + key_of(e.protocol);
    }
  }

  // What a grid searches.
  static Facts point_of(const LedgerLine& l) {
    Facts out{{"learning rate", number_text(l.learning_rate)}, {"weight decay", number_text(l.weight_decay)}};
    if (l.form != l.method) out["form"] = l.form;
    if (l.prompts > 0 && l.variant.find("init class-tokens") == std::string::npos)
      out["prompts"] = std::to_string(l.prompts);
    return out;
  }
  // A part on a task, of one choice of pictures, with one backbone (also where a row has several in its columns): what one
  // search decides.
  static std::string cell_of(const Entry& e) {
    return text("{} {} {} {}", e.part, e.task, e.line->data_digest, e.line->backbone_identity);
  }

  void split_by_point() {
    std::set<std::string> searched;
    for (const Entry& e : all_)
      if (!e.planned && e.line->stage == Stage::search)
        searched.insert(cell_of(e) + key_of(point_of(*e.line)));
    std::map<std::string, std::set<std::string>>
        points;  // of a cell, which no search led to, and "" for those it did
    std::set<std::string> split;
    for (Entry& e : all_) {
      if (e.planned || e.line->stage == Stage::search) continue;
      const std::string point = key_of(point_of(*e.line));
      e.searched = searched.contains(cell_of(e) + point);
      std::set<std::string>& seen = points[cell_of(e)];
      seen.insert(e.searched ? "" : point);
      if (seen.size() > 1) split.insert(e.part);
    }
    for (Entry& e : all_)
      if (!e.planned && !e.searched && split.contains(e.part)) e.fixed = point_of(*e.line);
  }

  void name_rows() {
    std::map<std::string, std::vector<Facts>> protocols, points;
    std::vector<std::string> identities, recipes, versions;
    for (const Entry& e : all_) {
      place_in(protocols[e.base], e.protocol);
      if (!e.fixed.empty()) place_in(points[e.part], e.fixed);
      place_in(identities, e.line->backbone_identity);
      place_in(recipes, e.line->recipe);
      if (!e.planned) place_in(versions, e.line->version);
    }
    for (auto* each : {&protocols, &points})
      for (auto& [key, facts] : *each) std::ranges::sort(facts);
    const bool with_backbone = identities.size() > 1 && !backbones_are_columns_;
    if (with_backbone)
      out_.warnings.push_back(
          text("the ledger has results of {} backbones; each has rows of its own, and rows of different "
               "backbones do not compare methods",
               identities.size()));
    if (recipes.size() > 1)
      out_.warnings.push_back(
          text("the ledger has results of {} recipes; each has rows of its own, and rows of different "
               "recipes do not compare methods",
               recipes.size()));
    if (versions.size() > 1)
      out_.warnings.push_back(text("the ledger has results of {} versions of the program", versions.size()));
    std::map<std::string, size_t> place;
    for (Entry& e : all_) {
      const std::string key = e.part + (e.fixed.empty() ? "" : key_of(e.fixed));
      // What is planned may have become several rows; none is made beside them.
      if (e.planned && !of_part_[e.part].empty()) {
        rows_.push_back(of_part_[e.part][0]);
        continue;
      }
      const auto [found, fresh] = place.emplace(key, out_.rows.size());
      rows_.push_back(found->second);
      if (!fresh) continue;
      of_part_[e.part].push_back(found->second);
      const LedgerLine& l = *e.line;
      std::string words;
      const auto add = [&](const std::string& more) {
        words += text("{}{}", words.empty() ? "" : ", ", more);
      };
      if (const auto& all = protocols[e.base]; all.size() > 1) {
        const std::vector<std::string> keys = telling(all);
        add(words_of(e.protocol, keys));
        tell_split(l, keys);
      }
      if (!e.fixed.empty()) {
        std::vector<std::string> keys = telling(points[e.part]);
        if (std::ranges::find(keys, "learning rate") == keys.end())
          keys.insert(keys.begin(), "learning rate");
        add(words_of(e.fixed, keys));
        tell_split(l, keys);
      }
      const std::string inner =
          text("{}{}{}", l.variant, l.variant.empty() || words.empty() ? "" : ", ", words);
      out_.rows.push_back({text("{}{}{}{}", l.method, inner.empty() ? "" : text(" ({})", inner),
                                with_backbone ? text(", {}", TableRows::net_name(l, lines_)) : "",
                                recipes.size() > 1 ? text(", recipe {}", l.recipe) : ""),
                           words, l});
    }
  }

  void tell_split(const LedgerLine& l, const std::vector<std::string>& keys) {
    std::string list;
    for (const std::string& key : keys) {
      std::string name = key;
      std::ranges::replace(name, '_', ' ');
      list += text("{}{}", list.empty() ? "" : ", ", name);
    }
    place_in(out_.warnings, text("{}{} was run with several settings ({}); each has a row of its own",
                                 l.method, l.variant.empty() ? "" : text(" ({})", l.variant), list));
  }

  // Of the settings that a search tried, the final runs of those with the best score on val count. Where a search was
  // extended, or a part of it done again, these may not be there yet.
  void leave_out_losers() {
    struct Tried {
      std::map<std::string, std::vector<const LedgerLine*>> search;  // by point
      std::set<std::string> finals;
    };
    std::map<std::string, Tried> cells;
    for (const Entry& e : all_) {
      if (e.planned || !e.searched) continue;
      Tried& cell = cells[cell_of(e)];
      const std::string point = key_of(point_of(*e.line));
      if (e.line->stage == Stage::search)
        cell.search[point].push_back(e.line);
      else
        cell.finals.insert(point);
    }
    std::map<std::string, std::string> chosen;
    std::set<std::string> untested;
    for (const auto& [key, cell] : cells) {
      if (cell.finals.empty()) continue;
      std::vector<const LedgerLine*> candidates;  // in an order of their own, whatever the ledger's
      std::vector<std::string> points;
      for (const auto& [point, lines] : cell.search) {
        points.push_back(point);
        candidates.push_back(*std::ranges::min_element(lines, {}, &LedgerLine::run));
      }
      const auto won = winner(candidates);
      chosen[key] = won ? points[*won] : *cell.finals.begin();
      if (!cell.finals.contains(chosen[key])) untested.insert(key);
    }
    for (size_t i = 0; i < all_.size(); ++i) {
      Entry& e = all_[i];
      if (e.planned) continue;
      if (e.line->stage == Stage::final && e.searched) {
        const auto found = chosen.find(cell_of(e));
        e.left_out = found != chosen.end() && found->second != key_of(point_of(*e.line));
      }
      if (!e.left_out) {
        out_.lines.push_back({e.line, rows_[i], e.task});
        continue;
      }
      place_in(
          out_.warnings,
          text("{} on {}{}", out_.rows[rows_[i]].label, e.line->task,
               untested.contains(cell_of(e))
                   ? ": the settings that are the best on val now were not tested yet; the same sweep does it"
                   : ": tests of settings that were not the best on val are left out"));
    }
  }

  void place_planned() {
    for (const Entry& e : all_) {
      if (!e.planned) continue;
      const auto& kinds = of_task_[{e.line->group, e.line->task}];
      out_.planned.push_back({of_part_[e.part],
                              {kinds.begin(), kinds.end()},
                              static_cast<int64_t>(e.line->seed),
                              !e.line->failed.empty()});
    }
    out_.warnings.insert(out_.warnings.end(), unopened_.begin(), unopened_.end());
  }

  const std::vector<LedgerLine>& lines_;
  const std::vector<LedgerPlan>& plans_;
  bool backbones_are_columns_;
  std::vector<LedgerLine> planned_;
  std::vector<Entry> all_;
  std::vector<size_t> rows_;  // of each entry
  std::map<std::string, std::vector<size_t>> of_part_;
  std::map<std::pair<std::string, std::string>, std::set<size_t>> of_task_;
  std::vector<std::string> unopened_;
  TableRows out_;
};

}  // namespace

std::string TableRows::net_name(const LedgerLine& line, const std::vector<LedgerLine>& all) {
  const bool several = std::ranges::any_of(all, [&](const LedgerLine& other) {
    return other.net == line.net && other.backbone_identity != line.backbone_identity;
  });
  return several ? text("{} {}", line.net, line.backbone_identity.substr(0, 8)) : line.net;
}

TableRows table_rows(const std::vector<LedgerLine>& lines, const std::vector<LedgerPlan>& plans,
                     bool backbones_are_columns) {
  return Sorter(lines, plans, backbones_are_columns).sort();
}

}  // namespace vitrine
