// table_rows_test.cpp: which results may stand in one cell, and what rows are called.
#include "models/training/table_rows.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ledger_lines.h"
#include "models/training/recipes.h"
#include "models/training/table_facts.h"

namespace vitrine::testing {

TEST_CASE("table rows: what must not be compared is told") {
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

TEST_CASE("table rows: a cell is of one set of settings, in whatever order the lines stand") {
  Lines lines;
  const auto with = [](LedgerLine& line, int64_t epochs, double rate) -> LedgerLine& {
    line.settings = text("{}{}}", R"({"warmup_epochs":)", epochs / 10);
    line.epochs = epochs;
    line.learning_rate = rate;
    line.recipe = "one of its own";  // of which nobody knows what is usual
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

TEST_CASE("table rows: rows stand in the paper's order and are named by what differs") {
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
  CHECK(compare(lines.all).tasks[0].second == "x (resize squash)");
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

TEST_CASE("table rows: what is not as the recipe has it stands in a row's name") {
  Lines lines;
  const auto settings = [](int64_t epochs, int64_t batch, double warmup, const char* optimizer = "adamw") {
    return text(R"({"batch":{},"drop_path":0.0,"epochs":{},"optimizer":"{}","warmup_epochs":{}})", batch,
                epochs, optimizer, warmup);
  };
  const auto label_of = [&](const std::string& method, const std::string& with) {
    lines.all.clear();
    LedgerLine& line = lines.add(method, "one", "x", 0.5);
    line.settings = with;
    line.epochs = nlohmann::json::parse(with)["epochs"];
    return compare(lines.all).rows[0].label;
  };
  CHECK(label_of("full", settings(10, 32, 1)) == "full");
  CHECK(label_of("full", settings(8, 32, 0.8)) == "full (epochs 8)");
  CHECK(label_of("full", settings(8, 32, 0.5)) == "full (epochs 8, warmup epochs 0.5)");
  CHECK(label_of("full", settings(10, 16, 1)) == "full (batch 16)");
  CHECK(label_of("full", settings(10, 16, 1, "sgd")) == "full (batch 16, optimizer sgd)");
  CHECK(label_of("linear", settings(40, 64, 1)) == "linear");
  // Every recipe's own settings are usual.
  for (const Recipe& recipe : recipes()) {
    const std::string method = recipe.method == "*" ? "cls" : std::string(recipe.method);
    for (const GridPoint& point : grid_of(recipe, method, {}, VitConfig{})) {
      LedgerLine line;
      line.method = method;
      line.recipe = recipe.preset;
      line.settings = to_json(point.config);
      line.epochs = point.config.epochs;
      CHECK(unusual_of(line).empty());
    }
  }
  // Of two rows both are named, the usual one as well.
  lines.all.clear();
  for (const int64_t epochs : {10, 8}) {
    LedgerLine& line = lines.add("full", "one", "x", 0.5);
    line.settings = settings(epochs, 32, static_cast<double>(epochs) / 10);
    line.epochs = epochs;
  }
  const Comparison c = compare(lines.all);
  CHECK(c.rows[0].label == "full (epochs 10)");
  CHECK(c.rows[1].label == "full (epochs 8)");
}

TEST_CASE("table rows: what failed on a task that was asked otherwise does not stand beside it") {
  Lines lines;
  lines.add("vpt-deep", "one", "x", 0).failed = "a shift needs room";
  lines.all[0].settings = R"({"random_shift":true})";
  lines.all[0].data_digest = "first";
  // As long as nothing came to its end it is what there is to tell.
  CHECK(compare(lines.all).rows[0].tasks[0].failed == 1);
  const LedgerLine before = lines.all[0];
  lines.add("linear", "one", "x", 0.5).data_digest = "first";
  const auto tasks = [&] { return compare(lines.all).tasks; };
  const std::vector<std::pair<std::string, std::string>> alone{{"one", "x"}};
  CHECK(tasks() == alone);
  CHECK(compare(lines.all).rows.size() == 1);
  CHECK(compare(lines.all).warnings ==
        std::vector<std::string>{"1 run that failed when a task was asked or resized otherwise is left out"});
  // What failed on the task as it is asked counts: of pictures that were mended or damaged since, of another recipe, or
  // of another number of images.
  lines.all[0].settings = "{}";
  lines.all[0].data_digest = "second";
  const auto failed_of = [&](const char* label) { return row_of(compare(lines.all), label).tasks[0].failed; };
  CHECK(failed_of("vpt-deep") == 1);
  CHECK(tasks() == alone);
  lines.all[0].recipe = "paper";
  lines.all[0].preprocess = R"({"mean":[0.5,0.5,0.5]})";
  CHECK(failed_of("vpt-deep, recipe paper") == 1);
  lines.all[0] = before;
  lines.all[0].settings = "{}";
  lines.all[0].train_images = 2000;
  CHECK(series(lines.all, By::train_size).columns == std::vector<std::string>{"1000", "2000"});
  // Where both ways came to an end there are two tasks, and failures of each.
  lines.all[0] = before;
  lines.add("full", "one", "x", 0.4).settings = R"({"random_shift":true})";
  lines.all.back().data_digest = "first";
  CHECK(tasks().size() == 2);
}

}  // namespace vitrine::testing
