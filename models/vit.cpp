#include "models/vit.h"

#include <array>
#include <cmath>
#include <cstdlib>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

void check_config(const VitConfig& c) {
  check(c.image_size > 0 && c.patch > 0 && c.image_size % c.patch == 0 && c.image_size <= 1 << 14,
        "vit: patch ", c.patch, " does not divide image size ", c.image_size);
  check(c.width > 0 && c.heads > 0 && c.width % c.heads == 0, "vit: ", c.heads, " heads do not divide width ",
        c.width);
  check(c.depth > 0 && c.depth <= 1024 && c.mlp_width > 0 && c.classes >= 0, "vit: depth ", c.depth,
        ", MLP width ", c.mlp_width, ", classes ", c.classes, " make no sense");
  check(c.epsilon > 0 && c.epsilon < 1, "vit: layer norm epsilon ", c.epsilon, " makes no sense");
  check(c.class_token || c.pooling == Pooling::mean, "vit: token pooling needs a class token");
}

namespace {

struct Size {
  const char* name;
  int64_t width, depth, heads;
};
constexpr std::array<Size, 5> sizes{
    {{"ti", 192, 12, 3}, {"s", 384, 12, 6}, {"b", 768, 12, 12}, {"l", 1024, 24, 16}, {"h", 1280, 32, 16}}};
constexpr std::array<int64_t, 4> patch_sizes{8, 14, 16, 32};

}  // namespace

std::vector<std::string> vit_preset_names() {
  std::vector<std::string> names;
  for (const Size& size : sizes)
    for (const int64_t patch : patch_sizes) names.push_back(text("vit-", size.name, patch));
  return names;
}

VitConfig vit_preset(const std::string& name) {
  for (const Size& size : sizes)
    for (const int64_t patch : patch_sizes)
      if (name == text("vit-", size.name, patch))
        return {.patch = patch,
                .width = size.width,
                .depth = size.depth,
                .heads = size.heads,
                .mlp_width = 4 * size.width,
                .classes = 1000};
  const std::vector<std::string> known = vit_preset_names();
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::string guess = nearest(name, names);
  fail(Fault::input, "vit: no preset ", quote(name), guess.empty() ? "." : "; did you mean " + guess + "?",
       " Presets are vit-{ti,s,b,l,h}{8,14,16,32}");
}

VitConfig vit_config_of(const TensorFile& file, int64_t heads) {
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  const auto shape_of = [&](const char* name, int rank) -> const Shape& {
    const Shape& shape = file.at(name).shape();
    check(shape.rank() == rank && shape.numel() > 0, who, ": tensor '", name, "': expected ", rank,
          " extents, got ", shape);
    return shape;
  };
  VitConfig c;
  const Shape& projection = shape_of("patch_embed.proj.weight", 4);
  c.width = projection.dim(0);
  c.patch = projection.dim(3);
  c.class_token = file.tensors.contains("cls_token");
  c.pooling = file.tensors.contains("fc_norm.weight") ? Pooling::mean : Pooling::token;
  const int64_t patches = shape_of("pos_embed", 3).dim(1) - (c.class_token ? 1 : 0);
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  check(patches > 0 && side * side == patches, who, ": pos_embed has ", patches,
        " patch positions, which is no square");
  c.image_size = side * c.patch;
  c.depth = 0;
  while (file.tensors.contains(text("blocks.", c.depth, ".norm1.weight"))) ++c.depth;
  check(c.depth > 0, who, ": no tensor 'blocks.0.norm1.weight': not a ViT in timm's names");
  c.mlp_width = shape_of("blocks.0.mlp.fc1.weight", 2).dim(0);
  c.classes = file.tensors.contains("head.weight") ? shape_of("head.weight", 2).dim(0) : 0;
  c.heads = heads;
  for (const Size& size : sizes)
    if (c.heads == 0 && size.width == c.width) c.heads = size.heads;
  check(c.heads > 0, who, ": how many attention heads? Shapes cannot tell for width ", c.width,
        "; give --heads");
  check_config(c);
  return c;
}

VitBlock::VitBlock(const VitConfig& c, double rate, uint32_t noise_lane, const Scope& scope)
    : norm1(c.width, c.epsilon, scope / "norm1"),
      norm2(c.width, c.epsilon, scope / "norm2"),
      attn(c.width, c.heads, scope / "attn"),
      mlp(c.width, c.mlp_width, c.gelu, scope / "mlp"),
      drop_path_rate(rate),
      lane(noise_lane) {}

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
  const Variable middle = attn.after(norm1, x, own, drop_path_rate, 2 * lane, pass);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass);
}

