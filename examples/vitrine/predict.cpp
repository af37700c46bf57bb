// predict.cpp: `vitrine predict`. Classes of single images, by a task's head or by the backbone's own.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "commands.h"
#include "data/class_names.h"
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

Classifier by_tasks(const PredictOptions& o) {
  check(!o.class_names, "--class-names: a task file has its own");
  check(o.hints.pictures.empty(), "--pictures: a task's pictures are prepared as when it was tuned");
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
  check(class_count(backbone.config) > 0, "{} has no head of its own; --task names a task file with one",
        quote(backbone.source));
  check(!head_is_projection(backbone),
        "{} has a projection to {} numbers that are compared with those of texts, and no classes; vitrine "
        "tune makes a task of them",
        quote(backbone.source), class_count(backbone.config));
  Classifier c{{}, preprocess_of(backbone, o.hints.image_size), {}, backbone.home};
  if (o.class_names) {
    c.class_names = read_class_names_of(backbone, *o.class_names);
  } else if (const auto own = backbone.file.metadata.find("class_names");
             own != backbone.file.metadata.end()) {
    c.class_names = class_names_from(own->second, text("{}: class_names", backbone.source));
    check(static_cast<int64_t>(c.class_names.size()) == class_count(backbone.config),
          "{} names {} classes, but its head has {}", quote(backbone.source), c.class_names.size(),
          class_count(backbone.config));
  } else {
    for (int64_t i = 0; i < class_count(backbone.config); ++i) c.class_names.push_back(std::to_string(i));
    c.note = text("{} does not name its classes, so they are numbers (--class-names FILE gives names)",
                  quote(backbone.source));
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
    console.note(
        text("{} asks to be turned (EXIF orientation {}) and is {}; so are all others like it", quote(path),
             orientation,
             turn ? "turned, for the task was tuned so" : "used as stored; --exif turns such photos"));
  said = true;
  return turn ? apply_orientation(image, orientation) : image;
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
