// table_test.cpp: tables, the paper's numbers and the signed-rank test against their definitions.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/check.h"
#include "engine/random.h"
#include "models/training/ledger.h"
#include "models/training/paper_numbers.h"
#include "models/training/statistics.h"
#include "models/training/table.h"

namespace vitrine::testing {

namespace {

// Ledger lines one after the other, each with a name of its own.
struct Lines {
  std::vector<LedgerLine> all;
  LedgerLine& add(const std::string& method, const std::string& group, const std::string& task, double score,
                  uint64_t seed = 0, Stage stage = Stage::final) {
    LedgerLine line;
    line.run = text("{}", all.size());
    line.task = task;
    line.group = group;
    line.data = "made up";
    line.metric = "top1";
    line.method = line.form = method;
    line.recipe = "quick";
    line.settings = "{}";
    line.stage = stage;
    line.seed = seed;
    line.train_images = 1000;
    line.score = score;
    line.trained_parameters = line.stored_parameters = method == "full" ? 1100 : 50;
    line.backbone_parameters = 1000;
    line.net = "vit-b16";
    line.backbone_identity = "0123456789abcdef";
    line.version = "1";
    all.push_back(line);
    return all.back();
  }
};

const TableRow& row_of(const Comparison& c, const std::string& label) {
  const auto found = std::ranges::find(c.rows, label, &TableRow::label);
  REQUIRE(found != c.rows.end());
  return *found;
}

// p by going through all signs.
std::pair<double, double> by_enumeration(const std::vector<double>& differences) {
  std::vector<double> d;
  std::ranges::copy_if(differences, std::back_inserter(d), [](double v) { return v != 0; });
  const size_t n = d.size();
  std::vector<double> ranks(n);
  for (size_t i = 0; i < n; ++i) {
    double below = 0, equal = 0;
    for (size_t k = 0; k < n; ++k) {
      below += std::fabs(d[k]) < std::fabs(d[i]);
      equal += std::fabs(d[k]) == std::fabs(d[i]);
    }
    ranks[i] = below + (equal + 1) / 2;
  }
  double seen = 0;
  for (size_t i = 0; i < n; ++i) seen += d[i] > 0 ? ranks[i] : 0;
  double above = 0, under = 0;
  for (size_t signs = 0; signs < size_t{1} << n; ++signs) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (signs >> i & 1) != 0 ? ranks[i] : 0;
    above += sum >= seen;
    under += sum <= seen;
  }
  const double all = std::ldexp(1.0, static_cast<int>(n));
  return {above / all, std::min(1.0, 2 * std::min(above, under) / all)};
}

}  // namespace

TEST_CASE("table: the signed-rank test is what going through all signs gives") {
  Random random(7, Purpose::init);
  for (int n = 1; n <= 12; ++n)
    for (int trial = 0; trial < 8; ++trial) {
      std::vector<double> d;
      for (int i = 0; i < n; ++i) {
        // Every other trial from few values: ties and zeros.
        const double v = random.uniform(-3, 5);
        d.push_back(trial % 2 == 0 ? v : std::round(v));
      }
      const SignedRank test = signed_rank(d);
      const auto [greater, two_sided] = by_enumeration(d);
      CHECK(test.exact);
      CHECK(test.greater == doctest::Approx(greater).epsilon(1e-12));
      CHECK(test.two_sided == doctest::Approx(two_sided).epsilon(1e-12));
    }
  CHECK(signed_rank({}).two_sided == 1);
  CHECK(signed_rank({0, 0}).n == 0);
  // All of n positive: one of 2^n choices of signs.
  CHECK(signed_rank({1, 2, 3, 4, 5}).greater == doctest::Approx(1.0 / 32));
  // Beyond 25 the normal distribution: close to the exact value just below.
  std::vector<double> many;
  for (int i = 1; i <= 25; ++i) many.push_back(i % 3 == 0 ? -i : i);
  const SignedRank exact = signed_rank(many);
  CHECK(exact.exact);
  many.push_back(1e-9);  // one more rank, the smallest
  const SignedRank normal = signed_rank(many);
  CHECK(!normal.exact);
  CHECK(normal.greater == doctest::Approx(exact.greater).epsilon(0.15));
  CHECK_THROWS_AS(signed_rank({1, std::nan("")}), Error);
}

