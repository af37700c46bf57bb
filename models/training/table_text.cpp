// table_text.cpp: the tables as Markdown, CSV and JSON.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"
#include "models/training/table.h"

namespace vitrine {

namespace {

using Json = nlohmann::ordered_json;

std::string fixed(double value, int digits) {
  char out[64];
  std::snprintf(out, sizeof out, "%.*f", digits, value);
  return out;
}

// Three digits that count: 0.00097.
std::string short_text(double value) {
  char out[64];
  std::snprintf(out, sizeof out, "%.3g", value);
  return out;
}

std::string thousands(double value) {
  std::string digits = fixed(std::round(value), 0);
  for (auto place = static_cast<std::ptrdiff_t>(digits.size()) - 3; place > 0; place -= 3)
    digits.insert(static_cast<size_t>(place), ",");
  return digits;
}

std::string cell_text(const TableCell& c, bool of_group) {
  std::string out = c.mean           ? fixed(*c.mean, 2)
                    : c.diverged > 0 ? "diverged"
                    : c.failed > 0   ? "failed"
                    : c.unopened > 0 ? "not opened"
                                     : "—";
  if (!c.mean) return out;
  if (c.deviation) out += text(" ± {}", fixed(*c.deviation, 2));
  if (c.wins) out += text(" ({})", *c.wins);
  if (of_group && c.tasks < c.all_tasks) out += text(" [{} of {} tasks]", c.tasks, c.all_tasks);
  if (c.diverged > 0) out += text(" [{} diverged]", c.diverged);
  if (c.failed > 0) out += text(" [{} failed]", c.failed);
  if (c.unopened > 0 && of_group) out += text(" [{} not opened]", c.unopened);
  return out;
}

using Lines = std::vector<std::vector<std::string>>;

std::string markdown(const Lines& lines) {
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    out += "|";
    for (const std::string& cell : lines[i]) out += text(" {} |", cell);
    out += "\n";
    if (i > 0) continue;
    out += "|";
    for (size_t k = 0; k < lines[0].size(); ++k) out += k == 0 ? "---|" : "---:|";
    out += "\n";
  }
  return out;
}

std::string csv(const Lines& lines) {
  std::string out;
  for (const auto& line : lines) {
    for (size_t k = 0; k < line.size(); ++k) {
      out += text("{}{}", k > 0 ? "," : "", csv_cell(line[k]));
    }
    out += "\n";
  }
  return out;
}

// Without what a sum leaves in the last digits: 57 and not 56.99999999999999.
double clean(double percent) { return std::round(percent * 1e10) / 1e10; }

std::string number_or_empty(const std::optional<double>& value) {
  return value ? Json(clean(*value)).dump() : std::string();
}

std::string significance_text(const Significance& s) {
  return text(
      "{} against {}: better on {} and worse on {} of {} tasks; Wilcoxon's signed-rank test ({}, n = {}, W+ "
      "= {}): p = {} two-sided, p = {} that it is better.",
      s.label, s.against, s.better, s.worse, s.tasks, s.test.exact ? "exact" : "normal approximation",
      s.test.n, fixed(s.test.positive, 1), short_text(s.test.two_sided), short_text(s.test.greater));
}

std::string warnings_text(const std::vector<std::string>& warnings) {
  std::string out;
  for (const std::string& warning : warnings) out += text("Note: {}.\n", markdown_cell(warning));
  return out.empty() ? out : text("\n{}", out);
}

Lines transposed(const Lines& lines) {
  Lines out(lines[0].size());
  for (const auto& line : lines)
    for (size_t k = 0; k < line.size(); ++k) out[k].push_back(line[k]);
  return out;
}

std::string task_text(const std::pair<std::string, std::string>& group_and_name) {
  return text("{}: {}", markdown_cell(group_and_name.first), markdown_cell(group_and_name.second));
}

// What all rows have in common: " Recipe quick, backbone vit-b16."
std::string common_text(const Comparison& c) {
  std::string out;
  const auto add = [&](const char* what, const std::string TableRow::*field) {
    const bool same =
        std::ranges::all_of(c.rows, [&](const TableRow& row) { return row.*field == c.rows[0].*field; });
    if (same && !(c.rows[0].*field).empty())
      out += text("{} {} {}", out.empty() ? "" : ",", what, markdown_cell(c.rows[0].*field));
  };
  if (c.rows.empty()) return out;
  add("recipe", &TableRow::recipe);
  if (std::ranges::all_of(
          c.rows, [&](const TableRow& row) { return row.backbone_identity == c.rows[0].backbone_identity; }))
    add("backbone", &TableRow::net);
  return out.empty() ? out : text(" All with{}.", out);
}

// " 3 seeds.", or how many each row has.
std::string seeds_text(const Comparison& c) {
  std::set<std::string> kinds;
  std::string out;
  for (const TableRow& row : c.rows) {
    std::set<int> seeds;  // of its tasks
    for (const TableCell& cell : row.tasks)
      if (cell.mean) seeds.insert(cell.seeds);
    if (seeds.empty()) continue;
    const std::string count =
        seeds.size() == 1 ? text("{}", *seeds.begin()) : text("{} to {}", *seeds.begin(), *seeds.rbegin());
    kinds.insert(count);
    out += text("{}{} {}", out.empty() ? "" : ", ", markdown_cell(row.label), count);
  }
  if (kinds.size() == 1) return text(" {} {}.", *kinds.begin(), *kinds.begin() == "1" ? "seed" : "seeds");
  return out.empty() ? out : text(" Seeds: {}.", out);
}

std::string markdown(const Comparison& c) {
  Lines first{{"method", "total params"}};
  for (const std::string& group : c.groups) {
    int tasks = 0;
    for (const auto& task : c.tasks) tasks += task.first == group;
    first[0].push_back(text("{} ({})", markdown_cell(group), tasks));
  }
  // Of one group these would be its column once more, of one task the second table.
  const bool means = c.groups.size() > 1, one_task = c.tasks.size() == 1;
  if (one_task) first[0][2] = task_text(c.tasks[0]);
  if (means) first[0].insert(first[0].end(), {"mean of tasks", "mean of groups"});
  first[0].insert(first[0].end(), {"tuned", "of the backbone"});
  bool paper = false;
  for (const TableRow& row : c.rows) {
    // The total is of the tasks that there are results of.
    const std::string some =
        row.all.tasks < row.all.all_tasks ? text(" [{} of {} tasks]", row.all.tasks, row.all.all_tasks) : "";
    std::vector<std::string> line{markdown_cell(row.label),
                                  row.all.mean ? text("{}×{}", fixed(row.total, 2), some) : "—"};
    for (const TableCell& cell : row.groups) line.push_back(cell_text(cell, true));
    if (means) line.insert(line.end(), {cell_text(row.all, true), cell_text(row.mean_of_groups, false)});
    line.push_back(row.all.mean ? thousands(row.tuned_parameters) : "—");
    line.push_back(row.all.mean ? text("{} %", fixed(100 * row.tuned_share, 2)) : "—");
    first.push_back(line);
    if (row.paper_table.empty()) continue;
    paper = true;
    std::vector<std::string> theirs{text("*the paper, {}*", row.paper_table),
                                    row.paper_total ? text("*{}×*", fixed(*row.paper_total, 2)) : ""};
    for (const TableCell& cell : row.groups)
      theirs.push_back(!cell.paper ? ""
                                   : text("*{}{}*", fixed(*cell.paper, 2),
                                          cell.paper_wins ? text(" ({})", *cell.paper_wins) : ""));
    theirs.resize(first[0].size());
    first.push_back(theirs);
  }
  Lines second{{"task"}};
  for (const TableRow& row : c.rows) second[0].push_back(markdown_cell(row.label));
  for (size_t t = 0; t < c.tasks.size(); ++t) {
    second.push_back({task_text(c.tasks[t])});
    for (const TableRow& row : c.rows)
      second.back().push_back(text("{}{}", cell_text(row.tasks[t], false),
                                   row.tasks[t].paper ? text(" *({})*", fixed(*row.tasks[t].paper, 1)) : ""));
  }
  if (c.rows.size() > c.tasks.size()) {  // the fewer stand side by side
    second = transposed(second);
    second[0][0] = "method";
  }
  std::string out = markdown(first);
  const bool wins = std::ranges::any_of(c.rows, [](const TableRow& row) { return row.all.wins.has_value(); });
  out += text(
      "\nTest scores in percent, mean ± standard deviation over seeds (n - 1){}. Total params: what must be "
      "stored for all tasks, as a multiple of the backbone.{}{}{}\n",
      wins ? "; in parentheses the number of tasks on which a method is better than full tuning" : "",
      std::ranges::any_of(c.rows, [](const TableRow& row) { return row.all.diverged + row.all.failed > 0; })
          ? " In brackets how many runs diverged or failed."
          : "",
      common_text(c), seeds_text(c));
  if (paper)
    out +=
        "In italics what the paper (arXiv 2203.12119) measured; its totals are of its own 24 or 19 tasks.\n";
  if (one_task) return out + warnings_text(c.warnings);
  out += text("\n{}", markdown(second));
  if (!c.significance.empty()) out += "\n";
  for (const Significance& s : c.significance) out += markdown_cell(significance_text(s)) + "\n\n";
  while (out.ends_with("\n\n")) out.pop_back();
  return out + warnings_text(c.warnings);
}

template <class T>
Json or_null(const std::optional<T>& value) {
  if constexpr (std::is_same_v<T, double>) return value ? Json(clean(*value)) : Json(nullptr);
  return value ? Json(*value) : Json(nullptr);
}

Json json_of(const TableCell& c) {
  Json out{{"mean", or_null(c.mean)},  {"deviation", or_null(c.deviation)},
           {"seeds", c.seeds},         {"tasks", c.tasks},
           {"all_tasks", c.all_tasks}, {"diverged", c.diverged},
           {"failed", c.failed},       {"unopened", c.unopened}};
  if (c.wins) out["wins"] = *c.wins;
  if (c.paper) out["paper"] = *c.paper;
  if (c.paper_wins) out["paper_wins"] = *c.paper_wins;
  return out;
}

std::string json(const Comparison& c) {
  Json out{{"rows", Json::array()}, {"significance", Json::array()}, {"warnings", c.warnings}};
  for (const TableRow& row : c.rows) {
    Json r{{"label", row.label},
           {"method", row.method},
           {"recipe", row.recipe},
           {"net", row.net},
           {"backbone_identity", row.backbone_identity},
           {"tuned_parameters", row.all.mean ? Json(row.tuned_parameters) : Json(nullptr)},
           {"tuned_share", row.all.mean ? Json(row.tuned_share) : Json(nullptr)},
           {"total", row.all.mean ? Json(row.total) : Json(nullptr)},
           {"all", json_of(row.all)},
           {"mean_of_groups", or_null(row.mean_of_groups.mean)},
           {"mean_of_groups_deviation", or_null(row.mean_of_groups.deviation)},
           {"groups", Json::object()},
           {"tasks", Json::array()}};
    if (!row.paper_table.empty()) r["paper_table"] = row.paper_table;
    if (row.paper_total) r["paper_total"] = *row.paper_total;
    for (size_t g = 0; g < c.groups.size(); ++g) r["groups"][c.groups[g]] = json_of(row.groups[g]);
    for (size_t t = 0; t < c.tasks.size(); ++t) {
      Json task{{"group", c.tasks[t].first}, {"task", c.tasks[t].second}};
      task.update(json_of(row.tasks[t]));
      r["tasks"].push_back(std::move(task));
    }
    out["rows"].push_back(std::move(r));
  }
  for (const Significance& s : c.significance)
    out["significance"].push_back({{"label", s.label},
                                   {"against", s.against},
                                   {"tasks", s.tasks},
                                   {"better", s.better},
                                   {"worse", s.worse},
                                   {"n", s.test.n},
                                   {"positive_ranks", s.test.positive},
                                   {"p_two_sided", s.test.two_sided},
                                   {"p_greater", s.test.greater},
                                   {"exact", s.test.exact}});
  return out.dump(2) + "\n";
}

std::vector<std::string> csv_of(const TableCell& c) {
  return {number_or_empty(c.mean),    number_or_empty(c.deviation), std::to_string(c.seeds),
          std::to_string(c.tasks),    std::to_string(c.all_tasks),  c.wins ? std::to_string(*c.wins) : "",
          std::to_string(c.diverged), std::to_string(c.failed),     std::to_string(c.unopened),
          number_or_empty(c.paper)};
}
const std::vector<std::string> cell_columns{"mean", "deviation", "seeds",  "tasks",    "all_tasks",
                                            "wins", "diverged",  "failed", "unopened", "paper"};

template <class... Lists>
std::vector<std::string> joined_lists(std::vector<std::string> first, const Lists&... others) {
  (first.insert(first.end(), others.begin(), others.end()), ...);
  return first;
}

std::string csv(const Comparison& c) {
  Lines lines{joined_lists({"row", "net", "group", "task"}, cell_columns,
                           std::vector<std::string>{"tuned_parameters", "total", "mean_of_groups"})};
  for (const TableRow& row : c.rows) {
    const auto add = [&](const std::string& group, const std::string& task, const TableCell& cell) {
      lines.push_back(
          joined_lists({row.label, row.net, group, task}, csv_of(cell),
                       std::vector<std::string>{row.all.mean ? Json(row.tuned_parameters).dump() : "",
                                                row.all.mean ? Json(row.total).dump() : "",
                                                number_or_empty(row.mean_of_groups.mean)}));
    };
    add("", "", row.all);
    for (size_t g = 0; g < c.groups.size(); ++g) add(c.groups[g], "", row.groups[g]);
    for (size_t t = 0; t < c.tasks.size(); ++t) add(c.tasks[t].first, c.tasks[t].second, row.tasks[t]);
  }
  return csv(lines);
}

const char* words_of(By by) {
  return by == By::train_size ? "training images" : by == By::backbone ? "backbone" : "prompts";
}

}  // namespace

