#include "models/training/table_rows.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "engine/check.h"
#include "models/training/plan.h"
#include "models/training/table_facts.h"
#include "models/training/table_order.h"

namespace vitrine {

namespace {

class Sorter {
 public:
  Sorter(const std::vector<LedgerLine>& lines, const std::vector<LedgerPlan>& plans,
         bool backbones_are_columns)
      : lines_(lines), plans_(plans), backbones_are_columns_(backbones_are_columns) {}

  TableRows sort() {
    int64_t aside = 0;
    const std::set<const LedgerLine*> gone = failed_otherwise();
    for (const LedgerLine& l : lines_)
      if (l.other_pictures)
        ++aside;
      else if (!gone.contains(&l))
        all_.push_back({&l});
    if (aside > 0)
      out_.warnings.push_back(text("{}{} of other pictures than the sweep's are left out", aside,
                                   aside == 1 ? " result" : " results"));
    if (!gone.empty())
      out_.warnings.push_back(text("{}{} that failed when a task was asked or resized otherwise {} left out",
                                   gone.size(), gone.size() == 1 ? " run" : " runs",
                                   gone.size() == 1 ? "is" : "are"));
    plan_lines();
    for (const LedgerLine& l : planned_) all_.push_back({&l, true});
    settle_groups();
    name_tasks();
    for (Entry& e : all_) e.base = base_of(*e.line);
    split_by_protocol();
    split_by_point();
    name_rows();
    leave_out_losers();
    place_planned();
    std::map<std::string, int64_t> parameters;  // of a backbone
    for (const Entry& e : all_) {
      int64_t& known = parameters[e.line->backbone_identity];
      known = std::max(known, e.line->backbone_parameters);
    }
    order_rows(out_, parameters, backbones_are_columns_);
    return std::move(out_);
  }

 private:
  struct Entry {
    const LedgerLine* line;
    bool planned = false;
    std::string group{};  // as settle_groups has it
    size_t task = 0;
    std::string base{};    // method, variant, backbone, recipe
    Facts protocol{};      // by which a base is split
    std::string part{};    // base and protocol
    Facts fixed{};         // of a part that is split by what was not searched
    bool searched = true;  // a search had these settings, or this is one
    bool left_out = false;
  };

  // Runs that failed on a task that was asked or made square in a way in which none came to its end, where others did as it
  // is asked otherwise: a suite that was mended.
  std::set<const LedgerLine*> failed_otherwise() const {
    using Place = std::tuple<std::string, std::string, std::string>;
    struct Way {
      Facts asked, resized;
      explicit Way(const LedgerLine& l) : asked(asking_of(l)), resized(preparation_of(l, true)) {}
      // Older lines do not tell how pictures were resized.
      bool same_as(const Way& other) const {
        return asked == other.asked && (resized.empty() || other.resized.empty() || resized == other.resized);
      }
    };
    const auto place_of = [](const LedgerLine& l) { return Place(l.group, l.task, l.backbone_identity); };
    std::map<Place, std::vector<Way>> ended;
    for (const LedgerLine& l : lines_)
      if (l.failed.empty() && !l.other_pictures) ended[place_of(l)].emplace_back(l);
    std::set<const LedgerLine*> out;
    for (const LedgerLine& l : lines_) {
      if (l.failed.empty() || l.other_pictures) continue;
      const auto found = ended.find(place_of(l));
      if (found == ended.end()) continue;
      const Way own(l);
      if (!std::ranges::any_of(found->second, [&](const Way& way) { return way.same_as(own); }))
        out.insert(&l);
    }
    return out;
  }

  // Lines that stand for what plans have, one for each method and task.
  void plan_lines() {
    size_t count = 0;
    for (const LedgerPlan& plan : plans_) count += plan.methods.size() * plan.tasks.size();
    planned_.reserve(count);
    for (const LedgerPlan& plan : plans_)
      for (const LedgerPlan::Task& task : plan.tasks)
        for (const LedgerPlan::Method& method : plan.methods) {
          planned_.push_back(planned_line(plan, task, method));
          if (!task.failed.empty())
            place_in(unopened_, text("task {} could not be opened: {}", task.task, task.failed));
        }
  }

  using Task = std::pair<std::string, std::string>;  // group and name

  // A task that was moved to another group, its pictures being the same, stands where its first line has it: that of the
  // last sweep.
  void settle_groups() {
    std::set<std::string> several;  // names that one plan has in several groups: they are different tasks
    for (const LedgerPlan& plan : plans_) {
      std::set<std::string> names;
      for (const LedgerPlan::Task& task : plan.tasks)
        if (!names.insert(task.task).second) several.insert(task.task);
    }
    std::map<std::string, std::vector<std::string>> groups;  // of a task's name
    std::map<Task, std::set<std::string>> pictures;
    for (const Entry& e : all_) {
      if (e.planned) continue;
      place_in(groups[e.line->task], e.line->group);
      pictures[{e.line->group, e.line->task}].insert(e.line->data_digest);
    }
    const auto first_group = [&](const LedgerLine& l) {
      const std::vector<std::string>& all = groups[l.task];
      if (all.empty() || several.contains(l.task)) return l.group;
      const std::set<std::string>&first = pictures[{all[0], l.task}], &own = pictures[{l.group, l.task}];
      const bool same =
          own.empty() || std::ranges::any_of(own, [&](const auto& d) { return first.contains(d); });
      return same ? all[0] : l.group;
    };
    for (Entry& e : all_) {
      e.group = first_group(*e.line);
      if (e.group != e.line->group)
        place_in(out_.warnings, text("task {} stands in the groups {} and {}; it counts in {}", e.line->task,
                                     e.group, e.line->group, e.group));
    }
  }

