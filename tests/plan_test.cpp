// plan_test.cpp: the runs of a comparison: recipes, names of runs, and who wins a search.
#include "models/training/plan.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "models/training/recipes.h"
#include "models/training/sweep_data.h"
#include "sweep_runs.h"

namespace vitrine::testing {

namespace {

LedgerLine line_of(double score, double rate, double decay = 0, int64_t trained = 10) {
  LedgerLine line;
  line.run = "0";
  line.score = score;
  line.learning_rate = rate;
  line.weight_decay = decay;
  line.trained_parameters = trained;
  return line;
}

std::optional<size_t> winner_of(const std::vector<LedgerLine>& lines) {
  std::vector<const LedgerLine*> pointers;
  for (const LedgerLine& line : lines) pointers.push_back(&line);
  return winner(pointers);
}

}  // namespace

TEST_CASE("plan: the greatest accuracy wins, then the smaller rate, decay and count, then the first") {
  CHECK(winner_of({line_of(0.5, 1), line_of(0.6, 9), line_of(0.4, 0.1)}) == 1);
  CHECK(winner_of({line_of(0.5, 2), line_of(0.5, 1), line_of(0.5, 3)}) == 1);
  CHECK(winner_of({line_of(0.5, 1, 0.1), line_of(0.5, 1, 0.01), line_of(0.5, 1, 0.2)}) == 1);
  CHECK(winner_of({line_of(0.5, 1, 0, 30), line_of(0.5, 1, 0, 20), line_of(0.5, 1, 0, 40)}) == 1);
  CHECK(winner_of({line_of(0.5, 1), line_of(0.5, 1)}) == 0);
  LedgerLine lost = line_of(0.9, 1);
  lost.diverged = "the loss is not finite";
  CHECK(winner_of({lost, line_of(0.1, 1)}) == 1);
  CHECK(winner_of({lost, lost}) == std::nullopt);
  CHECK(winner_of({}) == std::nullopt);
}

TEST_CASE("plan: recipes are the paper's grids, with rates for the batch of each") {
  const TransformerConfig vit = preset("vit-b16"), swin = preset("swin-b");
  const auto grid = [](const char* name, const std::string& method, const TransformerConfig& net,
                       const GridChanges& changes = {}) {
    return grid_of(recipe_of(name, method), method, changes, net);
  };
  // 10 rates, 4 decays, and 6 lengths for a ViT, 4 for a Swin.
  CHECK(grid("paper", "vpt-deep", vit).size() == 240);
  CHECK(grid("paper", "vpt-deep", swin).size() == 160);
  CHECK(grid("paper", "linear", vit).size() == 40);
  CHECK(grid("paper", "full", vit).size() == 16);
  for (const GridPoint& point : grid("paper", "vpt-deep", vit)) {
    const TuneConfig& c = point.config;
    CHECK(c.batch == (c.model.prompts.count < 100 ? 128 : 64));
    const double base = c.learning_rate * 256 / static_cast<double>(c.batch);
    const std::vector<double>& rates = recipe_of("paper", "vpt-deep").learning_rates;
    CHECK(std::ranges::any_of(rates,
                              [&](double rate) { return rate == doctest::Approx(base).epsilon(1e-12); }));
    CHECK(c.model.prompts.dropout == 0.1);
    CHECK(c.optimizer.kind == OptimizerKind::sgd);
    CHECK(c.epochs == 100);
    CHECK(c.warmup_epochs == 10);
  }
  CHECK(grid("paper", "vpt-shallow", vit)[0].config.model.prompts.dropout == 0);
  CHECK(grid("paper", "vpt-deep", preset("vit-l16"))[0].config.epochs == 50);
  // Parts of a batch that would not fit.
  CHECK(grid("paper", "full", vit)[0].config.accumulate == 1);
  CHECK(grid("retuned", "vpt-deep", vit)[0].config.learning_rate == 1e-3);
  CHECK(grid("retuned", "vpt-deep", vit)[0].config.model.drop_path == 0.1);
  CHECK(keeps_features(grid("retuned", "linear", vit)[0].config));
  GridChanges changes;
  changes.learning_rates = {0.5};
  changes.prompts = {7};
  changes.weight_decays = {0.25, 0.5};
  changes.batch = 32;
  const auto changed = grid("paper", "vpt-deep", vit, changes);
  REQUIRE(changed.size() == 2);
  CHECK(changed[0].config.learning_rate == 0.5);
  CHECK(changed[1].config.optimizer.weight_decay == 0.5);
  CHECK(changed[0].config.model.prompts.count == 7);
  changes.learning_rates = {};
  changes.base_learning_rates = {2};
  CHECK(grid("quick", "vpt-deep", vit, changes)[0].config.learning_rate == 0.25);
  changes.learning_rates = {1};
  CHECK_THROWS_AS(grid("quick", "vpt-deep", vit, changes), Error);
  changes.base_learning_rates = {};
  changes.weight_decays = {1, 1};
  CHECK_THROWS_WITH_AS(grid("quick", "linear", vit, changes), doctest::Contains("twice"), Error);
  // Sizes are a part of the grid where a family is asked for.
  const auto adapters = grid("paper", "adapter", vit);
  CHECK(adapters.size() == 3 * 16);
  CHECK(adapters[0].method == "adapter-8");
  CHECK(adapters[47].method == "adapter-256");
  CHECK(grid("paper", "adapter-64", vit).size() == 16);
  CHECK(grid("quick", "mlp", vit)[0].method == "mlp-3");
  // Sizes that the width does not allow: not searched, and refused if they are asked for.
  TransformerConfig narrow = VitConfig{.image_size = 32, .patch = 8, .width = 64, .depth = 2, .heads = 2};
  CHECK(grid("paper", "adapter", narrow).size() == 2 * 16);
  CHECK(grid("paper", "adapter-64", narrow).size() == 16);
  CHECK_THROWS_WITH_AS(grid("quick", "adapter-65", narrow),
                       doctest::Contains("method adapter-65: the backbone's width of 64"), Error);
  CHECK_THROWS_WITH_AS(grid("quick", "lora-65", narrow),
                       doctest::Contains("method lora-65: expected a rank of 1 to 64, got 65"), Error);
  CHECK(grid("quick", "lora-64", narrow).size() == grid("quick", "lora-8", narrow).size());
  CHECK_THROWS_WITH_AS(grid("quick", "cls", swin), doctest::Contains("class token"), Error);
  GridChanges projected;
  projected.prompt_projection = 8;
  CHECK(grid("paper", "vpt-deep", vit, projected)[0].config.model.prompts.projection == 8);
  CHECK(grid("paper", "linear", vit, projected)[0].config.model.prompts.projection == 0);
  GridChanges variant;
  variant.variant.location = PromptLocation::add;
  CHECK(grid("quick", "vpt-shallow", vit, variant).size() == 2);
  CHECK(grid("quick", "vpt-shallow", vit, variant)[0].config.model.prompts.location == PromptLocation::add);
  variant.variant = {.start = PromptStart::class_tokens};
  CHECK(grid("paper", "vpt-deep", vit, variant).size() == 40);  // there are no lengths to try
  CHECK_THROWS_WITH_AS(grid("paper", "vpt-deep", swin, variant), doctest::Contains("no class token"), Error);
  GridChanges some;
  some.variant = {.first = 0, .last = 13};
  CHECK_THROWS_WITH_AS(grid("quick", "vpt-deep", vit, some),
                       doctest::Contains("method vpt-deep: prompts: expected blocks among 1-12, got 1-13"),
                       Error);
  some.variant = {.shared = true};
  CHECK_THROWS_WITH_AS(grid("quick", "vpt-shallow", vit, some), doctest::Contains("method vpt-shallow: "),
                       Error);
  variant.prompts = {10};
  CHECK_THROWS_WITH_AS(grid("paper", "vpt-deep", vit, variant), doctest::Contains("no other lengths"), Error);
  CHECK_THROWS_WITH_AS(recipe_of("papre", "linear"), doctest::Contains("did you mean paper"), Error);
  for (const std::string_view name : preset_names())
    for (const char* method : {"linear", "full", "vpt-shallow", "vpt-deep"})
      CHECK(!grid(std::string(name).c_str(), method, vit).empty());
}

TEST_CASE("plan: a run's name depends on all that its result depends on, and on nothing else") {
  const Made made("unused");
  PlanConfig plan = made.config.plan;
  std::set<std::string> names;
  const auto names_of = [](const PlanConfig& p) {
    std::vector<std::string> out;
    for (const Cell& cell : make_plan(p).cells) {
      for (const PlannedRun& run : cell.search) out.push_back(run.name);
      for (const auto& seeds : cell.finals)
        for (const PlannedRun& run : seeds) out.push_back(run.name);
    }
    return out;
  };
  const std::vector<std::string> before = names_of(plan);
  CHECK(before.size() == 6);  // two points, and two seeds of each
  CHECK(std::set(before.begin(), before.end()).size() == 6);
  const auto same = [&](auto change) {
    PlanConfig other = plan;
    change(other);
    return names_of(other) == before;
  };
  CHECK(same([](PlanConfig& p) { p.workers = 3; }));
  CHECK(same([](PlanConfig& p) { p.tasks[0].group = "renamed"; }));
  const auto differs = [&](auto change) {
    PlanConfig other = plan;
    change(other);
    for (const std::string& name : names_of(other))
      if (std::ranges::find(before, name) != before.end()) return false;
    return true;
  };
  CHECK(differs([](PlanConfig& p) { p.tasks[0].name = "other"; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].data = "synthetic:shapes"; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].train_limit = 40; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].val = 9; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].metric = Metric::top5; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].resize = ResizeMode::squash; }));
  CHECK(differs([](PlanConfig& p) { p.tasks[0].augment.flip = true; }));
  CHECK(differs([](PlanConfig& p) { p.backbone_identity = "another"; }));
  CHECK(differs([](PlanConfig& p) { p.preprocess.mean[0] += 0.1F; }));
  CHECK(differs([](PlanConfig& p) { p.precision = [](const TunedConfig&) { return Precision::bf16; }; }));
  CHECK(differs([](PlanConfig& p) { p.device = "cuda"; }));
  CHECK(differs([](PlanConfig& p) { p.data_seed = 1; }));
  CHECK(differs([](PlanConfig& p) { p.changes.epochs = 3; }));
  CHECK(differs([](PlanConfig& p) { p.changes.batch = 3; }));
  CHECK(differs([](PlanConfig& p) { p.methods = {"vpt-deep"}; }));
  // How prompts start is told only where it is unusual: names of runs from before there was a choice stay.
  CHECK(variant_to_json({.kind = PromptKind::deep, .count = 3}).empty());
  PlanConfig prompted = plan, from_tokens = plan;
  prompted.methods = from_tokens.methods = {"vpt-deep"};
  from_tokens.changes.prompts = {};
  from_tokens.changes.variant.start = PromptStart::class_tokens;
  const std::vector<std::string> before_tokens = names_of(prompted);
  for (const std::string& name : names_of(from_tokens))
    CHECK(std::ranges::find(before_tokens, name) == before_tokens.end());
  // Where a folder lies is no part of a task; its last name is.
  CHECK(!same([](PlanConfig& p) { p.tasks[0].data = "folder:/a/flowers"; }));
  PlanConfig here = plan, there = plan;
  here.tasks[0].data = "folder:/a/flowers";
  there.tasks[0].data = "folder:b/c/flowers/";
  CHECK(names_of(here) == names_of(there));
  // The settings alone tell a retuned run from one of the paper.
  CHECK(differs([](PlanConfig& p) { p.preset = "paper"; }));

  // A row is named with its size, but where sizes are searched.
  plan.methods = {"mlp", "adapter"};
  CHECK(make_plan(plan).cells[0].method == "mlp-3");
  PlanConfig sizes = plan;
  sizes.preset = "paper";
  CHECK(make_plan(sizes).cells[1].method == "adapter-8");  // the width allows no other
  sizes.net = preset("vit-b16");
  sizes.preprocess.size = 224;
  CHECK(make_plan(sizes).cells[1].method == "adapter");
  sizes.preprocess.size = 32;
  CHECK_THROWS_AS(make_plan(sizes), Error);  // no run could see such pictures
  plan.methods = {"mlp", "mlp-3"};
  CHECK_THROWS_WITH_AS(make_plan(plan), doctest::Contains("methods 'mlp' and 'mlp-3' share runs here"),
                       Error);
  plan.methods = {"linear"};

  plan.tasks.push_back(task_of("colors"));
  CHECK_THROWS_WITH_AS(make_plan(plan), doctest::Contains("twice"), Error);
  plan.tasks[1].group = "another group";
  CHECK_THROWS_WITH_AS(make_plan(plan), doctest::Contains("tasks 'colors' and 'colors' are the same"), Error);
  plan.tasks = {};
  CHECK_THROWS_AS(make_plan(plan), Error);
}

