#include "models/training/ledgers.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "engine/text.h"
#include "models/training/table_rows.h"

namespace vitrine {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool there_is(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string printed(const char* form, double value) {
  char out[64];
  std::snprintf(out, sizeof out, form, value);
  return out;
}

// A column: its name and value as JSON has them, and the value in words.
struct Field {
  Field(const char* name, const std::string& v) : key(name), value(v), words(v) {}
  Field(const char* name, int64_t v) : key(name), value(v), words(std::to_string(v)) {}
  Field(const char* name, uint64_t v) : key(name), value(v), words(std::to_string(v)) {}
  Field(const char* name, double v) : key(name), value(v), words(printed("%g", v)) {}
  Field(const char* name, Json v, std::string in_words)
      : key(name), value(std::move(v)), words(std::move(in_words)) {}

  bool is_number() const { return value.is_number(); }

  std::string key;
  Json value;
  std::string words;
};

std::string score_words(const LedgerLine& line) {
  return line.complete() ? printed("%.2f", 100 * line.score) : line.failed.empty() ? "diverged" : "failed";
}

// `row` is empty for a run that counts in none.
std::vector<Field> fields_of(const LedgerLine& line, const std::string& row, const std::string& task_file) {
  return {{"run", line.run},
          {"task", line.task},
          {"method", line.form + (line.variant.empty() ? "" : text(" ({})", line.variant))},
          {"stage", std::string(name_of(line.stage))},
          {"seed", line.seed},
          {"learning_rate", line.learning_rate},
          {"weight_decay", line.weight_decay},
          {"prompts", line.prompts},
          {"epochs", line.epochs},
          {"batch", line.batch},
          {"train_images", line.train_images},
          {"recipe", line.recipe},
          {"backbone", line.net},
          {"score", line.complete() ? Json(100 * line.score) : Json(nullptr), score_words(line)},
          {"reason", line.failed.empty() ? line.diverged : line.failed},
          {"row", row.empty() ? Json(nullptr) : Json(row), row.empty() ? "left out" : row},
          {"task_file", task_file}};
}

}  // namespace

std::string ledger_of(const std::string& where) {
  if (!is_folder(where)) return where;
  const fs::path ledger = fs::path(where) / "ledger.jsonl";
  check(there_is(ledger), "{} is not the folder of a vitrine sweep: it holds no ledger.jsonl{}", quote(where),
        there_is(fs::path(where) / "task.safetensors") ? "; of one run there is vitrine report" : "");
  return ledger.string();
}

Ledgers read_ledgers(const std::vector<std::string>& where) {
  Ledgers out;
  std::vector<std::string> sources;                            // of each line
  std::map<std::pair<std::string, std::string>, size_t> seen;  // by run and pictures
  for (const std::string& place : where) {
    const std::string path = ledger_of(place);
    for (LedgerLine& line : read_ledger(path, &out.plans)) {
      // One that was set aside elsewhere does not stand in the way of the line itself.
      const std::string pictures = line.pictures() + (line.other_pictures ? " aside" : "");
      const auto [before, fresh] = seen.emplace(std::pair(line.run, pictures), out.lines.size());
      if (fresh) {
        out.folders.push_back(
            is_folder(place) && !line.other_pictures ? (fs::path(place) / "runs" / line.run).string() : "");
        sources.push_back(path);
        out.lines.push_back(std::move(line));
      } else if (!same_result(out.lines[before->second], line)) {
        out.contradictions.push_back(text("run {} has another result in {} than in {}; the first one counts",
                                          line.run, quote(path), quote(sources[before->second])));
      }
    }
  }
  return out;
}

std::string runs_text(const Ledgers& ledgers, TableFormat format) {
  const TableRows sorted = table_rows(ledgers.lines, ledgers.plans);
  std::map<const LedgerLine*, std::string> labels;  // of those that count
  for (const TableRows::Line& line : sorted.lines) labels[line.line] = sorted.rows[line.row].label;
  Json rows = Json::array();
  std::vector<std::vector<Field>> table{fields_of({}, "", "")};  // the first for the names of columns alone
  for (size_t k = 0; k < ledgers.lines.size(); ++k) {
    const LedgerLine& line = ledgers.lines[k];
    const fs::path file = fs::path(ledgers.folders[k]) / "task.safetensors";
    const bool kept = !ledgers.folders[k].empty() && there_is(file);
    table.push_back(fields_of(line, labels[&line], kept ? file.string() : ""));
    Json row;
    for (const Field& field : table.back()) row[field.key] = field.value;
    row.update({{"data", line.data}, {"diverged", line.diverged}, {"failed", line.failed}});
    row.erase("reason");  // the one or the other of these
    rows.push_back(std::move(row));
  }
  if (format == TableFormat::json) return rows.dump(2) + "\n";

  const bool csv = format == TableFormat::csv;
  std::string out, rule = "|";
  for (size_t k = 0; k < table.size(); ++k) {
    std::string line = csv ? "" : "|";
    for (const Field& field : table[k]) {
      std::string words = k > 0 ? field.words : field.key;
      if (k == 0 && !csv) {
        std::ranges::replace(words, '_', ' ');
        rule += field.is_number() ? "---:|" : "---|";
      }
      line +=
          csv ? text("{}{}", line.empty() ? "" : ",", csv_cell(words)) : text(" {} |", markdown_cell(words));
    }
    out += line + "\n";
    if (k == 0 && !csv) out += rule + "\n";
  }
  return out;
}

}  // namespace vitrine

#endif