TEST_CASE("table: means and deviations by their definitions") {
  CHECK(mean_of({1, 2, 6}) == 3);
  CHECK(deviation_of({1, 2, 6}) == doctest::Approx(std::sqrt((4 + 1 + 9) / 2.0)));
  CHECK(deviation_of({4}) == 0);
  CHECK_THROWS_AS(mean_of({}), Error);
}

TEST_CASE("table: the paper's tasks give the means and the wins of its table 1") {
  int compared = 0;
  const PaperRow* full = paper_row("vit-b16", "full");
  REQUIRE(full != nullptr);
  for (const PaperRow& row : paper_rows()) {
    if (row.tasks.empty()) continue;
    for (const PaperGroup& group : row.groups) {
      std::vector<double> values;
      int wins = 0, ties = 0;  // what looks equal as it is printed need not be
      for (const std::string_view task : paper_tasks(group.group)) {
        const auto value = paper_value(row, group.group, task);
        if (!value) continue;
        values.push_back(*value);
        wins += *value > *paper_value(*full, group.group, task);
        ties += *value == *paper_value(*full, group.group, task);
      }
      if (values.empty()) {
        CHECK(group.group == "FGVC");  // the rows of table 13 alone
        continue;
      }
      CHECK(values.size() == paper_tasks(group.group).size());
      // Printed with one digit a task: the mean lies within half a digit, and a hundredth was rounded itself.
      CHECK_MESSAGE(std::fabs(mean_of(values) - group.mean) <= 0.05 + 0.005 + 1e-9, std::string(row.method),
                    " ", std::string(group.group));
      if (group.wins)
        CHECK_MESSAGE((wins <= *group.wins && *group.wins <= wins + ties), std::string(row.method), " ",
                      std::string(group.group));
      ++compared;
    }
  }
  CHECK(compared == 4 + 3 + 3 + 4 + 4);
  // The paper prints p = 1.2e-3 for VPT-deep against full tuning, from numbers that were not rounded.
  std::vector<double> better;
  for (const std::string_view group : paper_groups())
    for (const std::string_view task : paper_tasks(group))
      better.push_back(*paper_value(*paper_row("vit-b16", "vpt-deep"), group, task) -
                       *paper_value(*full, group, task));
  const SignedRank test = signed_rank(better);
  CHECK(test.n == 24);
  CHECK(test.exact);
  CHECK(test.greater > 1.2e-3 / 1.5);
  CHECK(test.greater < 1.2e-3 * 1.5);
  // The mean over the 19 tasks of VTAB that later work compares with.
  const PaperRow* deep = paper_row("vit-b16", "vpt-deep");
  double sum = 0;
  int tasks = 0;
  for (const std::string_view group : paper_groups()) {
    if (group == "FGVC") continue;
    for (const std::string_view task : paper_tasks(group)) {
      sum += *paper_value(*deep, group, task);
      ++tasks;
    }
  }
  CHECK(tasks == 19);
  CHECK(std::round(100 * sum / tasks) / 100 == doctest::Approx(69.43));
}

TEST_CASE("table: tasks and groups are known by their usual names") {
  CHECK(paper_group("natural") == "Natural");
  CHECK(paper_group("fgvc") == "FGVC");
  CHECK(paper_group("other").empty());
  CHECK(paper_task("Natural", "cifar100") == "cifar");
  CHECK(paper_task("Natural", "vtab-cifar(num_classes=100)").empty());
  CHECK(paper_task("Natural", "vtab-caltech101") == "caltech101");
  CHECK(paper_task("Natural", "oxford_flowers102") == "flowers");
  CHECK(paper_task("FGVC", "OxfordFlowers") == "flowers");
  CHECK(paper_task("FGVC", "cifar").empty());
  CHECK(paper_task("Structured", "dsprites_ori") == "dsprites-ori");
  CHECK(paper_task("Structured", "smallnorb_azi") == "smallnorb-azi");
  CHECK(paper_task("Structured", "clevr_count") == "clevr-count");
  CHECK(paper_task("Specialized", "patch_camelyon") == "camelyon");
  CHECK(paper_task("Specialized", "diabetic_retinopathy") == "retinopathy");
  // Each name of its own is found as it is.
  for (const std::string_view group : paper_groups())
    for (const std::string_view task : paper_tasks(group)) CHECK(paper_task(group, task) == task);
}

