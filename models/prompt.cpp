#include "models/prompt.h"

#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

// The groups that get prompts of their own.
std::vector<PromptPlaces::Group> prompted(const PromptConfig& config, const PromptPlaces& places) {
  if (config.kind == PromptKind::none) return {};
  if (config.kind == PromptKind::deep) return places.groups;
  return {{"", 1, places.groups.at(0).width}};
}

}  // namespace

Prompts::Prompts(const PromptConfig& config, const PromptPlaces& places, const Scope& scope)
    : config_(config) {
  if (config.kind == PromptKind::none) return;
  check(config.count > 0 && config.count <= 1 << 16, "prompts: expected 1 to 65536, got ", config.count);
  check(config.dropout >= 0 && config.dropout < 1, "prompts: dropout ", config.dropout, " is not in [0, 1)");
  check(config.projection >= 0 && config.projection <= 1 << 16, "prompts: projection ", config.projection,
        " makes no sense");
  const auto own_width = [&](int64_t width) { return config.projection ? config.projection : width; };
  const double bound = std::sqrt(
      6.0 / static_cast<double>(3 * places.patch * places.patch + own_width(places.groups.at(0).width)));
  for (const PromptPlaces::Group& place : prompted(config, places)) {
    const int64_t d = own_width(place.width);
    const Shape shape = deep() ? Shape{place.layers, config.count, d} : Shape{config.count, d};
    Group group{"prompts" + place.suffix, {}, {}};
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

Variable Prompts::layer(int64_t i, const Pass& pass) const {
  size_t g = 0;
  int64_t within = i;  // its group
  while (deep() && within >= groups_.at(g).prompts.dim(0)) within -= groups_[g++].prompts.dim(0);
  const Variable& all = groups_.at(g).prompts;
  const Variable own = deep() ? reshape(slice(all, 0, within, within + 1), all.shape().without(0)) : all;
  Variable tokens = projected(groups_[g], own);
  if (!pass.training || config_.dropout == 0) return tokens;
  NoiseKey key = pass.noise;
  key.lane = static_cast<uint32_t>(i);
  return dropout(repeat(tokens, static_cast<int64_t>(key.samples.size())), config_.dropout, key,
                 Purpose::prompt_dropout);
}

Variable Prompts::tokens(int64_t i, int64_t images, const Pass& pass) const {
  const Variable own = layer(i, pass);
  return own.shape().rank() == 2 ? repeat(own, images) : own;
}

std::map<std::string, Tensor> Prompts::product() const {
  std::map<std::string, Tensor> out;
  for (const Group& group : groups_) out[group.name] = projected(group, group.prompts).value();
  return out;
}

int64_t parameter_count(const PromptConfig& prompts, const PromptPlaces& places) {
  int64_t count = 0;
  for (const PromptPlaces::Group& group : prompted(prompts, places)) {
    const int64_t d = prompts.projection ? prompts.projection : group.width;
    count += group.layers * prompts.count * d + (prompts.projection ? (d + 1) * group.width : 0);
  }
  return count;
}

}  // namespace vitrine
