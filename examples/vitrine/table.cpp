// table.cpp: `vitrine table`.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/ledgers.h"
#include "models/training/table.h"

namespace vitrine::cli {

namespace {

namespace fs = std::filesystem;

// As the file's name ends, if nobody says.
TableFormat format_of(const TableOptions& o) {
  if (o.format || !o.out) return o.format.value_or(TableFormat::markdown);
  std::string ending = fs::path(*o.out).extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  check(ending == ".csv" || ending == ".json" || ending == ".md" || ending == ".txt" || ending == ".markdown",
        "--out {}: which format? A name that ends in .md, .csv or .json tells, or else --format", *o.out);
  return ending == ".csv" ? TableFormat::csv : ending == ".json" ? TableFormat::json : TableFormat::markdown;
}

}  // namespace

int table(const TableOptions& o, Console& console) {
  const TableFormat format = format_of(o);
  const Ledgers ledgers = read_ledgers(o.ledgers);
  for (const std::string& words : ledgers.contradictions) console.note(words);
  check(!ledgers.lines.empty() || !ledgers.plans.empty(), "there are no results yet");
  std::string words, json_words;
  std::vector<std::string> warnings;
  if (o.runs) {
    check(!o.by, "--runs lists runs, --by makes a table; one of them");
    words = runs_text(ledgers, format);
    json_words = runs_text(ledgers, TableFormat::json);
  } else if (o.by) {
    const Series made = series(ledgers.lines, *o.by, ledgers.plans);
    check(!made.sections.empty(), "the ledger has no results for such a table{}",
          *o.by == By::prompts
              ? ": it compares what searches of several prompt lengths (sweep --prompts 1,5,10) had on val"
              : "");
    words = table_text(made, format);
    json_words = table_text(made, TableFormat::json);
    warnings = made.warnings;
  } else {
    const Comparison made = compare(ledgers.lines, o.paper, ledgers.plans);
    words = table_text(made, format);
    json_words = table_text(made, TableFormat::json);
    warnings = made.warnings;
  }
  // Markdown and JSON say them themselves.
  if (format == TableFormat::csv || o.out)
    for (const std::string& warning : warnings) console.note(warning);
  if (o.out) {
    prepare_output(*o.out);
    write_file_atomically(*o.out, std::as_bytes(std::span(words)));
    console.item("Table", *o.out);
  } else {
    words.pop_back();  // the line's own end
    console.line(words);
  }
  nlohmann::ordered_json json{{"command", "table"},
                              {"results", ledgers.lines.size()},
                              {"warnings", warnings},
                              {"table", nlohmann::ordered_json::parse(json_words)}};
  if (o.out) json["file"] = *o.out;
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