TEST_CASE("table: total parameters are those of the paper for its heads and prompts") {
  // ViT-B/16 and 24 tasks with the classes of spec: full tuning stores every task's weights and no backbone beside.
  const int64_t backbone = 85'798'656, width = 768, blocks = 12;
  const std::vector<int64_t> classes{200, 555, 102, 120, 196,  // FGVC
                                     100, 102, 47,  102, 37,  10, 397, 2,  10, 45,
                                     5,   8,   6,   6,   4,   16, 16,  18, 9};
  Lines lines;
  for (size_t t = 0; t < classes.size(); ++t) {
    const int64_t head = (width + 1) * classes[t];
    const auto add = [&](const char* method, int64_t stored) {
      LedgerLine& line = lines.add(method, "all", text("task {}", t), 0.5);
      line.stored_parameters = line.trained_parameters = stored;
      line.backbone_parameters = backbone;
    };
    add("full", backbone + head);
    add("linear", head);
    add("vpt-deep", head + blocks * width * 10);
  }
  const Comparison c = compare(lines.all);
  const auto rounded = [&](const char* method) { return std::round(100 * row_of(c, method).total) / 100; };
  CHECK(rounded("full") == paper_row("vit-b16", "full")->total);
  CHECK(rounded("linear") == paper_row("vit-b16", "linear")->total);
  // A method that adds more than the backbone has still needs the backbone beside.
  Lines much;
  for (const char* task : {"x", "y"}) {
    much.add("vpt-deep", "all", task, 0.5).stored_parameters = 1300;
    much.add("partial-6", "all", task, 0.5).stored_parameters = 1000;
  }
  CHECK(row_of(compare(much.all), "vpt-deep").total == doctest::Approx(1 + 2 * 1.3));
  CHECK(row_of(compare(much.all), "partial-6").total == doctest::Approx(1 + 2 * 1.0));
  const int64_t heads = std::accumulate(classes.begin(), classes.end(), int64_t{0}) * (width + 1);
  CHECK(row_of(c, "vpt-deep").total ==
        doctest::Approx(1 + static_cast<double>(heads + 24 * blocks * width * 10) / backbone));
  CHECK(row_of(c, "vpt-deep").tuned_parameters == doctest::Approx(heads / 24.0 + blocks * width * 10));
}

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

TEST_CASE("table: what must not be compared is told") {
  Lines lines;
  lines.add("linear", "one", "x", 0.5);
  lines.add("linear", "one", "x", 0.7).backbone_identity = "fedcba9876543210";
  Comparison c = compare(lines.all);
  CHECK(c.rows.size() == 2);
  REQUIRE(c.warnings.size() == 1);
  CHECK(c.warnings[0].find("2 backbones") != std::string::npos);
  CHECK(table_text(c, TableFormat::markdown).find("Note: the ledger has results of 2 backbones") !=
        std::string::npos);
  lines.all.resize(1);
  lines.add("linear", "one", "x", 0.7).recipe = "paper";
  c = compare(lines.all);
  CHECK(c.rows[0].label == "linear, recipe paper");
  CHECK(c.warnings.size() == 1);
  lines.all.resize(1);
  lines.add("linear", "one", "x", 0.7, 1).version = "2";
  CHECK(compare(lines.all).warnings[0].find("2 versions") != std::string::npos);
  lines.all.resize(1);
  lines.add("linear", "one", "x", 0.7);
  c = compare(lines.all);
  CHECK(c.warnings[0].find("several results of one seed") != std::string::npos);
  CHECK(*c.rows[0].all.mean == doctest::Approx(50));
  std::swap(lines.all[0], lines.all[1]);
  CHECK(*compare(lines.all).rows[0].all.mean == doctest::Approx(50));  // whatever the order
  std::swap(lines.all[0], lines.all[1]);
  lines.all.resize(1);
  lines.add("linear", "one", "x", 0.7).train_images = 2000;
  c = compare(lines.all);
  CHECK(c.warnings[0].find("several numbers of training images") != std::string::npos);
  CHECK(*c.rows[0].all.mean == doctest::Approx(70));
  CHECK(compare({}).rows.empty());
  // Names cannot break the table.
  lines.all.clear();
  lines.add("linear", "a|b\nc", "x,\"y\"", 0.5);
  c = compare(lines.all);
  CHECK(table_text(c, TableFormat::markdown).find("a\\|b c") != std::string::npos);
  CHECK(markdown_cell("<b>") == "&lt;b>");
  CHECK(table_text(c, TableFormat::csv).find("\"x,\"\"y\"\"\"") != std::string::npos);
}

