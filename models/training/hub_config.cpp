// hub_config.cpp: the config.json that stands beside a checkpoint on a hub.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/text.h"
#include "models/training/pretrained.h"

namespace vitrine {

namespace {

using nlohmann::json;

// What transformers takes for granted where a file does not say it.
struct Kind {
  const char* name;
  double epsilon;
  const char* activation;
  bool heads;  // a Swin's stand in its tables
};
constexpr std::array<Kind, 9> kinds{{{"vit", 1e-12, "gelu", true},
                                     {"deit", 1e-12, "gelu", true},
                                     {"vit_mae", 1e-12, "gelu", true},
                                     {"vit_msn", 1e-6, "gelu", true},
                                     {"dinov2", 1e-6, "gelu", true},
                                     {"dinov2_with_registers", 1e-6, "gelu", true},
                                     {"clip_vision_model", 1e-5, "quick_gelu", true},
                                     {"siglip_vision_model", 1e-6, "gelu_pytorch_tanh", true},
                                     {"swin", 1e-5, "gelu", false}}};

Gelu gelu_of(const std::string& name, const std::string& who) {
  if (name == "gelu") return Gelu::erf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Gelu::tanh;
  if (name == "quick_gelu") return Gelu::quick;
  fail(Fault::input, who, ": hidden_act is ", quote(name), ", which is no form of GELU");
}

int64_t whole(const json& value, const char* key, const std::string& who) {
  check(value.is_number_integer() && value.get<int64_t>() > 0, who, ": ", key,
        ": expected a positive whole number, got ", quote(value.dump()));
  return value.get<int64_t>();
}

// {"0": "tench", "1": ...}; the names that transformers makes up, LABEL_0, are none.
std::vector<std::string> labels_of(const json& labels, const std::string& who) {
  check(labels.is_object(), who, ": id2label: expected an object of names");
  std::vector<std::string> names;
  bool made_up = true;
  for (size_t c = 0; c < labels.size(); ++c) {
    const auto found = labels.find(std::to_string(c));
    check(found != labels.end() && found->is_string(), who, ": id2label has ", labels.size(),
          " entries, but no name for class ", c);
    names.push_back(found->get<std::string>());
    made_up = made_up && names.back() == "LABEL_" + std::to_string(c);
  }
  return made_up ? std::vector<std::string>{} : names;
}

HubConfig of_transformers(const json& all, const std::string& who) {
  auto type = all.at("model_type").get<std::string>();
  const json* model = &all;
  if (type == "clip" || type == "siglip") {  // both towers: the picture's is an object of its own
    type += "_vision_model";
    model = &all.at("vision_config");
    check(model->is_object(), who, ": vision_config: expected an object");
  }
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return type == k.name; });
  check(kind != kinds.end(), who, ": model_type is ", quote(type), ", which is no ViT or Swin that is known");
  HubConfig out;
  out.facts.epsilon = model->value("layer_norm_eps", kind->epsilon);
  out.facts.gelu = gelu_of(model->value("hidden_act", std::string(kind->activation)), who);
  if (kind->heads) {
    const auto heads = model->find("num_attention_heads");
    out.facts.heads = heads == model->end() ? 12 : whole(*heads, "num_attention_heads", who);
  }
  if (const auto labels = all.find("id2label"); labels != all.end())
    out.class_names = labels_of(*labels, who);
  return out;
}

std::array<float, 3> three(const json& list, const char* key, const std::string& who) {
  check(list.is_array() && list.size() == 3, who, ": ", key, ": expected three numbers");
  return {list[0].get<float>(), list[1].get<float>(), list[2].get<float>()};
}

HubConfig of_timm(const json& all, const std::string& who) {
  const auto architecture = all.at("architecture").get<std::string>();
  HubConfig out;
  const bool clip = architecture.find("_clip_") != std::string::npos;
  // The names tell: vit_base_patch16_clip_224 is erf, vit_base_patch16_clip_quickgelu_224 is not.
  if (clip)
    out.facts.gelu = architecture.find("quickgelu") != std::string::npos ? Gelu::quick : Gelu::erf;
  else if (architecture.find("siglip") == std::string::npos)
    out.facts.gelu = Gelu::erf;
  else
    out.facts.gelu = architecture.find("siglip2") != std::string::npos ? Gelu::tanh : Gelu::erf;
  const json& c = all.at("pretrained_cfg");
  const json& input = c.at("input_size");
  check(input.is_array() && input.size() == 3 && input[1] == input[2], who,
        ": input_size: expected [3, n, n]");
  Preprocess p;
  p.size = static_cast<int>(std::min<int64_t>(whole(input[1], "input_size", who), 1 << 14));
  const auto mode = c.value("crop_mode", std::string("center"));
  check(mode == "center" || mode == "squash", who, ": crop_mode is ", quote(mode), ", not center or squash");
  p.resize = resize_before_crop(p.size, c.value("crop_pct", 0.875));
  p.squash = mode == "squash";
  p.crop_squashed = p.squash && p.resize > p.size;
  const auto filter = c.value("interpolation", std::string("bicubic"));
  check(filter == "bicubic" || filter == "bilinear" || filter == "lanczos", who, ": interpolation is ",
        quote(filter));
  p.filter = filter == "bicubic"    ? Filter::bicubic
             : filter == "bilinear" ? Filter::bilinear
                                    : Filter::lanczos;
  p.mean = three(c.at("mean"), "mean", who);
  p.std = three(c.at("std"), "std", who);
  check_preprocess(p);
  out.preprocess = to_json(p);
  if (const auto names = all.find("label_names"); names != all.end() && names->is_array())
    out.class_names = names->get<std::vector<std::string>>();
  return out;
}

}  // namespace

HubConfig hub_config_from_json(std::string_view words, const std::string& who) {
  try {
    const json all = json::parse(words, [&](int depth, json::parse_event_t, const json&) {
      check(depth <= 16, who, ": nested too deeply");
      return true;
    });
    check(all.is_object(), who, ": expected a JSON object");
    if (all.contains("model_type")) return of_transformers(all, who);
    if (all.contains("pretrained_cfg")) return of_timm(all, who);
    fail(Fault::input, who, ": has neither model_type (transformers) nor pretrained_cfg (timm)");
  } catch (const json::exception& e) {
    fail(Fault::input, who, ": ", e.what());
  }
}

}  // namespace vitrine
