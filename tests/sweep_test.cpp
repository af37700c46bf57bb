// sweep_test.cpp: the protocol of a comparison: plans, searches, what runs share, and what a kill may not spoil
// (tests/sweep_test.sh kills).
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "data/joined.h"
#include "data/subset.h"
#include "engine/file.h"
#include "models/methods.h"
#include "models/training/sweep.h"
#include "models/training/sweep_data.h"
#include "models/training/sweep_folder.h"
#include "models/training/table.h"
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

TEST_CASE("sweep: the greatest accuracy wins, then the smaller rate, decay and count, then the first") {
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

TEST_CASE("sweep: recipes are the paper's grids, with rates for the batch of each") {
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

TEST_CASE("sweep: a run's name depends on all that its result depends on, and on nothing else") {
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

TEST_CASE("sweep: a line of the ledger comes back as it was, and what is none is refused") {
  LedgerLine line = line_of(0.5, 0.1, 0.01);
  line.run = "0123456789abcdef0123";
  line.settings = R"({"learning_rate":0.1,"weight_decay":0.01,"prompts":4,"epochs":2,"batch":8})";
  line.prompts = 4;
  line.epochs = 2;
  line.batch = 8;
  line.task = "a \"task\"";
  line.seed = std::numeric_limits<uint64_t>::max();
  line.seconds = 1.25;
  line.accuracy = 0.25;
  line.backbone_parameters = 1;
  line.stage = Stage::final;
  const std::string json = to_json(line);
  CHECK(json.find('\n') == std::string::npos);
  const LedgerLine back = ledger_line_from_json(json, "there");
  CHECK(to_json(back) == json);
  CHECK(back.seed == line.seed);
  CHECK(back.prompts == 4);
  line.diverged = "it did";
  CHECK(to_json(ledger_line_from_json(to_json(line), "there")) == to_json(line));
  CHECK(variant_words("{}").empty());
  CHECK(variant_words(R"({"prompt_variant":{"first":1,"last":3,"shared":true}})") == "blocks 2-3, shared");
  CHECK(variant_words(R"({"prompt_variant":{"last":3}})") == "blocks 1-3");
  CHECK(variant_words(R"({"prompt_variant":{"location":"add"}})") == "location add");
  CHECK(variant_words(R"({"prompt_variant":{"init":"class-tokens","last":3}})") ==
        "blocks 1-3, init class-tokens");
  CHECK(variant_words(R"({"prompt_projection":8,"prompt_variant":{"shared":true}})") ==
        "shared, projection 8");
  CHECK(variant_words(R"({"prompt_projection":0,"prompt_dropout":0.1})") == "");
  CHECK(variant_words(R"({"prompt_dropout":0.1})", 0.1) == "");
  CHECK(variant_words(R"({"prompt_dropout":0.1})", 0) == "dropout 0.1");
  for (const std::string method : {"vpt-deep", "vpt-shallow"})
    for (const std::string recipe : {"paper", "quick"})
      CHECK(usual_dropout(recipe, method) == recipe_of(recipe, method).prompt_dropout);
  CHECK(!usual_dropout("paper", "linear"));
  CHECK(!usual_dropout("another", "vpt-deep"));
  // Each key is needed, and no other is taken.
  const auto object = nlohmann::ordered_json::parse(json);
  for (const auto& [key, unused] : object.items()) {
    nlohmann::ordered_json less = object;
    less.erase(key);
    CHECK_THROWS_WITH_AS(ledger_line_from_json(less.dump(), "there"), doctest::Contains("there"), Error);
  }
  const auto refused = [&](const char* key, nlohmann::ordered_json value, const char* words) {
    nlohmann::ordered_json other = object;
    other[key] = std::move(value);
    CHECK_THROWS_WITH_AS(ledger_line_from_json(other.dump(), "there"), doctest::Contains(words), Error);
  };
  refused("ledger", 2, "form 2");
  refused("more", 1, "unknown key 'more'");
  refused("run", "../up", "no name of a run");
  refused("stage", "middle", "search or final");
  refused("seed", -1, "whole number");
  refused("test", {{"top1", 1.5}, {"score", 0}, {"loss", 0}, {"images", 1}}, "top1 is 1.5");
  refused("backbone_parameters", 0, "backbone_parameters is 0");
  refused("other_pictures", 1, "true or false");
  CHECK_THROWS_AS(ledger_line_from_json("{", "there"), Error);
  CHECK_THROWS_AS(ledger_line_from_json("[]", "there"), Error);
  // What is wrong in the settings has its place, too, and nothing may be nested without end.
  const auto with_settings = [&](const std::string& more) {
    std::string words = json;
    words.insert(words.find("\"learning_rate\""), more + ",");
    return words;
  };
  CHECK_THROWS_WITH_AS(ledger_line_from_json(with_settings(R"("prompt_variant":3)"), "there"),
                       doctest::Contains("there: settings: expected prompt_variant"), Error);
  for (const char* key : {"x", "prompt_variant", "learning_rates"}) {
    const std::string deep = text("\"{}\":{}{}", key, std::string(200'000, '['), std::string(200'000, ']'));
    CHECK_THROWS_WITH_AS(ledger_line_from_json(with_settings(deep), "there"),
                         doctest::Contains("there: is nested too deeply"), Error);
  }
  CHECK_THROWS_WITH_AS(variant_words(std::string(200'000, '[') + std::string(200'000, ']')),
                       doctest::Contains("nested too deeply"), Error);
  // Older versions wrote losses that count as diverged now; what is written can be read.
  LedgerLine great = ledger_line_from_json(json, "there");
  great.loss = 3.4e36;
  const LedgerLine lost = ledger_line_from_json(to_json(great), "there");
  CHECK(lost.diverged == too_great(great.loss));
  CHECK(!lost.complete());
  great.loss = greatest_loss;
  CHECK(ledger_line_from_json(to_json(great), "there").complete());
  great.other_pictures = true;
  great.failed = "cannot read 'caf\xe9'";
  const LedgerLine aside = ledger_line_from_json(to_json(great), "there");
  CHECK(aside.other_pictures);
  CHECK(aside.failed.starts_with("cannot read 'caf"));

  const Folder folder("ledger");
  const auto read = [&](const std::string& words) {
    std::ofstream(folder.path + "/ledger.jsonl") << words;
    return read_ledger(folder.path + "/ledger.jsonl");
  };
  CHECK(read(json + "\n\n" + json).size() == 1);
  CHECK_THROWS_WITH_AS(read(json + "\nx\n"), doctest::Contains("line 2"), Error);
  CHECK_THROWS_WITH_AS(read(json + "\n" + to_json(line) + "\n"), doctest::Contains("another result"), Error);
}

TEST_CASE("sweep: a task learns from as many images as its limit says, val among them") {
  const auto train = open_dataset("synthetic:colors", Split::train),
             val = open_dataset("synthetic:colors", Split::val);
  SuiteTask task = task_of("colors", 80);
  const Preprocess preprocess = preprocess_of(small_backbone());
  REQUIRE(has_own_val(task));
  // Without a limit train and val are taken as the data have them.
  task.train_limit.reset();
  const SweepData whole = open_task(task, preprocess, 0, 0);
  CHECK(whole.train == all_samples(*train));
  CHECK(whole.val.size() == static_cast<size_t>(val->size()));
  CHECK(whole.both() == all_samples(*whole.learned));
  CHECK(whole.learned->size() == train->size() + val->size());
  for (int64_t i = 0; i < val->size(); ++i) {
    CHECK(whole.val[static_cast<size_t>(i)] == train->size() + i);
    REQUIRE(whole.learned->image(train->size() + i).rgb == val->image(i).rgb);
    REQUIRE(whole.learned->label(train->size() + i) == val->label(i));
  }
  CHECK(whole.learned->image(3).rgb == train->image(3).rgb);
  CHECK_THROWS_AS(joined(train, open_dataset("synthetic:shapes", Split::val)), Error);
  // With one they are so many together, a fifth of them val.
  for (const int64_t limit : {16, 80, 500, 1100}) {
    task.train_limit = limit;
    const SweepData own = open_task(task, preprocess, 0, 0);
    CHECK(static_cast<int64_t>(own.both().size()) == limit);
    const int64_t fifth = std::min(limit / 5, val->size());
    CHECK(static_cast<int64_t>(own.val.size()) == std::max(fifth, limit - train->size()));
    if (limit - fifth < train->size()) CHECK(own.train == class_balanced(*train, limit - fifth, 0));
    for (const int64_t i : own.val) CHECK(i >= train->size());
    CHECK(std::set(own.val.begin(), own.val.end()).size() == own.val.size());
    CHECK(facts_of(task, own).train + facts_of(task, own).val == limit);
    CHECK(facts_of(task, own).offered == train->size() + val->size());
  }
  task.train_limit = 5000;
  CHECK(open_task(task, preprocess, 0, 0).digest == whole.digest);
  task.train_limit = 8;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("each of 8 classes"), Error);
  // The digest tells samples and seeds apart.
  task.train_limit = 80;
  const SweepData own = open_task(task, preprocess, 0, 0);
  task.train_limit = 72;
  CHECK(open_task(task, preprocess, 0, 0).digest != own.digest);
  task.train_limit = 80;
  CHECK(open_task(task, preprocess, 1, 0).digest != own.digest);
  CHECK(open_task(task, preprocess, 0, 99).digest == own.digest);
  // `val` says how many of them it is.
  task.val = 30;
  CHECK(open_task(task, preprocess, 0, 0).val.size() == 30);
  CHECK(open_task(task, preprocess, 0, 0).train.size() == 50);
  task.train_limit.reset();
  CHECK(open_task(task, preprocess, 0, 0).val.size() == 30);
  CHECK(open_task(task, preprocess, 0, 0).train.size() == static_cast<size_t>(train->size()));
  task.val = 201;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("at most 200 images"), Error);
  task.val.reset();
  task.classes = 9;
  CHECK_THROWS_WITH_AS(open_task(task, preprocess, 0, 0), doctest::Contains("task 'colors': expected 9"),
                       Error);
}

TEST_CASE("sweep: val of few images has as many of each class as can be, and classes may be without") {
  const auto val = open_dataset("synthetic:colors", Split::val);
  for (const int64_t count : {0, 3, 8, 21, 200, 300}) {
    const std::vector<int64_t> some = spread_over_classes(*val, count, 5);
    CHECK(static_cast<int64_t>(some.size()) == std::min(count, val->size()));
    CHECK(std::ranges::is_sorted(some));
    std::vector<int64_t> counts(static_cast<size_t>(val->classes()));
    for (const int64_t i : some) ++counts[val->label(i)];
    CHECK(std::ranges::max(counts) - std::ranges::min(counts) <= 1);
  }
  CHECK(spread_over_classes(*val, 3, 5) != spread_over_classes(*val, 3, 6));
}

TEST_CASE("sweep: names of runs from before limits were of train and val stay where they mean the same") {
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

TEST_CASE("sweep: kept features and prepared pictures change no bit, and each is computed once") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  TuneConfig config = small_config();
  config.model = method_from_text("linear");
  config.model.paper_head = true;
  config.augment = {};
  config.keep_best = false;
  REQUIRE(keeps_features(config));
  data.val.clear();
  const auto test = open_dataset("synthetic:colors", Split::test);
  const std::vector<int64_t> asked{5, 3, 400, 77, 78, 79, 80};
  const auto run = [&](const Kept& kept, const Kept& test_kept, uint64_t seed, double rate, int workers) {
    TuneData own = data;
    own.kept = kept;
    TuneConfig c = config;
    c.seed = seed;
    c.learning_rate = rate;
    c.workers = workers;
    const TuneResult result = tune(backbone, own, c, "", false, {});
    const TunedModel model(backbone, result.task);
    Tensor logits;
    evaluate(model, test, asked, data.preprocess, 3, workers, 0, &logits, {}, {}, nullptr, test_kept);
    return digest(result.task) + sha256_hex(logits.raw());
  };
  const Kept kept{std::make_shared<KeptFeatures>(data.dataset),
                  {},
                  std::make_shared<PreparedImages>(data.dataset, data.preprocess, size_t{1} << 30)},
      test_kept{std::make_shared<KeptFeatures>(test),
                {},
                std::make_shared<PreparedImages>(test, data.preprocess, size_t{1} << 30)};
  for (const int workers : {0, 2})
    for (const uint64_t seed : {0, 1})
      for (const double rate : {1e-2, 1e-1})
        CHECK(run({}, {}, seed, rate, 0) == run(kept, test_kept, seed, rate, workers));
  CHECK(kept.features->computed() == static_cast<int64_t>(data.train.size()));
  CHECK(test_kept.features->computed() == static_cast<int64_t>(asked.size()));
  CHECK(kept.images->decoded() == static_cast<int64_t>(data.train.size()));

  // What else learns from features shares them.
  config.model = method_from_text("mlp-2");
  CHECK(run({}, {}, 1, 1e-2, 0) == run(kept, test_kept, 1, 1e-2, 0));
  CHECK(kept.features->computed() == static_cast<int64_t>(data.train.size()));

  // Where prompts learn, the pictures alone are shared; mirrored ones, too.
  config.model = method_from_text("vpt-deep");
  config.model.prompts.count = 2;
  config.augment.flip = true;
  REQUIRE(!keeps_features(config));
  const Kept pictures{
      {}, {}, std::make_shared<PreparedImages>(data.dataset, data.preprocess, size_t{1} << 30)};
  const Kept few{{}, {}, std::make_shared<PreparedImages>(data.dataset, data.preprocess, 5 * 32 * 32 * 3)};
  const std::string alone = run({}, {}, 1, 1e-2, 0);
  CHECK(alone == run(pictures, {}, 1, 1e-2, 0));
  CHECK(alone == run(pictures, {}, 1, 1e-2, 2));
  CHECK(pictures.images->decoded() == static_cast<int64_t>(data.train.size()));
  CHECK(alone == run(few, {}, 1, 1e-2, 0));
  CHECK(few.images->decoded() > static_cast<int64_t>(data.train.size()));

  // What goes into the first block, of each method that leaves it as it is; in a store of some pictures only, too.
  config.augment = {};
  const Backbone swin = small_swin();
  for (const bool is_swin : {false, true})
    for (const std::string method :
         {"vpt-deep", "vpt-shallow", "vpt-gated", "partial-1", "partial-3", "adapter-4", "lora-2", "bias",
          "full", "ssf", "vpt-deep+bias", "sidetune", "cls"}) {
      if (is_swin && method == "cls") continue;
      CAPTURE(is_swin);
      CAPTURE(method);
      const Backbone& net = is_swin ? swin : backbone;
      config.model = method_from_text(method);
      if (config.model.prompts.kind != PromptKind::none) config.model.prompts.count = 2;
      config.model.drop_path = 0.1;
      const bool keeps = keeps_embedding(config, net);
      CHECK(keeps == std::set<std::string>{"vpt-deep", "vpt-shallow", "vpt-gated", "partial-1", "partial-3",
                                           "adapter-4", "lora-2"}
                         .contains(method));
      const auto of = [&](const Kept& own, const Kept& test_own) {
        TuneData shared = data;
        shared.kept = own;
        const Task task = tune(net, shared, config, "", false, {}).task;
        Tensor logits;
        evaluate(TunedModel(net, task, DType::f32, {}, Use::prediction), test, asked, data.preprocess, 3, 1,
                 0, &logits, {}, {}, nullptr, test_own);
        return digest(task) + sha256_hex(logits.raw());
      };
      const size_t one = embedded_bytes(net.config, 32);
      for (const size_t most : {size_t{1000} * one, 5 * one + 1}) {
        const Kept own{{}, std::make_shared<KeptEmbedded>(data.dataset, most), {}},
            test_own{{}, keeps ? std::make_shared<KeptEmbedded>(test, most) : nullptr, {}};
        const std::string apart = of({}, {});
        CHECK(of(own, test_own) == apart);
        CHECK(of(own, test_own) == apart);
        if (!keeps) {
          CHECK(own.embedded->computed() == 0);
        } else if (most > 6 * one) {
          CHECK(own.embedded->computed() == static_cast<int64_t>(data.train.size()));
          CHECK(test_own.embedded->computed() == static_cast<int64_t>(asked.size()));
        } else {
          CHECK(own.embedded->computed() > static_cast<int64_t>(data.train.size()));
        }
      }
      // Pictures that are mirrored now and then are no longer what they were.
      TuneConfig mirrored = config;
      mirrored.augment.flip = true;
      CHECK(!keeps_embedding(mirrored, net));
    }
  config.model = method_from_text("vpt-deep");

  // They are of one data set, backbone and preprocessing.
  Preprocess other = data.preprocess;
  other.mean[0] += 0.1F;
  CHECK_THROWS_AS(kept.features->belong_to(backbone, data.dataset.get(), other), Error);
  CHECK_THROWS_AS(kept.features->belong_to(backbone, test.get(), data.preprocess), Error);
  CHECK_THROWS_AS(kept.features->belong_to(with_precision(backbone, Precision::bf16), data.dataset.get(),
                                           data.preprocess),
                  Error);
  CHECK_THROWS_AS(run({}, kept, 0, 1e-2, 0), Error);
  CHECK_THROWS_AS(run({{}, {}, test_kept.images}, {}, 0, 1e-2, 0), Error);
}

TEST_CASE("sweep: search, final runs and ledger; features go through the net once") {
  const Folder folder("sweep");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
  made.config.plan.methods = {"linear", "vpt-deep"};
  std::vector<std::string> done;
  SweepHooks hooks;
  hooks.finished = [&](const LedgerLine& line, const SweepCounts& counts) {
    done.push_back(line.run);
    CHECK(counts.done == static_cast<int64_t>(done.size()));
    CHECK(counts.runs == 16);
    CHECK(counts.seconds_left >= 0);
  };
  CHECK(look_at_sweep(made.config).counts.runs == 16);
  const SweepResult result = sweep(made.config, hooks);
  CHECK(done.size() == 16);
  CHECK(result.counts.done == 16);
  CHECK(result.failures.empty());
  CHECK(!result.stopped);
  // Of each task train, val and test once, not for each of its four linear runs, nor in each epoch of the others.
  CHECK(result.features_computed == 2 * (48 + 500));
  CHECK(result.embedded_computed == 2 * (48 + 500));
  const std::vector<LedgerLine> lines = read_ledger(result.ledger);
  const std::vector<std::string> whole = without_times(result.ledger);
  REQUIRE(lines.size() == 16);
  std::vector<std::string> in_order;
  for (const LedgerLine& line : lines) in_order.push_back(line.run);
  CHECK(in_order == done);  // of one process, which goes through the plan
  for (size_t cell = 0; cell < 4; ++cell) {
    const LedgerLine* own = &lines[4 * cell];
    CHECK(own[0].stage == Stage::search);
    CHECK(own[1].stage == Stage::search);
    CHECK(own[0].train_images == 48 - 48 / 5);
    CHECK(own[0].asked_images == 48 / 5);
    const bool second = own[1].score > own[0].score;
    for (int seed = 0; seed < 2; ++seed) {
      CHECK(own[2 + seed].stage == Stage::final);
      CHECK(own[2 + seed].seed == static_cast<uint64_t>(seed));
      CHECK(own[2 + seed].learning_rate == own[second].learning_rate);
      CHECK(own[2 + seed].train_images == 48);
      CHECK(own[2 + seed].asked_images == 500);
    }
  }
  CHECK(lines[0].trained_parameters == 17 * 8);
  CHECK(lines[4].trained_parameters == 17 * 8 + 3 * 2 * 16);
  CHECK(lines[4].stored_parameters == lines[4].trained_parameters);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path))
    CHECK_MESSAGE(!entry.path().string().ends_with(".safetensors"), entry.path().string());

  // A run is what tune and evaluate make of the same settings.
  {
    const SweepData data = open_task(made.config.plan.tasks[0], made.config.plan.preprocess, 0, 0);
    for (const size_t place : {0, 2, 4, 6}) {
      const Plan plan = make_plan(made.config.plan);
      const Cell& cell = plan.cells[place / 4];
      TuneConfig c = place % 4 == 0 ? cell.search[0].config : cell.finals[0][0].config;
      c.learning_rate = lines[place].learning_rate;
      const TuneData own{
          data.learned, place % 4 == 0 ? data.train : data.both(), {}, nullptr, data.preprocess, {}};
      const TunedModel model(made.backbone, tune(made.backbone, own, c, "", false, {}).task);
      const bool search = place % 4 == 0;
      const Evaluation e = evaluate(model, search ? data.learned : data.test,
                                    search ? data.val : all_samples(*data.test), data.preprocess, 64, 0);
      CHECK(e.accuracy == lines[place].accuracy);
      CHECK(e.loss == lines[place].loss);
    }
  }
  // A second sweep does nothing, and other methods join.
  {
    done.clear();
    const std::string before = text_of(result.ledger);
    CHECK(sweep(made.config, {}).features_computed == 0);
    CHECK(text_of(result.ledger) == before);
    made.config.plan.methods = {"vpt-shallow"};
    CHECK(sweep(made.config, {}).counts.done == 8);
    CHECK(read_ledger(result.ledger).size() == 24);
    made.config.plan.methods = {"linear", "vpt-deep"};
  }
  // A ledger stands for its runs.
  {
    const Folder other("sweep-seeded");
    made.config.out = other.path;
    made.config.known = lines;
    made.config.known.resize(15);
    done.clear();
    hooks.finished = [&](const LedgerLine& line, const SweepCounts&) { done.push_back(line.run); };
    sweep(made.config, hooks);
    CHECK(done == std::vector<std::string>{lines[15].run});
    CHECK(without_times(other.path + "/ledger.jsonl") == whole);
  }
}

TEST_CASE("sweep: the time that is left is told by the images that runs go through") {
  const Folder folder("sweep-left");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors", 48), task_of("stripes", 480)};
  made.config.plan.changes.learning_rates = {1e-2};
  made.config.plan.seeds = 1;
  std::vector<std::pair<double, double>> seen;  // of each run its seconds, and what was said to be left
  SweepHooks hooks;
  hooks.finished = [&](const LedgerLine& line, const SweepCounts& counts) {
    seen.emplace_back(line.seconds, counts.seconds_left);
  };
  sweep(made.config, hooks);
  REQUIRE(seen.size() == 2);
  const double images = 48 * 2 + 500, more = 480 * 2 + 500;  // two epochs and a test
  CHECK(seen[0].second == doctest::Approx(seen[0].first * more / images));
  CHECK(seen[1].second == 0);
}

TEST_CASE("sweep: prompts that start from class tokens are as many as each task has classes") {
  const Folder folder("sweep-class-tokens");
  Made made(folder.path);
  made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
  made.config.plan.methods = {"vpt-deep"};
  made.config.plan.changes.prompts = {};
  made.config.plan.changes.variant.start = PromptStart::class_tokens;
  made.config.plan.changes.learning_rates = {1e-2};
  made.config.plan.seeds = 1;
  const SweepResult result = sweep(made.config, {});
  CHECK(result.failures.empty());
  const std::vector<LedgerLine> lines = read_ledger(result.ledger);
  REQUIRE(lines.size() == 2);
  const Plan plan = make_plan(made.config.plan);
  for (size_t i = 0; i < 2; ++i) {
    const SweepData data = open_task(made.config.plan.tasks[i], made.config.plan.preprocess, 0, 0);
    CHECK(lines[i].prompts == data.learned->classes());
    CHECK(lines[i].variant == "init class-tokens");
    // It is what tune makes of the same settings.
    const TuneData own{data.learned, data.both(), {}, nullptr, data.preprocess, {}};
    const TunedModel model(made.backbone,
                           tune(made.backbone, own, plan.cells[i].finals[0][0].config, "", false, {}).task);
    const Evaluation e = evaluate(model, data.test, all_samples(*data.test), data.preprocess, 64, 0);
    CHECK(e.loss == lines[i].loss);
  }
}

TEST_CASE("sweep: embedded pictures are kept where they fit beside the prepared ones, and change no result") {
  const Folder whole("sweep-cache");
  Made made(whole.path);
  made.config.plan.methods = {"vpt-deep"};
  // Behind features, of which 16 numbers belong to each picture, and prepared pictures.
  const size_t pictures = (48 + 500) * (32 * 32 * 3 + 16 * sizeof(float)),
               one = embedded_bytes(made.config.plan.net, 32);
  const SweepResult all = sweep(made.config, {});
  CHECK(all.embedded_computed == 48 + 500);
  const std::vector<std::string> expected = without_times(all.ledger);
  const auto with_cache = [&](size_t cache) {
    const Folder folder("sweep-less-cache");
    made.config.out = folder.path;
    made.config.cache = cache;
    const SweepResult result = sweep(made.config, {});
    CHECK(without_times(result.ledger) == expected);
    return result.embedded_computed;
  };
  CHECK(with_cache(pictures + 48 * one - 1) == 0);
  CHECK(with_cache(pictures + 48 * one) == 48);
  CHECK(with_cache(pictures + (48 + 500) * one) == 48 + 500);
  CHECK(with_cache(0) == 0);
}

TEST_CASE("sweep: stopped after any step it goes on to the same ledger") {
  const Folder whole_folder("sweep-whole"), folder("sweep-stopped");
  Made made(whole_folder.path);
  made.config.plan.methods = {"linear", "vpt-deep"};
  made.config.plan.seeds = 1;
  made.config.plan.changes.batch = 40;
  const SweepResult whole = sweep(made.config, {});
  CHECK(!whole.stopped);
  made.config.out = folder.path;
  int sessions = 0, finished = 0;
  for (bool stopped = true; stopped; ++sessions) {
    int steps = 0;
    SweepHooks hooks;
    hooks.step = [&](const StepReport&) { ++steps; };
    hooks.finished = [&](const LedgerLine&, const SweepCounts&) { ++finished; };
    // A head on kept features has no states between: it needs to be let run at last.
    hooks.stop = [&] { return steps >= 2 + sessions; };
    stopped = sweep(made.config, hooks).stopped;
    REQUIRE(sessions < 100);
  }
  CHECK(sessions > 3);
  CHECK(finished == 6);
  CHECK(without_times(folder.path + "/ledger.jsonl") == without_times(whole.ledger));
}

TEST_CASE("sweep: several sweeps share a folder, and each run is done once") {
  const Folder alone("sweep-alone"), folder("sweep-shared");
  Made made(alone.path);
  made.config.plan.tasks = {task_of("colors"), task_of("shapes")};
  made.config.plan.changes.learning_rates = {1e-2, 2e-2, 1e-1};
  sweep(made.config, {});
  std::mutex mutex;
  std::vector<std::string> done;
  std::vector<std::thread> threads;
  for (int part = 0; part < 3; ++part)
    threads.emplace_back([&, part] {
      Made own(folder.path);
      own.config.plan = made.config.plan;
      own.config.part = part;
      own.config.parts = 3;
      SweepHooks hooks;
      hooks.finished = [&](const LedgerLine& line, const SweepCounts&) {
        const std::lock_guard lock(mutex);
        done.push_back(line.run);
      };
      const SweepResult result = sweep(own.config, hooks);
      CHECK(result.counts.done == result.counts.runs);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(done.size() == 10);
  CHECK(std::set(done.begin(), done.end()).size() == 10);
  CHECK(without_times(folder.path + "/ledger.jsonl") == without_times(alone.path + "/ledger.jsonl"));
}

TEST_CASE("sweep: who holds a run's lock is waited for, and taken over from") {
  const Folder folder("sweep-lock");
  Made made(folder.path);
  const Plan plan = make_plan(made.config.plan);
  SweepFolder shared(folder.path, plan);
  auto lock = shared.take(plan.cells[0].search[0].name);
  REQUIRE(lock != nullptr);
  CHECK(shared.take(plan.cells[0].search[0].name) == nullptr);
  SweepHooks hooks;
  int64_t waited_for = 0;
  hooks.waiting = [&](int64_t runs) {
    waited_for = runs;
    lock.reset();  // as if its owner had died
  };
  const SweepResult result = sweep(made.config, hooks);
  CHECK(waited_for == 1);
  CHECK(result.counts.done == 4);
}

TEST_CASE("sweep: what diverges is a result, what fails is told, and the sweep goes on") {
  const Folder folder("sweep-diverged");
  Made made(folder.path);
  made.config.plan.methods = {"vpt-deep", "linear"};
  SUBCASE("one point") {
    made.config.plan.changes.learning_rates = {1e5};
    made.config.plan.changes.weight_decays = {0, 1e5};  // each step makes weights 1e10 times as large
    made.config.plan.changes.optimizer = OptimizerKind::sgd;
    made.config.plan.methods = {"vpt-deep"};
    const SweepResult result = sweep(made.config, {});
    CHECK(result.counts.diverged == 1);
    CHECK(result.counts.done == 4);
    CHECK(result.failures.empty());
    const auto lines = read_ledger(result.ledger);
    CHECK(!lines[1].diverged.empty());
    CHECK(lines[2].weight_decay == 0);
  }
  SUBCASE("all points") {
    made.config.plan.changes.learning_rates = {1e4, 1e5};
    made.config.plan.changes.weight_decays = {1e5};
    made.config.plan.changes.optimizer = OptimizerKind::sgd;
    made.config.plan.methods = {"vpt-deep"};
    const SweepResult result = sweep(made.config, {});
    CHECK(result.counts.diverged == 2);
    CHECK(result.counts.done == result.counts.runs);  // there is nothing to test
    CHECK(result.counts.runs == 2);
  }
  SUBCASE("a damaged picture") {
    const std::string pictures = folder.path + "/pictures";
    for (const char* split : {"train", "val", "test"})
      for (int c = 0; c < 2; ++c) {
        const std::string where = text("{}/{}/{}", pictures, split, c);
        std::filesystem::create_directories(where);
        for (int i = 0; i < 3; ++i) {
          // 1 x 1 BMP
          std::vector<unsigned char> bmp(58, 0);
          const unsigned char head[] = {'B', 'M', 58, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0,  40,
                                        0,   0,   0,  1, 0, 0, 0, 1, 0, 0, 0,  1, 0, 24, 0};
          std::ranges::copy(head, bmp.begin());
          bmp[54] = static_cast<unsigned char>(80 * i + 40 * c);
          std::ofstream(text("{}/{}.bmp", where, i), std::ios::binary)
              .write(reinterpret_cast<const char*>(bmp.data()), static_cast<std::streamsize>(bmp.size()));
        }
      }
    SuiteTask task = task_of("colors");
    task.data = "folder:" + pictures;
    task.name = "pictures";
    task.train_limit.reset();
    made.config.plan.tasks = {task, task_of("colors")};
    made.config.plan.methods = {"vpt-deep"};
    const std::string sound = text_of(pictures + "/test/0/1.bmp");
    std::ofstream(pictures + "/test/0/1.bmp", std::ios::binary) << "BMx" << std::string(55, 'x');
    SweepResult result = sweep(made.config, {});
    CHECK(result.counts.failed == 2);  // both seeds; the search does not see the test
    CHECK(result.failures.size() == 2);
    CHECK(result.counts.done == 8);
    CHECK(result.failures[0].find("earlier") == std::string::npos);
    result = sweep(made.config, {});
    REQUIRE(result.failures.size() == 2);
    CHECK(result.failures[0].find("of an earlier sweep") != std::string::npos);
    std::ofstream(pictures + "/test/0/1.bmp", std::ios::binary | std::ios::trunc) << sound;
    made.config.retry_failed = true;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    CHECK(result.counts.done == 8);
    // The search learned and was asked before the picture was mended, which stops nobody later.
    made.config.retry_failed = false;
    made.config.plan.seeds = 3;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    CHECK(result.counts.done == 10);
  }
  SUBCASE("a task that cannot be opened") {
    SuiteTask lost = task_of("lost");
    lost.data = "folder:" + folder.path + "/nowhere";
    made.config.plan.tasks = {lost, task_of("colors")};
    made.config.plan.methods = {"linear"};
    std::vector<std::string> seen;
    SweepHooks hooks;
    hooks.note = [&](const std::string& words) { seen.push_back(words); };
    hooks.task = [&](const TaskFacts& facts) { seen.push_back("task " + facts.task.name); };
    hooks.began = [&](const SweepCounts&) { seen.push_back("began"); };
    hooks.run = [&](const Cell&, const PlannedRun&, const SweepCounts&) { seen.push_back("run"); };
    SweepResult result = sweep(made.config, hooks);
    CHECK(result.failures.size() == 1);
    CHECK(result.counts.done == 4);
    CHECK(result.counts.runs == 8);
    // It is told before anything is run, and the ledger knows.
    REQUIRE(seen.size() == 3 + 4);
    CHECK(seen[0].find("task 'lost'") != std::string::npos);
    CHECK(seen[1] == "task colors");
    CHECK(seen[2] == "began");
    const std::vector<TaskLook> looks = look_at_sweep(made.config).tasks;
    REQUIRE(looks.size() == 2);
    CHECK(!looks[0].facts);
    CHECK(looks[0].problem.find("task 'lost'") != std::string::npos);
    CHECK(looks[1].facts->test == 500);
    CHECK(looks[1].facts->classes == 8);
    std::vector<LedgerPlan> plans;
    const std::vector<LedgerLine> lines = read_ledger(result.ledger, &plans);
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].tasks[0].failed.find("nowhere") != std::string::npos);
    CHECK(plans[0].tasks[0].failed.find("task 'lost'") == std::string::npos);  // which the line says itself
    CHECK(plans[0].tasks[1].failed.empty());
    Comparison table = compare(lines, PaperRows::none, plans);
    REQUIRE(table.rows.size() == 1);  // that of the plan is that of its results
    CHECK(table.rows[0].all.tasks == 1);
    CHECK(table.rows[0].all.all_tasks == 2);
    // Once it can be opened it failed no longer.
    made.config.plan.tasks[0].data = "synthetic:stripes";
    made.config.plan.tasks[0].train_limit = 48;
    result = sweep(made.config, {});
    CHECK(result.failures.empty());
    plans.clear();
    const std::vector<LedgerLine> all = read_ledger(result.ledger, &plans);
    REQUIRE(plans.size() == 1);
    CHECK(plans[0].tasks[0].failed.empty());
    table = compare(all, PaperRows::none, plans);
    CHECK(table.rows[0].all.tasks == 2);
    CHECK(table.warnings.empty());
  }
}

}  // namespace vitrine::testing
