// table.cpp: `vitrine table`.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/table.h"
#include "models/training/table_rows.h"

namespace vitrine::cli {

namespace {

namespace fs = std::filesystem;

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// As the file's name ends, if nobody says.
TableFormat format_of(const TableOptions& o) {
  if (o.format || !o.out) return o.format.value_or(TableFormat::markdown);
  const std::string ending = fs::path(*o.out).extension().string();
  check(ending == ".csv" || ending == ".json" || ending == ".md" || ending == ".txt" || ending == ".markdown",
        "--out {}: which format? A name that ends in .md, .csv or .json tells, or else --format", *o.out);
  return ending == ".csv" ? TableFormat::csv : ending == ".json" ? TableFormat::json : TableFormat::markdown;
}

// One line a run, with the row of the table that it counts in and the task file that was kept.
std::string runs_text(const std::vector<LedgerLine>& lines, const std::vector<LedgerPlan>& plans,
                      const std::map<std::string, std::string>& folders, TableFormat format) {
  const TableRows sorted = table_rows(lines, plans);
  std::map<const LedgerLine*, std::string> labels;  // of those that count
  for (const TableRows::Line& line : sorted.lines) labels[line.line] = sorted.rows[line.row].label;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  std::string out =
      "| run | task | method | stage | seed | learning rate | weight decay | prompts | epochs | batch | "
      "train images | recipe | backbone | score | row | task file |\n"
      "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|---:|---|---|\n";
  if (format == TableFormat::csv)
    out =
        "run,task,method,stage,seed,learning_rate,weight_decay,prompts,epochs,batch,train_images,recipe,"
        "backbone,score,row,task_file\n";
  for (const LedgerLine& l : lines) {
    const std::string& row = labels[&l];
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
                              std::to_string(l.epochs),
                              std::to_string(l.batch),
                              std::to_string(l.train_images),
                              l.recipe,
                              l.net,
                              score,
                              row.empty() ? "left out" : row,
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
         {"epochs", l.epochs},
         {"batch", l.batch},
         {"train_images", l.train_images},
         {"recipe", l.recipe},
         {"backbone", l.net},
         {"data", l.data},
         {"score", l.complete() ? nlohmann::ordered_json(100 * l.score) : nlohmann::ordered_json(nullptr)},
         {"diverged", l.diverged},
         {"failed", l.failed},
         {"row", row.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(row)},
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

int table(const TableOptions& o, Console& console) {
  const TableFormat format = format_of(o);
  std::vector<LedgerLine> lines;
  std::vector<LedgerPlan> plans;
  std::map<std::pair<std::string, std::string>, std::pair<std::string, LedgerLine>>
      seen;                                    // by run and pictures: its ledger and line
  std::map<std::string, std::string> folders;  // by run
  for (const std::string& where : o.ledgers) {
    const std::string path = ledger_of(where);
    for (LedgerLine& line : read_ledger(path, &plans)) {
      // One that was set aside elsewhere does not stand in the way of the line itself.
      const auto [before, fresh] =
          seen.emplace(std::pair(line.run, line.pictures() + (line.other_pictures ? " aside" : "")),
                       std::pair(path, line));
      if (!fresh) {
        const auto& [first, known] = before->second;
        if (!same_result(known, line))
          console.note(text("run {} has another result in {} than in {}; the first one counts", line.run,
                            quote(path), quote(first)));
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
    words = runs_text(lines, plans, folders, format);
    json_words = runs_text(lines, plans, folders, TableFormat::json);
  } else if (o.by) {
    const Series made = series(lines, *o.by, plans);
    check(!made.sections.empty(), "the ledger has no results for such a table{}",
          *o.by == By::prompts
              ? ": it compares what searches of several prompt lengths (sweep --prompts 1,5,10) had on val"
              : "");
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
