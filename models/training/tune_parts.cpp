#include "models/training/tune_parts.h"

#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "engine/device.h"
#include "engine/instruction_set.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/training/shallow_json.h"

namespace vitrine {

namespace {

std::vector<int64_t> class_counts(const TuneData& data) {
  std::vector<int64_t> counts(static_cast<size_t>(data.dataset->classes()), 0);
  for (const int64_t i : data.train) ++counts[data.dataset->label(i)];
  return counts;
}

}  // namespace

std::string digest_of(const TuneData& data) {
  Sha256 hash;
  for (const std::string& name : data.dataset->class_names()) hash.update(name).update("\n");
  const auto add = [&](const Dataset& dataset, const std::vector<int64_t>& samples) {
    for (const int64_t i : samples) hash.update(text("{} {} {}\n", i, dataset.label(i), dataset.mark(i)));
    hash.update("\n");
  };
  add(*data.dataset, data.train);
  add(data.val_set ? *data.val_set : *data.dataset, data.val);
  hash.update(to_json(data.preprocess));
  return hash.hex();
}

std::string digest_of(const Task* start) {
  return start ? sha256_hex(write_safetensors(to_file(*start))) : "fresh";
}

std::string classes_without_images(const TuneData& data, const std::vector<BadImage>& bad) {
  constexpr int64_t named = 3;
  std::vector<int64_t> counts = class_counts(data);
  for (const BadImage& image : bad) --counts[data.dataset->label(image.sample)];
  int64_t empty = 0;
  std::string names;
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] > 0) continue;
    if (empty < named) names += text("{}{}", empty == 0 ? "" : ", ", quote(data.dataset->class_names()[c]));
    if (empty == named) names += ", ...";
    ++empty;
  }
  if (empty == 0) return "";
  return text("{} of {}{}{}training images: {}", empty, counts.size(),
              empty == 1 ? " classes has no " : " classes have no ", bad.empty() ? "" : "undamaged ", names);
}

Tensor class_weights(const TuneData& data, int64_t classes) {
  std::vector<float> weights;
  for (const int64_t count : class_counts(data))
    weights.push_back(count == 0 ? 0 : 1 / static_cast<float>(count));
  return Tensor::of<float>({classes}, weights);
}

std::string differences(const std::string& kept, const std::string& given) {
  const auto now = nlohmann::json::parse(given);
  nlohmann::json before;
  try {
    before = shallow_object<nlohmann::json>(kept, 4, "checkpoint");
  } catch (const Error&) {
    return text("{}, which is no JSON object", quote(kept));
  }
  const auto value = [](const nlohmann::json& all, const std::string& key) {
    return all.contains(key) ? all[key].dump() : "none";
  };
  auto keys = before;
  keys.update(now);
  std::string out;
  for (const auto& [key, unused] : keys.items())
    if (key != "max_bad" && value(before, key) != value(now, key))  // which no step depends on
      out += text("{}{} {}, given {}", out.empty() ? "" : "; ", key, value(before, key), value(now, key));
  return out;
}

TuneConfig completed(const TuneConfig& given, const Backbone& backbone, const TuneData& data,
                     const Task* start) {
  TuneConfig config = given;
  if (start) {
    const TunedConfig& from = start->config;
    check(from.method == config.model.method && from.size == config.model.size &&
              from.prompts.count == config.model.prompts.count &&
              variant_to_json(from.prompts) == variant_to_json(config.model.prompts),
          "tune: the task to start from is {} with {} prompts, but {} with {} was asked for, or other forms "
          "of prompts",
          method_text(from), from.prompts.count, method_text(config.model), config.model.prompts.count);
    check(config.model.prompts.projection == 0, "tune: a task file holds prompts without their projection");
    config.model.classes = from.classes;
    check(start->class_names == data.dataset->class_names(),
          "tune: the classes of the task to start from are not those of the data");
  }
  config.model =
      for_classes(config.model, config.model.classes == 0 ? data.dataset->classes() : config.model.classes);
  check(config.model.classes == data.dataset->classes(), "tune: the model has {} classes, the data {}",
        config.model.classes, data.dataset->classes());
  check_config(config);
  const Device* device = backbone.home.device();
  config.device = device == nullptr ? "" : device->kind();
  config.tf32 = device != nullptr && device->options().tf32;
  config.precision = backbone.precision;
  check(config.precision == Precision::f32 || config.model.method != Method::full,
        "tune: full tuning trains the backbone, which then cannot be packed in another precision than f32");
  return config;
}

void put_bad(MessageWriter& message, const std::vector<BadImage>& images) {
  message.put(images.size());
  for (const BadImage& image : images) message.put(image.sample).put(image.fault).put_text(image.message);
}

std::vector<BadImage> get_bad(MessageReader& message) {
  std::vector<BadImage> images(message.get<size_t>());
  for (BadImage& image : images) {
    image.sample = message.get<int64_t>();
    image.fault = message.get<Fault>();
    image.message = message.get_text();
  }
  return images;
}

void check_all_resume(Processes& processes, bool resume) {
  if (processes.count() == 1) return;
  const std::byte own{resume};
  const auto all = processes.exchange({&own, 1});
  for (size_t rank = 1; rank < all.size(); ++rank)
    check(all[rank] == all.front(), "tune: process {} of {} and process 0: only one of them is to resume",
          rank, all.size());
}

void check_same_run(Processes& processes, const TuneConfig& config, const std::string& data,
                    const std::string& backbone, const std::string& start) {
  const std::string settings = to_json(config);
  const MessageWriter own =
      MessageWriter().put_text(settings).put_text(data).put_text(backbone).put_text(start).put_text(
          instruction_set());
  const auto all = processes.exchange(own.bytes());
  MessageReader reader(all.front());
  const std::string expected[] = {reader.get_text(), reader.get_text(), reader.get_text(), reader.get_text(),
                                  reader.get_text()};
  for (size_t rank = 1; rank < all.size(); ++rank) {
    MessageReader other(all[rank]);
    const auto same = [&](const std::string& its, const std::string& first, const std::string& words) {
      check(its == first, "tune: process {} of {} {}", rank, all.size(), words);
    };
    const std::string its_settings = other.get_text();
    same(its_settings, expected[0],
         text("has other settings than process 0: {}", differences(expected[0], its_settings)));
    same(other.get_text(), expected[1], "has other data than process 0");
    same(other.get_text(), expected[2], "has another backbone than process 0");
    same(other.get_text(), expected[3], "starts from another task than process 0");
    const std::string its_set = other.get_text();
    same(its_set, expected[4],
         text("computes with the instruction set {}, process 0 with {}; they round differently, so all must "
              "take the same",
              its_set, expected[4]));
  }
}

void check_same_parameters(Processes& processes, const TunedModel& model, int64_t steps) {
  if (processes.count() == 1) return;
  Sha256 hash;
  for (const Parameter& p : model.parameters().all()) hash.update(p.value.value().raw());
  for (const Statistic& s : model.statistics()) hash.update(s.value.raw());
  const std::string digest = hash.hex();
  const auto all = processes.exchange(std::as_bytes(std::span(digest)));
  for (size_t rank = 1; rank < all.size(); ++rank)
    check(all[rank] == all.front(),
          "tune: after step {} process {} has other parameters than process 0: one of their machines "
          "computes wrongly, or they run different programs",
          steps, rank);
}

}  // namespace vitrine
