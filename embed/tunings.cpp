// tunings.cpp: learning a task step by step.
#include <cmath>
#include <cstring>
#include <map>

#include "embed/handles.h"
#include "engine/text.h"
#include "models/training/tuner.h"

using namespace vitrine;
using namespace vitrine::embed;

struct vitrine_tuning {
  // From fresh prompts and head, or from `start`.
  vitrine_tuning(std::shared_ptr<const vitrine::embed::Glass> of, std::vector<std::string> names,
                 const vitrine::Preprocess& prepared, const vitrine::Task* start,
                 const vitrine_tuning_options& options);
  std::shared_ptr<const vitrine::embed::Glass> glass;
  std::vector<std::string> class_names;
  vitrine::Preprocess preprocess;
  vitrine::Tuner tuner;
  double learning_rate;
  int64_t all_steps, warmup;
  vitrine::embed::Message message;
  const Library* whose() const { return glass->library.get(); }
  vitrine::embed::Arena* arena() const { return glass->library->arena; }
};

namespace {

TunerConfig tuner_config_of(const vitrine_tuning_options& o, size_t classes) {
  check(o.prompts >= 0 && o.prompts <= 1 << 16 && o.steps >= 0 && o.warmup >= 0 && o.recompute >= 0,
        "vitrine_tuning_options: expected no negative numbers and at most 65536 prompts");
  for (const auto& [name, value] :
       {std::pair("learning_rate", o.learning_rate), std::pair("weight_decay", o.weight_decay),
        std::pair("largest_gradient", o.largest_gradient)})
    check(std::isfinite(value) && value >= 0,
          "vitrine_tuning_options: {} is {}, expected a number that is not negative", name, value);
  check(o.label_smoothing >= 0 && o.label_smoothing < 1,
        "vitrine_tuning_options: expected a label_smoothing of 0 to less than 1, got {}", o.label_smoothing);
  TunerConfig config;
  config.model = method_from_text(o.method == nullptr ? "vpt-deep" : o.method);
  if (config.model.prompts.kind != PromptKind::none)
    config.model.prompts.count = o.prompts == 0 ? 10 : o.prompts;
  config.model.classes = static_cast<int64_t>(classes);
  const std::string optimizer = o.optimizer == nullptr ? "adamw" : o.optimizer;
  check(optimizer == "adamw" || optimizer == "sgd", "vitrine_tuning_options: expected adamw or sgd, got {}",
        quote(optimizer));
  config.optimizer.kind = optimizer == "sgd" ? OptimizerKind::sgd : OptimizerKind::adamw;
  config.optimizer.weight_decay = o.weight_decay;
  config.smoothing = o.label_smoothing;
  config.clip = o.largest_gradient;
  config.recompute = o.recompute;
  config.seed = o.seed;
  return config;
}

std::vector<std::string> names_of(const char* const* class_names, size_t classes) {
  check(class_names != nullptr && classes >= 2 && classes <= 1 << 20,
        "vitrine_tuning_open: expected names of 2 to {} classes", 1 << 20);
  std::vector<std::string> names;
  std::map<std::string_view, size_t> seen;
  for (size_t c = 0; c < classes; ++c) {
    check(class_names[c] != nullptr && *class_names[c] != 0, "vitrine_tuning_open: class {} has no name", c);
    names.emplace_back(class_names[c]);
    check(is_utf8(names.back()), "vitrine_tuning_open: expected names in UTF-8, got {}", quote(names.back()));
    const auto [first, is_new] = seen.emplace(class_names[c], c);
    check(is_new, "vitrine_tuning_open: classes {} and {} are both {}", first->second, c, quote(names[c]));
  }
  return names;
}

}  // namespace

vitrine_tuning::vitrine_tuning(std::shared_ptr<const Glass> of, std::vector<std::string> names,
                               const Preprocess& prepared, const Task* start,
                               const vitrine_tuning_options& options)
    : glass(std::move(of)),
      class_names(std::move(names)),
      preprocess(prepared),
      tuner(start == nullptr
                ? Tuner(glass->backbone, tuner_config_of(options, class_names.size()), glass->library->memory)
                : Tuner(glass->backbone, *start, tuner_config_of(options, class_names.size()),
                        glass->library->memory)),
      learning_rate(options.learning_rate == 0 ? 1e-3 : options.learning_rate),
      all_steps(options.steps),
      warmup(options.warmup) {
  check_image_size(glass->backbone.config, preprocess.size);
}

