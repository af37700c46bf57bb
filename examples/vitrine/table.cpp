// table.cpp: `vitrine table`.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/table.h"

namespace vitrine::cli {

namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string ledger_of(const std::string& where) {
  if (!is_folder(where)) return where;
  std::string path = (fs::path(where) / "ledger.jsonl").string();
  std::error_code ignored;
  check(fs::exists(path, ignored), "{} is not the folder of a vitrine sweep: it holds no ledger.jsonl{}",
        quote(where),
        fs::exists(fs::path(where) / "task.safetensors", ignored) ? "; of one run there is vitrine report"
                                                                  : "");
  return path;
}

// As the file's name ends, if nobody says.
TableFormat format_of(const TableOptions& o) {
  if (o.format || !o.out) return o.format.value_or(TableFormat::markdown);
  const std::string ending = fs::path(*o.out).extension().string();
  check(ending == ".csv" || ending == ".json" || ending == ".md" || ending == ".txt" || ending == ".markdown",
        "--out {}: which format? A name that ends in .md, .csv or .json tells, or else --format", *o.out);
  return ending == ".csv" ? TableFormat::csv : ending == ".json" ? TableFormat::json : TableFormat::markdown;
}

// One line a run, with the folder it is in.
std::string runs_text(const std::vector<LedgerLine>& lines, const std::map<std::string, std::string>& folders,
                      TableFormat format) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  std::string out =
      "| run | task | method | stage | seed | learning rate | weight decay | prompts | score | task file |\n"
      "|---|---|---|---|---:|---:|---:|---:|---:|---|\n";
  if (format == TableFormat::csv)
    out = "run,task,method,stage,seed,learning_rate,weight_decay,prompts,score,task_file\n";
  for (const LedgerLine& l : lines) {
    std::error_code ignored;
    const std::string task_file = (fs::path(folders.at(l.run)) / "task.safetensors").string();
    const bool kept = !folders.at(l.run).empty() && fs::exists(task_file, ignored);
    const std::string method = l.form + (l.variant.empty() ? "" : text(" ({})", l.variant));
    const std::string score = l.complete()       ? fmt::format("{:.2f}", 100 * l.score)
                              : l.failed.empty() ? "diverged"
                                                 : "failed";
    const std::string cells[]{l.run,
                              l.task,
                              method,
                              name_of(l.stage),
                              std::to_string(l.seed),
                              fmt::format("{:g}", l.learning_rate),
                              fmt::format("{:g}", l.weight_decay),
                              std::to_string(l.prompts),
                              score,
                              kept ? task_file : ""};
    rows.push_back(
        {{"run", l.run},
         {"task", l.task},
         {"method", method},
         {"stage", name_of(l.stage)},
         {"seed", l.seed},
         {"learning_rate", l.learning_rate},
         {"weight_decay", l.weight_decay},
         {"prompts", l.prompts},
         {"score", l.complete() ? nlohmann::ordered_json(100 * l.score) : nlohmann::ordered_json(nullptr)},
         {"diverged", l.diverged},
         {"failed", l.failed},
         {"task_file", kept ? task_file : ""}});
    if (format == TableFormat::markdown) out += "|";
    for (const std::string& cell : cells) {
      if (format == TableFormat::csv)
        out += text("{}{}", &cell == cells ? "" : ",", csv_cell(cell));
      else
        out += text(" {} |", markdown_cell(cell));
    }
    out += "\n";
  }
  return format == TableFormat::json ? rows.dump(2) + "\n" : out;
}

}  // namespace

int table(const TableOptions& o, Console& console) {
  const TableFormat format = format_of(o);
  std::vector<LedgerLine> lines;
  std::vector<LedgerPlan> plans;
  std::map<std::string, std::string> seen, folders;  // by run: its ledger, and its folder
  for (const std::string& where : o.ledgers) {
    const std::string path = ledger_of(where);
    for (LedgerLine& line : read_ledger(path, &plans)) {
      // Of one run a ledger may have results of other pictures, too, which are none of its own.
      const auto [before, fresh] =
          seen.emplace(line.other_pictures ? text("{} {}", line.run, line.data_digest) : line.run, path);
      if (!fresh) {
        console.note(text("run {} stands in {} and in {}; the first one counts", line.run,
                          quote(before->second), quote(path)));
        continue;
      }
      folders[line.run] = is_folder(where) ? (fs::path(where) / "runs" / line.run).string() : "";
      lines.push_back(std::move(line));
    }
  }
  check(!lines.empty() || !plans.empty(), "there are no results yet");
  std::string words, json_words;
  std::vector<std::string> warnings;
  if (o.runs) {
    check(!o.by, "--runs lists runs, --by makes a table; one of them");
    words = runs_text(lines, folders, format);
    json_words = runs_text(lines, folders, TableFormat::json);
  } else if (o.by) {
    const Series made = series(lines, *o.by, plans);
    check(!made.sections.empty(), "the ledger has no results for such a table");
    words = table_text(made, format);
    json_words = table_text(made, TableFormat::json);
    warnings = made.warnings;
  } else {
    const Comparison made = compare(lines, o.paper, plans);
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
                              {"results", lines.size()},
                              {"warnings", warnings},
                              {"table", nlohmann::ordered_json::parse(json_words)}};
  if (o.out) json["file"] = *o.out;
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