TEST_CASE("plan: with sizes a task's own val keeps its share of its limit") {
  Made made("unused");
  SuiteTask& task = made.config.plan.tasks[0];
  task.train_limit = 1000;
  task.val = 200;
  made.config.plan.train_sizes = {3, 50, 1000};
  const Plan plan = make_plan(made.config.plan);
  CHECK(plan.cells[0].task.val == 1);
  CHECK(plan.cells[1].task.val == 10);
  CHECK(plan.cells[2].task.val == 200);
  task.train_limit.reset();
  CHECK(make_plan(made.config.plan).cells[1].task.val == 200);  // of a val of the data's own
  task.data = "fashion-mnist:mnist";
  REQUIRE(!has_own_val(task));
  CHECK(make_plan(made.config.plan).cells[1].task.val == 10);  // of the 1,000 that are taken without a limit
  task.val = int64_t{1} << 39;
  made.config.plan.train_sizes = {int64_t{1} << 40};
  CHECK(make_plan(made.config.plan).cells[0].task.val > 0);
}

TEST_CASE("plan: names of runs from before limits were of train and val stay where they mean the same") {
  const Made made("unused");
  const auto old_name = [&](const SuiteTask& task) {
    PlanConfig plan = made.config.plan;
    plan.tasks = {task};
    const Cell cell = make_plan(plan).cells[0];
    nlohmann::json j{{"name", task.name}, {"data", task.data}, {"metric", "top1"}, {"data_seed", 0}};
    if (task.train_limit) j["train_limit"] = *task.train_limit;
    if (task.val) j["val"] = *task.val;
    const nlohmann::json what{{"protocol", 1},
                              {"backbone", plan.backbone_identity},
                              {"task", j},
                              {"method", "linear"},
                              {"settings", nlohmann::json::parse(to_json(cell.search[0].config))},
                              {"preprocess", nlohmann::json::parse(to_json(cell.preprocess))},
                              {"stage", "search"}};
    const std::string canonical = what.dump();
    return std::pair(cell.search[0].name, sha256_hex(std::as_bytes(std::span(canonical))).substr(0, 20));
  };
  SuiteTask own = task_of("colors"), none = task_of("colors");
  none.data = "fashion-mnist:mnist";
  none.val = 8;
  REQUIRE(!has_own_val(none));
  CHECK(old_name(none).first == old_name(none).second);
  CHECK(old_name(own).first != old_name(own).second);
  own.train_limit.reset();
  CHECK(old_name(own).first == old_name(own).second);
}

}  // namespace vitrine::testing
