#include "models/swin.h"

#include "engine/check.h"

namespace vitrine {

namespace {

// x with zeros behind its last row (column) along `axis`, so that the extent becomes a multiple of `unit`.
Variable fill_up(const Variable& x, int axis, int64_t unit) {
  const int64_t missing = (unit - x.dim(axis) % unit) % unit;
  if (missing == 0) return x;
  return concat({x, Tensor::zeros(x.shape().with(axis, missing), x.dtype(), x.value().memory())}, axis);
}

}  // namespace

SwinBlock::SwinBlock(const SwinConfig& c, int64_t stage, int64_t index, const Scope& scope)
    : norm1(c.stage_width(stage), c.epsilon, scope / "norm1"),
      norm2(c.stage_width(stage), c.epsilon, scope / "norm2"),
      attn(c.stage_width(stage), c.heads[stage], c.window_of(stage), scope / "attn"),
      mlp(c.stage_width(stage), c.mlp_ratio * c.stage_width(stage), c.gelu, scope / "mlp"),
      adapter(c.stage_width(stage), scope / "adapter"),
      shift(index % 2 == 1 ? c.window_of(stage) / 2 : 0) {}

Variable SwinBlock::operator()(const Variable& x, WindowGrid grid, const Variable& prompts,
                               const Pass& pass) const {
  grid.window = attn.window;
  grid.shift = shift;
  const KeyValuePrefix prefix =
      prompts.defined() ? attn.attention.keys_values(norm1(prompts)) : KeyValuePrefix{};
  if (!pass.recomputes(lane)) return whole(x, grid, prefix, pass);
  return recompute({x, prefix.keys, prefix.values},
                   [block = *this, grid, pass](const std::vector<Variable>& in) {
                     return block.whole(in[0], grid, {in[1], in[2]}, pass);
                   });
}

Variable SwinBlock::whole(const Variable& x, const WindowGrid& grid, const KeyValuePrefix& prefix,
                          const Pass& pass) const {
  const Variable middle = attn.after(norm1, x, grid, prefix, drop_path_rate, 2 * lane, pass);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass, {}, adapter);
}

PatchMerging::PatchMerging(const SwinConfig& c, int64_t stage, const Scope& scope)
    : norm(4 * c.stage_width(stage), c.epsilon, scope / "norm"),
      reduction(scope.get("reduction.weight", {2 * c.stage_width(stage), 4 * c.stage_width(stage)},
                          Role::weight, Init::truncated(0.02))),
      behind(2 * c.stage_width(stage), scope / "reduction") {}

Variable PatchMerging::operator()(const Variable& x, const WindowGrid& grid) const {
  const int64_t b = x.dim(0), c = x.dim(2), p = grid.prompts;
  const Variable tokens = p > 0 ? slice(x, 1, p, x.dim(1)) : x;
  const Variable map = fill_up(fill_up(reshape(tokens, {b, grid.rows, grid.columns, c}), 1, 2), 2, 2);
  const int64_t rows = map.dim(1) / 2, columns = map.dim(2) / 2;
  Variable four = reshape(permute(reshape(map, {b, rows, 2, columns, 2, c}), {0, 1, 3, 4, 2, 5}),
                          {b, rows * columns, 4 * c});
  if (p > 0) {
    const Variable prompts = slice(x, 1, 0, p);
    four = concat({concat({prompts, prompts, prompts, prompts}, 2), four}, 1);
  }
  if (!norm.plain() || behind.defined()) return behind(linear(norm(four), reduction));
  return row_layers(four, {norm.gamma, norm.beta, norm.epsilon, reduction});
}