  void name_tasks() {
    std::map<std::tuple<std::string, std::string, Stage, int64_t>, std::set<std::string>> digests, contents;
    std::set<Task> several, changed;  // of other names and sizes, or with other contents
    for (const Entry& e : all_) {
      // What failed is no result of other pictures, it may be what they were mended for.
      if (e.planned || e.line->data_digest.empty() || !e.line->failed.empty()) continue;
      const std::tuple key(e.group, e.line->task, e.line->stage, e.line->train_images);
      std::set<std::string>&seen = digests[key], &read = contents[key];
      seen.insert(e.line->data_digest);
      if (!e.line->contents.empty()) read.insert(e.line->contents);
      if (seen.size() > 1) several.insert({e.group, e.line->task});
      if (read.size() > 1) changed.insert({e.group, e.line->task});
    }
    // How pictures become squares may differ from backbone to backbone.
    std::map<Task, std::map<std::string, std::set<Facts>>> squares;
    for (const Entry& e : all_)
      if (const Facts facts = preparation_of(*e.line, true); !facts.empty())
        squares[{e.group, e.line->task}][e.line->backbone_identity].insert(facts);
    const auto facts_of = [&](const Entry& e) {
      const LedgerLine& l = *e.line;
      Facts facts = asking_of(l);
      if (any_several(squares[{e.group, l.task}])) facts.merge(preparation_of(l, true));
      if (several.contains({e.group, l.task})) facts["pictures"] = l.data_digest.substr(0, 6);
      if (changed.contains({e.group, l.task}) && !l.contents.empty())
        facts["contents"] = l.contents.substr(0, 6);
      return facts;
    };
    std::map<Task, std::vector<Facts>> kinds;
    for (const Entry& e : all_)
      if (!e.planned) place_in(kinds[{e.group, e.line->task}], facts_of(e));
    for (Entry& e : all_) {
      const auto found = kinds.find({e.group, e.line->task});
      std::string name = e.line->task;
      if (found != kinds.end() && found->second.size() > 1) {
        std::vector<Facts> sorted = found->second;
        std::ranges::sort(sorted);
        const std::vector<std::string> keys = telling(sorted);
        // What a plan has counts for each of them; where it stands is the first one's place.
        const std::string words = words_of(e.planned ? sorted[0] : facts_of(e), keys);
        if (!words.empty()) name += text(" ({})", words);
        place_in(out_.warnings, text("task {} was run in several ways; each counts as a task", e.line->task));
      }
      e.task = place_in(out_.tasks, {e.group, name});
      of_task_[{e.group, e.line->task}].insert(e.task);
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
    std::map<std::string, std::map<std::string, std::set<Facts>>> prepared;  // by base, of each backbone
    std::map<std::string, Facts> first;  // by base: what a plan, which does not tell it, is taken to mean
    for (const Entry& e : all_)
      if (const Facts facts = preparation_of(*e.line, false); !facts.empty()) {
        prepared[e.base][e.line->backbone_identity].insert(facts);
        first.emplace(e.base, facts);
      }
    struct Batches {
      std::set<int64_t> few, many;
      bool several() const { return few.size() > 1 || many.size() > 1; }
    };
    std::map<std::string, Batches> batches;
    for (Entry& e : all_) {
      e.protocol = protocol_of(*e.line);
      if (any_several(prepared[e.base]))
        e.protocol.merge(e.planned ? Facts(first[e.base]) : preparation_of(*e.line, false));
      Batches& own = batches[e.base + key_of(e.protocol)];
      (has_many(*e.line) ? own.many : own.few).insert(e.line->batch);
    }
    std::set<std::string> split;  // bases
    for (const Entry& e : all_)
      if (batches[e.base + key_of(e.protocol)].several()) split.insert(e.base);
    for (Entry& e : all_) {
      const Batches& own = batches[e.base + key_of(e.protocol)];
      if (own.several())
        e.protocol["batch"] = std::to_string(e.line->batch);
      else if (split.contains(e.base))  // so that its name can tell it from those
        e.protocol["batch"] = text("{}{}{}", own.few.empty() ? "" : std::to_string(*own.few.begin()),
                                   own.few.empty() || own.many.empty() ? "" : " and ",
                                   own.many.empty() ? "" : std::to_string(*own.many.begin()));
      e.part = e.base + key_of(e.protocol);
    }
  }

  static bool any_several(const std::map<std::string, std::set<Facts>>& kinds) {
    return std::ranges::any_of(kinds, [](const auto& of) { return of.second.size() > 1; });
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
      if (!e.planned) place_in(points[e.part], point_of(*e.line));
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
      std::vector<std::string> keys;
      if (const auto& all = protocols[e.base]; all.size() > 1) {
        keys = telling(all);
        tell_split(l, keys);
      }
      // What is not as the recipe has it stands in the name, whether or not there is a row to tell it from.
      Facts facts = e.protocol;
      for (const auto& [name, value] : unusual_of(l)) {
        place_in(keys, name);
        facts.emplace(name, value);
      }
      if (const std::string own = words_of(facts, keys); !own.empty()) add(own);
      if (!e.fixed.empty()) {
        std::vector<std::string> point_keys = telling(points[e.part]);
        if (point_keys.empty()) point_keys = {"learning rate"};  // searched on one task, and given on another
        add(words_of(e.fixed, point_keys));
        tell_split(l, point_keys);
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
      const auto& kinds = of_task_[{e.group, e.line->task}];
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
  for (const LedgerLine& other : all)
    if (other.backbone_identity == line.backbone_identity &&
        (other.backbone == "builtin" || other.backbone == "builtin-swin"))
      return other.backbone;
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