// Nothing of it may end a cell, or be markup.
std::string markdown_cell(const std::string& words) {
  std::string out;
  for (const char c : words) {
    if (c == '|') out += '\\';
    if (c == '<')
      out += "&lt;";
    else
      out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

std::string csv_cell(const std::string& words) {
  if (words.find_first_of(",\"\n\r") == std::string::npos) return words;
  std::string out = words;
  for (size_t at = out.find('"'); at != std::string::npos; at = out.find('"', at + 2)) out.insert(at, "\"");
  return text("\"{}\"", out);
}

std::string table_text(const Comparison& c, TableFormat format) {
  return format == TableFormat::markdown ? markdown(c) : format == TableFormat::csv ? csv(c) : json(c);
}

std::string table_text(const Series& s, TableFormat format) {
  if (format == TableFormat::csv) {
    Lines lines{joined_lists({"group", "row", words_of(s.by)}, cell_columns)};
    for (const Series::Section& section : s.sections)
      for (const Series::Row& row : section.rows)
        for (size_t k = 0; k < s.columns.size(); ++k)
          lines.push_back(joined_lists({section.group, row.label, s.columns[k]}, csv_of(row.cells[k])));
    return csv(lines);
  }
  if (format == TableFormat::json) {
    Json out{{"by", words_of(s.by)},
             {"columns", s.columns},
             {"sections", Json::array()},
             {"warnings", s.warnings}};
    for (const Series::Section& section : s.sections) {
      Json rows = Json::array();
      for (const Series::Row& row : section.rows) {
        Json cells = Json::array();
        for (const TableCell& cell : row.cells) cells.push_back(json_of(cell));
        rows.push_back({{"label", row.label}, {"cells", std::move(cells)}});
      }
      out["sections"].push_back({{"group", section.group}, {"rows", std::move(rows)}});
    }
    return out.dump(2) + "\n";
  }
  std::string out;
  for (const Series::Section& section : s.sections) {
    Lines lines{joined_lists({text("{} by {}", markdown_cell(section.group), words_of(s.by))}, s.columns)};
    for (const Series::Row& row : section.rows) {
      lines.push_back({markdown_cell(row.label)});
      for (const TableCell& cell : row.cells) lines.back().push_back(cell_text(cell, true));
    }
    out += text("{}{}", out.empty() ? "" : "\n", markdown(lines));
  }
  out += s.by == By::prompts
             ? "\nValidation scores of the search in percent, the best for each prompt length.\n"
             : "\nTest scores in percent, mean ± standard deviation over seeds.\n";
  return out + warnings_text(s.warnings);
}

}  // namespace vitrine