TEST_CASE("table: a cell is of one set of settings, in whatever order the lines stand") {
  Lines lines;
  const auto with = [](LedgerLine& line, int64_t epochs, double rate) -> LedgerLine& {
    line.settings = text("{}{}}", R"({"warmup_epochs":)", epochs / 10);
    line.epochs = epochs;
    line.learning_rate = rate;
    return line;
  };
  // Two seeds of one epoch, and one of thirty: no mean is taken over them.
  with(lines.add("linear", "one", "x", 0.2, 0), 1, 0.003);
  with(lines.add("linear", "one", "x", 0.3, 1), 1, 0.003);
  with(lines.add("linear", "one", "x", 0.8, 0), 30, 0.003);
  const auto check_epochs = [&] {
    const Comparison c = compare(lines.all);
    REQUIRE(c.rows.size() == 2);
    CHECK(*row_of(c, "linear (epochs 1)").all.mean == doctest::Approx(25));
    CHECK(row_of(c, "linear (epochs 1)").all.seeds == 2);
    CHECK(*row_of(c, "linear (epochs 30)").all.mean == doctest::Approx(80));
    REQUIRE(c.warnings.size() == 1);
    CHECK(c.warnings[0] == "linear was run with several settings (epochs); each has a row of its own");
    const Series s = series(lines.all, By::train_size);
    REQUIRE(s.sections[0].rows.size() == 2);
    for (const Series::Row& row : s.sections[0].rows)
      CHECK(*row.cells[0].mean == doctest::Approx(row.label == "linear (epochs 1)" ? 25 : 80));
  };
  check_epochs();
  std::ranges::reverse(lines.all);
  check_epochs();

  // Rates that nobody searched: rows of their own, but only where a task has several.
  lines.all.clear();
  with(lines.add("linear", "one", "x", 0.2), 1, 0.1);
  with(lines.add("linear", "one", "y", 0.4), 1, 0.2);
  CHECK(*row_of(compare(lines.all), "linear").all.mean == doctest::Approx(30));
  with(lines.add("linear", "one", "x", 0.9, 1), 1, 0.2);
  Comparison c = compare(lines.all);
  CHECK(*row_of(c, "linear (learning rate 0.1)").all.mean == doctest::Approx(20));
  CHECK(*row_of(c, "linear (learning rate 0.2)").all.mean == doctest::Approx((90.0 + 40) / 2));

  // What a search tried: the best on val counts, and the test of another is left out, however good.
  lines.all.clear();
  with(lines.add("linear", "one", "x", 0.6, 0, Stage::search), 1, 0.1);
  with(lines.add("linear", "one", "x", 0.7, 0, Stage::search), 1, 0.2);
  with(lines.add("linear", "one", "x", 0.9, 0), 1, 0.1);
  with(lines.add("linear", "one", "x", 0.3, 0), 1, 0.2);
  for (int turn = 0; turn < 4; ++turn) {
    std::rotate(lines.all.begin(), lines.all.begin() + 1, lines.all.end());
    c = compare(lines.all);
    REQUIRE(c.rows.size() == 1);
    CHECK(*c.rows[0].all.mean == doctest::Approx(30));
    CHECK(c.warnings[0].find("not the best on val are left out") != std::string::npos);
  }
  // A search that was extended: the test of an earlier winner is shown no more, and that of the new one is missing.
  {
    Lines more = lines;
    with(more.add("linear", "one", "x", 0.8, 0, Stage::search), 1, 0.3);
    for (int turn = 0; turn < 5; ++turn) {
      std::rotate(more.all.begin(), more.all.begin() + 1, more.all.end());
      c = compare(more.all);
      REQUIRE(c.rows.size() == 1);
      CHECK(!c.rows[0].all.mean);
      CHECK(std::ranges::any_of(c.warnings, [](const std::string& w) {
        return w ==
               "linear on x: the settings that are the best on val now were not tested yet; the same sweep "
               "does it";
      }));
    }
    with(more.add("linear", "one", "x", 0.4, 0), 1, 0.3);
    CHECK(*compare(more.all).rows[0].all.mean == doctest::Approx(40));
    // One that failed, or is of other pictures, decides nothing.
    more.all.back().other_pictures = true;
    c = compare(more.all);
    CHECK(!c.rows[0].all.mean);
    CHECK(c.warnings[0] == "1 result of other pictures than the sweep's are left out");
  }
  // Beside them a rate that the search did not try.
  with(lines.add("linear", "one", "x", 0.5), 1, 0.4);
  c = compare(lines.all);
  CHECK(*row_of(c, "linear").all.mean == doctest::Approx(30));
  CHECK(*row_of(c, "linear (learning rate 0.4)").all.mean == doctest::Approx(50));

  // Full tuning with the same settings is the one to be better than.
  lines.all.clear();
  for (const int64_t epochs : {1, 30}) {
    with(lines.add("full", "one", "x", epochs == 1 ? 0.5 : 0.9), epochs, 0.1);
    with(lines.add("linear", "one", "x", 0.7), epochs, 0.1);
  }
  c = compare(lines.all);
  CHECK(row_of(c, "linear (epochs 1)").groups[0].wins == 1);
  CHECK(row_of(c, "linear (epochs 30)").groups[0].wins == 0);

  // The paper's grid has other batches for many prompts, which is no other protocol; --batch is one.
  lines.all.clear();
  for (const int64_t prompts : {10, 100}) {
    LedgerLine& line = with(lines.add("vpt-deep", "one", text("p{}", prompts), 0.5), 100, 0.1);
    line.recipe = "paper";
    line.prompts = prompts;
    line.batch = prompts < 100 ? 128 : 64;
  }
  CHECK(compare(lines.all).rows.size() == 1);
  lines.all[0].batch = 32;
  CHECK(compare(lines.all).rows.size() == 1);
  lines.all.push_back(lines.all[0]);
  lines.all.back().run = "another";
  lines.all.back().batch = 128;
  CHECK(compare(lines.all).rows.size() == 3);

  // The same task asked or prepared otherwise is another one.
  lines.all.clear();
  lines.add("linear", "one", "x", 0.2, 0);
  lines.add("linear", "one", "x", 0.6, 1).metric = "top5";
  c = compare(lines.all);
  CHECK(c.tasks == std::vector<std::pair<std::string, std::string>>{{"one", "x (metric top1)"},
                                                                    {"one", "x (metric top5)"}});
  CHECK(*c.rows[0].tasks[0].mean == doctest::Approx(20));
  lines.all[1].metric = "top1";
  lines.all[1].settings = R"({"flip":true})";
  lines.all[0].settings = R"({"flip":false})";
  CHECK(compare(lines.all).tasks[1].second == "x (flip true)");
  lines.all[1].settings = "{}";
  lines.all[0].settings = "{}";
  lines.all[0].data_digest = "0123456789";
  lines.all[1].data_digest = "9876543210";
  CHECK(compare(lines.all).tasks[1].second == "x (pictures 987654)");
}