Swin::Swin(const SwinConfig& config, const Scope& scope, double drop_path) : config_(config) {
  check_config(config);
  check(drop_path >= 0 && drop_path < 1, "swin: drop path {} is not in [0, 1)", drop_path);
  patch_embed_ = PatchEmbedding(config.patch, config.width, scope / "patch_embed");
  patch_norm_ = LayerNorm(config.width, config.epsilon, scope / "patch_embed" / "norm");
  const int64_t blocks = config.blocks();
  int64_t at = 0;  // of all blocks
  for (int64_t s = 0; s < config.stages(); ++s) {
    const Scope inside = scope / text("layers.{}", s);
    Stage stage;
    for (int64_t i = 0; i < config.depths[s]; ++i, ++at) {
      stage.blocks.emplace_back(config, s, i, inside.in_block(at) / text("blocks.{}", i));
      stage.blocks.back().lane = static_cast<uint32_t>(at);
      if (blocks > 1)
        stage.blocks.back().drop_path_rate =
            drop_path * static_cast<double>(at) / static_cast<double>(blocks - 1);
    }
    if (s + 1 < config.stages())
      stage.downsample.emplace_back(config, s, inside.in_block(at - 1) / "downsample");
    stages_.push_back(std::move(stage));
  }
  const Scope end = scope.in_block(blocks);
  norm_ = LayerNorm(config.feature_width(), config.epsilon, end / "norm");
  if (config.classes > 0)
    head_ = Linear(config.feature_width(), config.classes, end / "head", Init::constant(0));
}

std::pair<Variable, WindowGrid> Swin::embed(const Variable& images) const {
  check(images.shape().rank() == 4 && images.dim(1) == 3 && images.dim(2) > 0 && images.dim(3) > 0,
        "swin: expected images (B, 3, H, W), got {}", images.shape());
  const Variable whole = fill_up(fill_up(images, 2, config_.patch), 3, config_.patch);
  return {patch_norm_(patch_embed_(whole)),
          {.rows = whole.dim(2) / config_.patch,
           .columns = whole.dim(3) / config_.patch,
           .window = config_.window_of(0),
           .padding = config_.padding}};
}

Variable Swin::pool(const Variable& tokens, PromptPooling pooling, int64_t prompts) const {
  const Variable rows = norm_(tokens);
  if (pooling == PromptPooling::images) return mean(slice(rows, 1, prompts, rows.dim(1)), 1);
  return mean(pooling == PromptPooling::prompts ? slice(rows, 1, 0, prompts) : rows, 1);
}

Variable Swin::features_behind(Variable x, WindowGrid grid, const Prompts& prompts, const Pass& pass) const {
  const int64_t b = x.dim(0);
  Variable standing;                      // the prompts among the tokens (B, P, C), where gates ask for them
  const auto join = [&](int64_t layer) {  // [prompts, tokens]
    standing = pass.kept(convert(prompts.tokens(layer, b, pass), x.dtype()));
    x = pass.kept(concat({standing, x}, 1));
    grid.prompts = prompts.config().count;
  };
  const auto settle = [&](const Variable& own) {  // the prompts are these from here on
    standing = pass.kept(own);
    x = pass.kept(concat({standing, slice(x, 1, grid.prompts, x.dim(1))}, 1));
  };
  if (prompts.shallow()) join(0);
  const int64_t last = config_.blocks() - 1;
  int64_t at = 0;
  for (const Stage& stage : stages_) {
    for (const SwinBlock& block : stage.blocks) {
      // What the last block makes of its prompts is part of the mean below.
      if (prompts.deep() && at == last) join(at);
      const bool keys_only = prompts.deep() && at < last;
      x = pass.kept(block(
          x, grid, keys_only ? pass.kept(convert(prompts.layer(at, pass), x.dtype())) : Variable(), pass));
      if (prompts.config().gated) settle(prompts.passed(at, standing, slice(x, 1, 0, grid.prompts)));
      ++at;
    }
    for (const PatchMerging& merge : stage.downsample) {
      x = pass.kept(merge(x, grid));
      if (prompts.config().gated) settle(slice(x, 1, 0, grid.prompts));
      grid.rows = (grid.rows + 1) / 2;
      grid.columns = (grid.columns + 1) / 2;
    }
  }
  return pass.kept(pool(x, prompts.config().pooling, grid.prompts));
}

Variable Swin::logits(const Variable& images) const {
  check(config_.classes > 0, "swin: this backbone has no head of its own");
  return head_(features(images));
}

}  // namespace vitrine
