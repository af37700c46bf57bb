#include "models/training/plan.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/training/sweep_data.h"

namespace vitrine {

namespace {

constexpr int protocol_version = 1;

// A place on a disk is no part of what a task is, its last name is: "vtab:/data/vtab-1k/cifar" -> "vtab:cifar".
std::string data_name(const std::string& data) {
  const size_t colon = data.find(':');
  if (colon == std::string::npos) return data;
  std::string where = data.substr(colon + 1);
  while (!where.empty() && where.back() == '/') where.pop_back();
  return data.substr(0, colon + 1) + where.substr(where.rfind('/') + 1);
}

nlohmann::json task_json(const SuiteTask& task, uint64_t data_seed) {
  nlohmann::json j{{"name", task.name},
                   {"data", data_name(task.data)},
                   {"metric", name_of(task.metric)},
                   {"data_seed", data_seed}};
  if (task.train_limit) j["train_limit"] = *task.train_limit;
  if (task.val) j["val"] = *task.val;
  // Before this was told, a limit was one of train alone, and all of val came on top.
  if (task.train_limit && has_own_val(task)) j["limit"] = "train and val";
  return j;
}

}  // namespace

Plan make_plan(const PlanConfig& config) {
  check(!config.tasks.empty(), "sweep: no tasks");
  check(!config.methods.empty(), "sweep: no methods");
  check(config.seeds >= 1 && config.seeds <= 1000, "sweep: expected 1 to 1000 seeds, got {}", config.seeds);
  std::set<std::string> names;
  for (const SuiteTask& task : config.tasks) {
    check(!task.name.empty() && is_utf8(task.name) && is_utf8(task.group) && is_utf8(task.data),
          "sweep: task {} of {}: its name, group and data must be UTF-8, and the name not empty",
          quote(task.name), quote(task.data));
    check(names.insert(text("{}/{}", task.group, task.name)).second,
          "sweep: task {} is there twice; a suite (--suite FILE) can give its tasks different names",
          quote(task.name));
  }
  std::set<int64_t> sizes;
  for (const int64_t size : config.train_sizes)
    check(sizes.insert(size).second, "sweep: the size {} is there twice", size);
  names.clear();
  for (const std::string& method : config.methods)
    check(names.insert(method).second, "sweep: method {} is there twice", quote(method));

  std::vector<SuiteTask> tasks;
  for (const SuiteTask& task : config.tasks) {
    if (config.train_sizes.empty()) tasks.push_back(task);
    for (const int64_t size : config.train_sizes) {
      tasks.push_back(task);
      if (task.val && (task.train_limit || !has_own_val(task))) {
        const auto limit = static_cast<double>(task.train_limit.value_or(usual_limit));
        const double share = static_cast<double>(*task.val) * static_cast<double>(size) / limit;
        tasks.back().val = std::max(int64_t{1}, static_cast<int64_t>(share));
      }
      tasks.back().train_limit = size;
    }
  }

  check_image_size(config.net, config.preprocess.size);
  Plan plan;
  std::map<std::string, std::pair<std::string, std::string>> runs;  // and the method and task that have it
  for (const SuiteTask& task : tasks) {
    for (const std::string& method : config.methods) {
      Cell cell{.task = task, .method = method, .recipe = &recipe_of(config.preset, method)};
      cell.preprocess = preprocess_for(task, *cell.recipe, config.preprocess);
      try {
        // Other augmentations bear any preparation, which is checked where it is made.
        if (task.augment.shift) check_augment(task.augment, cell.preprocess);
      } catch (const Error& e) {
        fail(e.fault(), "task {}: {}", quote(task.name), e.what());
      }
      std::vector<GridPoint> points = grid_of(*cell.recipe, method, config.changes, config.net);
      // "mlp" is mlp-3; but where sizes are searched the row is that of the family.
      if (std::ranges::all_of(points, [&](const GridPoint& p) { return p.method == points[0].method; }))
        cell.method = points[0].method;
      const auto run = [&](const GridPoint& point, Stage stage, uint64_t seed) {
        PlannedRun out{.stage = stage, .method = point.method, .config = point.config};
        out.config.seed = seed;
        TuneConfig named = out.config;
        named.max_bad = 0;  // how many damaged pictures are allowed changes no result
        const nlohmann::json what{{"protocol", protocol_version},
                                  {"backbone", config.backbone_identity},
                                  {"task", task_json(task, config.data_seed)},
                                  {"method", point.method},
                                  {"settings", nlohmann::json::parse(to_json(named))},
                                  {"preprocess", nlohmann::json::parse(to_json(cell.preprocess))},
                                  {"stage", name_of(stage)}};
        const std::string canonical = what.dump();  // keys are sorted
        out.name = sha256_hex(std::as_bytes(std::span(canonical))).substr(0, 20);
        const auto [found, fresh] = runs.emplace(out.name, std::pair(method, task.name));
        const auto& [other, place] = found->second;
        check(fresh || other == method,
              "sweep: methods {} and {} share runs here: {} with the same settings; leave one of them out",
              quote(other), quote(method), point.method);
        check(fresh,
              "sweep: tasks {} and {} are the same: one name and the same data; a suite can give them "
              "different names",
              quote(place), quote(task.name));
        return out;
      };
      for (GridPoint& point : points) {
        TuneConfig& c = point.config;
        c.workers = config.workers;
        c.max_bad = config.max_bad;
        c.augment = task.augment;
        c.device = config.device;
        c.tf32 = config.tf32;
        if (config.precision) c.precision = config.precision(c.model);
        if (points.size() > 1) cell.search.push_back(run(point, Stage::search, 0));
        std::vector<PlannedRun> seeds;
        for (int64_t seed = 0; seed < config.seeds; ++seed)
          seeds.push_back(run(point, Stage::final, static_cast<uint64_t>(seed)));
        cell.finals.push_back(std::move(seeds));
      }
      plan.search_runs += static_cast<int64_t>(cell.search.size());
      plan.final_runs += config.seeds;
      plan.cells.push_back(std::move(cell));
    }
  }
  return plan;
}

LedgerPlan ledger_plan(const PlanConfig& config, const Plan& plan) {
  const TransformerConfig net = with_classes(config.net, 0);
  const std::string preset = preset_name(net);
  LedgerPlan out{.net = preset.empty() ? describe(net) : preset,
                 .backbone_identity = config.backbone_identity,
                 .seeds = config.seeds,
                 .train_sizes = config.train_sizes};
  for (const SuiteTask& task : config.tasks)
    out.tasks.push_back({task.name, task.group, name_of(task.metric)});
  std::set<std::string> seen;
  for (const Cell& cell : plan.cells) {
    if (!seen.insert(cell.method).second) continue;
    TuneConfig settings = cell.finals[0][0].config;
    settings.augment = {};  // which belongs to the tasks
    settings.max_bad = 0;   // which belongs to no run's name
    out.methods.push_back({cell.method, std::string(cell.recipe->preset), to_json(settings)});
  }
  return out;
}

std::optional<size_t> winner(const std::vector<const LedgerLine*>& results) {
  std::optional<size_t> best;
  const auto better = [](const LedgerLine& a, const LedgerLine& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.learning_rate != b.learning_rate) return a.learning_rate < b.learning_rate;
    if (a.weight_decay != b.weight_decay) return a.weight_decay < b.weight_decay;
    return a.trained_parameters < b.trained_parameters;
  };
  for (size_t i = 0; i < results.size(); ++i)
    if (results[i]->complete() && (!best || better(*results[i], *results[*best]))) best = i;
  return best;
}

}  // namespace vitrine
