// inspect.cpp: `vitrine inspect`. What a file of tensors holds: a backbone, a task, or just tensors.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "data/class_names.h"
#include "engine/containers/tensor_file.h"
#include "engine/text.h"
#include "models/training/tune.h"

namespace vitrine::cli {

namespace {

using Json = nlohmann::ordered_json;

Json tensors_json(const TensorFile& file) {
  Json list = Json::array();
  for (const auto& [name, tensor] : file.tensors)
    list.push_back({{"name", name}, {"dtype", name_of(tensor.dtype())}, {"shape", tensor.shape().extents()}});
  return list;
}

void list_tensors(const TensorFile& file, Console& console) {
  size_t longest = 0;
  for (const auto& [name, tensor] : file.tensors) longest = std::max(longest, name.size());
  for (const auto& [name, tensor] : file.tensors)
    console.line(fmt::format("  {:<{}}  {:<4}  {}", name, std::min<size_t>(longest, 60),
                             name_of(tensor.dtype()), tensor.shape().str()));
}

size_t total_bytes(const TensorFile& file) {
  size_t sum = 0;
  for (const auto& [name, tensor] : file.tensors) sum += tensor.bytes();
  return sum;
}

// "batch 64, clip 0.0, ..."
std::string pairs_text(const Json& object) {
  std::string all;
  for (const auto& [key, value] : object.items())
    all += text("{}{} {}", all.empty() ? "" : ", ", key,
                value.is_string() ? value.get<std::string>()
                : value.is_null() ? "not told"
                                  : value.dump());
  return all;
}

Json inspect_task(const TensorFile& file, Console& console) {
  const Task task = task_from_file(file);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : task.tensors) parameters += tensor.numel();
  const int64_t prompts = prompt_kind(task.config.method) != PromptKind::none ? task.config.prompts.count : 0;
  console.item("Task", text("{}{}, {} parameters, {}", method_text(task.config),
                            prompts > 0 ? text(", {}", plural(prompts, "prompt")) : "",
                            count_text(parameters), bytes_text(total_bytes(file))));
  console.item("Classes", text("{}: {}", task.config.classes, class_list(task.class_names)));
  console.item("Backbone", text("{}, identity {}", task.backbone, task.backbone_identity));
  console.item("Images", describe(preprocess_from_json(task.preprocess)));
  console.item("Settings", pairs_text(Json::parse(task.settings)));
  console.line("Tensors");
  list_tensors(file, console);
  return {{"kind", "task"},
          {"method", method_text(task.config)},
          {"prompts", prompts},
          {"parameters", parameters},
          {"classes", task.class_names},
          {"backbone", task.backbone},
          {"backbone_identity", task.backbone_identity},
          {"preprocess", Json::parse(task.preprocess)},
          {"settings", Json::parse(task.settings)},
          {"tensors", tensors_json(file)}};
}

// Where a file came from, fit for a few lines: without configurations, which stand elsewhere, and without what the one
// before it started from.
std::string shortened(std::string words) {
  const size_t length = words.size();
  for (size_t begin; (begin = words.find(", {")) != std::string::npos;) {
    const size_t end = words.find('}', begin);
    words.erase(begin, end == std::string::npos ? end : end + 1 - begin);
  }
  if (const size_t begin = words.find("; started from: "); begin != std::string::npos) {
    const size_t end = words.find("; vitrine convert: ", begin);
    words.replace(begin, end == std::string::npos ? end : end - begin, "; started from another");
  }
  constexpr size_t most = 400;
  if (words.size() > most) words.replace(most / 2, words.size() - most, " ... ");
  return words.size() < length ? words + " (all of it: --json)" : words;
}

// The configuration without what nobody tells.
Json told_config(const Pretrained& opened) {
  Json config = Json::parse(config_to_json(opened.backbone.config));
  for (const Unsettled& what : opened.unsettled) config[what.key] = nullptr;
  return config;
}

// What has to be told before the net can be used.
std::vector<std::string> missing_of(const Pretrained& opened, bool pictures_told) {
  std::vector<std::string> missing;
  for (const Unsettled& what : opened.unsettled) missing.emplace_back(what.clause);
  if (!pictures_told) missing.emplace_back("how its pictures were prepared");
  return missing;
}

// "12 tensors: 10 of the text tower, ..." by reason, with an example each.
std::string left_out_text(const std::vector<LeftOut>& left_out) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const LeftOut& out : left_out) by_reason[out.reason].push_back(out.name);
  std::string all;
  for (const auto& [reason, names] : by_reason)
    all += text("{}{}{} ({})", all.empty() ? "" : "; ", quote(names[0]),
                names.size() > 1 ? text(" and {} more", names.size() - 1) : "", reason);
  return all;
}

Json left_out_json(const std::vector<LeftOut>& left_out) {
  Json list = Json::array();
  for (const LeftOut& out : left_out) list.push_back({{"name", out.name}, {"reason", out.reason}});
  return list;
}

