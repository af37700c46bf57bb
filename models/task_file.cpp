// task_file.cpp: a Task as safetensors, and back.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "models/tuned.h"

namespace vitrine {

namespace {

constexpr const char* format = "vitrine task 1";

const std::string& entry(const TensorFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  check(found != file.metadata.end(), file.name, ": no metadata '", key, "': not a task file");
  return found->second;
}

// Tensors must be what the metadata says, and finite: a task file comes from anywhere.
void check_tensors(const Task& task, const std::string& who) {
  const auto expect = [&](const char* name, auto fits, const std::string& wanted) {
    const auto found = task.tensors.find(name);
    check(found != task.tensors.end(), who, ": no tensor '", name, "'");
    check(found->second.dtype() == DType::f32 && fits(found->second.shape()), who, ": tensor '", name,
          "': expected ", wanted, " f32, got ", found->second.shape(), " ", name_of(found->second.dtype()));
  };
  const int64_t classes = task.config.classes, p = task.config.prompts.count;
  expect(
      "head.weight", [&](const Shape& s) { return s.rank() == 2 && s.dim(0) == classes; },
      text("(", classes, ", D)"));
  expect(
      "head.bias", [&](const Shape& s) { return s == Shape{classes}; }, text("(", classes, ")"));
  const int64_t d = task.tensors.at("head.weight").dim(1);
  if (task.config.method == Method::vpt_deep)
    expect(
        "prompts",
        [&](const Shape& s) {
          return s.rank() == 3 && s == Shape{s.dim(0), p, d};
        },
        text("(L, ", p, ", ", d, ")"));
  if (task.config.method == Method::vpt_shallow)
    expect(
        "prompts",
        [&](const Shape& s) {
          return s == Shape{p, d};
        },
        text("(", p, ", ", d, ")"));
  for (const auto& [name, tensor] : task.tensors) {
    check(tensor.dtype() == DType::f32, who, ": tensor '", name, "': expected f32, got ",
          name_of(tensor.dtype()));
    check(std::ranges::all_of(tensor.data<float>(), [](float v) { return std::isfinite(v); }), who,
          ": tensor '", name, "' holds NaN or infinity");
  }
}

}  // namespace

TensorFile to_file(const Task& task) {
  TensorFile file;
  file.tensors = task.tensors;
  file.metadata = {{"format", format},
                   {"method", name_of(task.config.method)},
                   {"prompts", std::to_string(task.config.prompts.count)},
                   {"prompt_dropout", nlohmann::json(task.config.prompts.dropout).dump()},
                   {"drop_path", nlohmann::json(task.config.drop_path).dump()},
                   {"classes", nlohmann::json(task.class_names).dump()},
                   {"backbone", task.backbone},
                   {"backbone_identity", task.backbone_identity},
                   {"preprocess", task.preprocess},
                   {"settings", task.settings}};
  return file;
}

Task task_from_file(const TensorFile& file) {
  check(entry(file, "format") == format, file.name, ": expected format '", format, "', got '",
        entry(file, "format"), "'");
  Task task;
  task.config.method = method_of(entry(file, "method"));
  task.tensors = file.tensors;
  try {
    task.class_names = nlohmann::json::parse(entry(file, "classes")).get<std::vector<std::string>>();
    task.config.prompts.count = nlohmann::json::parse(entry(file, "prompts")).get<int64_t>();
    task.config.prompts.dropout = nlohmann::json::parse(entry(file, "prompt_dropout")).get<double>();
    task.config.drop_path = nlohmann::json::parse(entry(file, "drop_path")).get<double>();
    task.settings = entry(file, "settings");
    check(nlohmann::json::accept(task.settings), file.name, ": metadata 'settings' is not JSON");
  } catch (const nlohmann::json::exception& e) {
    fail(Fault::input, file.name, ": its metadata cannot be read: ", e.what());
  }
  task.config.classes = static_cast<int64_t>(task.class_names.size());
  task.backbone = entry(file, "backbone");
  task.backbone_identity = entry(file, "backbone_identity");
  task.preprocess = entry(file, "preprocess");
  check_tensors(task, file.name);
  return task;
}

}  // namespace vitrine
