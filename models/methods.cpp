#include "models/methods.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "engine/check.h"
#include "engine/parts.h"
#include "engine/text.h"

namespace vitrine {

namespace {

// All that is known of a method beside what it trains.
struct Known {
  const char* name;
  int64_t size;  // its own number if none is given; 0: it has none
  PromptKind prompts = PromptKind::none;
};
constexpr std::array<Known, 14> methods{{{"vpt-deep", 0, PromptKind::deep},
                                         {"vpt-shallow", 0, PromptKind::shallow},
                                         {"linear", 0},
                                         {"full", 0},
                                         {"partial", 1},
                                         {"mlp", 3},
                                         {"sidetune", 0},
                                         {"bias", 0},
                                         {"adapter", 8},
                                         {"vpt-deep+bias", 0, PromptKind::deep},
                                         {"cls", 0},
                                         {"lora", 8},
                                         {"ssf", 0},
                                         {"vpt-gated", 0, PromptKind::shallow}}};

const Known& known(Method method) { return methods[static_cast<size_t>(method)]; }

// Whether this build can do it: the first three it always can.
bool has_part(const Known& method) { return parts::methods || &method < methods.begin() + 3; }
void check_part(Method method) {
  if (!has_part(known(method))) left_out(text("method {}", known(method).name), "VITRINE_METHODS");
}

// Whether the backbone's weight learns.
bool learns(const TunedConfig& config, int64_t blocks, const Wanted& weight) {
  if constexpr (!parts::methods) return false;
  switch (config.method) {
    case Method::full:
      return true;
    case Method::partial:
      return weight.block >= blocks - config.size;
    case Method::bias:
    case Method::vpt_deep_bias:
      return weight.role == Role::bias || weight.role == Role::table;
    case Method::cls:
      return weight.role == Role::class_token;
    default:
      return false;
  }
}

Additions additions_of(const TunedConfig& config) {
  Additions out;
  if (config.method == Method::adapter) out.adapter = config.size;
  if (config.method == Method::lora) out.lora = config.size;
  out.scale_shift = config.method == Method::ssf;
  return out;
}

}  // namespace

const char* name_of(Method method) { return known(method).name; }
PromptKind prompt_kind(Method method) { return known(method).prompts; }

bool trains_inside(Method method) {
  switch (method) {
    case Method::full:
    case Method::partial:
    case Method::bias:
    case Method::adapter:
    case Method::vpt_deep_bias:
    case Method::cls:
    case Method::lora:
    case Method::ssf:
      return true;
    default:
      return false;
  }
}

bool keeps_features(Method method) { return method == Method::linear || method == Method::mlp; }

std::string method_text(const TunedConfig& config) {
  return config.size == 0 ? name_of(config.method) : text("{}-{}", name_of(config.method), config.size);
}

std::vector<std::string> method_names() {
  std::vector<std::string> out;
  for (const Known& method : methods)
    if (has_part(method)) out.emplace_back(method.name);
  return out;
}

TunedConfig method_from_text(const std::string& given) {
  // A name, or a name, "-" and a number.
  std::string name = given;
  int64_t size = 0;
  const size_t dash = given.rfind('-');
  if (dash != std::string::npos && dash + 1 < given.size()) {
    const char *begin = given.data() + dash + 1, *end = given.data() + given.size();
    const auto [stop, wrong] = std::from_chars(begin, end, size);
    if (wrong == std::errc{} && stop == end)
      name.resize(dash);
    else
      size = 0;
  }
  for (size_t i = 0; i < methods.size(); ++i) {
    if (name != methods[i].name) continue;
    check(name == given || (methods[i].size > 0 && size > 0), "method: expected {}{}{}, got {}",
          methods[i].name, methods[i].size > 0 ? " or the same with a number, such as " : "",
          methods[i].size > 0 ? text("{}-{}", methods[i].name, methods[i].size) : "", quote(given));
    TunedConfig config;
    config.method = static_cast<Method>(i);
    check_part(config.method);
    config.size = name == given ? methods[i].size : size;
    config.prompts.kind = methods[i].prompts;
    config.prompts.gated = config.method == Method::vpt_gated;
    return config;
  }
  // In words that can be given: "adapter" alone is adapter-8.
  std::string lower = name, list, guess;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  std::vector<std::string_view> names;
  for (const Known& method : methods) {
    if (!has_part(method)) continue;
    names.push_back(method.name);
    list += text("{}{}{}", list.empty() ? "" : ", ", method.name,
                 method.size > 0 ? text(" ({}-{})", method.name, method.size) : "");
  }
  for (const std::string& wanted : {lower, lower.substr(0, lower.rfind('-'))}) {
    if (!guess.empty()) break;
    const std::string near = nearest(wanted, names);
    for (const Known& method : methods) {
      if (method.name == near) guess = method.size > 0 ? text("{}-{}", method.name, method.size) : near;
      // A part of several names: all of them.
      if (near.empty() && std::string_view(method.name).starts_with(wanted + "-"))
        guess += text("{}{}", guess.empty() ? "" : " or ", method.name);
    }
  }
  fail(Fault::input, "method: expected one of {}, or one of these with another number; got {}{}", list,
       quote(given), guess.empty() ? "" : "; did you mean " + guess + "?");
}

TunedConfig for_classes(TunedConfig config, int64_t classes) {
  config.classes = classes;
  if (config.prompts.start == PromptStart::class_tokens && config.prompts.count == 0)
    config.prompts.count = classes;
  return config;
}

void check_method(const TunedConfig& config, const TransformerConfig& backbone) {
  check_part(config.method);
  const int64_t blocks = block_count(backbone);
  const bool numbered = known(config.method).size > 0;
  check(numbered ? config.size > 0 : config.size == 0, "method {}: {}{}", name_of(config.method),
        numbered ? "expected its number to be positive, got " : "has no number, got ", config.size);
  if (config.method == Method::partial)
    check(config.size <= blocks, "method {}: the backbone has {} blocks", method_text(config), blocks);
  if (config.method == Method::mlp)
    check(config.size >= 2 && config.size <= 64, "method {}: expected 2 to 64 layers; one is method linear",
          method_text(config));
  const auto* swin = std::get_if<SwinConfig>(&backbone);
  const int64_t widest = feature_width(backbone), narrowest = swin ? swin->stage_width(0) : widest;
  if (config.method == Method::adapter)
    check(config.size <= widest,
          "method {}: the backbone's width of {} cannot be divided by more than itself", method_text(config),
          widest);
  if (config.method == Method::lora)
    check(config.size <= narrowest, "method {}: expected a rank of 1 to {}, got {}", method_text(config),
          narrowest, config.size);
  if (config.method == Method::cls) {
    const auto* vit = std::get_if<VitConfig>(&backbone);
    check(vit && vit->class_token, "method cls: this backbone has no class token");
  }
  if (config.prompts.start == PromptStart::class_tokens && config.classes > 0)
    check(config.prompts.count == config.classes,
          "prompts: those that start from class tokens are as many as there are classes, {}, not {}",
          config.classes, config.prompts.count);
}

Scope backbone_scope(const TunedConfig& config, const TransformerConfig& backbone,
                     const WeightSources& sources) {
  if constexpr (!parts::methods) return sources.frozen;
  const auto takes = [config, blocks = block_count(backbone)](const Wanted& weight) {
    return learns(config, blocks, weight);
  };
  const Scope own = chosen(takes, sources.tuned, sources.frozen);
  return chosen([](const Wanted& weight) { return weight.added; }, sources.fresh, own)
      .with(additions_of(config));
}

bool keeps_embedding(const TunedConfig& config, const TransformerConfig& backbone) {
  if (config.method == Method::sidetune) return false;
  bool learns = false;
  const Scope constant([](const Wanted&) { return Variable(); }), learning([&](const Wanted&weight) {
    learns = learns || weight.block < 0;
    return Variable();
  });
  const Transformer unused(with_classes(backbone, 0),
                           backbone_scope(config, backbone, {constant, learning, learning}));
  return !learns;
}

VitConfig side_config(const TransformerConfig& backbone) {
  VitConfig side;
  side.image_size = image_size(backbone);
  side.width = 64 * std::max<int64_t>(feature_width(backbone) / 256, 1);
  side.heads = side.width / 32;
  side.mlp_width = 4 * side.width;
  side.depth = 4;
  side.patch = std::clamp<int64_t>(side.image_size / 8, 1, 16);
  while (side.image_size % side.patch != 0) --side.patch;
  return side;
}

}  // namespace vitrine
