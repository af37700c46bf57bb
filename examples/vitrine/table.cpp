// table.cpp: `vitrine table`.
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/table.h"

namespace vitrine::cli {

int table(const TableOptions& o, Console& console) {
  std::vector<LedgerLine> lines;
  std::map<std::string, std::string> seen;
  for (const std::string& where : o.ledgers) {
    std::error_code ignored;
    const bool folder = std::filesystem::is_directory(where, ignored);
    const std::string path = folder ? (std::filesystem::path(where) / "ledger.jsonl").string() : where;
    for (LedgerLine& line : read_ledger(path)) {
      const auto [before, fresh] = seen.emplace(line.run, path);
      if (!fresh) {
        console.note(text("run ", line.run, " stands in ", quote(before->second), " and in ", quote(path),
                          "; the first one counts"));
        continue;
      }
      lines.push_back(std::move(line));
    }
  }
  check(!lines.empty(), "there are no results yet");
  std::string words;
  std::vector<std::string> warnings;
  if (o.by) {
    const Series made = series(lines, *o.by);
    check(!made.sections.empty(), "the ledger has no results for such a table");
    words = table_text(made, o.format);
    warnings = made.warnings;
  } else {
    const Comparison made = compare(lines, o.paper);
    words = table_text(made, o.format);
    warnings = made.warnings;
  }
  for (const std::string& warning : warnings) console.note(warning);
  if (o.out) {
    prepare_output(*o.out);
    write_file_atomically(*o.out, std::as_bytes(std::span(words)));
    console.item("Table", *o.out);
  } else {
    words.pop_back();  // the line's own end
    console.line(words);
  }
  nlohmann::ordered_json json{{"command", "table"}, {"results", lines.size()}, {"warnings", warnings}};
  if (o.out) json["table"] = *o.out;
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
