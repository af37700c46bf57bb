#include "models/prompt.h"

#include <cmath>

#include "engine/check.h"
#include "engine/parts.h"

namespace vitrine {

namespace {

// The groups that get prompts of their own, and how many layers of each.
std::vector<PromptPlaces::Group> prompted(const PromptConfig& config, const PromptPlaces& places) {
  if (config.kind == PromptKind::none) return {};
  if (config.kind == PromptKind::shallow) return {{"", 1, places.groups.at(0).width}};
  std::vector<PromptPlaces::Group> groups = places.groups;
  for (PromptPlaces::Group& group : groups) {
    if (places.tokens > 0) group.layers = config.last - config.first;
    if (config.shared) group.layers = 1;
  }
  return groups;
}

}  // namespace

int64_t PromptPlaces::blocks() const {
  int64_t sum = 0;
  for (const Group& group : groups) sum += group.layers;
  return sum;
}

PromptConfig settled(PromptConfig config, const PromptPlaces& places) {
  if (config.kind == PromptKind::none) return config;
  if (config.location == PromptLocation::add && config.count == 0) config.count = places.tokens;
  if (config.last == 0) config.last = places.blocks();
  return config;
}

void check_prompts(const PromptConfig& given, const PromptPlaces& places) {
  if (given.kind == PromptKind::none) return;
  const PromptConfig c = settled(given, places);
  const bool deep = c.kind == PromptKind::deep, whole = c.first == 0 && c.last == places.blocks();
  check(c.location == PromptLocation::prepend || places.tokens > 0,
        "prompts: a Swin takes them beside its tokens alone");
  if (c.start == PromptStart::class_tokens) {
    check(places.class_token, "prompts: this backbone has no class token for them to start from");
    check(c.location == PromptLocation::prepend,
          "prompts: those that start from class tokens stand beside the tokens, not {}", name_of(c.location));
    check(c.projection == 0, "prompts: those that start from class tokens have no projection");
  }
  check(c.location != PromptLocation::add || c.count == places.tokens,
        "prompts: {} tokens take as many prompts that are added to them, not {}", places.tokens, c.count);
  check(c.count > 0 && c.count <= 1 << 16, "prompts: expected 1 to 65536, got {}", c.count);
  check(c.dropout >= 0 && c.dropout < 1, "prompts: dropout {} is not in [0, 1)", c.dropout);
  check(c.projection >= 0 && c.projection <= 1 << 16, "prompts: projection {} makes no sense", c.projection);
  check(c.first >= 0 && c.first < c.last && c.last <= places.blocks(),
        "prompts: expected blocks among 1-{}, got {}-{}", places.blocks(), c.first + 1, c.last);
  check(whole || (deep && places.tokens > 0),
        "prompts: only those of vpt-deep in a ViT can leave out blocks");
  check(!c.shared || deep, "prompts: only those of vpt-deep can be shared by all blocks");
  check(!c.gated || !deep, "prompts: only shallow ones have gates");
  check(c.location != PromptLocation::pixels || (!deep && c.projection == 0),
        "prompts: only those of vpt-shallow, without a projection, can be pixels");
  check(c.location != PromptLocation::add || (!c.gated && c.pooling != PromptPooling::prompts),
        "prompts: those that are added to tokens have no gates and cannot be pooled");
}

Prompts::Prompts(const PromptConfig& given, const PromptPlaces& places, const Scope& scope)
    : config_(settled(given, places)) {
  const PromptConfig& config = config_;
  if (config.kind == PromptKind::none) return;
  check_prompts(config, places);
  const int64_t numbers = 3 * places.patch * places.patch;  // of a patch
  const auto own_width = [&](int64_t width) {
    if (config.location == PromptLocation::pixels) return numbers;
    return config.projection ? config.projection : width;
  };
  const double bound = std::sqrt(6.0 / static_cast<double>(numbers + own_width(places.groups.at(0).width)));
  if constexpr (!parts::methods)
    if (config.gated) left_out("prompts with gates", "VITRINE_METHODS");
  if (config.gated) gates_ = scope.get("prompt_gates", {places.blocks()}, Role::bias, Init::constant(0));
  for (const PromptPlaces::Group& place : prompted(config, places)) {
    const int64_t d = own_width(place.width);
    const Shape shape = deep() ? Shape{place.layers, config.count, d} : Shape{config.count, d};
    Group group{"prompts" + place.suffix, {}, {}, place.layers};
    if (config.shared)
      for (const PromptPlaces::Group& whole : places.groups)
        if (whole.suffix == place.suffix) group.layers = whole.layers;
    group.prompts = scope.get(group.name, shape, Role::prompt, Init::uniform(bound));
    if (config.projection) {
      // Kaiming with fan-out, as the paper's code does.
      const Init init = Init::normal(std::sqrt(2.0 / static_cast<double>(place.width)));
      group.projection = Linear(d, place.width, scope / ("prompt_projection" + place.suffix), init);
    }
    groups_.push_back(std::move(group));
  }
}

Variable Prompts::projected(const Group& group, const Variable& prompts) const {
  return config_.projection ? group.projection(prompts) : prompts;
}

bool Prompts::in_block(int64_t i) const { return deep() && i >= config_.first && i < config_.last; }

Variable Prompts::layer(int64_t i, const Pass& pass) const {
  size_t g = 0;
  int64_t within = deep() ? i - config_.first : 0;  // its group
  while (within >= groups_.at(g).layers) within -= groups_[g++].layers;
  if (config_.shared) within = 0;
  const Variable& all = groups_.at(g).prompts;
  const Variable own = deep() ? reshape(slice(all, 0, within, within + 1), all.shape().without(0)) : all;
  Variable tokens = projected(groups_[g], own);
  if (!pass.drops(config_.dropout)) return tokens;
  NoiseKey key = pass.noise;
  key.lane = static_cast<uint32_t>(i);
  return dropout(repeat(tokens, static_cast<int64_t>(key.samples.size())), config_.dropout, key,
                 Purpose::prompt_dropout);
}

Variable Prompts::tokens(int64_t i, int64_t images, const Pass& pass) const {
  const Variable own = layer(i, pass);
  return own.shape().rank() == 2 ? repeat(own, images) : own;
}

Variable Prompts::passed(int64_t i, const Variable& before, const Variable& after) const {
  if (!parts::methods || !config_.gated) return after;
  const Variable gate = convert(sigmoid(slice(gates_, 0, i, i + 1)), before.dtype());
  return add(before, mul(add(after, scale(before, -1)), gate));
}

std::map<std::string, Tensor> Prompts::product() const {
  std::map<std::string, Tensor> out;
  for (const Group& group : groups_) out[group.name] = projected(group, group.prompts).value();
  if (gates_.defined()) out["prompt_gates"] = gates_.value();
  return out;
}

}  // namespace vitrine
