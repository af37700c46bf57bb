// ledger_lines.h: made-up results, for the tests of ledgers and tables.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/check.h"
#include "models/training/table.h"

namespace vitrine::testing {

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

inline const TableRow& row_of(const Comparison& c, const std::string& label) {
  const auto found = std::ranges::find(c.rows, label, &TableRow::label);
  REQUIRE(found != c.rows.end());
  return *found;
}

}  // namespace vitrine::testing
