#include "models/transformer.h"

#include <map>

#include "engine/parts.h"
#include "models/config_json.h"

namespace vitrine {

namespace {

std::string joined(const std::vector<int64_t>& numbers) {
  std::string out;
  for (const int64_t number : numbers) out += text("{}{}", out.empty() ? "" : "-", number);
  return out;
}

// What a ViT has that the first one has not, for people: ", 4 registers, LayerScale".
std::string features_of(const VitConfig& c) {
  std::string out;
  if (c.distillation_token) out += ", distillation token";
  if (c.registers > 0) out += text(", {}{}", c.registers, c.registers == 1 ? " register" : " registers");
  if (!c.prefix_positions) out += ", positions of patches only";
  if (c.layer_scale) out += ", LayerScale";
  if (c.norm_pre) out += ", norm before the blocks";
  if (c.gated_mlp) out += ", gated MLP";
  if (!c.qkv_bias) out += ", qkv without bias";
  if (c.pooling == Pooling::map) out += ", attention pooling";
  return out;
}

bool same_form(const VitConfig& a, const VitConfig& b) {
  return a.width == b.width && a.depth == b.depth && a.heads == b.heads && a.mlp_width == b.mlp_width &&
         a.patch == b.patch && features_of(a) == features_of(b);
}

bool same_form(const SwinConfig& a, const SwinConfig& b) {
  return a.width == b.width && a.depths == b.depths && a.heads == b.heads && a.mlp_ratio == b.mlp_ratio &&
         a.patch == b.patch && a.window == b.window && a.windows == b.windows;
}

std::string form(const VitConfig& c) {
  return text("ViT, width {}, depth {}, {}{}, patch {}{}", c.width, c.depth, c.heads,
              c.heads == 1 ? " head" : " heads", c.patch, features_of(c));
}

std::string form(const SwinConfig& c) {
  return text("Swin, width {}, depths {}, heads {}{}, patch {}", c.width, joined(c.depths), joined(c.heads),
              c.windows.empty() ? text(", window {}", c.window) : text(", windows {}", joined(c.windows)),
              c.patch);
}

template <class Config>
std::string preset_of(const Config& config, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (same_form(std::get<Config>(preset(name)), config)) return name;
  return {};
}

std::vector<std::string> preset_names(const VitConfig&) { return vit_preset_names(); }
std::vector<std::string> preset_names(const SwinConfig&) { return swin_preset_names(); }

}  // namespace

TransformerConfig preset(const std::string& name) {
  if constexpr (!parts::dialects) left_out(text("preset {}", quote(name)), "VITRINE_DIALECTS");
  if (name.starts_with("swin")) return swin_preset(name);
  if (name.starts_with("vit")) return vit_preset(name);
  fail(Fault::input, "no preset {}; presets are {}{}{}", quote(name), vit_presets_text(),
       parts::swin ? ", " : "", listed(swin_preset_names()));
}

std::string preset_name(const TransformerConfig& config) {
  if constexpr (!parts::dialects) return {};
  return std::visit([](const auto& c) { return preset_of(c, preset_names(c)); }, config);
}

std::string describe(const TransformerConfig& config) {
  const std::string name = preset_name(config);
  return std::visit([](const auto& c) { return text("{}, {} pixels", form(c), c.image_size); }, config) +
         (name.empty() ? "" : text(" ({})", name));
}

TransformerConfig transformer_config_of(const TensorFile& file, int64_t heads) {
  const auto stored = file.metadata.find("config");
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  if (stored == file.metadata.end()) {
    if constexpr (!parts::dialects)
      left_out(text("{}: holds no configuration, which shapes have to tell then", who), "VITRINE_DIALECTS");
    const auto layer = file.tensors.lower_bound("layers.");  // no ViT in timm's names has one
    if (layer != file.tensors.end() && layer->first.starts_with("layers.")) return swin_config_of(file);
    return vit_config_of(file, heads);
  }
  TransformerConfig config = told_by(who, [&] { return config_from_json(stored->second); });
  if (const auto* vit = std::get_if<VitConfig>(&config))
    check(heads == 0 || heads == vit->heads, "{}: holds {} attention heads, not {}", who, vit->heads, heads);
  check_config(config);
  return config;
}

std::string config_to_json(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return config_to_json(c); }, config);
}

TransformerConfig config_from_json(const std::string& json) {
  const Json j = Json::parse(json, 2, "config");
  const std::string& model = j.at("model").text();
  check(model == "vit" || model == "swin", "config: the model is {}, not vit or swin", quote(model));
  if (model == "swin") return swin_config_from_json(j);
  return vit_config_from_json(j);
}

void check_config(const TransformerConfig& config) {
  std::visit([](const auto& c) { check_config(c); }, config);
}

int64_t image_size(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return c.image_size; }, config);
}

void check_image_size(const TransformerConfig& config, int64_t side) {
  check(side > 0 && side <= 1 << 14, "images of {} pixels make no sense", side);
  const auto* vit = std::get_if<VitConfig>(&config);
  check(!vit || vit->image_size == side, "vit: this one takes images of {} pixels, not of {}",
        vit ? vit->image_size : 0, side);
}

