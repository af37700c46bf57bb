// task_file.cpp: a Task as safetensors, and back.
#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/json.h"
#include "models/tuned.h"

namespace vitrine {

namespace {

constexpr const char* format = "vitrine task 1";

const std::string& entry(const TensorFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  check(found != file.metadata.end(), "{}: no metadata '{}': not a task file", file.name, key);
  return found->second;
}

// A metadata entry as JSON. What lies deep is not ours and might exhaust the stack of whoever walks it.
Json parsed(const TensorFile& file, const char* key) {
  constexpr int64_t most_values = (1 << 20) + 1;  // names of classes, and their list
  return Json::parse(entry(file, key), 4, text("{}: metadata '{}'", file.name, key), most_values);
}

int64_t whole(const TensorFile& file, const char* key) {
  const Json value = parsed(file, key);
  check(value.is(Json::Kind::whole) && value.whole() >= 0 && value.whole() <= 1 << 24,
        "{}: metadata '{}': expected a whole number, got '{}'", file.name, key, entry(file, key));
  return value.whole();
}

// Tensors must be what the metadata says, and finite: a task file comes from anywhere.
void check_tensors(const Task& task, const std::string& who) {
  const auto expect = [&](const std::string& name, auto fits, const std::string& wanted) {
    const auto found = task.tensors.find(name);
    check(found != task.tensors.end(), "{}: no tensor '{}'", who, name);
    check(found->second.dtype() == DType::f32 && fits(found->second.shape()),
          "{}: tensor '{}': expected {} f32, got {} {}", who, name, wanted, found->second.shape(),
          name_of(found->second.dtype()));
  };
  const int64_t classes = task.config.classes, p = task.config.prompts.count;
  expect(
      "head.weight", [&](const Shape& s) { return s.rank() == 2 && s.dim(0) == classes; },
      text("({}, D)", classes));
  expect(
      "head.bias", [&](const Shape& s) { return s == Shape{classes}; }, text("({})", classes));
  // How wide the prompts of a block are is the backbone's to say: its model is built before they are used.
  const PromptKind kind = prompt_kind(task.config.method);
  if (kind == PromptKind::shallow)
    expect(
        "prompts", [&](const Shape& s) { return s.rank() == 2 && s.dim(0) == p; }, text("({}, D)", p));
  int64_t stages = 0;
  if (kind == PromptKind::deep) {
    while (task.tensors.contains(text("prompts.{}", stages))) ++stages;
    for (int64_t s = 0; s < std::max<int64_t>(stages, 1); ++s)
      expect(
          stages > 0 ? text("prompts.{}", s) : "prompts",
          [&](const Shape& shape) { return shape.rank() == 3 && shape.dim(1) == p; }, text("(L, {}, D)", p));
  }
  const auto is_prompts = [&](const std::string& name) {
    if (stages == 0) return name == "prompts" && kind != PromptKind::none;
    for (int64_t s = 0; s < stages; ++s)
      if (name == text("prompts.{}", s)) return true;
    return false;
  };
  // What else there is, the model asks for when it is built (tuned.cpp).
  const Method method = task.config.method;
  const auto may_have = [&](const std::string& name) {
    return name == "head.weight" || name == "head.bias" || is_prompts(name) ||
           (name.starts_with("delta.") && trains_inside(method)) ||
           (name.starts_with("head.hidden") && method == Method::mlp) ||
           (name.starts_with("side.") && method == Method::sidetune) ||
           (name == "prompt_gates" && method == Method::vpt_gated);
  };
  for (const auto& [name, tensor] : task.tensors) {
    check(may_have(name), "{}: tensor '{}' belongs to no task of method {}", who, name,
          method_text(task.config));
    check(tensor.dtype() == DType::f32, "{}: tensor '{}': expected f32, got {}", who, name,
          name_of(tensor.dtype()));
    check(std::ranges::all_of(tensor.data<float>(), [](float v) { return std::isfinite(v); }),
          "{}: tensor '{}' holds NaN or infinity", who, name);
  }
}

}  // namespace

TensorFile to_file(const Task& task) {
  TensorFile file;
  file.tensors = task.tensors;
  file.metadata = {{"format", format},
                   {"method", method_text(task.config)},
                   {"prompts", std::to_string(task.config.prompts.count)},
                   {"prompt_dropout", json_number(task.config.prompts.dropout)},
                   {"drop_path", json_number(task.config.drop_path)},
                   {"classes", json_list(task.class_names)},
                   {"backbone", task.backbone},
                   {"backbone_identity", task.backbone_identity},
                   {"heads", std::to_string(task.heads)},
                   {"preprocess", task.preprocess},
                   {"settings", task.settings}};
  if (const std::string variant = variant_to_json(task.config.prompts); !variant.empty())
    file.metadata["prompt_variant"] = variant;
  if (!task.positions.empty()) file.metadata["positions"] = task.positions;
  if (!task.backbone_config.empty()) file.metadata["backbone_config"] = task.backbone_config;
  return file;
}

Task task_from_file(const TensorFile& file) {
  check(entry(file, "format") == format, "{}: expected format '{}', got '{}'", file.name, format,
        entry(file, "format"));
  for (const auto* entries : {&file.unreadable, &file.objects})
    if (!entries->empty()) file.at(entries->begin()->first);  // says why there is no such tensor
  Task task;
  task.config = method_from_text(entry(file, "method"));
  if (file.metadata.contains("prompt_variant"))
    set_variant(task.config.prompts, entry(file, "prompt_variant"), file.name);
  task.tensors = file.tensors;
  const Json classes = parsed(file, "classes");
  for (const Json& name : classes.list()) task.class_names.push_back(name.text());
  task.config.prompts.count = whole(file, "prompts");
  task.heads = whole(file, "heads");
  task.config.prompts.dropout = parsed(file, "prompt_dropout").real();
  task.config.drop_path = parsed(file, "drop_path").real();
  task.settings = entry(file, "settings");
  const Json settings = parsed(file, "settings");
  settings.object();  // throws unless it is one
  task.config.classes = static_cast<int64_t>(task.class_names.size());
  task.backbone = entry(file, "backbone");
  task.backbone_identity = entry(file, "backbone_identity");
  if (file.metadata.contains("backbone_config")) task.backbone_config = entry(file, "backbone_config");
  if (file.metadata.contains("positions")) task.positions = entry(file, "positions");
  task.preprocess = entry(file, "preprocess");
  check_tensors(task, file.name);
  return task;
}

}  // namespace vitrine
