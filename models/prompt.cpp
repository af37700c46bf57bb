#include "models/prompt.h"

#include <cmath>

#include "engine/check.h"

namespace vitrine {

Prompts::Prompts(const PromptConfig& config, const VitConfig& vit, const Scope& scope) : config_(config) {
  if (config.kind == PromptKind::none) return;
  check(config.count > 0 && config.count <= 1 << 16, "prompts: expected 1 to 65536, got ", config.count);
  check(config.dropout >= 0 && config.dropout < 1, "prompts: dropout ", config.dropout, " is not in [0, 1)");
  check(config.projection >= 0 && config.projection <= 1 << 16, "prompts: projection ", config.projection,
        " makes no sense");
  const int64_t d = config.projection ? config.projection : vit.width;
  const double bound = std::sqrt(6.0 / static_cast<double>(3 * vit.patch * vit.patch + d));
  const Shape shape =
      config.kind == PromptKind::deep ? Shape{vit.depth, config.count, d} : Shape{config.count, d};
  prompts_ = scope.get("prompts", shape, Role::prompt, Init::uniform(bound));
  if (config.projection) {
    // Kaiming with fan-out, as the paper's code does.
    const Init init = Init::normal(std::sqrt(2.0 / static_cast<double>(vit.width)));
    projection_ = Linear(d, vit.width, scope / "prompt_projection", init);
  }
}

Variable Prompts::projected(const Variable& prompts) const {
  return config_.projection ? projection_(prompts) : prompts;
}

Variable Prompts::layer(int64_t i, const Pass& pass) const {
  const bool deep = config_.kind == PromptKind::deep;
  const Variable own = deep ? reshape(slice(prompts_, 0, i, i + 1), prompts_.shape().without(0)) : prompts_;
  Variable tokens = projected(own);
  if (!pass.training || config_.dropout == 0) return tokens;
  NoiseKey key = pass.noise;
  key.lane = static_cast<uint32_t>(i);
  return dropout(repeat(tokens, static_cast<int64_t>(key.samples.size())), config_.dropout, key,
                 Purpose::prompt_dropout);
}

Tensor Prompts::product() const { return projected(prompts_).value(); }

namespace {

Variable deep_features(const Vit& vit, const Prompts& prompts, const Variable& images, const Pass& pass) {
  Variable x = vit.embed(images);  // (B, T, D)
  const auto blocks = static_cast<int64_t>(vit.blocks().size());
  for (int64_t i = 0; i < blocks; ++i) {
    const VitBlock& block = vit.blocks()[i];
    const bool last = i + 1 == blocks && vit.config().pooling == Pooling::token;
    x = last ? block.first_token(x, prompts.layer(i, pass), pass) : block(x, prompts.layer(i, pass), pass);
  }
  return vit.pool(x);
}

Variable shallow_features(const Vit& vit, const Prompts& prompts, const Variable& images, const Pass& pass) {
  const Variable embedded = vit.embed(images);  // (B, T, D)
  const int64_t first = vit.config().class_token ? 1 : 0, p = prompts.config().count;
  Variable tokens = prompts.layer(0, pass);
  if (tokens.shape().rank() == 2) tokens = repeat(tokens, images.dim(0));  // (B, P, D)
  // [class token, prompts, patches]
  Variable x = concat({slice(embedded, 1, 0, first), tokens, slice(embedded, 1, first, embedded.dim(1))}, 1);
  const auto blocks = static_cast<int64_t>(vit.blocks().size());
  for (int64_t i = 0; i < blocks; ++i) {
    const bool last = i + 1 == blocks && vit.config().pooling == Pooling::token;
    x = last ? vit.blocks()[i].first_token(x, {}, pass) : vit.blocks()[i](x, {}, pass);
  }
  if (vit.config().pooling == Pooling::token) return vit.pool(x);
  return vit.pool(concat({slice(x, 1, 0, first), slice(x, 1, first + p, x.dim(1))}, 1));
}

}  // namespace

Variable prompted_features(const Vit& vit, const Prompts& prompts, const Variable& images, const Pass& pass) {
  switch (prompts.config().kind) {
    case PromptKind::none:
      return vit.features(images, pass);
    case PromptKind::shallow:
      return shallow_features(vit, prompts, images, pass);
    case PromptKind::deep:
      return deep_features(vit, prompts, images, pass);
  }
  return {};
}

int64_t parameter_count(const PromptConfig& prompts, const VitConfig& vit) {
  if (prompts.kind == PromptKind::none) return 0;
  const int64_t d = prompts.projection ? prompts.projection : vit.width;
  return (prompts.kind == PromptKind::deep ? vit.depth : 1) * prompts.count * d +
         (prompts.projection ? (d + 1) * vit.width : 0);
}

}  // namespace vitrine
