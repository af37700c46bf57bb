// report_run.cpp: what a run's files tell of it, in words.
#ifdef VITRINE_FILES

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "engine/file.h"
#include "models/training/html.h"
#include "models/training/ledger.h"
#include "models/training/report.h"

namespace vitrine {

namespace {

int64_t stored_parameters(const Task& task) {
  int64_t sum = 0;
  for (const auto& [name, tensor] : task.tensors) sum += tensor.numel();
  return sum;
}

std::string method_words(const Task& task) {
  const int64_t count = task.config.prompts.count;
  const std::string prompts = html::counted(count, "prompt");
  switch (task.config.method) {
    case Method::vpt_deep:
      return text("vpt-deep: {} for each block, and a head", prompts);
    case Method::vpt_shallow:
      return text("vpt-shallow: {} before the first block, and a head", prompts);
    case Method::linear:
      return "linear: a head alone";
    case Method::full:
      return "full: all weights, and a head";
    default:
      return method_text(task.config) + (count > 0 ? text(" with {}", prompts) : "");
  }
}

std::string trained_words(const Task& task, const std::optional<RunRecord>& record) {
  if (!record) return text("{} parameters in the task file", html::thousands(stored_parameters(task)));
  const auto share = static_cast<double>(record->trained_parameters) /
                     static_cast<double>(std::max<int64_t>(record->backbone_parameters, 1));
  return text("{} parameters, {} of the backbone's {}", html::thousands(record->trained_parameters),
              html::percent(share), html::thousands(record->backbone_parameters));
}

// "32 x 32 pixels: the shorter side resized to 36, the middle cut out; bicubic"
std::string prepared_words(const Preprocess& p) {
  std::string how = text("the shorter side resized to {}, the middle cut out", p.resize);
  if (p.squash) how = "squashed";
  if (p.squash && p.crop_squashed) how = text("squashed to {} x {}, the middle cut out", p.resize, p.resize);
  const auto three = [](const std::array<float, 3>& v) { return text("{} {} {}", v[0], v[1], v[2]); };
  return text("{} x {} pixels: {}; {}; mean {}, deviation {}{}", p.size, p.size, how, name_of(p.filter),
              three(p.mean), three(p.std), p.exif ? "; turned as their EXIF block asks" : "");
}

// A run of a sweep (sweep_folder.h) is told by its result; null for others.
std::optional<LedgerLine> result_of(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "result.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const std::vector<std::byte> bytes = read_file(path.string());
  return ledger_line_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

// As the record of a run whose sweep wrote none.
RunRecord record_of(const LedgerLine& l, const Task& task) {
  RunRecord out{.version = l.version,
                .data = l.data,
                .exif = preprocess_from_json(task.preprocess).exif,
                .device = "?",
                .precision = "?",
                .train_samples = l.train_images,
                .trained_parameters = l.trained_parameters,
                .backbone_parameters = l.backbone_parameters};
  const nlohmann::json settings = nlohmann::json::parse(l.settings);
  out.device = settings.value("device", std::string("cpu"));
  out.precision = settings.value("precision", std::string("f32"));
  if (l.stage == Stage::final) {
    out.test_accuracy = l.accuracy;
    out.test_loss = l.loss;
    out.test_samples = l.asked_images;
  }
  return out;
}

}  // namespace

Report report_of_run(const std::string& folder, Task* task, std::optional<RunRecord>* record) {
  const std::filesystem::path path(folder);
  const Task read = task_from_file(load_safetensors((path / "task.safetensors").string()));
  const std::optional<LedgerLine> result = result_of(path);
  std::optional<RunRecord> told = load_run_record(folder);
  if (!told && result) told = record_of(*result, read);
  Report out;
  out.title = path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
  if (out.title.empty() || out.title == "." || out.title == "..") out.title = "Run";
  out.search = result && result->stage == Stage::search;
  if (result)
    out.title =
        text("{} on {}{}, seed {}", result->form, result->task, out.search ? ", a search" : "", result->seed);
  out.class_names = read.class_names;
  out.epochs = read_metrics(folder);
  if (!read.settings.empty())
    out.settings = words_of_json(read.settings, text("{}: settings of the task", folder));
  const auto fact = [&](const char* name, std::string words) {
    out.facts.emplace_back(name, std::move(words));
  };
  fact("Folder", folder);
  fact("Method", method_words(read));
  fact("Backbone", text("{}{}", read.backbone,
                        read.backbone_config.empty()
                            ? ""
                            : ": " + describe(with_classes(config_from_json(read.backbone_config), 0))));
  fact("Trained", trained_words(read, told));
  fact("Classes", html::thousands(read.config.classes));
  fact("Pictures", prepared_words(preprocess_from_json(read.preprocess)));
  if (told) {
    fact("Data", text("{}: {}, {} for validation{}", told->data,
                      html::counted(told->train_samples, "training picture"),
                      told->val_samples > 0 ? html::thousands(told->val_samples) : "none",
                      told->choice.empty() ? "" : text("; {}", told->choice)));
    if (told->test_accuracy)
      fact("Test",
           text("{} of {}, loss {}, at the end of the run", html::percent(*told->test_accuracy),
                html::counted(told->test_samples, "picture"), html::fixed(told->test_loss.value_or(0), 4)));
    fact("Computed", text("{} on {}, Vitrine {}", told->precision, told->device, told->version));
  }
  if (task) *task = read;
  if (record) *record = told;
  return out;
}

}  // namespace vitrine

#endif
