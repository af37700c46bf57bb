// table_test.cpp: what tables say: means, deviations, wins, and what is missing.
#include "models/training/table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/random.h"
#include "ledger_lines.h"
#include "models/training/statistics.h"

namespace vitrine::testing {

TEST_CASE("table: means over seeds, tasks and groups, deviations, wins and what is missing") {
  Lines lines;
  // a: tasks of the first group with two seeds, one of the second with one.
  lines.add("full", "one", "x", 0.50);
  lines.add("full", "one", "y", 0.50);
  lines.add("full", "two", "z", 0.90);
  lines.add("vpt-deep", "one", "x", 0.60, 0);
  lines.add("vpt-deep", "one", "x", 0.70, 1);
  lines.add("vpt-deep", "one", "y", 0.30, 0);
  lines.add("vpt-deep", "one", "y", 0.50, 1);
  lines.add("vpt-deep", "two", "z", 0.95, 0);
  lines.add("linear", "one", "x", 0.20);
  lines.add("linear", "one", "y", 0, 0).diverged = "it did";
  lines.add("bias", "two", "z", 0, 0, Stage::search).diverged = "it did";
  lines.add("cls", "two", "z", 0, 0, Stage::search).failed = "a picture is damaged";
  lines.add("cls", "two", "z", 0.5, 0, Stage::search).learning_rate = 1;
  const Comparison c = compare(lines.all);
  CHECK(c.groups == std::vector<std::string>{"one", "two"});
  const TableRow& deep = row_of(c, "vpt-deep");
  CHECK(*deep.groups[0].mean == doctest::Approx((65.0 + 40.0) / 2));
  // The group's mean of seed 0 is 45, of seed 1 60.
  CHECK(*deep.groups[0].deviation == doctest::Approx(deviation_of({45, 60})));
  CHECK(deep.groups[0].wins == 1);
  CHECK(deep.groups[1].wins == 1);
  CHECK(!deep.groups[1].deviation);
  CHECK(*deep.all.mean == doctest::Approx((65.0 + 40.0 + 95.0) / 3));
  CHECK(*deep.mean_of_groups.mean == doctest::Approx((52.5 + 95.0) / 2));
  CHECK(!deep.mean_of_groups.deviation);  // seed 1 lacks a task
  CHECK(deep.all.seeds == 1);             // seed 1 lacks a task
  CHECK(deep.total == doctest::Approx(1 + 3 * 0.05));
  CHECK(row_of(c, "full").total == doctest::Approx(3.3));
  CHECK(!row_of(c, "full").groups[0].wins);
  const TableRow& linear = row_of(c, "linear");
  CHECK(linear.groups[0].tasks == 1);
  CHECK(linear.groups[0].all_tasks == 2);
  CHECK(linear.groups[0].diverged == 1);
  CHECK(!linear.groups[1].mean);
  CHECK(row_of(c, "bias").tasks[2].diverged == 1);
  CHECK(row_of(c, "cls").tasks[2].failed == 1);  // a search that failed is not one that was never begun
  CHECK(row_of(c, "cls").tasks[2].diverged == 0);
  REQUIRE(c.significance.size() == 1);
  CHECK(c.significance[0].better == 2);
  CHECK(c.significance[0].worse == 1);
  CHECK(c.significance[0].test.two_sided == signed_rank({15, -10, 5}).two_sided);
  CHECK(c.warnings.empty());

  const std::string markdown = table_text(c, TableFormat::markdown);
  CHECK(markdown.find("| vpt-deep | 1.15× | 52.50 ± 10.61 (1) | 95.00 (1) |") != std::string::npos);
  CHECK(markdown.find("| linear | 1.05× [1 of 3 tasks] | 20.00 (0) [1 of 2 tasks] [1 diverged] | — |") !=
        std::string::npos);
  CHECK(markdown.find("| vpt-deep | 65.00 ± 7.07 | 40.00 ± 14.14 | 95.00 |") != std::string::npos);
  CHECK(markdown.find("| cls | — | — | failed |") != std::string::npos);
  CHECK(markdown.find("better on 2 and worse on 1 of 3 tasks") != std::string::npos);
  const auto json = nlohmann::json::parse(table_text(c, TableFormat::json));
  CHECK(json["rows"].size() == 5);
  CHECK(json["rows"][3]["groups"]["one"]["wins"] == 1);
  CHECK(json["rows"][1]["groups"]["two"]["mean"].is_null());
  const std::string csv = table_text(c, TableFormat::csv);
  CHECK(std::ranges::count(csv, '\n') == 1 + 5 * (1 + 2 + 3));
  CHECK(csv.starts_with("row,net,group,task,mean,"));
}

TEST_CASE("table: equal means are no win, and no number depends on the order of the lines") {
  Lines lines;
  const std::vector<double> one{0.8015, 0.8045, 0.8115}, other{0.8015, 0.8115, 0.8045};
  for (uint64_t seed = 0; seed < 3; ++seed)
    for (const char* task : {"x", "y"}) {
      lines.add("vpt-deep", "one", task, one[seed], seed);
      lines.add("full", "one", task, other[seed], seed);
    }
  Comparison c = compare(lines.all);
  CHECK(row_of(c, "vpt-deep").groups[0].wins == 0);
  CHECK(row_of(c, "vpt-deep").all.wins == 0);
  REQUIRE(c.significance.size() == 1);
  CHECK(c.significance[0].better == 0);
  CHECK(c.significance[0].test.n == 0);
  // Differences of 0.05 points each way are of one size, however their sums are rounded.
  lines.all.clear();
  for (int task = 0; task < 24; ++task) {
    lines.add("full", "one", text("t{}", task), 0.1 + 0.0315 * task);
    lines.add("vpt-deep", "one", text("t{}", task), 0.1 + 0.0315 * task + (task % 3 == 0 ? -0.0005 : 0.0005));
  }
  CHECK(compare(lines.all).significance[0].test.positive == 16 * 12.5);  // the mean of the ranks 1 to 24

  // No wins where there is nothing to compare with.
  lines.all.clear();
  lines.add("full", "one", "x", 0).diverged = "it did";
  lines.add("linear", "one", "x", 0.5);
  CHECK(!row_of(compare(lines.all), "linear").groups[0].wins);

  // Sums in another order differ by a bit or two, and a digit with them: 60.325 becomes 60.32 or 60.33.
  lines.all.clear();
  for (int task = 0; task < 4; ++task)
    for (uint64_t seed = 0; seed < 3; ++seed)
      lines.add("linear", task < 3 ? "one" : "two", text("t{}", task), 0.1 * task + 0.0701 * (seed + 1),
                seed);
  const TableRow first = compare(lines.all).rows[0];
  for (int turn = 0; turn < 24; ++turn) {
    std::ranges::next_permutation(lines.all, {}, [](const LedgerLine& l) { return l.run.back() + l.run; });
    std::rotate(lines.all.begin(), lines.all.begin() + 5, lines.all.end());
    const TableRow row = compare(lines.all).rows[0];
    CHECK(row.all.mean == first.all.mean);
    CHECK(row.all.deviation == first.all.deviation);
    CHECK(row.mean_of_groups.mean == first.mean_of_groups.mean);
    CHECK(row.mean_of_groups.deviation == first.mean_of_groups.deviation);
  }
  REQUIRE(first.mean_of_groups.deviation);
  CHECK(*first.mean_of_groups.deviation == doctest::Approx(deviation_of({7.01, 14.02, 21.03})));

  // Where full tuning has several settings, and none is this row's, no wins are counted, which is told.
  lines.all.clear();
  for (const int64_t epochs : {1, 2}) lines.add("full", "one", "x", 0.5).epochs = epochs;
  lines.add("linear", "one", "x", 0.6).epochs = 3;
  c = compare(lines.all);
  CHECK(!row_of(c, "linear").all.wins);
  CHECK(c.warnings.back().starts_with("full tuning has rows of several settings"));
  CHECK(table_text(c, TableFormat::markdown).find("in parentheses") == std::string::npos);
  CHECK(compare(lines.all, PaperRows::mae).warnings.back().starts_with("the paper has no such rows"));
}

TEST_CASE("table: what rows have in common stands below, and nothing twice") {
  Lines lines;
  lines.add("full", "one", "x", 0.57);
  lines.add("vpt-deep", "one", "x", 0.55);
  const std::string single = table_text(compare(lines.all), TableFormat::markdown);
  CHECK(single.starts_with("| method | total params | one: x | tuned | of the backbone |\n"));
  CHECK(single.find("All with recipe quick, backbone vit-b16. 1 seed.\n") != std::string::npos);
  CHECK(single.find("mean of") == std::string::npos);
  CHECK(single.find("Wilcoxon") == std::string::npos);
  CHECK(single.find("| full | 57.00 |") == std::string::npos);
  // 100 times 0.57 is no 57 in binary.
  CHECK(table_text(compare(lines.all), TableFormat::csv).find("full,vit-b16,one,x,57.0,") !=
        std::string::npos);
  CHECK(nlohmann::json::parse(table_text(compare(lines.all), TableFormat::json))["rows"][0]["all"]["mean"] ==
        57.0);

  lines.add("full", "one", "y", 0.5);
  lines.add("vpt-deep", "one", "y", 0.6).recipe = "paper";
  const std::string group = table_text(compare(lines.all), TableFormat::markdown);
  CHECK(group.find("| one (2) | tuned |") != std::string::npos);
  CHECK(group.find("All with backbone vit-b16. 1 seed.\n") != std::string::npos);
  CHECK(group.find("| method | one: x | one: y |") != std::string::npos);
  lines.add("full", "two", "z", 0).failed = "it did";
  const std::string groups = table_text(compare(lines.all), TableFormat::markdown);
  CHECK(groups.find("| two (1) | mean of tasks | mean of groups | tuned |") != std::string::npos);
  CHECK(groups.find("In brackets how many runs diverged or failed.") != std::string::npos);
  CHECK(group.find("In brackets") == std::string::npos);

  // The backbones that the program brings are called as its option calls them.
  lines.all.clear();
  for (const std::string name : {"builtin", "builtin-swin", "a/file"}) {
    LedgerLine& line = lines.add("linear", "one", "x", 0.5);
    line.backbone = line.backbone_identity = name;
    line.net = "described at length";
  }
  std::vector<std::string> labels;
  for (const TableRow& row : compare(lines.all).rows) labels.push_back(row.label);
  std::ranges::sort(labels);
  CHECK(labels == std::vector<std::string>{"linear, builtin", "linear, builtin-swin",
                                           "linear, described at length a/file"});
}

TEST_CASE("table: results of fewer images, of fewer seeds and of none are told as that") {
  Lines lines;
  LedgerPlan few{.net = "vit-b16", .backbone_identity = "0123456789abcdef", .seeds = 1, .train_sizes = {40}},
      many = few;
  few.tasks = many.tasks = {{"x", "one", "top1"}};
  few.methods = {{"linear", "quick", "{}"}, {"vpt-deep", "quick", "{}"}};
  many.methods = {{"linear", "quick", "{}"}};
  many.train_sizes = {80};
  lines.add("linear", "one", "x", 0.5).train_images = 80;
  lines.add("linear", "one", "x", 0.4).train_images = 40;
  lines.add("vpt-deep", "one", "x", 0.4).train_images = 40;
  Comparison c = compare(lines.all, PaperRows::none, {few, many});
  CHECK(!row_of(c, "vpt-deep").all.mean);
  CHECK(c.warnings ==
        std::vector<std::string>{
            "task x was run with several numbers of training images; the largest counts here, --by "
            "train-size shows all",
            "vpt-deep on x has results of fewer training images alone, which --by train-size shows"});

  lines.all.clear();
  for (uint64_t seed = 0; seed < 3; ++seed) lines.add("full", "one", "x", 0.5, seed);
  const auto said = [&] { return table_text(compare(lines.all), TableFormat::markdown); };
  CHECK(said().find("backbone vit-b16. 3 seeds.\n") != std::string::npos);
  lines.add("linear", "one", "x", 0.5);
  CHECK(said().find("backbone vit-b16. Seeds: full 3, linear 1.\n") != std::string::npos);
  for (uint64_t seed = 0; seed < 2; ++seed) lines.add("linear", "one", "y", 0.5, seed);
  CHECK(said().find("Seeds: full 3, linear 1 to 2.\n") != std::string::npos);

  lines.all.clear();
  lines.add("full", "one", "x", 0).diverged = "it did";
  c = compare(lines.all);
  CHECK(table_text(c, TableFormat::csv).find(",1,0,0,,,,\n") != std::string::npos);
  CHECK(nlohmann::json::parse(table_text(c, TableFormat::json))["rows"][0]["total"].is_null());
}

TEST_CASE("table: what a plan has and the ledger lacks is told") {
  LedgerPlan plan{.net = "vit-b16", .backbone_identity = "0123456789abcdef", .seeds = 2};
  plan.train_sizes = {50, 100};
  plan.tasks = {{"x", "one", "top1"}, {"y", "one", "top1"}, {"z", "two", "top1", "no such folder"}};
  plan.methods = {{"linear", "quick", "{}"}, {"full", "quick", "{}"}};
  const LedgerPlan back = ledger_plan_from_json(to_json(plan), "there");
  CHECK(to_json(back) == to_json(plan));
  CHECK(back.name() == plan.name());
  plan.tasks[2].failed.clear();
  CHECK(back.name() == plan.name());  // what failed is no part of a plan
  plan.seeds = 3;
  CHECK(back.name() != plan.name());
  plan.seeds = 2;
  for (const char* wrong : {"{", R"({"ledger":1,"plan":{}})", R"({"ledger":1,"plan":{"net":1}})"})
    CHECK_THROWS_WITH_AS(ledger_plan_from_json(wrong, "there"), doctest::Contains("there"), Error);

  Lines lines;
  lines.add("linear", "one", "x", 0.5, 0);
  lines.add("linear", "one", "x", 0.6, 1);
  Comparison c = compare(lines.all, PaperRows::none, {plan});
  REQUIRE(c.tasks.size() == 3);
  CHECK(c.rows.size() == 2);
  CHECK(row_of(c, "linear").all.tasks == 1);
  CHECK(row_of(c, "linear").all.all_tasks == 3);
  CHECK(!row_of(c, "full").all.mean);
  CHECK(c.warnings == std::vector<std::string>{
                          "5 of 6 planned results are missing: full on x, full on y, full on z, linear "
                          "on y and 1 more"});
  CHECK(table_text(c, TableFormat::markdown).find("[1 of 3 tasks]") != std::string::npos);
  CHECK(series(lines.all, By::train_size, {plan}).sections.back().rows[0].cells[0].all_tasks == 3);
  lines.all.pop_back();
  c = compare(lines.all, PaperRows::none, {plan});
  CHECK(c.warnings.back() == "1 of 6 planned results have fewer seeds than planned");
  // A task that could not be opened.
  c = compare(lines.all, PaperRows::none, {back});
  CHECK(c.warnings[0] == "task z could not be opened: no such folder");
  CHECK(row_of(c, "linear").tasks[2].unopened == 1);
  CHECK(table_text(c, TableFormat::markdown).find("| two: z | not opened | not opened |") !=
        std::string::npos);
  // With results it does not matter that it could not be opened later.
  lines.add("linear", "two", "z", 0.7, 0);
  CHECK(row_of(compare(lines.all, PaperRows::none, {back}), "linear").tasks[2].failed == 0);
  // A plan with other settings has a row of its own; one of a row that was split has none beside it.
  LedgerPlan longer = plan;
  longer.methods = {{"linear", "quick", R"({"epochs":30})"}};
  CHECK(row_of(compare(lines.all, PaperRows::none, {plan, longer}), "linear (epochs 30)").all.tasks == 0);
  for (LedgerLine& line : lines.all) line.learning_rate = 0.1;
  lines.add("linear", "one", "x", 0.7, 0).learning_rate = 0.2;
  CHECK(compare(lines.all, PaperRows::none, {plan}).rows.size() == 3);
  // Nothing was run yet.
  c = compare({}, PaperRows::none, {plan});
  CHECK(c.rows.size() == 2);
  CHECK(c.warnings[0].starts_with("6 of 6 planned results are missing"));
}

TEST_CASE("table: columns by training images, prompts and backbone") {
  Lines lines;
  for (const int64_t size : {200, 50}) {
    lines.add("linear", "one", "x", static_cast<double>(size) / 1000).train_images = size;
    lines.add("linear", "two", "y", 0.5).train_images = size;
  }
  lines.add("full", "one", "x", 0.9).train_images = 50;
  const Series sizes = series(lines.all, By::train_size);
  CHECK(sizes.columns == std::vector<std::string>{"50", "200"});
  REQUIRE(sizes.sections.size() == 3);
  CHECK(*sizes.sections[0].rows[1].cells[0].mean == doctest::Approx(5));
  CHECK(*sizes.sections[0].rows[1].cells[1].mean == doctest::Approx(20));
  CHECK(!sizes.sections[0].rows[0].cells[1].mean);
  CHECK(sizes.sections[2].group == "all tasks");
  CHECK(*sizes.sections[2].rows[1].cells[0].mean == doctest::Approx((5.0 + 50) / 2));

  lines.all.clear();
  for (const int64_t prompts : {5, 1})
    for (const double rate : {0.1, 0.2}) {
      LedgerLine& line =
          lines.add("vpt-deep", "one", "x", rate * static_cast<double>(prompts), 0, Stage::search);
      line.prompts = prompts;
    }
  lines.add("vpt-deep", "one", "x", 0.99).prompts = 5;  // a test of one length alone
  const Series lengths = series(lines.all, By::prompts);
  CHECK(lengths.columns == std::vector<std::string>{"1", "5"});
  CHECK(*lengths.sections[0].rows[0].cells[1].mean == doctest::Approx(100));
  CHECK(*lengths.sections[0].rows[0].cells[0].mean == doctest::Approx(20));
  CHECK(lengths.warnings.empty());

  lines.all.clear();
  lines.add("linear", "one", "x", 0.5);
  LedgerLine& other = lines.add("linear", "one", "x", 0.6);
  other.net = "vit-l16";
  other.backbone_identity = "fe";
  const Series nets = series(lines.all, By::backbone);
  CHECK(nets.columns == std::vector<std::string>{"vit-b16", "vit-l16"});
  CHECK(nets.sections[0].rows.size() == 1);
  CHECK(*nets.sections[0].rows[0].cells[1].mean == doctest::Approx(60));
  CHECK(table_text(nets, TableFormat::markdown).find("| linear | 50.00 | 60.00 |") != std::string::npos);
  CHECK(std::ranges::count(table_text(nets, TableFormat::csv), '\n') == 3);
  CHECK(nlohmann::json::parse(table_text(nets, TableFormat::json))["columns"].size() == 2);

  // Each backbone has a search of its own: what is best with one of them need not be tested with the other.
  lines.all.clear();
  for (const std::string net : {"0a", "0b"})
    for (const double rate : {0.1, 0.2})
      for (const Stage stage : {Stage::search, Stage::final}) {
        const bool best = (rate == 0.1) == (net == "0a");
        if (stage == Stage::final && !best) continue;
        LedgerLine& line = lines.add("linear", "one", "x", best ? 0.8 : 0.3, 0, stage);
        if (stage == Stage::search) line.score += net == "0a" ? 0.1 : 0;
        line.net = line.backbone_identity = net;
        line.learning_rate = rate;
      }
  const Series searched = series(lines.all, By::backbone);
  CHECK(searched.warnings.empty());
  CHECK(table_text(searched, TableFormat::markdown).find("| linear | 80.00 | 80.00 |") != std::string::npos);
}

}  // namespace vitrine::testing