TEST_CASE("table: rows stand in the paper's order and are named by what differs") {
  Lines lines;
  for (const char* method : {"lora-8", "vpt-deep", "partial-2", "partial-1", "linear", "full"})
    lines.add(method, "one", "x", 0.5);
  const auto labels = [&] {
    std::vector<std::string> out;
    for (const TableRow& row : compare(lines.all).rows) out.push_back(row.label);
    return out;
  };
  using Labels = std::vector<std::string>;
  CHECK(labels() == Labels{"full", "linear", "partial-1", "partial-2", "vpt-deep", "lora-8"});
  LedgerLine& small = lines.add("vpt-deep", "one", "x", 0.5);
  small.net = small.backbone_identity = "0a";
  small.backbone_parameters = 500;
  CHECK(labels()[0] == "vpt-deep, 0a");

  // The batch of another row is told as well, though there it has no rival.
  lines.all.clear();
  const auto with = [&](const char* settings, int64_t batch) {
    LedgerLine& line = lines.add("vpt-deep", "one", "x", 0.5);
    line.settings = settings;
    line.batch = batch;
  };
  with(R"({"optimizer":"adamw","warmup_epochs":1})", 16);
  with(R"({"optimizer":"adamw","warmup_epochs":1})", 8);
  with(R"({"optimizer":"sgd","warmup_epochs":1})", 16);
  CHECK(labels() == Labels{"vpt-deep (batch 16, optimizer adamw)", "vpt-deep (batch 16, optimizer sgd)",
                           "vpt-deep (batch 8, optimizer adamw)"});
  lines.all[2].settings = R"({"optimizer":"adamw","warmup_epochs":0.5})";
  CHECK(labels() == Labels{"vpt-deep (batch 16, warmup epochs 0.5)", "vpt-deep (batch 16, warmup epochs 1)",
                           "vpt-deep (batch 8, warmup epochs 1)"});

  // What a search did not try is named by that in which it differs.
  lines.all.clear();
  for (const int64_t prompts : {1, 5}) {
    lines.add("vpt-deep", "one", "x", 0.1 * static_cast<double>(prompts), 0, Stage::search).prompts = prompts;
    if (prompts == 5) lines.add("vpt-deep", "one", "x", 0.5).prompts = prompts;
  }
  lines.add("vpt-deep", "one", "x", 0.6).prompts = 10;
  CHECK(labels() == Labels{"vpt-deep", "vpt-deep (prompts 10)"});

  // Pictures that became squares otherwise are another task, and those that were turned another row.
  lines.all.clear();
  lines.add("linear", "one", "x", 0.2).preprocess = R"({"squash":true,"size":32})";
  lines.add("linear", "one", "x", 0.6).preprocess = R"({"squash":false,"size":32})";
  CHECK(compare(lines.all).tasks.size() == 2);
  CHECK(compare(lines.all).tasks[0].second == "x (squash true)");
  lines.all[1].preprocess = R"({"squash":true,"size":32,"exif":true})";
  CHECK(compare(lines.all).tasks.size() == 1);
  CHECK(labels() == Labels{"linear (exif false)", "linear (exif true)"});
  lines.all[1].preprocess = lines.all[0].preprocess;
  lines.all[1].seed = 1;
  lines.all[1].preprocess.clear();  // a line of before it was told
  CHECK(labels() == Labels{"linear"});
  // Nor is one with other contents.
  for (LedgerLine& line : lines.all) line.data_digest = "0123456789";
  lines.all[0].contents = "aaaaaaaa";
  CHECK(compare(lines.all).tasks.size() == 1);
  lines.all[1].contents = "bbbbbbbb";
  CHECK(compare(lines.all).tasks.size() == 2);

  // A plan does not tell how pictures are prepared; it wants no row of its own.
  lines.all.clear();
  for (const char* exif : {"true", "false"})
    lines.add("linear", "one", "x", 0.2).preprocess = text(R"({"size":32,"exif":{}})", exif);
  LedgerPlan plan{.net = "vit-b16", .backbone_identity = "0123456789abcdef", .seeds = 1};
  plan.tasks = {{"x", "one", "top1"}};
  plan.methods = {{"linear", "quick", "{}"}};
  CHECK(compare(lines.all, PaperRows::none, {plan}).rows.size() == 2);

  // A task that was moved to another group is one task, in the group where its first line stands.
  lines.all.clear();
  lines.add("linear", "new", "x", 0.2).data_digest = "01";
  lines.add("full", "old", "x", 0.3).data_digest = "01";
  Comparison c = compare(lines.all);
  CHECK(c.tasks == std::vector<std::pair<std::string, std::string>>{{"new", "x"}});
  CHECK(c.warnings.back() == "task x stands in the groups new and old; it counts in new");
  // But two of one plan are two.
  plan.tasks = {{"x", "new", "top1"}, {"x", "old", "top1"}};
  CHECK(compare(lines.all, PaperRows::none, {plan}).tasks.size() == 2);
  lines.all[1].data_digest = "02";
  CHECK(compare(lines.all).tasks.size() == 2);
}

