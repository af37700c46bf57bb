// shared.cpp: opening backbones, tasks and data for all commands; what measuring needs.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <system_error>

#ifdef VITRINE_BUILTIN
#include "models/builtin.h"
#endif
#include "commands.h"
#include "data/class_names.h"
#include "data/preprocess.h"
#include "engine/containers/tensor_file.h"
#include "engine/text.h"

namespace vitrine::cli {

bool is_builtin(const std::string& where) { return where == "builtin" || where == "builtin-swin"; }

TensorFile open_tensors(const std::string& where) {
  if (!is_builtin(where)) return load_tensors(where);
#ifdef VITRINE_BUILTIN
  const auto bytes = where == "builtin" ? builtin_vit() : builtin_swin();
  // The bytes are part of the program: an owner that owns nothing keeps them from being copied.
  const std::shared_ptr<const void> owner(std::shared_ptr<const void>{}, bytes.data());
  return read_safetensors(bytes, owner, where);
#else
  fail(Fault::input, "this program was built without a backbone of its own; name a file with --backbone");
#endif
}

Pretrained open_pretrained(const std::string& where, const BackboneHints& hints) {
  const std::string file = is_builtin(where) ? where : weights_file(where);
  Pretrained opened = make_pretrained(open_tensors(file), file, hints);
  check(hints.heads == 0 || untold_heads(opened.backbone.config) != 0,
        "--heads {}: a Swin's heads stand in its bias tables", hints.heads);
  return opened;
}

Backbone open_backbone(const std::string& where, const BackboneHints& hints) {
  return open_pretrained(where, hints).backbone;
}

void check_own_size(const Backbone& backbone, const BackboneHints& hints) {
  check(hints.image_size == 0 || std::holds_alternative<VitConfig>(backbone.config),
        "--image-size {}: a Swin's file is the same for pictures of every size; tune, predict and sweep take "
        "the option",
        hints.image_size);
}

Backbone open_backbone_of(const Task& task, const std::optional<std::string>& wanted, BackboneHints hints) {
  // Older task files remember no more of the configuration.
  if (hints.heads == 0 && task.backbone_config.empty()) hints.heads = task.heads;
  hints.known = task.backbone_config;
  hints.known_positions = task.positions;
  if (wanted) {
    try {
      return open_backbone(*wanted, hints);
    } catch (const Error& e) {
      if (e.fault() != Fault::input) throw;
      fail(e.fault(), "{}; the task was tuned on {}{}", e.what(),
           task.backbone_config.empty() ? ""
                                        : text("a {}, ", describe(config_from_json(task.backbone_config))),
           quote(task.backbone));
    }
  }
  try {
    return open_backbone(task.backbone, hints);
  } catch (const Error& e) {
    // A host that gave bytes had no name for them; if they were those of a backbone that comes along, it is known by its identity.
    if (e.fault() == Fault::output)
      for (const char* builtin : {"builtin", "builtin-swin"})
        if (identity_of(open_backbone(builtin, {})) == task.backbone_identity)
          return open_backbone(builtin, hints);
    fail(e.fault(), "{}; this backbone is the one that the task file names, --backbone names another place",
         e.what());
  }
}

std::shared_ptr<const Device> open_device(const Placement& place) {
  if (place.on_device()) return Device::open(place.device, {.tf32 = place.tf32});
  check(!place.tf32, "--tf32: products on the CPU are f32; it is for --device cuda");
  return nullptr;
}

Backbone placed(Backbone backbone, const Placement& place, Method method) {
  const Precision precision = place.precision(trains_inside(method));
  const auto device = open_device(place);
  if (device == nullptr) return with_precision(std::move(backbone), precision);
  check(precision != Precision::int8, "--precision int8: on a device weights are f32 or bf16");
  // A net that is tuned as a whole brings its own weights there.
  return on_device(std::move(backbone), device->memory(), precision, method == Method::full);
}

void tell_notes(const Memory& home, Console& console) {
  if (home.device() == nullptr) return;
  for (const std::string& note : home.device()->notes()) console.note(note);
}

std::string place_text(const Placement& place, Method method) {
  const bool trained = trains_inside(method);
  const char* precision = name_of(place.precision(trained));
  if (place.on_device())
    return text(", in {}{} on {}", precision, place.tf32 ? " (products in tf32)" : "", place.device);
  return place.precision(trained) == Precision::f32 ? "" : text(", packed as {}", precision);
}

Task load_task(const std::string& path) { return task_from_file(load_safetensors(path)); }

Members open_members(const std::vector<std::string>& files, const std::optional<std::string>& backbone,
                     const BackboneHints& hints, const Placement& place) {
  Members out{.files = files, .tasks = {}, .backbone = {}};
  for (const std::string& file : files) {
    out.tasks.push_back(load_task(file));
    const Task &first = out.tasks.front(), &task = out.tasks.back();
    const std::string expected = to_json(preprocess_from_json(first.preprocess)),
                      found = to_json(preprocess_from_json(task.preprocess));
    check(found == expected, "{} was tuned on pictures prepared otherwise than those of {}: {}, not {}",
          quote(file), quote(files[0]), found, expected);
  }
  out.backbone = placed(open_backbone_of(out.tasks[0], backbone, hints), place, out.tasks[0].config.method);
  return out;
}

std::string shared_text(const Ensemble& ensemble) {
  std::string what = "the patch embedding";
  for (const Transformer::Group& group : ensemble.groups()) {
    const auto members = static_cast<int64_t>(group.members.size());
    if (members < 2) continue;
    what += text(", of {} members {}", members,
                 group.same ? "all of the net" : "the first block's queries, keys and values");
  }
  return text("{}: {} of their work", what, percent_text(ensemble.shared_work()));
}

bool is_task_file(const TensorFile& file) {
  const auto format = file.metadata.find("format");
  return format != file.metadata.end() && format->second.starts_with("vitrine task");
}

void check_safetensors_name(const char* option, const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension().string();
  for (const char* other : {".pth", ".pt", ".bin", ".ckpt", ".npz", ".npy", ".onnx", ".gguf", ".h5", ".json"})
    check(ending != other,
          "{}: what is written is a safetensors file, which programs would not find in {}; name it {}",
          option, quote(path), quote(std::filesystem::path(path).replace_extension("safetensors").string()));
}

void check_not_read(const char* option, const std::string& path, const std::vector<std::string>& read) {
  for (const std::string& file : read) {
    std::error_code ignored;  // what does not exist is not read
    check(!std::filesystem::equivalent(path, file, ignored), "{}: {} is a file that is being read{}", option,
          quote(path), path == file ? "" : text(": {}", quote(file)));
  }
}

std::vector<std::string> files_of_backbone(const Backbone& backbone) {
  return is_builtin(backbone.source) ? std::vector<std::string>{} : files_of(backbone.source);
}

void prepare_output(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path parent = fs::path(path).parent_path();
  std::error_code problem;
  // A folder that is not there is a slip of the hand more often than a wish.
  if (std::error_code ignored; !parent.empty() && !fs::is_directory(parent, ignored))
    fail(Fault::output, "cannot write {}: there is no folder {}", quote(path), quote(parent.string()));
  if (!problem && (fs::is_directory(path) || !fs::path(path).has_filename()))
    problem = std::make_error_code(std::errc::is_a_directory);
  if (!problem && ::access(parent.empty() ? "." : parent.c_str(), W_OK) != 0)
    problem = std::error_code(errno, std::generic_category());
  if (problem) fail(Fault::output, "cannot write {}: {}", quote(path), problem.message());
}

Split usual_split(const std::string& spec) {
  if (has_split(spec, Split::test)) return Split::test;
  return has_split(spec, Split::val) ? Split::val : Split::train;
}

void check_classes(const Task& task, const Dataset& dataset, const std::string& spec) {
  const auto& expected = task.class_names;
  const auto& found = dataset.class_names();
  check(expected.size() == found.size(), "the task tells {} classes apart, but {} has {}", expected.size(),
        quote(spec), found.size());
  for (size_t c = 0; c < found.size(); ++c)
    check(expected[c] == found[c], "class {} is {} in the task, but {} in {}", c, quote(expected[c]),
          quote(found[c]), quote(spec));
}

size_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) << 10;
  return 0;
}

