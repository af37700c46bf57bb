// paper_numbers_test.cpp: the paper's own numbers, by themselves and beside a table.
#include "models/training/paper_numbers.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "ledger_lines.h"

namespace vitrine::testing {

TEST_CASE("paper: the paper's tasks give the means and the wins of its table 1") {
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

TEST_CASE("paper: tasks and groups are known by their usual names") {
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

TEST_CASE("paper: total parameters are those of the paper for its heads and prompts") {
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

TEST_CASE("paper: the paper stands beside its own tasks and form of net") {
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

}  // namespace vitrine::testing
