// ledger_test.cpp: results as lines of JSON, and several ledgers as one.
#include "models/training/ledger.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/text.h"
#include "ledger_lines.h"
#include "models/training/ledgers.h"
#include "models/training/recipes.h"
#include "tune_runs.h"

namespace vitrine::testing {

namespace {

LedgerLine made_up() {
  LedgerLine line;
  line.run = "0";
  line.score = 0.5;
  line.learning_rate = 0.1;
  line.weight_decay = 0.01;
  line.trained_parameters = 10;
  return line;
}

void write_lines(const std::string& path, const std::vector<LedgerLine>& lines) {
  std::ofstream out(path);
  for (const LedgerLine& line : lines) out << to_json(line) << "\n";
}

}  // namespace

TEST_CASE("ledger: a line comes back as it was, and what is none is refused") {
  LedgerLine line = made_up();
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

TEST_CASE("ledger: several are read as one, and told where they contradict") {
  const Folder folder("ledgers");
  const std::string sweep = folder.path + "/sweep", other = folder.path + "/other.jsonl";
  std::filesystem::create_directories(sweep + "/runs/00000000000000000001");
  Lines made;
  for (int k = 0; k < 3; ++k)
    made.add("linear", "g", text("t{}", k), 0.25 * k).run = text("0000000000000000000{}", k);
  for (LedgerLine& line : made.all)
    line.settings = R"({"learning_rate":0.1,"weight_decay":0.01,"prompts":0,"epochs":40,"batch":64})";
  made.all[2].diverged = "it did";
  made.all[2].seed = std::numeric_limits<uint64_t>::max();
  write_lines(sweep + "/ledger.jsonl", {made.all[0], made.all[1]});
  std::ofstream(sweep + "/runs/00000000000000000001/task.safetensors") << "kept";
  // The first as it was, but for the time; the second with another score; the third, and the second of other pictures.
  std::vector<LedgerLine> lines = made.all;
  lines[0].seconds = 77;
  lines[1].score = 1;
  lines.push_back(made.all[1]);
  lines[3].data_digest = "others";
  lines[3].other_pictures = true;
  write_lines(other, lines);

  CHECK(ledger_of(other) == other);
  CHECK(ledger_of(sweep) == sweep + "/ledger.jsonl");
  CHECK_THROWS_WITH_AS(ledger_of(folder.path), doctest::Contains("holds no ledger.jsonl"), Error);
  CHECK_THROWS_WITH_AS(ledger_of(sweep + "/runs/00000000000000000001"), doctest::Contains("vitrine report"),
                       Error);

  const Ledgers both = read_ledgers({sweep, other});
  REQUIRE(both.lines.size() == 4);
  CHECK(both.lines[1].score == made.all[1].score);
  CHECK(both.folders == std::vector<std::string>{sweep + "/runs/00000000000000000000",
                                                 sweep + "/runs/00000000000000000001", "", ""});
  CHECK(both.contradictions ==
        std::vector<std::string>{
            text("run 00000000000000000001 has another result in {} than in {}; the first one counts",
                 quote(other), quote(sweep + "/ledger.jsonl"))});
  CHECK(read_ledgers({other, sweep}).lines[1].score == 1);
  // What was set aside elsewhere does not stand in the way of the line itself.
  const std::string aside = folder.path + "/aside.jsonl";
  lines[3].data_digest = made.all[1].data_digest;
  write_lines(aside, {lines[3]});
  const Ledgers beside = read_ledgers({aside, sweep});
  CHECK(beside.lines.size() == 3);
  CHECK(beside.contradictions.empty());

  // One line for each run, in all formats the same.
  const auto json = nlohmann::json::parse(runs_text(both, TableFormat::json));
  REQUIRE(json.size() == 4);
  CHECK(json[1]["score"] == 25);
  CHECK(json[1]["task_file"] == sweep + "/runs/00000000000000000001/task.safetensors");
  CHECK(json[1]["row"] == "linear");
  CHECK(json[2]["score"].is_null());
  CHECK(json[2]["diverged"] == "it did");
  CHECK(json[2]["seed"].dump() == std::to_string(std::numeric_limits<uint64_t>::max()));
  CHECK(json[3]["row"].is_null());
  const std::string csv = runs_text(both, TableFormat::csv),
                    markdown = runs_text(both, TableFormat::markdown);
  CHECK(csv.starts_with("run,task,method,stage,seed,learning_rate,"));
  CHECK(csv.find(text("25.00,,linear,{}/runs/00000000000000000001/task.safetensors\n", sweep)) !=
        std::string::npos);
  CHECK(csv.find(",diverged,it did,linear,\n") != std::string::npos);
  CHECK(csv.find(",25.00,,left out,\n") != std::string::npos);
  CHECK(markdown.starts_with("| run | task | method | stage | seed | learning rate |"));
  CHECK(markdown.find("\n|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|---:|---|---|---|\n") !=
        std::string::npos);
  CHECK(std::ranges::count(markdown, '\n') == 6);
  CHECK(std::ranges::count(csv, '\n') == 5);
}

}  // namespace vitrine::testing