std::string memory_text(const MemoryForecast& m) {
  return text(
      "at most {}: {} frozen weights, {} for what is trained with gradients, optimizer state and working "
      "space, {} for each of {} at once, {} for batches of images",
      bytes_text(m.peak()), bytes_text(m.weights), bytes_text(m.trained), bytes_text(m.per_image),
      plural(static_cast<int64_t>(m.batch_images), "image"), bytes_text(m.loader));
}

nlohmann::ordered_json memory_json(const MemoryForecast& m) {
  return {{"peak", m.peak()},         {"weights", m.weights},     {"trained", m.trained},
          {"per_image", m.per_image}, {"images", m.batch_images}, {"loader", m.loader},
          {"one_form", m.one_form},   {"recompute", m.recompute}};
}

std::vector<std::string> read_class_names_of(const Backbone& backbone, const std::string& path) {
  std::vector<std::string> names = read_class_names(path);
  const int64_t classes = class_count(backbone.config);
  check(static_cast<int64_t>(names.size()) == classes, "{} names {} classes, but the backbone's head has {}",
        quote(path), names.size(), classes);
  return names;
}

std::string class_list(const std::vector<std::string>& names) {
  constexpr size_t shown = 10;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), shown); ++i)
    list += text("{}{}", i > 0 ? ", " : "", names[i]);
  return names.size() > shown ? list + ", ..." : list;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<Guess> best(std::span<const float> row, int64_t top) {
  const Softmax softmax(row);
  std::vector<Guess> guesses(row.size());
  for (size_t c = 0; c < row.size(); ++c) guesses[c] = {static_cast<int64_t>(c), softmax(row[c])};
  std::ranges::stable_sort(guesses, std::greater{}, &Guess::probability);
  guesses.resize(static_cast<size_t>(std::min<int64_t>(top, static_cast<int64_t>(guesses.size()))));
  return guesses;
}

}  // namespace vitrine::cli
