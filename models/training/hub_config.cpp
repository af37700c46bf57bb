// hub_config.cpp: the config.json that stands beside a checkpoint on a hub.
#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "data/class_names.h"
#include "engine/check.h"
#include "engine/text.h"
#include "models/training/hub_fields.h"

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
  if (name == "gelu" || name == "gelu_python") return Gelu::erf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Gelu::tanh;
  if (name == "quick_gelu") return Gelu::quick;
  fail(Fault::input,
       "{}: hidden_act is {}: nets with another activation than GELU (gelu, gelu_new, quick_gelu, ...) "
       "cannot be built here",
       who, quote(name));
}

double ratio_of(const json& value, const std::string& who) {
  check(value.is_number() && value.get<double>() > 0 && value.get<double>() <= 64,
        "{}: mlp_ratio: expected a number up to 64, got {}", who, quote(value.dump()));
  return value.get<double>();
}

std::vector<Claim> claims_of_vit(const json& model, bool dinov2, const std::string& who) {
  std::vector<Claim> claims;
  for (const auto& [field, key] :
       {std::pair("hidden_size", "width"), std::pair("num_hidden_layers", "depth")})
    if (const auto found = model.find(field); found != model.end())
      claims.push_back({field, found->dump(), key, std::to_string(whole(*found, field, who))});
  for (const auto& [field, key] : {std::pair("patch_size", "patch"), std::pair("image_size", "image_size")})
    if (const auto found = model.find(field); found != model.end())
      claims.push_back({field, found->dump(), key, std::to_string(side(*found, field, who))});
  const auto bias = model.find("qkv_bias");  // there if it is not said
  claims.push_back({"qkv_bias", bias == model.end() ? "not said, which means true" : bias->dump(), "qkv_bias",
                    bias == model.end() ? "true" : bias->dump()});
  if (!dinov2) {
    if (const auto found = model.find("intermediate_size"); found != model.end())
      claims.push_back({"intermediate_size", found->dump(), "mlp_width",
                        std::to_string(whole(*found, "intermediate_size", who))});
    return claims;
  }
  if (const auto found = model.find("num_register_tokens"); found != model.end())
    claims.push_back({"num_register_tokens", found->dump(), "registers", found->dump()});
  // Its MLP is narrower by a third where it is gated.
  const auto ratio = model.find("mlp_ratio"), width = model.find("hidden_size");
  if (ratio != model.end() && width != model.end()) {
    const auto hidden =
        static_cast<int64_t>(static_cast<double>(whole(*width, "hidden_size", who)) * ratio_of(*ratio, who));
    const bool gated = model.value("use_swiglu_ffn", false);
    claims.push_back({"mlp_ratio", ratio->dump(), "mlp_width",
                      std::to_string(gated ? (hidden * 2 / 3 + 7) / 8 * 8 : hidden)});
  }
  return claims;
}

std::vector<Claim> claims_of_swin(const json& model, const std::string& who) {
  std::vector<Claim> claims;
  for (const auto& [field, key] : {std::pair("embed_dim", "width"), std::pair("window_size", "window"),
                                   std::pair("patch_size", "patch")})
    if (const auto found = model.find(field); found != model.end())
      claims.push_back({field, found->dump(), key, std::to_string(side(*found, field, who))});
  for (const auto& [field, key] : {std::pair("depths", "depths"), std::pair("num_heads", "heads")})
    if (const auto found = model.find(field); found != model.end())
      claims.push_back({field, found->dump(), key, found->dump()});
  if (const auto found = model.find("mlp_ratio"); found != model.end())
    claims.push_back({"mlp_ratio", found->dump(), "mlp_ratio", json(ratio_of(*found, who)).dump()});
  for (const auto& [field, usual] :
       {std::pair("qkv_bias", true), std::pair("use_absolute_embeddings", false)})
    check(model.value(field, usual) == usual, "{}: {} is {}, and such Swins cannot be built here", who, field,
          !usual);
  return claims;
}

// {"0": "tench", "1": ...}; the names that transformers makes up, LABEL_0, are none.
std::vector<std::string> labels_of(const json& labels, const std::string& who) {
  check(labels.is_object(), "{}: id2label: expected an object of names", who);
  std::vector<std::string> names = class_names_from(labels.dump(), who + ": id2label");
  for (size_t c = 0; c < names.size(); ++c)
    if (names[c] != "LABEL_" + std::to_string(c)) return names;
  return {};
}

