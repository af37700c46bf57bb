#include "models/vit.h"

#include <utility>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

VitBlock::VitBlock(const VitConfig& c, double rate, uint32_t noise_lane, const Scope& scope)
    : norm1(c.width, c.epsilon, scope / "norm1"),
      norm2(c.width, c.epsilon, scope / "norm2"),
      attn(c.width, c.heads, scope / "attn", c.qkv_bias ? Bias::own : Bias::none),
      mlp(c.width, c.mlp_width, c.gelu, scope / "mlp", c.gated_mlp),
      adapter(c.width, scope / "adapter"),
      drop_path_rate(rate),
      lane(noise_lane) {
  if (!c.layer_scale) return;
  scale1 = scope.get("ls1.gamma", {c.width}, Role::norm, Init::constant(1e-5));
  scale2 = scope.get("ls2.gamma", {c.width}, Role::norm, Init::constant(1e-5));
}

KeyValuePrefix VitBlock::prefix(const Variable& prompts) const {
  return prompts.defined() ? attn.keys_values(norm1(prompts)) : KeyValuePrefix{};
}

Variable VitBlock::operator()(const Variable& x, const Variable& prompts, const Pass& pass) const {
  // The prefix is the same for all images and little; outside, its gradients keep their order.
  const KeyValuePrefix own = prefix(prompts);
  if (!pass.recomputes(lane)) return whole(x, own, pass);
  return recompute({x, own.keys, own.values}, [block = *this, pass](const std::vector<Variable>& in) {
    return block.whole(in[0], {in[1], in[2]}, pass);
  });
}

Variable VitBlock::whole(const Variable& x, const KeyValuePrefix& own, const Pass& pass) const {
  const Variable middle = attn.after(norm1, x, own, drop_path_rate, 2 * lane, pass, scale1);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass, scale2, adapter);
}

Variable VitBlock::with_prefix(const Variable& x, const KeyValuePrefix& own, const Variable& joint,
                               const Pass& pass) const {
  if (!joint.defined()) return whole(x, own, pass);
  const Variable middle =
      attn.project(x, self_attention(joint, attn.heads, own), drop_path_rate, 2 * lane, pass, scale1);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass, scale2, adapter);
}

Variable VitBlock::first_token(const Variable& x, const Variable& prompts, const Pass& pass) const {
  const Variable first = slice(x, 1, 0, 1), attended = attn.first_token(norm1, x, prompts);
  const Variable middle = attn.project(first, attended, drop_path_rate, 2 * lane, pass, scale1);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass, scale2, adapter);
}

Variable VitBlock::first_tokens(int64_t count, const Variable& x, const Variable& prompts,
                                const Pass& pass) const {
  if (count == 1) return first_token(x, prompts, pass);
  const Variable first = slice(x, 1, 0, count),
                 attended = attn.first_tokens(count, norm1, x, prefix(prompts));
  const Variable middle = attn.project(first, attended, drop_path_rate, 2 * lane, pass, scale1);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass, scale2, adapter);
}

Vit::Vit(const VitConfig& config, const Scope& scope, double drop_path) : config_(config) {
  check_config(config);
  check(drop_path >= 0 && drop_path < 1, "vit: drop path {} is not in [0, 1)", drop_path);
  const int64_t d = config.width;
  const auto token = [&](const char* name, int64_t count, Role role = Role::token) {
    return count ? scope.get(name, {1, count, d}, role, Init::truncated(0.02)) : Variable();
  };
  patch_embed_ =
      PatchEmbedding(config.patch, d, scope / "patch_embed", config.patch_bias ? Bias::own : Bias::none);
  cls_token_ = token("cls_token", config.class_token ? 1 : 0, Role::class_token);
  dist_token_ = token("dist_token", config.distillation_token ? 1 : 0);
  reg_token_ = token("reg_token", config.registers);
  pos_embed_ = scope.get("pos_embed", {1, config.positions(), d}, Role::position, Init::truncated(0.02));
  if (config.norm_pre) norm_pre_ = LayerNorm(d, config.epsilon, scope / "norm_pre");
  for (int64_t i = 0; i < config.depth; ++i) {
    const double rate =
        config.depth > 1 ? drop_path * static_cast<double>(i) / static_cast<double>(config.depth - 1) : 0;
    blocks_.emplace_back(config, rate, static_cast<uint32_t>(i), scope.in_block(i) / text("blocks.{}", i));
  }
  const Scope end = scope.in_block(config.depth);
  norm_ = LayerNorm(d, config.epsilon, end / (config.pooling == Pooling::mean ? "fc_norm" : "norm"));
  if (config.pooling == Pooling::map)
    attn_pool_ = AttentionPool(d, config.heads, config.mlp_width, config.gelu, config.epsilon,
                               end.with({}) / "attn_pool");
  if (config.classes == 0) return;
  const Bias bias = config.head_bias ? Bias::own : Bias::none;
  head_ = Linear(d, config.classes, end / "head", Init::constant(0), bias);
  if (config.distillation_token)
    head_dist_ = Linear(d, config.classes, end / "head_dist", Init::constant(0), bias);
}

