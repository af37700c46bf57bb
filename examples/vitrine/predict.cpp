// predict.cpp: `vitrine predict`. Classes of single images, by a task's head or by the backbone's own.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "commands.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/tune.h"

namespace vitrine::cli {

namespace {

// A model as this command sees it: images in, logits out.
struct Classifier {
  std::function<Variable(const Variable&)> logits;
  Preprocess preprocess;
  std::vector<std::string> class_names;
  Memory home{};       // where the model lives
  std::string note{};  // what is remarked of it, if anything
};

// "name", or ["n01440764", "name"] as imagenet_class_index.json has it.
std::string name_in(const nlohmann::json& entry, int64_t number, const std::string& who) {
  if (entry.is_string()) return entry.get<std::string>();
  check(entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string(), who,
        ": class ", number, ": expected a name, or a list of its synset and its name, got ",
        quote(entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  return entry[1].get<std::string>();
}

// {"0": "name", ...} with each class once, or ["name", ...]; `who` opens error messages.
std::vector<std::string> names_from_json(std::string_view content, const std::string& who) {
  std::vector<std::string> names;
  try {
    std::vector<std::string> keys;
    const auto json = nlohmann::json::parse(
        content, [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
          check(depth <= 2, who, ": expected names, nested too deeply");
          if (event == nlohmann::json::parse_event_t::key && depth == 1)
            keys.push_back(value.get<std::string>());
          return true;
        });
    if (json.is_array()) {
      for (const auto& entry : json) names.push_back(name_in(entry, static_cast<int64_t>(names.size()), who));
      return names;
    }
    check(keys.size() == json.size(), who, ": a key appears twice");
    for (size_t c = 0; c < json.size(); ++c) {
      const auto found = json.find(std::to_string(c));
      check(found != json.end(), who, ": has ", json.size(), " entries, but none for class ", c,
            "; its keys must be the numbers of classes");
      names.push_back(name_in(*found, static_cast<int64_t>(c), who));
    }
  } catch (const nlohmann::json::exception& e) {
    fail(Fault::input, who, ": expected a JSON list or object of names: ", e.what());
  }
  return names;
}

std::vector<std::string> read_names(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view content(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  constexpr std::string_view mark = "\xef\xbb\xbf";  // editors write it in front of UTF-8
  if (content.starts_with(mark)) content.remove_prefix(mark.size());
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && (content[first] == '[' || content[first] == '{'))
    return names_from_json(content, path);
  std::vector<std::string> names;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    names.emplace_back(line);
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  while (!names.empty() && names.back().empty()) names.pop_back();
  for (size_t i = 0; i < names.size(); ++i)
    check(!names[i].empty(), path, ": line ", i + 1, " is empty: expected a name on each, of class ", i);
  return names;
}

Classifier by_tasks(const PredictOptions& o) {
  check(!o.class_names, "--class-names: a task file has its own");
  check(o.hints.image_size == 0, "--image-size: a task's pictures have the size at which it was tuned");
  const Members members = open_members(o.tasks, o.backbone, o.hints, o.place);
  const Task& task = members.tasks[0];
  const Backbone& backbone = members.backbone;
  const Preprocess preprocess = preprocess_from_json(task.preprocess);
  Classifier out{{}, preprocess, task.class_names, backbone.home};
  if (o.tasks.size() > 1) {
    const auto ensemble = std::make_shared<Ensemble>(backbone, members.tasks, DType::f32, Memory{}, o.tasks);
    out.logits = [ensemble](const Variable& images) { return ensemble->logits(images); };
  } else {
    const auto model = std::make_shared<TunedModel>(backbone, task, DType::f32, Memory{}, Use::prediction);
    out.logits = [model](const Variable& images) { return model->logits(images, {.history = false}); };
  }
  check_image_size(backbone.config, preprocess.size);
  return out;
}

Classifier by_backbone(const PredictOptions& o) {
  check(o.backbone.has_value(), "expected --task FILE or --backbone FILE");
  const Backbone backbone = placed(open_backbone(*o.backbone, o.hints), o.place);
  check(class_count(backbone.config) > 0, quote(backbone.source),
        " has no head of its own; --task names a task file with one");
  Classifier c{{}, preprocess_of(backbone, o.hints.image_size), {}, backbone.home};
  if (o.class_names) {
    c.class_names = read_names(*o.class_names);
    check(static_cast<int64_t>(c.class_names.size()) == class_count(backbone.config), quote(*o.class_names),
          " names ", c.class_names.size(), " classes, but the backbone's head has ",
          class_count(backbone.config));
  } else if (const auto own = backbone.file.metadata.find("class_names");
             own != backbone.file.metadata.end()) {
    c.class_names = names_from_json(own->second, text(backbone.source, ": class_names"));
    check(static_cast<int64_t>(c.class_names.size()) == class_count(backbone.config), quote(backbone.source),
          " names ", c.class_names.size(), " classes, but its head has ", class_count(backbone.config));
  } else {
    for (int64_t i = 0; i < class_count(backbone.config); ++i) c.class_names.push_back(std::to_string(i));
    c.note = text(quote(backbone.source),
                  " does not name its classes, so they are numbers (--class-names FILE gives names)");
  }
  const auto net = std::make_shared<Transformer>(backbone.config, frozen_weights(backbone));
  c.logits = [net, home = backbone.home](const Variable& images) {
    const Variable there = home.device() == nullptr ? images : Variable(images.value().copied_to(home));
    return convert(net->logits(there), DType::f32);
  };
  return c;
}

// On one line, whatever it holds.
std::string printable(std::string name) {
  for (char& c : name)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  return name;
}

// The picture of a file, turned or not. Of the first one that asks to be turned is said what is done.
Image photo(const std::string& path, const Classifier& model, const PredictOptions& o, bool& said,
            Console& console) {
  const std::vector<std::byte> file = read_file(path);
  Image image = decode_image(file, path);
  const int orientation = exif_orientation(file);
  if (orientation == 1) return image;
  const bool turn = o.exif || model.preprocess.exif;
  if (!said && !o.exif)
    console.note(text(quote(path), " asks to be turned (EXIF orientation ", orientation, ") and is ",
                      turn ? "turned, for the task was tuned so" : "used as stored; --exif turns such photos",
                      "; so are all others like it"));
  said = true;
  return turn ? apply_orientation(image, orientation) : image;
}

struct Guess {
  int64_t label;
  double probability;
};

// The `top` most probable classes of one row of logits.
std::vector<Guess> best(std::span<const float> row, int64_t top) {
  std::vector<Guess> guesses(row.size());
  double sum = 0;
  const float most = *std::ranges::max_element(row);
  for (size_t c = 0; c < row.size(); ++c) {
    guesses[c] = {static_cast<int64_t>(c), std::exp(static_cast<double>(row[c]) - most)};
    sum += guesses[c].probability;
  }
  for (Guess& guess : guesses) guess.probability /= sum;
  std::ranges::stable_sort(guesses, std::greater{}, &Guess::probability);
  guesses.resize(static_cast<size_t>(std::min<int64_t>(top, static_cast<int64_t>(guesses.size()))));
  return guesses;
}

}  // namespace

int predict(const PredictOptions& o, Console& console) {
  const Classifier model = o.tasks.empty() ? by_backbone(o) : by_tasks(o);
  if (!o.tasks.empty() && o.exif && !model.preprocess.exif) console.note(untold_exif);
  if (!model.note.empty()) console.note(model.note);
  int status = 0;
  bool said = false;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const std::string& path : o.images) {
    nlohmann::ordered_json entry{{"image", path}};
    try {
      const int64_t side = model.preprocess.size;
      Tensor pixels = Tensor::empty(Shape{1, 3, side, side}, DType::f32);
      normalise(prepare(photo(path, model, o, said, console), model.preprocess), model.preprocess,
                pixels.mutable_data<float>());
      const Tensor row = in_main_memory(model.logits(pixels).value());
      console.line(path);
      for (const Guess& guess : best(row.data<float>(), o.top)) {
        const std::string& name = model.class_names[static_cast<size_t>(guess.label)];
        console.line(fmt::format("  {:>8}  {}", percent_text(guess.probability), printable(name)));
        entry["classes"].push_back(
            {{"class", guess.label}, {"name", name}, {"probability", guess.probability}});
      }
    } catch (const Error& e) {
      if (e.fault() != Fault::input && e.fault() != Fault::output) throw;
      console.error(e.what());
      entry["error"] = e.what();
      if (status == 0) status = static_cast<int>(e.fault());
    }
    all.push_back(entry);
  }
  tell_notes(model.home, console);
  console.result(nlohmann::ordered_json{{"command", "predict"}, {"images", all}});
  return status;
}

}  // namespace vitrine::cli