int vitrine_tuning_open(vitrine_backbone* backbone, const vitrine_tuning_options* options,
                        const char* const* class_names, size_t classes, vitrine_tuning** tuning) {
  return opens(backbone, tuning, "vitrine_tuning_open", [&] {
    const vitrine_tuning_options o = struct_of(options, "vitrine_tuning_options");
    return std::make_unique<vitrine_tuning>(backbone->glass, names_of(class_names, classes),
                                            backbone->glass->preprocess, nullptr, o);
  });
}

int vitrine_tuning_open_task(vitrine_backbone* backbone, const void* bytes, size_t size,
                             const vitrine_tuning_options* options, vitrine_tuning** tuning) {
  return opens(backbone, tuning, "vitrine_tuning_open_task", [&] {
    const vitrine_tuning_options o = struct_of(options, "vitrine_tuning_options");
    const Task start = task_of(bytes, size);
    return std::make_unique<vitrine_tuning>(backbone->glass, start.class_names,
                                            preprocess_from_json(start.preprocess), &start, o);
  });
}

void vitrine_tuning_close(vitrine_tuning* tuning) { close_handle(tuning); }

const char* vitrine_tuning_message(const vitrine_tuning* tuning) {
  return tuning == nullptr ? "" : tuning->message.text();
}

int vitrine_tuning_step(vitrine_tuning* tuning, const vitrine_picture* pictures, const int64_t* labels,
                        size_t count, double* loss) {
  return guarded(tuning, [&] {
    const Memory& memory = tuning->glass->library->memory;
    const auto classes = static_cast<int64_t>(tuning->class_names.size());
    const Tensor images = images_of(pictures, count, tuning->preprocess, memory);
    check(labels != nullptr, "vitrine_tuning_step: expected labels, got NULL");
    Tensor numbers = Tensor::empty({static_cast<int64_t>(count)}, DType::i64, memory);
    for (size_t i = 0; i < count; ++i) {
      check(labels[i] >= 0 && labels[i] < classes,
            "vitrine_tuning_step: expected labels of 0 to {}, got {} of picture {}", classes - 1, labels[i],
            i);
      numbers.mutable_data<int64_t>()[i] = labels[i];
    }
    const double rate =
        learning_rate_at(tuning->all_steps > 0 ? Schedule::cosine : Schedule::constant, tuning->learning_rate,
                         tuning->tuner.steps(), tuning->warmup, tuning->all_steps);
    const double value = tuning->tuner.step(images, numbers, rate);
    if (loss != nullptr) *loss = value;
  });
}

int vitrine_tuning_predict(vitrine_tuning* tuning, const vitrine_picture* pictures, size_t count,
                           float* probabilities, size_t room) {
  return guarded(tuning, [&] {
    give_probabilities(
        tuning->tuner.logits(images_of(pictures, count, tuning->preprocess, tuning->glass->library->memory)),
        probabilities, room);
  });
}

int vitrine_tuning_prepare(vitrine_tuning* tuning, const vitrine_picture* picture, float* prepared,
                           size_t room) {
  return guarded(tuning, [&] {
    const Tensor image = images_of(picture, 1, tuning->preprocess, tuning->glass->library->memory);
    const auto numbers = image.data<float>();
    check(prepared != nullptr && room >= numbers.size(),
          "vitrine_tuning_prepare: a picture has {} numbers, got room for {}", numbers.size(),
          prepared == nullptr ? 0 : room);
    std::memcpy(prepared, numbers.data(), numbers.size_bytes());
  });
}

int vitrine_tuning_steps(vitrine_tuning* tuning, int64_t* steps) {
  return guarded(tuning, [&] {
    check(steps != nullptr, "vitrine_tuning_steps: expected a place for the number, got NULL");
    *steps = tuning->tuner.steps();
  });
}

int vitrine_tuning_save(vitrine_tuning* tuning, void* bytes, size_t room, size_t* size) {
  bool written = false;
  const int status = guarded(tuning, [&] {
    check(size != nullptr, "vitrine_tuning_save: expected a place for the size, got NULL");
    const std::vector<std::byte> file =
        write_safetensors(to_file(tuning->tuner.task(tuning->class_names, tuning->preprocess)));
    *size = file.size();
    written = bytes != nullptr && room >= file.size();
    if (written) std::memcpy(bytes, file.data(), file.size());
  });
  if (status != VITRINE_DONE || written) return status;
  // It is how a host asks for the size, and no failure.
  std::array<char, 120> words;
  std::snprintf(words.data(), words.size(),
                "vitrine_tuning_save: the task has %zu bytes, and there is room for %zu", *size,
                bytes == nullptr ? 0 : room);
  tuning->message.say(words.data());
  return VITRINE_RESOURCES;
}