int64_t feature_width(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return c.feature_width(); }, config);
}

int64_t block_count(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return c.blocks(); }, config);
}

int64_t class_count(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return c.classes; }, config);
}

TransformerConfig with_classes(TransformerConfig config, int64_t classes) {
  std::visit([&](auto& c) { c.classes = classes; }, config);
  return config;
}

int64_t untold_heads(const TransformerConfig& config) {
  const auto* vit = std::get_if<VitConfig>(&config);
  return vit ? vit->heads : 0;
}

size_t embedded_bytes(const TransformerConfig& config, int64_t side) {
  int64_t numbers = 0;
  if (const auto* vit = std::get_if<VitConfig>(&config)) {
    numbers = vit->tokens() * vit->width;
  } else {
    const auto& swin = std::get<SwinConfig>(config);
    const int64_t patches = (side + swin.patch - 1) / swin.patch;
    numbers = patches * patches * swin.width;
  }
  return static_cast<size_t>(numbers) * sizeof(float);
}

PromptPlaces prompt_places(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return c.prompt_places(); }, config);
}

int64_t parameter_count(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return parameter_count(c); }, config);
}

int64_t multiply_accumulates(const TransformerConfig& config) {
  return std::visit([](const auto& c) { return multiply_accumulates(c); }, config);
}

namespace {

std::variant<Vit, Swin> build(const TransformerConfig& config, const Scope& scope, double drop_path) {
  if (const auto* swin = std::get_if<SwinConfig>(&config)) {
    if constexpr (parts::swin) return Swin(*swin, scope, drop_path);
    left_out("a Swin", "VITRINE_SWIN");
  }
  return Vit(std::get<VitConfig>(config), scope, drop_path);
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config, const Scope& scope, double drop_path)
    : net_(build(config, scope, drop_path)) {}

TransformerConfig Transformer::config() const {
  return std::visit([](const auto& net) -> TransformerConfig { return net.config(); }, net_);
}

Variable Transformer::features(const Variable& images, const Prompts& prompts, const Pass& pass) const {
  return std::visit([&](const auto& net) { return net.features(images, prompts, pass); }, net_);
}

Embedded Transformer::embed(const Variable& images) const {
  if (const auto* vit = std::get_if<Vit>(&net_)) return {vit->embed(images)};
  const auto [tokens, grid] = std::get<Swin>(net_).embed(images);
  return {tokens, grid};
}

Variable Transformer::features(const Embedded& embedded, const Prompts& prompts, const Pass& pass) const {
  if (const auto* vit = std::get_if<Vit>(&net_)) return vit->features_behind(embedded.tokens, prompts, pass);
  return std::get<Swin>(net_).features_behind(embedded.tokens, embedded.grid, prompts, pass);
}

std::vector<Transformer::Group> Transformer::groups_of(const std::vector<const Prompts*>& members) const {
  const auto* vit = std::get_if<Vit>(&net_);
  const auto key_of =
      [&](const Prompts* prompts) -> int64_t {  // of a group that others may join; -1: of none
    const PromptConfig& how = prompts->config();
    if (how.kind == PromptKind::none) return 0;
    const bool joins = vit != nullptr && prompts->deep() && how.location == PromptLocation::prepend &&
                       how.pooling == PromptPooling::backbone && how.first == 0 &&
                       how.last == vit->config().depth;
    return joins ? how.count : -1;
  };
  std::vector<Group> groups;
  std::map<int64_t, size_t> open;  // by their keys
  for (size_t i = 0; i < members.size(); ++i) {
    const int64_t key = key_of(members[i]);
    if (const auto found = open.find(key); key >= 0 && found != open.end()) {
      groups[found->second].members.push_back(i);
      continue;
    }
    if (key >= 0) open[key] = groups.size();
    groups.push_back({{i}, key == 0});
  }
  return groups;
}

Variable Transformer::features_of(const Embedded& embedded,
                                  const std::vector<const Prompts*>& members) const {
  check(!members.empty(), "transformer: no members");
  const int64_t images = embedded.tokens.dim(0);
  std::vector<Variable> parts(members.size());
  for (const Group& group : groups_of(members)) {
    if (group.same || group.members.size() == 1) {
      const Variable features = this->features(embedded, *members[group.members[0]], {.history = false});
      for (const size_t i : group.members) parts[i] = features;
      continue;
    }
    std::vector<const Prompts*> own;
    for (const size_t i : group.members) own.push_back(members[i]);
    const Variable features = std::get<Vit>(net_).features_of(embedded.tokens, own);
    for (size_t g = 0; g < own.size(); ++g) {
      const auto begin = static_cast<int64_t>(g) * images;
      parts[group.members[g]] = slice(features, 0, begin, begin + images);
    }
  }
  return concat(parts, 0);
}

Variable Transformer::logits(const Variable& images) const {
  return std::visit([&](const auto& net) { return net.logits(images); }, net_);
}

}  // namespace vitrine
