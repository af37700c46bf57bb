// eval.cpp: `vitrine eval`.
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "data/subset.h"
#include "engine/text.h"
#include "models/training/tune.h"

namespace vitrine::cli {

namespace {

std::string accuracy_text(const Evaluation& e) {
  return fmt::format("{} of {}, loss {:.4f}{}", percent_text(e.accuracy), plural(e.samples, "image"), e.loss,
                     e.bad.empty() ? "" : fmt::format("; {} damaged", e.bad.size()));
}

}  // namespace

int eval(const EvalOptions& o, Console& console) {
  if (o.logits_out) check_safetensors_name("--logits-out", *o.logits_out);
  const Members members = open_members(o.tasks, o.backbone, o.hints, o.place);
  const Task& task = members.tasks[0];
  const Backbone& backbone = members.backbone;
  const Split split = o.split.value_or(usual_split(o.data));
  const Preprocess preprocess = preprocess_from_json(task.preprocess);
  const bool exif = o.exif || preprocess.exif;
  if (o.exif && !preprocess.exif) console.note(untold_exif);
  const auto dataset =
      open_dataset(o.data, split, {.exif = exif, .note = [&](const std::string& w) { console.note(w); }});
  check_classes(task, *dataset, o.data);
  if (o.logits_out) {
    check_not_read("--logits-out", *o.logits_out, o.tasks);
    check_not_read("--logits-out", *o.logits_out, files_of_backbone(backbone));
    prepare_output(*o.logits_out);
  }
  std::unique_ptr<TunedModel> model;  // of one task, or ...
  std::unique_ptr<Ensemble> ensemble;
  if (o.tasks.size() == 1)
    model = std::make_unique<TunedModel>(backbone, task, DType::f32, Memory{}, Use::prediction);
  else
    ensemble = std::make_unique<Ensemble>(backbone, members.tasks, DType::f32, Memory{}, o.tasks);

  const auto samples = all_samples(*dataset);
  Tensor logits;
  const auto began = std::chrono::steady_clock::now();
  const auto since = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  const auto progress = [&](int64_t done, int64_t all) {
    console.progress(done, all, static_cast<double>(done) / std::max(since(), 1e-9), "images");
  };
  Tensor* const wanted = o.logits_out ? &logits : nullptr;
  EnsembleEvaluation found;
  if (model)
    found.together =
        evaluate(*model, dataset, samples, preprocess, o.batch, o.workers, o.max_bad, wanted, progress);
  else
    found =
        evaluate(*ensemble, dataset, samples, preprocess, o.batch, o.workers, o.max_bad, wanted, progress);
  const Evaluation& result = found.together;
  console.clear();
  const double rate = static_cast<double>(result.samples) / std::max(since(), 1e-9);
  for (const BadImage& bad : result.bad) console.note(bad.message);
  tell_notes(backbone.home, console);
  if (o.logits_out) {
    TensorFile file;
    file.tensors["logits"] = logits;
    file.tensors["labels"] = Tensor::of(Shape{dataset->size()}, std::span<const int64_t>(dataset->labels()));
    save_safetensors(*o.logits_out, file);
  }

  if (model)
    console.item("Task", text("{}: {}, {} classes; {}", quote(o.tasks[0]), method_text(task.config),
                              task.config.classes, quote(backbone.source)));
  else
    console.item("Tasks", text("{} as one ensemble, {} classes; {}", o.tasks.size(), task.config.classes,
                               quote(backbone.source)));
  console.item("Data", text("{}, split {}{}", quote(o.data), name_of(split), exif ? exif_words : ""));
  for (size_t i = 0; i < found.members.size(); ++i)
    console.item(i == 0 ? "Members" : "",
                 fmt::format("{}, loss {:.4f}: {}, {}", percent_text(found.members[i].accuracy),
                             found.members[i].loss, quote(o.tasks[i]), method_text(members.tasks[i].config)));
  console.item("Accuracy", accuracy_text(result));
  std::string measures = fmt::format("{} mean of the classes", percent_text(result.mean_class_accuracy));
  if (task.config.classes > 5)
    measures += fmt::format(", {} among the first five", percent_text(result.top5));
  if (result.roc_auc) measures += fmt::format(", area under the ROC curve {:.4f}", *result.roc_auc);
  console.item("Also", measures);
  if (ensemble) console.item("Shared", shared_text(*ensemble));
  console.item("Speed", fmt::format("{:.0f} images/s", rate));
  if (o.logits_out) console.item("Logits", quote(*o.logits_out));
  nlohmann::ordered_json json{{"command", "eval"}};
  if (model)
    json["task"] = o.tasks[0];
  else
    json["tasks"] = o.tasks;
  json.update({{"backbone", backbone.source},
               {"data", o.data},
               {"split", name_of(split)},
               {"samples", result.samples},
               {"accuracy", result.accuracy},
               {"loss", result.loss},
               {"bad", result.bad.size()},
               {"images_per_second", rate}});
  json["top5"] = result.top5;
  json["mean_class_accuracy"] = result.mean_class_accuracy;
  if (result.roc_auc) json["roc_auc"] = *result.roc_auc;
  for (size_t i = 0; i < found.members.size(); ++i)
    json["members"].push_back({{"task", o.tasks[i]},
                               {"method", method_text(members.tasks[i].config)},
                               {"accuracy", found.members[i].accuracy},
                               {"loss", found.members[i].loss}});
  if (ensemble) json["shared_work"] = ensemble->shared_work();
  if (o.logits_out) json["logits"] = *o.logits_out;
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