Json inspect_backbone(const Pretrained& opened, Console& console) {
  const Backbone& backbone = opened.backbone;
  const TransformerConfig headless = with_classes(backbone.config, 0);
  const std::string identity = opened.unsettled.empty() ? identity_of(backbone) : "",
                    preset = preset_name(backbone.config);
  // Whose names have to tell it is asked by those who need pictures.
  const bool told =
      backbone.file.metadata.contains("preprocess") || !backbone.file.metadata.contains("dialect");
  const std::optional<Preprocess> preprocess = told ? std::optional(preprocess_of(backbone)) : std::nullopt;
  const double gmacs = static_cast<double>(multiply_accumulates(headless)) / 1e9;
  console.item("Backbone", describe(backbone.config));
  const int64_t classes = class_count(backbone.config);
  const std::string head = head_is_projection(backbone) ? text("projection to {} numbers", classes)
                                                        : text("head of {} classes", classes);
  console.item("Parameters",
               text("{}{}", count_text(parameter_count(headless)),
                    classes > 0 ? text(", with its {} {}", head, count_text(parameter_count(backbone.config)))
                                : ", no head"));
  const auto named = backbone.file.metadata.find("class_names");
  const std::vector<std::string> class_names =
      named == backbone.file.metadata.end()
          ? std::vector<std::string>{}
          : class_names_from(named->second, backbone.source + ": class_names");
  if (!class_names.empty()) console.item("Classes", class_list(class_names));
  console.item("Work", fmt::format("{:.3g} GMACs (billions of multiply-adds) for an image", gmacs));
  console.item("Stored", text("{}, {}, {} tensors", backbone.stored_types, bytes_text(backbone.stored_bytes),
                              backbone.file.tensors.size()));
  if (!backbone.file.part.empty())
    console.item("Taken from", text("the part {} of the file", quote(backbone.file.part)));
  console.item("Names", opened.dialect);
  for (const std::string& place : opened.told_by) console.item("Told by", place);
  console.item("Images", preprocess ? describe(*preprocess) : "not told");
  if (!opened.positions.empty()) console.item("Positions", opened.positions);
  if (!opened.left_out.empty()) console.item("Left out", left_out_text(opened.left_out));
  console.item("Config", pairs_text(told_config(opened)));
  console.item("Identity", identity.empty() ? "not told: it depends on what is missing" : identity);
  const auto provenance = backbone.file.metadata.find("provenance");
  if (provenance != backbone.file.metadata.end()) console.item("From", shortened(provenance->second));
  const std::vector<std::string> missing = missing_of(opened, preprocess.has_value());
  if (!opened.unsettled.empty())
    console.item("Missing", text("{}; give --backbone-config with {}", listed(missing_of(opened, true)),
                                 what_may_tell(opened.dialect, backbone.config)));
  if (!preprocess)
    console.item("Missing", text("how its pictures were prepared; give {}",
                                 what_may_tell_pictures(opened.dialect, backbone.config)));
  if (!console.json()) return Json::object();
  Json json{
      {"kind", "backbone"},
      {"preset", preset},
      {"parameters", parameter_count(headless)},
      {"parameters_with_head", parameter_count(backbone.config)},
      {"gmacs", gmacs},
      {"config", told_config(opened)},
      {"head", classes == 0                   ? ""
               : head_is_projection(backbone) ? "projection"
                                              : "classes"},
      {"classes", class_names},
      {"missing", missing},
      {"families", missing.empty() ? Json::array() : Json(families_of(opened.dialect, backbone.config))},
      {"preprocess", preprocess ? Json::parse(to_json(*preprocess)) : Json()},
      {"positions", opened.positions},
      {"dialect", opened.dialect},
      {"told_by", opened.told_by},
      {"left_out", left_out_json(opened.left_out)},
      {"dtypes", backbone.stored_types},
      {"bytes", backbone.stored_bytes},
      {"identity", identity.empty() ? Json() : Json(identity)},
      {"part", backbone.file.part},
      {"metadata", backbone.file.metadata}};
  return json;
}

Json inspect_tensors(const TensorFile& file, Console& console) {
  if (file.tensors.empty() && file.unreadable.empty()) {
    const auto object = file.objects.begin();
    fail(Fault::input, "{}: holds no tensors{}", file.name,
         object == file.objects.end()
             ? ""
             : text("; {}{}", object->first.empty() ? "" : quote(object->first) + ": ", object->second));
  }
  console.item("Tensors", text("{}, {}", file.tensors.size(), bytes_text(total_bytes(file))));
  list_tensors(file, console);
  for (const auto* others : {&file.unreadable, &file.objects})
    for (const auto& [name, why] : *others) console.line(text("  {}: {}", quote(name), why));
  for (const auto& [key, value] : file.metadata) console.line(text("  {} = {}", key, quote(value)));
  console.item("Backbone",
               "none: no ViT and no Swin has these names (docs/checkpoints.md lists those that load)");
  if (!console.json()) return Json::object();  // of many tensors it is as large as their file
  return {{"kind", "tensors"},
          {"metadata", file.metadata},
          {"tensors", tensors_json(file)},
          {"unreadable", file.unreadable},
          {"objects", file.objects}};
}

}  // namespace

int inspect(const InspectOptions& o, Console& console) {
  Json json;
  // Of a ViT it is part of the net; what can be told of a Swin is the same for every size.
  const auto open = [&] {
    BackboneHints hints = o.hints;
    hints.only_look = true;
    Pretrained opened = open_pretrained(o.file, hints);
    check_own_size(opened.backbone, o.hints);
    return opened;
  };
  if (is_builtin(o.file)) {
    json = inspect_backbone(open(), console);
  } else {
    const std::string path = weights_file(o.file);
    TensorFile file = load_tensors(path);
    // Said once it is known that there is something to say of it.
    const auto name_file = [&] {
      if (path != o.file) console.item("File", path);
    };
    if (is_task_file(file)) {
      name_file();
      json = inspect_task(file, console);
    } else if (is_checkpoint(file)) {
      file = {};  // which is read once more, not twice at a time
      const Pretrained opened = open();
      name_file();
      json = inspect_backbone(opened, console);
    } else {
      name_file();
      json = inspect_tensors(file, console);
    }
  }
  Json result{{"command", "inspect"}, {"file", o.file}};
  result.update(json);
  console.result(result);
  return 0;
}

}  // namespace vitrine::cli