HubConfig of_transformers(const json& all, const std::string& who) {
  std::string type = word(all, "model_type", who);
  const json* model = &all;
  if (type == "clip" || type == "siglip") {  // both towers: the picture's is an object of its own
    type += "_vision_model";
    const auto tower = all.find("vision_config");
    check(tower != all.end() && tower->is_object(), "{}: vision_config: expected an object", who);
    model = &*tower;
  }
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return type == k.name; });
  check(kind != kinds.end(), "{}: model_type is {}, which is no ViT or Swin that is known", who, quote(type));
  HubConfig out;
  out.kind_field = "model_type";
  out.kind = type;
  out.facts.epsilon = kind->epsilon;
  if (const auto found = model->find("layer_norm_eps"); found != model->end()) {
    check(found->is_number() && found->get<double>() > 0 && found->get<double>() < 1,
          "{}: layer_norm_eps: expected a number between 0 and 1, got {}", who, quote(found->dump()));
    out.facts.epsilon = found->get<double>();
  }
  out.facts.gelu = gelu_of(word(*model, "hidden_act", who, kind->activation), who);
  if (const auto found = model->find("num_channels"); found != model->end())
    check(*found == 3, "{}: num_channels is {}, but only pictures of 3 are known", who, quote(found->dump()));
  if (kind->heads) {
    const auto heads = model->find("num_attention_heads");
    out.usual_heads = heads == model->end();
    out.facts.heads = heads == model->end() ? 12 : whole(*heads, "num_attention_heads", who);
    if (const auto found = model->find("hidden_size"); found != model->end()) {
      const int64_t width = whole(*found, "hidden_size", who);
      check(width % *out.facts.heads == 0, "{}: num_attention_heads {}{} does not divide hidden_size {}", who,
            *out.facts.heads, out.usual_heads ? " (as transformers has it where it is not said)" : "", width);
    }
  }
  out.claims =
      kind->heads ? claims_of_vit(*model, type.starts_with("dinov2"), who) : claims_of_swin(*model, who);
  const auto labels = all.find("id2label"), count = all.find("num_labels");
  if (labels != all.end() && !labels->is_null()) out.class_names = labels_of(*labels, who);
  // CLIP's projection is no classifier.
  if (const auto found = all.find("projection_dim"); type == "clip_vision_model" && found != all.end())
    out.claims.push_back({"projection_dim", found->dump(), "classes", found->dump()});
  if (model == &all && !out.class_names.empty())
    out.claims.push_back({"id2label", text("a list of {} names", out.class_names.size()), "classes",
                          std::to_string(out.class_names.size())});
  if (model == &all && count != all.end() && !count->is_null())
    out.claims.push_back({"num_labels", count->dump(), "classes", count->dump()});
  return out;
}

// Whether a net is of the kind that a type of transformers' or an architecture of timm's names.
bool is_of_kind(const TransformerConfig& config, const HubConfig& hub) {
  const std::string& type = hub.kind;
  const auto* vit = std::get_if<VitConfig>(&config);
  if (vit == nullptr && hub.kind_field == "architecture") return is_timm_swin(type);
  if (vit == nullptr || type.starts_with("swin")) return vit == nullptr && type.starts_with("swin");
  if (type == "clip_vision_model") return vit->norm_pre;
  if (type == "siglip_vision_model") return !vit->norm_pre && !vit->class_token;
  if (type.starts_with("dinov2")) return vit->layer_scale;
  if (hub.kind_field == "architecture")
    return is_timm_vit(type) && vit->norm_pre == (type.find("_clip_") != std::string::npos) &&
           (type.find("_siglip_") == std::string::npos || !vit->class_token);
  const bool transformers =
      std::any_of(kinds.begin(), kinds.end(), [&](const Kind& k) { return type == k.name; });
  return !transformers || (!vit->norm_pre && !vit->layer_scale);
}

}  // namespace

void check_agreement(const HubConfig& hub, bool beside, const Checkpoint& checkpoint,
                     const std::string& who) {
  const std::string file = checkpoint.file.name.empty() ? "the checkpoint" : checkpoint.file.name;
  // Of transformers' files a laboratory may lay its own beside: those of CLIP in OpenAI's names.
  const auto in_transformers_names = [&] {
    for (const Dialect& dialect : dialects())
      if (dialect.naming.title == checkpoint.dialect)
        return dialect.name.starts_with("hugging-face") ||
               (dialect.name == "clip" && hub.kind == "clip_vision_model");
    return false;
  };
  const bool same_program = hub.kind_field != "model_type" || !beside || in_transformers_names();
  check(same_program && is_of_kind(checkpoint.config, hub),
        "{}: {} is {}, but {} is a {}: {}; give --backbone-config with {}", who, hub.kind_field,
        quote(hub.kind), file, checkpoint.dialect, describe(checkpoint.config),
        what_may_tell(checkpoint.dialect, checkpoint.config));
  const json config = json::parse(config_to_json(checkpoint.config));
  for (const Claim& claim : hub.claims) {
    if (claim.key == "classes" && class_count(checkpoint.config) == 0)
      continue;  // of a head that is not there
    json told = json::parse(claim.value);
    // What the first ViT has or has not is not named.
    json got = config.value(claim.key, claim.key == "registers" ? json(0) : json(claim.key == "qkv_bias"));
    if (claim.key == "pooling" && got == "normed_mean") got = "mean";  // no tensor of timm's is another
    if (claim.key == "image_size") {  // of a picture that the patch does not divide, whole patches are seen
      const auto patch = config.at("patch").get<int64_t>();
      told = told.get<int64_t>() / patch * patch;
    }
    check(told == got, "{}: {} is {}, but {} has {} {}", who, claim.field, claim.said, file, claim.key,
          got.dump());
  }
}

HubConfig hub_config_from_json(std::string_view words, const std::string& who) {
  try {
    std::map<int, std::set<std::string>> keys;  // of the objects that are open, by depth
    const json all = json::parse(words, [&](int depth, json::parse_event_t event, const json& value) {
      check(depth <= 16, "{}: nested too deeply", who);
      if (event == json::parse_event_t::object_start) keys[depth + 1].clear();
      if (event == json::parse_event_t::key)
        check(keys[depth].insert(value.get<std::string>()).second, "{}: {} appears twice", who,
              quote(value.get<std::string>()));
      return true;
    });
    check(all.is_object(), "{}: expected a JSON object", who);
    if (all.contains("model_type")) return of_transformers(all, who);
    if (all.contains("pretrained_cfg")) return timm_config_from(all, who);
    check(!all.contains("image_mean") && !all.contains("image_processor_type"),
          "{}: tells how pictures are prepared, not what the net is; --pictures takes such a file", who);
    fail(Fault::input, "{}: has neither model_type (transformers) nor pretrained_cfg (timm)", who);
  } catch (const json::parse_error& e) {
    fail(Fault::input, "{}: is no JSON in UTF-8, by its byte {}", who, e.byte);
  } catch (const json::exception& e) {
    fail(Fault::input, "{}: {}", who, e.what());
  }
}

}  // namespace vitrine
