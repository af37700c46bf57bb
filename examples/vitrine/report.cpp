// report.cpp: `vitrine report`. A run folder as a page of pictures.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "commands.h"
#include "data/subset.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/report.h"

namespace vitrine::cli {

namespace {

// The data that the pictures come from: as given, or else what the run was told.
std::string data_of(const ReportOptions& o, const std::optional<RunRecord>& record) {
  if (o.data) return *o.data;
  return record ? record->data : "";
}

// Fills the findings; returns what the pictures are, for people.
void look_at(const ReportOptions& o, const std::string& data, bool exif, const Task& task, Report& report,
             Console& console) {
  const Backbone opened = open_backbone_of(task, o.backbone, o.hints);
  const Backbone backbone = placed(opened, o.place, task.config.method);
  const Split split = o.split.value_or(usual_split(data));
  std::shared_ptr<const Dataset> dataset;
  try {
    dataset =
        open_dataset(data, split, {.exif = exif, .note = [&](const std::string& w) { console.note(w); }});
  } catch (const Error& e) {
    if (o.data) throw;
    fail(e.fault(), "{}; these are the data that the run was trained on, --data names another place",
         e.what());
  }
  check_classes(task, *dataset, data);
  const TunedModel model(backbone, task, DType::f32, Memory{}, Use::prediction);
  std::unique_ptr<TunedModel> in_memory;
  if (backbone.on_device())
    in_memory = std::make_unique<TunedModel>(opened, task, DType::f32, Memory{}, Use::prediction);
  vitrine::ReportOptions options{.mistakes = o.images,
                                 .attended = (o.images + 3) / 4,
                                 .embedded = o.embedding,
                                 .batch = o.batch,
                                 .workers = o.workers,
                                 .max_bad = o.max_bad};
  std::string present;
  double began = now();
  report.findings = examine(
      {model, dataset, all_samples(*dataset), preprocess_from_json(task.preprocess), in_memory.get()},
      options, [&](const char* what, int64_t done, int64_t all) {
        if (present != what) {
          console.clear();
          present = what;
          began = now();
        }
        const bool pictures = present == "pictures";
        console.progress(done, all, pictures ? static_cast<double>(done) / std::max(now() - began, 1e-9) : 0,
                         what);
      });
  console.clear();
  for (const std::string& message : report.findings->bad) console.note(message);
  tell_notes(model.home(), console);
  report.pictures =
      text("{}, split {}{}", data, name_of(split),
           split == Split::train                   ? ", which it learned from"
           : report.search && split == Split::test ? ", on which a comparison asks no search run"
                                                   : "");
}

// Says what a folder without a task is.
void check_run(const std::string& run, const std::string& program) {
  namespace fs = std::filesystem;
  check(fs::is_directory(run), "{} is not the folder of a run of vitrine tune", quote(run));
  const auto has = [&](const char* name) {
    std::error_code ignored;
    return fs::exists(fs::path(run) / name, ignored);
  };
  if (has("task.safetensors")) return;
  check(!has("ledger.jsonl"),
        "{} is the folder of a sweep, and a report is of one run: of a folder in {}, if the sweep had "
        "--keep-tasks; {} table {} --runs tells which is which",
        quote(run), quote((fs::path(run) / "runs").string()), program, shell_word(run));
  check(!has("result.json"),
        "{} is a run of a sweep that did not keep its task file; a sweep with --keep-tasks in another folder "
        "does",
        quote(run));
  check(!has("metrics.jsonl"),
        "{} is a run that has not come to its end: it has no task.safetensors; vitrine tune --resume goes on "
        "with it",
        quote(run));
}

}  // namespace

int report(const ReportOptions& o, Console& console) {
  check_run(o.run, o.common.program);
  Task task;
  std::optional<RunRecord> record;
  Report report = report_of_run(o.run, &task, &record);
  report.version = VITRINE_VERSION;
  const std::string path = o.out.value_or((std::filesystem::path(o.run) / "report.html").string());
  prepare_output(path);
  const std::string data = data_of(o, record);
  if (data.empty()) {
    report.without =
        "The run does not tell which data it was trained on; with --data a report has pictures, too.";
    console.note("the run does not tell its data: without --data SPEC the page has curves only");
  } else {
    look_at(o, data, o.exif || (!o.data && record->exif) || preprocess_from_json(task.preprocess).exif, task,
            report, console);
  }
  const std::string page = report_page(report);
  write_file_atomically(path, std::as_bytes(std::span(page)));

  console.item("Run", text("{}: {}, {} classes; {}", quote(o.run), method_text(task.config),
                           task.config.classes, quote(task.backbone)));
  nlohmann::ordered_json json{{"command", "report"}, {"run", o.run}, {"page", path}, {"bytes", page.size()}};
  if (report.findings) {
    const Findings& found = *report.findings;
    const auto samples = static_cast<int64_t>(found.labels.size());
    console.item("Data", report.pictures);
    console.item(
        "Accuracy",
        fmt::format("{} of {}, loss {:.4f}{}", percent_text(found.accuracy), plural(samples, "image"),
                    found.loss, found.bad.empty() ? "" : fmt::format("; {} damaged", found.bad.size())));
    json.update({{"data", data},
                 {"samples", samples},
                 {"accuracy", found.accuracy},
                 {"loss", found.loss},
                 {"bad", found.bad.size()},
                 {"mistakes", found.mistakes.size()},
                 {"attention", found.attention.size()},
                 {"attention_error", found.attention_error},
                 {"embedding", found.embedding.labels.size()}});
  }
  console.item("Page", text("{} ({})", path, bytes_text(page.size())));
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
