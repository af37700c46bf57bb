// hugging_face.cpp: reads the preprocessor_config.json of checkpoints for transformers.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

using nlohmann::json;

// What the classes of transformers take for granted where a file does not say it.
struct Processor {
  const char* name;
  bool square;  // "size": n is n x n, and a shorter side is refused; otherwise n is the shorter side
  bool crops;   // cuts unless told otherwise; those that do not have no crop at all
  bool whole;   // takes n alone
  // What a file that does not say it means by it; here it has to be said.
  const char *resample, *mean, *crop;
};
constexpr const char *half = "[0.5, 0.5, 0.5]", *clip = "CLIP's [0.48145466, 0.4578275, 0.40821073]";
constexpr std::array<Processor, 6> processors{{{"ViT", true, false, true, "2", half, nullptr},
                                               {"Siglip", true, false, false, "3", half, nullptr},
                                               {"DeiT", true, true, true, "3", half, "224"},
                                               {"Beit", true, true, true, "3", half, "224"},
                                               {"CLIP", false, true, true, "3", clip, "224"},
                                               {"Bit", false, true, true, "3", clip, "224"}}};

// These change no pixel, whatever they are, as pictures are always made RGB and the result is always planes.
bool is_remark(const std::string& key) {
  constexpr std::array<std::string_view, 14> remarks{"_valid_processor_keys",
                                                     "processor_class",
                                                     "image_processor_type",
                                                     "feature_extractor_type",
                                                     "auto_map",
                                                     "do_convert_rgb",
                                                     "data_format",
                                                     "input_data_format",
                                                     "return_tensors",
                                                     "image_seq_length",
                                                     "device",
                                                     "disable_grouping",
                                                     "do_reduce_labels",
                                                     "reduce_labels"};
  return std::find(remarks.begin(), remarks.end(), key) != remarks.end();
}

class Config {
 public:
  Config(std::string_view words, const std::string& who) : who_(who + ": ") {
    std::map<int, std::set<std::string>> keys;  // of the objects that are open, by depth
    const auto no_duplicates = [&](int depth, json::parse_event_t event, json& value) {
      check(depth <= 2, "{}expected an object of plain values", who_);
      if (event == json::parse_event_t::object_start) keys[depth + 1].clear();
      if (event == json::parse_event_t::key)
        check(keys[depth].insert(value.get<std::string>()).second, "{}duplicate key {}", who_,
              quote(value.get<std::string>()));
      return true;
    };
    try {
      object_ = json::parse(words, no_duplicates);
    } catch (const json::exception& error) {
      fail(Fault::input, "{}malformed JSON: {}", who_, error.what());
    }
    check(object_.is_object(), "{}expected a JSON object", who_);
  }

