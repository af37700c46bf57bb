// families.cpp: what the published checkpoints of a family have in common, and which files may be of which family.
#include <algorithm>

#include "engine/check.h"
#include "engine/text.h"
#include "models/checkpoints/checkpoint.h"

namespace vitrine {

namespace {

// Nets of this form in the names of these dialects may be of a family.
using Form = bool (*)(const TransformerConfig&);

struct Family {
  const char* name;
  std::vector<const char*> dialects;  // by name
  Form form;
  Facts facts;
  bool swin = false;
};

// A ViT that is like the first one but for the token of DeiT (which may count as a register) and how it pools.
bool plain(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && !vit->norm_pre && !vit->layer_scale && !vit->gated_mlp && vit->qkv_bias &&
         vit->registers <= 1 && vit->pooling != Pooling::map;
}
bool without_distillation(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return plain(config) && !vit->distillation_token && vit->registers == 0;
}
bool by_token(const TransformerConfig& config) {
  return without_distillation(config) && std::get<VitConfig>(config).pooling == Pooling::token;
}
// Plain or of its third version, which has LayerScale and positions of patches alone.
bool deit(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  if (vit == nullptr || vit->pooling != Pooling::token) return false;
  VitConfig rest = *vit;
  rest.layer_scale = false;
  return plain(rest) && (!vit->layer_scale || !vit->prefix_positions);
}
bool dinov2(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && vit->layer_scale && vit->pooling == Pooling::token && !vit->norm_pre;
}
bool miil(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && !vit->qkv_bias && !vit->norm_pre && vit->pooling == Pooling::token;
}
bool clip(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && vit->norm_pre;
}
bool siglip(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && !vit->norm_pre && !vit->class_token && !vit->layer_scale;
}
bool jax(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit != nullptr && !vit->norm_pre && !vit->layer_scale && !vit->distillation_token;
}
bool any(const TransformerConfig&) { return true; }

// Made anew for each call (dialects.h).
std::vector<Family> families() {
  const auto erf = Gelu::erf, quick = Gelu::quick, tanh = Gelu::tanh;
  const auto bicubic = PositionFilter::bicubic, offset = PositionFilter::bicubic_offset;
  const std::vector<const char*> timm{"timm"}, google{"google"}, transformers{"hugging-face"},
      swins{"swin", "timm-swin", "torchvision-swin", "hugging-face-swin"};
  return {
      {"augreg",
       {"timm", "google"},
       without_distillation,
       {.epsilon = 1e-6, .gelu = erf, .preprocess = "timm-vit"}},
      {"deit", timm, deit, {.epsilon = 1e-6, .gelu = erf, .preprocess = "deit", .positions = bicubic}},
      {"timm-deit", timm, deit, {.epsilon = 1e-6, .gelu = erf, .preprocess = "timm-deit"}},
      {"mae",
       timm,
       without_distillation,
       {.epsilon = 1e-6, .gelu = erf, .preprocess = "mae", .positions = bicubic}},
      {"moco-v3", timm, by_token, {.heads = 12, .epsilon = 1e-6, .gelu = erf, .preprocess = "moco-v3"}},
      {"dino", timm, by_token, {.epsilon = 1e-6, .gelu = erf, .preprocess = "dino", .positions = offset}},
      {"dinov2", {"timm", "hugging-face"}, dinov2, {.epsilon = 1e-6, .gelu = erf, .preprocess = "dinov2"}},
      {"miil", timm, miil, {.epsilon = 1e-6, .gelu = erf, .preprocess = "miil"}},
      {"google", google, jax, {.epsilon = 1e-6, .gelu = tanh, .preprocess = "google-vit"}},
      {"google-vit", transformers, by_token, {.epsilon = 1e-12, .gelu = erf, .preprocess = "google-vit"}},
      {"deit-transformers",
       transformers,
       deit,
       {.epsilon = 1e-12, .gelu = erf, .preprocess = "deit-transformers"}},
      {"mae-transformers", transformers, by_token, {.epsilon = 1e-12, .gelu = erf, .preprocess = "mae"}},
      {"openai-clip",
       {"clip", "hugging-face-clip", "timm"},
       clip,
       {.epsilon = 1e-5, .gelu = quick, .preprocess = "clip"}},
      {"laion-clip",
       {"clip", "hugging-face-clip", "timm"},
       clip,
       {.epsilon = 1e-5, .gelu = erf, .preprocess = "clip"}},
      {"siglip",
       {"hugging-face-clip", "google", "timm"},
       siglip,
       {.epsilon = 1e-6, .gelu = tanh, .preprocess = "siglip"}},
      {"timm-siglip", timm, siglip, {.epsilon = 1e-6, .gelu = erf, .preprocess = "timm-siglip"}},
      {"swin", swins, any, {.epsilon = 1e-5, .gelu = erf, .preprocess = "swin"}, true},
      {"timm-swin", swins, any, {.epsilon = 1e-5, .gelu = erf, .preprocess = "timm-swin"}, true},
      {"torchvision-vit",
       {"torchvision"},
       plain,
       {.epsilon = 1e-6, .gelu = erf, .preprocess = "torchvision-vit"}},
  };
}

Family family_named(const std::string& name) {
  const std::vector<Family> all = families();
  std::vector<std::string_view> known;
  for (const Family& family : all) {
    if (name == family.name) return family;
    known.emplace_back(family.name);
  }
  const std::string guess = nearest(name, known);
  fail(Fault::input, "no family of checkpoints {}{}", quote(name),
       guess.empty() ? text("; families are {}", listed(family_names(), "and"))
                     : "; did you mean " + guess + "?");
}

}  // namespace

Facts facts_of_family(const std::string& name) { return family_named(name).facts; }

bool is_swin_family(const std::string& name) { return family_named(name).swin; }

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.emplace_back(family.name);
  return names;
}

std::vector<std::string> families_of(const std::string& title, const TransformerConfig& config) {
  std::vector<std::string> names;
  for (const Dialect& dialect : dialects()) {
    if (dialect.naming.title != title) continue;
    for (const Family& family : families())
      for (const char* name : family.dialects)
        if (dialect.name == name && family.form(config)) names.emplace_back(family.name);
  }
  return names;
}

void check_family(const std::string& name, const Checkpoint& checkpoint, const std::string& who) {
  const std::vector<std::string> fit = families_of(checkpoint.dialect, checkpoint.config);
  check(std::find(fit.begin(), fit.end(), name) != fit.end(),
        "--backbone-config: {} has no such files as {}, a {}: {}; {}", name, who, checkpoint.dialect,
        describe(checkpoint.config),
        fit.empty() ? "no family has: give the model's config.json" : "that have are " + listed(fit, "and"));
}

std::string what_may_tell(const std::string& title, const TransformerConfig& config) {
  const std::vector<std::string> names = families_of(title, config);
  return text("the model's config.json or the name of its family{}",
              names.empty() ? "" : text(", which may be {}", listed(names, "or")));
}

std::string what_may_tell_pictures(const std::string& title, const TransformerConfig& config) {
  const std::vector<std::string> names = families_of(title, config);
  return text("--pictures with the model's preprocessor_config.json or a name of docs/families.md{}",
              names.empty() ? "" : text(", such as {}", listed(names, "or")));
}

}  // namespace vitrine