Variable VitBlock::first_token(const Variable& x, const Variable& prompts, const Pass& pass) const {
  const Variable first = slice(x, 1, 0, 1), attended = attn.first_token(norm1, x, prompts);
  const Variable middle = attn.project(first, attended, drop_path_rate, 2 * lane, pass);
  return mlp.after(norm2, middle, drop_path_rate, 2 * lane + 1, pass);
}

Vit::Vit(const VitConfig& config, const Scope& scope, double drop_path) : config_(config) {
  check_config(config);
  check(drop_path >= 0 && drop_path < 1, "vit: drop path ", drop_path, " is not in [0, 1)");
  patch_embed_ = PatchEmbedding(config.patch, config.width, scope / "patch_embed");
  if (config.class_token)
    cls_token_ = scope.get("cls_token", {1, 1, config.width}, Role::token, Init::truncated(0.02));
  pos_embed_ =
      scope.get("pos_embed", {1, config.tokens(), config.width}, Role::position, Init::truncated(0.02));
  for (int64_t i = 0; i < config.depth; ++i) {
    const double rate =
        config.depth > 1 ? drop_path * static_cast<double>(i) / static_cast<double>(config.depth - 1) : 0;
    blocks_.emplace_back(config, rate, static_cast<uint32_t>(i), scope / text("blocks.", i));
  }
  norm_ = LayerNorm(config.width, config.epsilon,
                    scope / (config.pooling == Pooling::token ? "norm" : "fc_norm"));
  if (config.classes > 0) head_ = Linear(config.width, config.classes, scope / "head", Init::constant(0));
}

Variable Vit::embed(const Variable& images) const {
  check(images.shape().rank() == 4 && images.dim(2) == config_.image_size &&
            images.dim(3) == config_.image_size,
        "vit: expected images (B, 3, ", config_.image_size, ", ", config_.image_size, "), got ",
        images.shape());
  Variable tokens = patch_embed_(images);  // (B, N, D)
  if (config_.class_token) {
    const Variable token = repeat(reshape(cls_token_, {1, config_.width}), images.dim(0));  // (B, 1, D)
    tokens = concat({token, tokens}, 1);                                                    // (B, T, D)
  }
  return embedding_add(tokens, reshape(pos_embed_, {config_.tokens(), config_.width}));
}

Variable Vit::pool(const Variable& tokens) const {
  if (config_.pooling == Pooling::token)
    return reshape(norm_(slice(tokens, 1, 0, 1)), {tokens.dim(0), config_.width});
  return norm_(mean(slice(tokens, 1, config_.class_token ? 1 : 0, tokens.dim(1)), 1));
}

Variable Vit::features(const Variable& images, const Prompts& prompts, const Pass& pass) const {
  Variable x = pass.kept(embed(images));  // (B, T, D)
  const int64_t first = config_.class_token ? 1 : 0, p = prompts.shallow() ? prompts.config().count : 0;
  if (p > 0)  // [class token, prompts, patches]
    x = concat({slice(x, 1, 0, first), pass.kept(convert(prompts.tokens(0, images.dim(0), pass), x.dtype())),
                slice(x, 1, first, x.dim(1))},
               1);
  for (int64_t i = 0; i < config_.depth; ++i) {
    const Variable own = prompts.deep() ? pass.kept(convert(prompts.layer(i, pass), x.dtype())) : Variable();
    const bool last = i + 1 == config_.depth && config_.pooling == Pooling::token;
    x = pass.kept(last ? blocks_[i].first_token(x, own, pass) : blocks_[i](x, own, pass));
  }
  if (p > 0 && config_.pooling == Pooling::mean)
    x = concat({slice(x, 1, 0, first), slice(x, 1, first + p, x.dim(1))}, 1);
  return pass.kept(pool(x));
}

Variable Vit::logits(const Variable& images) const {
  check(config_.classes > 0, "vit: this backbone has no head of its own");
  return head_(features(images));
}

int64_t parameter_count(const VitConfig& c) {
  const int64_t d = c.width, m = c.mlp_width;
  return 3 * c.patch * c.patch * d + d + (c.class_token ? d : 0) + c.tokens() * d +
         c.depth * (4 * d * d + 2 * d * m + 9 * d + m) + 2 * d + (c.classes ? (d + 1) * c.classes : 0);
}

int64_t multiply_accumulates(const VitConfig& c) {
  const int64_t d = c.width, m = c.mlp_width, t = c.tokens();
  return c.patches() * 3 * c.patch * c.patch * d + c.depth * (t * (4 * d * d + 2 * d * m) + 2 * t * t * d) +
         d * c.classes;
}

}  // namespace vitrine
