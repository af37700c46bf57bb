// eval.cpp: `vitrine eval`.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "data/subset.h"
#include "engine/text.h"
#include "models/training/tune.h"

namespace vitrine::cli {

int eval(const EvalOptions& o, Console& console) {
  if (o.logits_out) check_safetensors_name("--logits-out", *o.logits_out);
  const Task task = load_task(o.task);
  const Backbone backbone = placed(open_backbone_of(task, o.backbone, o.hints), o.place, task.config.method);
  const Split split = o.split.value_or(usual_split(o.data));
  const Preprocess preprocess = preprocess_from_json(task.preprocess);
  const bool exif = o.exif || preprocess.exif;
  if (o.exif && !preprocess.exif) console.note(untold_exif);
  const auto dataset =
      open_dataset(o.data, split, {.exif = exif, .note = [&](const std::string& w) { console.note(w); }});
  check_classes(task, *dataset, o.data);
  if (o.logits_out) {
    check_not_read("--logits-out", *o.logits_out, {o.task});
    check_not_read("--logits-out", *o.logits_out, files_of_backbone(backbone));
    prepare_output(*o.logits_out);
  }
  const TunedModel model(backbone, task, DType::f32, Memory{}, Use::prediction);

  const auto samples = all_samples(*dataset);
  Tensor logits;
  const auto began = std::chrono::steady_clock::now();
  const auto since = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  const Evaluation result =
      evaluate(model, dataset, samples, preprocess, o.batch, o.workers, o.max_bad,
               o.logits_out ? &logits : nullptr, [&](int64_t done, int64_t all) {
                 console.progress(done, all, static_cast<double>(done) / std::max(since(), 1e-9), "images");
               });
  console.clear();
  const double rate = static_cast<double>(result.samples) / std::max(since(), 1e-9);
  for (const BadImage& bad : result.bad) console.note(bad.message);
  tell_notes(model.home(), console);
  if (o.logits_out) {
    TensorFile file;
    file.tensors["logits"] = logits;
    file.tensors["labels"] = Tensor::of(Shape{dataset->size()}, std::span<const int64_t>(dataset->labels()));
    save_safetensors(*o.logits_out, file);
  }

  console.item("Task", text(quote(o.task), ": ", method_text(task.config), ", ", task.config.classes,
                            " classes; ", quote(backbone.source)));
  console.item("Data", text(quote(o.data), ", split ", name_of(split), exif ? exif_words : ""));
  console.item(
      "Accuracy",
      fmt::format("{} of {}, loss {:.4f}{}", percent_text(result.accuracy), plural(result.samples, "image"),
                  result.loss, result.bad.empty() ? "" : fmt::format("; {} damaged", result.bad.size())));
  std::string measures = fmt::format("{} mean of the classes", percent_text(result.mean_class_accuracy));
  if (task.config.classes > 5)
    measures += fmt::format(", {} among the first five", percent_text(result.top5));
  if (result.roc_auc) measures += fmt::format(", area under the ROC curve {:.4f}", *result.roc_auc);
  console.item("Also", measures);
  console.item("Speed", fmt::format("{:.0f} images/s", rate));
  if (o.logits_out) console.item("Logits", quote(*o.logits_out));
  nlohmann::ordered_json json{{"command", "eval"},           {"task", o.task},
                              {"backbone", backbone.source}, {"data", o.data},
                              {"split", name_of(split)},     {"samples", result.samples},
                              {"accuracy", result.accuracy}, {"loss", result.loss},
                              {"bad", result.bad.size()},    {"images_per_second", rate}};
  json["top5"] = result.top5;
  json["mean_class_accuracy"] = result.mean_class_accuracy;
  if (result.roc_auc) json["roc_auc"] = *result.roc_auc;
  if (o.logits_out) json["logits"] = *o.logits_out;
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