Variable Vit::embed(const Variable& images) const {
  check(images.shape().rank() == 4 && images.dim(2) == config_.image_size &&
            images.dim(3) == config_.image_size,
        "vit: expected images (B, 3, {}, {}), got {}", config_.image_size, config_.image_size,
        images.shape());
  const int64_t d = config_.width;
  std::vector<Variable> before;  // (count, D) each
  for (const Variable* token : {&cls_token_, &dist_token_, &reg_token_})
    if (token->defined()) before.push_back(reshape(*token, {token->dim(1), d}));
  const auto with_prefix = [&](const Variable& patches) {
    if (before.empty()) return patches;
    return concat({repeat(before.size() == 1 ? before[0] : concat(before, 0), images.dim(0)), patches}, 1);
  };
  const Variable positions = reshape(pos_embed_, {config_.positions(), d}), patches = patch_embed_(images);
  const Variable tokens = config_.prefix_positions ? embedding_add(with_prefix(patches), positions)
                                                   : with_prefix(embedding_add(patches, positions));
  return config_.norm_pre ? norm_pre_(tokens) : tokens;
}

Variable Vit::pool(const Variable& tokens, PromptPooling pooling, int64_t prompts) const {
  const int64_t images = tokens.dim(0), first = config_.prefix();
  if (pooling == PromptPooling::backbone && config_.pooling == Pooling::token) {
    const Variable rows = norm_(slice(tokens, 1, 0, config_.pooled_tokens()));
    return config_.distillation_token ? mean(rows, 1) : reshape(rows, {images, config_.width});
  }
  const bool with_prompts = pooling == PromptPooling::prompts || pooling == PromptPooling::all;
  const int64_t begin = with_prompts ? first : first + prompts,
                end = pooling == PromptPooling::prompts ? first + prompts : tokens.dim(1);
  const Variable rows = slice(tokens, 1, begin, end);
  if (config_.pooling == Pooling::mean) return norm_(mean(rows, 1));
  return config_.pooling == Pooling::map ? attn_pool_(norm_(rows)) : mean(norm_(rows), 1);
}

Variable Vit::prompt_rows(const Prompts& prompts, int64_t block, DType dtype, const Pass& pass) const {
  Variable own = prompts.layer(block, pass);
  if (prompts.config().location == PromptLocation::pixels) own = patch_embed_.project(convert(own, dtype));
  return pass.kept(convert(own, dtype));
}