  const std::string& who() const { return who_; }

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  const json& at(const char* key) const {
    if (!has(key)) fail(Fault::input, "{}missing key '{}'{}", who_, key, usual(key));
    return object_[key];
  }

  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    check(at(key).is_boolean(), "{}expected '{}' to be true or false", who_, key);
    return at(key).get<bool>();
  }

  static bool is_side(const json& value) {
    return value.is_number_integer() && value >= 1 && value <= max_image_side;
  }

  // The side of a square: [n, n] or {"height": n, "width": n}; nothing for another shape.
  std::optional<int> square(const char* key, const json& value) const {
    json height, width;
    if (value.is_array() && value.size() == 2) {
      height = value[0];
      width = value[1];
    } else if (value.is_object() && value.size() == 2 && value.contains("height") &&
               value.contains("width")) {
      height = value["height"];
      width = value["width"];
    } else {
      return std::nullopt;
    }
    check(is_side(height) && is_side(width), "{}expected the sides in '{}' to be whole numbers of 1 to {}",
          who_, key, max_image_side);
    check(height == width, "{}expected '{}' to be a square, got {} x {}", who_, key, height.get<int>(),
          width.get<int>());
    return height.get<int>();
  }

  // Three numbers, or one for all channels.
  std::array<float, 3> channels(const char* key) const {
    const json& value = at(key);
    const bool list = value.is_array() && value.size() == 3 &&
                      std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_number(); });
    check(list || value.is_number(), "{}expected '{}' to be a number or a list of three", who_, key);
    std::array<float, 3> numbers{};
    for (size_t c = 0; c < 3; ++c) {
      // A double beyond all floats has no conversion to one.
      const double number = (list ? value[c] : value).get<double>();
      check(std::abs(number) <= 1e30, "{}expected numbers of sensible size in '{}'", who_, key);
      numbers[c] = static_cast<float>(number);
    }
    return numbers;
  }

  // The class that the file was made for; null if it names none. `fast`: the variant that works on tensors.
  const Processor* processor(bool& fast) const {
    const Processor* found = nullptr;
    fast = false;
    for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
      if (!has(key)) continue;
      check(at(key).is_string(), "{}expected '{}' to be a name", who_, key);
      const std::string name = at(key).get<std::string>();
      const auto fits = [&](const Processor& p) {
        for (const char* ending :
             {"ImageProcessor", "FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil"})
          if (name == std::string(p.name) + ending) return true;
        return false;
      };
      const auto* const one = std::find_if(processors.begin(), processors.end(), fits);
      check(one != processors.end(),
            "{}expected '{}' to be that of ViT, Siglip, DeiT, Beit, CLIP or Bit, got {}", who_, key,
            quote(name));
      check(found == nullptr || found == one,
            "{}'image_processor_type' and 'feature_extractor_type' name different processors", who_);
      found = one;
      fast = fast || name.ends_with("Fast");
    }
    return found;
  }

  // What would change pixels in a way that nobody here knows is not passed over.
  void check_keys() const {
    constexpr std::array<std::string_view, 11> known{
        "size",           "do_resize",    "resample",   "do_center_crop", "crop_size",        "do_rescale",
        "rescale_factor", "do_normalize", "image_mean", "image_std",      "default_to_square"};
    for (const auto& [key, value] : object_.items())
      check(
          std::ranges::find(known, key) != known.end() || is_remark(key) || value.is_null() || value == false,
          "{}unknown key {}", who_, quote(key));
  }

 private:
  // What the processor that the file names takes for a key that is missing.
  std::string usual(std::string_view key) const {
    bool fast = false;
    const Processor* named = processor(fast);
    if (named == nullptr) return {};
    const char* value = key == "resample"     ? named->resample
                        : key == "image_mean" ? named->mean
                        : key == "crop_size"  ? named->crop
                                              : nullptr;
    return value == nullptr ? "" : text("; the processor of {} takes {} then: write it", named->name, value);
  }

  std::string who_;  // opens messages
  json object_;
};

Filter filter_of(const Config& config) {
  const json& code = config.at("resample");
  constexpr std::array<Filter, 6> by_code{Filter::nearest, Filter::lanczos, Filter::bilinear,
                                          Filter::bicubic, Filter::box,     Filter::hamming};
  check(code.is_number_integer() && code >= 0 && code < by_code.size(),
        "{}expected 'resample' to be one of Pillow's codes 0 to 5", config.who());
  return by_code[code.get<size_t>()];
}

// The side of the square that is cut out, if one is.
std::optional<int> crop_of(const Config& config, const Processor* processor) {
  check(processor != nullptr || config.has("do_center_crop") || !config.has("crop_size"),
        "{}has 'crop_size', but neither 'do_center_crop' nor a processor that tells whether to use it",
        config.who());
  if (!config.flag("do_center_crop", processor != nullptr && processor->crops)) return std::nullopt;
  check(processor == nullptr || processor->crops,
        "{}'do_center_crop' is true, but the processor of {} has no crop", config.who(),
        processor ? processor->name : "");
  const json& value = config.at("crop_size");
  if (Config::is_side(value)) return value.get<int>();
  const std::optional<int> side = config.square("crop_size", value);
  check(side.has_value(), "{}expected 'crop_size' to be n, [n, n] or {\"height\": n, \"width\": n}",
        config.who());
  return side;
}