TEST_CASE("table: equal means are no win, and no number depends on the order of the lines") {
  Lines lines;
  const std::vector<double> one{0.8015, 0.8045, 0.8115}, other{0.8015, 0.8115, 0.8045};
  for (uint64_t seed = 0; seed < 3; ++seed) {
    lines.add("vpt-deep", "one", "x", one[seed], seed);
    lines.add("full", "one", "x", other[seed], seed);
  }
  Comparison c = compare(lines.all);
  CHECK(row_of(c, "vpt-deep").groups[0].wins == 0);
  CHECK(row_of(c, "vpt-deep").all.wins == 0);
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
  CHECK(row_of(c, "linear").tasks[2].failed == 1);
  CHECK(table_text(c, TableFormat::markdown).find("| two: z | failed | failed |") != std::string::npos);
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

TEST_CASE("table: the paper stands beside its own tasks and form of net") {
  Lines lines;
  for (const std::string_view task : paper_tasks("Natural")) {
    lines.add("vpt-deep", "natural", std::string(task), 0.5);
    lines.add("full", "natural", std::string(task), 0.5);
  }
  Comparison c = compare(lines.all);
  const TableRow& deep = row_of(c, "vpt-deep");
  CHECK(deep.groups[0].paper == 78.48);
  CHECK(deep.groups[0].paper_wins == 6);
  CHECK(deep.paper_total == 1.18);
  CHECK(deep.tasks[0].paper == 78.8);
  CHECK(deep.tasks[6].paper == 49.6);
  const std::string markdown = table_text(c, TableFormat::markdown);
  CHECK(markdown.find("| *the paper, table 1* | *1.18×* | *78.48 (6)* |") != std::string::npos);
  CHECK(compare(lines.all, PaperRows::mae).rows[1].groups[0].paper == 36.02);
  CHECK(compare(lines.all, PaperRows::moco_v3).rows[1].groups[0].paper == 70.27);
  CHECK(!compare(lines.all, PaperRows::none).rows[1].groups[0].paper);
  lines.all[0].variant = "shared";  // another method than the paper's
  CHECK(compare(lines.all).rows[2].label == "vpt-deep (shared)");
  CHECK(!compare(lines.all).rows[2].groups[0].paper);
  lines.all[0].variant = "";
  for (LedgerLine& line : lines.all) line.net = "swin-b";
  CHECK(compare(lines.all).rows[1].groups[0].paper == 76.78);
  for (LedgerLine& line : lines.all) line.net = "ViT, width 128";
  CHECK(!compare(lines.all).rows[0].groups[0].paper);
  for (LedgerLine& line : lines.all) line.net = "vit-b16";
  REQUIRE(compare(lines.all).rows[0].groups[0].paper);
  // A group of the same name with one task more, or one less, or quite others: its mean is another number.
  {
    Lines more = lines;
    more.add("vpt-deep", "natural", "textures", 0.5);
    CHECK(!compare(more.all).rows[0].groups[0].paper);
    CHECK(!compare(more.all).rows[0].paper_total);
    CHECK(compare(more.all).rows[1].tasks[0].paper == 78.8);  // of the task it is the same
    more.all.pop_back();
    for (int i = 0; i < 2; ++i) more.all.pop_back();
    CHECK(!compare(more.all).rows[0].groups[0].paper);
    Lines other;
    other.add("vpt-deep", "natural", "textures", 0.5);
    c = compare(other.all);
    CHECK(!c.rows[0].groups[0].paper);
    CHECK(table_text(c, TableFormat::markdown).find("the paper, table") == std::string::npos);
  }
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