std::pair<Variable, int64_t> Vit::encode(Variable x, const Prompts& prompts, const Pass& pass) const {
  const PromptConfig& how = prompts.config();
  const int64_t first = config_.prefix();
  const bool adds = how.location == PromptLocation::add,
             few = config_.pooling == Pooling::token && how.pooling == PromptPooling::backbone,
             pools_prompts = how.pooling == PromptPooling::prompts || how.pooling == PromptPooling::all;
  check(how.pooling == PromptPooling::backbone || config_.pooling != Pooling::map,
        "vit: pooling by attention is the backbone's own alone");
  const int64_t images = x.dim(0);
  int64_t p = 0;      // prompts among the tokens: [tokens before the patches, prompts, patches]
  Variable standing;  // these prompts (B, P, D), where gates ask for them
  const auto own_of = [&](int64_t block) { return prompt_rows(prompts, block, x.dtype(), pass); };
  const auto join = [&](const Variable& own) {
    standing = own.shape().rank() == 2 ? repeat(own, images) : own;
    x = concat({slice(x, 1, 0, first), standing, slice(x, 1, first, x.dim(1))}, 1);
    p = how.count;
  };
  if (prompts.shallow() && adds) x = pass.kept(add(x, own_of(0)));
  if (prompts.shallow() && !adds) join(own_of(0));
  for (int64_t i = 0; i < config_.depth; ++i) {
    const bool last = i + 1 == config_.depth;
    Variable own;  // as keys and values alone
    if (prompts.in_block(i) && adds) {
      x = pass.kept(add(x, own_of(i)));
    } else if (prompts.in_block(i)) {
      own = own_of(i);
      // Where what becomes of them is looked at they are full tokens.
      if (last ? pools_prompts : !prompts.in_block(i + 1)) join(std::exchange(own, {}));
    }
    x = pass.kept(last && few ? blocks_[i].first_tokens(config_.pooled_tokens(), x, own, pass)
                              : blocks_[i](x, own, pass));
    if (!parts::methods || !how.gated || (last && few)) continue;
    standing = pass.kept(prompts.passed(i, standing, slice(x, 1, first, first + p)));
    x = pass.kept(concat({slice(x, 1, 0, first), standing, slice(x, 1, first + p, x.dim(1))}, 1));
  }
  return {x, p};
}

Variable Vit::features_behind(const Variable& tokens, const Prompts& prompts, const Pass& pass) const {
  const auto [x, p] = encode(tokens, prompts, pass);
  return pass.kept(pool(x, prompts.config().pooling, p));
}

Variable Vit::features_of(const Variable& tokens, const std::vector<const Prompts*>& members) const {
  const Pass pass{.history = false};
  const int64_t images = tokens.dim(0), count = members.at(0)->config().count;
  for (const Prompts* prompts : members) {
    const PromptConfig& how = prompts->config();
    check(prompts->deep() && how.count == count && how.location == PromptLocation::prepend &&
              how.pooling == PromptPooling::backbone && how.first == 0 && how.last == config_.depth,
          "vit: expected deep prompts of one count beside the tokens of all blocks");
  }
  // f of each member's prompts in block i, for each image: (E B, P, D).
  const auto of_members = [&](int64_t i, const auto& f) {
    std::vector<Variable> parts;
    for (const Prompts* prompts : members)
      parts.push_back(repeat(f(convert(prompts->layer(i, pass), tokens.dtype())), images));
    return concat(parts, 0).detach();
  };
  const auto times = [&](const Variable& x) { return concat(std::vector<Variable>(members.size(), x), 0); };
  Variable x = times(tokens).detach();
  for (int64_t i = 0; i < config_.depth; ++i) {
    const VitBlock& block = blocks_[i];
    if (i + 1 == config_.depth && config_.pooling == Pooling::token) {
      x = block.first_tokens(config_.pooled_tokens(), x, of_members(i, [](const Variable& p) { return p; }),
                             pass);
    } else {
      const KeyValuePrefix own{of_members(i, [&](const Variable& p) { return block.prefix(p).keys; }),
                               of_members(i, [&](const Variable& p) { return block.prefix(p).values; })};
      const Variable joint = i == 0 ? times(block.attn.joint(block.norm1, tokens)) : Variable();
      x = block.with_prefix(x, own, joint, pass);
    }
    x = x.detach();
  }
  return pool(x);
}

Variable Vit::logits(const Variable& images) const {
  check(config_.classes > 0, "vit: this backbone has no head of its own");
  if (!config_.distillation_token) return head_(features(images));
  const Variable rows = norm_(encode(embed(images), {}, {}).first);  // (B, 2, D)
  const auto row = [&](int64_t i) {
    return reshape(slice(rows, 1, i, i + 1), {images.dim(0), config_.width});
  };
  return scale(add(head_(row(0)), head_dist_(row(1))), 0.5);
}

}  // namespace vitrine