// Whether "size": n is the side of a square, not the shorter side. Of the processors that work on tensors a file may say
// so itself; the others do as they are made.
bool whole_is_square(const Config& config, const Processor* processor, bool fast, bool crop) {
  const bool told = config.has("default_to_square"),
             square = config.flag("default_to_square", processor == nullptr || processor->square);
  if (processor == nullptr)
    check(told || !crop,
          "{}'size' is {}, a square's side for some processors, the shorter side for others, and the file "
          "names none",
          config.who(), config.at("size").get<int>());
  else
    check((fast && told) || processor->whole,
          "{}'size' is {}, but the processor of {} takes 'height' and 'width' alone", config.who(),
          config.at("size").get<int>(), processor->name);
  check(processor == nullptr || fast || square == processor->square,
        "{}'default_to_square' is {}, but the processor of {} does the other", config.who(),
        square ? "true" : "false", processor ? processor->name : "");
  return square;
}

}  // namespace

Preprocess preprocess_from_hugging_face(std::string_view words, const std::string& who) {
  const Config config(words, who);
  config.check_keys();
  bool fast = false;
  const Processor* processor = config.processor(fast);
  check(config.flag("do_resize", true), "{}'do_resize' is false: pictures would keep their sizes",
        config.who());
  check(config.flag("do_rescale", true), "{}'do_rescale' is false: bytes are always made 0 to 1 here",
        config.who());
  if (config.has("rescale_factor")) {
    const json& factor = config.at("rescale_factor");
    check(factor.is_number() && std::abs(factor.get<double>() * 255 - 1) < 1e-6,
          "{}expected 'rescale_factor' to be 1/255", config.who());
  }

  const std::optional<int> crop = crop_of(config, processor);
  const json& size = config.at("size");
  std::optional<int> side = config.square("size", size);
  bool squash = side.has_value();
  if (Config::is_side(size)) {
    side = size.get<int>();
    squash = whole_is_square(config, processor, fast, crop.has_value());
  } else if (size.is_object() && size.size() == 1 && size.contains("shortest_edge")) {
    check(Config::is_side(size["shortest_edge"]),
          "{}expected 'shortest_edge' to be a whole number of 1 to {}", config.who(), max_image_side);
    check(processor == nullptr || fast || !processor->square,
          "{}'size' has a 'shortest_edge', but the processor of {} takes 'height' and 'width' alone",
          config.who(), processor ? processor->name : "");
    side = size["shortest_edge"].get<int>();
  }
  check(side.has_value(),
        "{}expected 'size' to be n, [n, n], {\"height\": n, \"width\": n} or {\"shortest_edge\": n}",
        config.who());
  check(squash || crop, "{}'size' keeps the aspect ratio and nothing is cut: the result is no square",
        config.who());
  check(!crop || *crop <= *side, "{}'crop_size' is {}, more than the {} of 'size'", config.who(),
        crop.value_or(0), *side);

  Preprocess p;
  p.size = crop.value_or(*side);
  p.resize = *side;
  p.squash = squash;
  p.crop_squashed = squash && p.size != p.resize;
  p.floor_crop = crop.has_value() && (!squash || p.crop_squashed);
  p.filter = filter_of(config);
  p.mean = {0, 0, 0};
  p.std = {1, 1, 1};
  if (config.flag("do_normalize", true)) {
    p.mean = config.channels("image_mean");
    p.std = config.channels("image_std");
  }
  try {
    check_preprocess(p);
  } catch (const Error& e) {
    fail(e.fault(), "{}{}", config.who(), e.what());
  }
  return p;
}

}  // namespace vitrine
