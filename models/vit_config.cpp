// vit_config.cpp: a ViT's configuration: what makes sense, presets, what a checkpoint's shapes tell, JSON, counts.
#include <array>
#include <cmath>
#include <cstdlib>

#include "models/config_json.h"

namespace vitrine {

void check_config(const VitConfig& c) {
  constexpr int64_t most_pixels = 1 << 14;
  check(c.image_size > 0 && c.patch > 0 && c.image_size % c.patch == 0,
        "vit: patch {} does not divide image size {}", c.patch, c.image_size);
  check(c.image_size <= most_pixels, "vit: image size {} is more than {}", c.image_size, most_pixels);
  check(c.width > 0 && c.heads > 0 && c.width % c.heads == 0, "vit: {} heads do not divide width {}", c.heads,
        c.width);
  check(c.depth > 0 && c.depth <= 1024 && c.mlp_width > 0 && c.classes >= 0,
        "vit: depth {}, MLP width {}, classes {} make no sense", c.depth, c.mlp_width, c.classes);
  check(c.epsilon > 0 && c.epsilon < 1, "vit: layer norm epsilon {} makes no sense", c.epsilon);
  check(c.registers >= 0 && c.registers <= 1 << 16, "vit: {} registers make no sense", c.registers);
  check(c.class_token || c.pooling != Pooling::token, "vit: token pooling needs a class token");
  check(!c.distillation_token || c.pooling == Pooling::token,
        "vit: a distillation token needs token pooling");
}

namespace {

struct Size {
  const char* name;
  int64_t width, depth, heads, mlp_width;
};
constexpr std::array<Size, 9> sizes{{{"ti", 192, 12, 3, 768},
                                     {"s", 384, 12, 6, 1536},
                                     {"m", 512, 12, 8, 2048},
                                     {"b", 768, 12, 12, 3072},
                                     {"l", 1024, 24, 16, 4096},
                                     {"h", 1280, 32, 16, 5120},
                                     {"so400m", 1152, 27, 16, 4304},
                                     {"g", 1408, 40, 16, 6144},
                                     {"bigg", 1664, 48, 16, 8192}}};
constexpr std::array<int64_t, 4> patch_sizes{8, 14, 16, 32};

// Of the published models; 0 where the width does not tell.
int64_t usual_heads(int64_t width) {
  for (const Size& size : sizes)
    if (size.width == width) return size.heads;
  return width == 1536 ? 24 : 0;  // DINOv2's giant
}

// The root of a square number, or 0.
int64_t root_of(int64_t number) {
  if (number <= 0) return 0;
  const auto root = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(number))));
  return root * root == number ? root : 0;
}

}  // namespace

std::vector<std::string> vit_preset_names() {
  std::vector<std::string> names;
  for (const Size& size : sizes)
    for (const int64_t patch : patch_sizes) names.push_back(text("vit-{}{}", size.name, patch));
  return names;
}

std::string vit_presets_text() {
  std::string widths, patches;
  for (const Size& size : sizes) widths += text("{}{}", widths.empty() ? "" : ",", size.name);
  for (const int64_t patch : patch_sizes) patches += text("{}{}", patches.empty() ? "" : ",", patch);
  return text("vit-{{}}{{}}", widths, patches);
}

VitConfig vit_preset(const std::string& name) {
  for (const Size& size : sizes)
    for (const int64_t patch : patch_sizes)
      if (name == text("vit-{}{}", size.name, patch))
        return {.patch = patch,
                .width = size.width,
                .depth = size.depth,
                .heads = size.heads,
                .mlp_width = size.mlp_width,
                .classes = 1000};
  const std::vector<std::string> known = vit_preset_names();
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::string guess = nearest(name, names);
  fail(Fault::input, "vit: no preset {}{} Presets are {}", quote(name),
       guess.empty() ? "." : "; did you mean " + guess + "?", vit_presets_text());
}

VitConfig vit_config_of(const TensorFile& file, int64_t heads) {
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  const auto shape_of = [&](const char* name, int rank) -> const Shape& {
    const Shape& shape = file.at(name).shape();
    check(shape.rank() == rank && shape.numel() > 0,
          "{}: tensor '{}': expected {} extents, none of them 0, got {}", who, name, rank, shape);
    return shape;
  };
  const auto holds = [&](const char* name) { return file.tensors.contains(name); };
  VitConfig c;
  const Shape& projection = shape_of("patch_embed.proj.weight", 4);
  c.width = projection.dim(0);
  c.patch = projection.dim(3);
  c.patch_bias = holds("patch_embed.proj.bias");
  c.class_token = holds("cls_token");
  c.distillation_token = holds("dist_token");
  c.registers = holds("reg_token") ? shape_of("reg_token", 3).dim(1) : 0;
  c.norm_pre = holds("norm_pre.weight");
  if (c.norm_pre) c.epsilon = 1e-5, c.gelu = Gelu::quick;
  c.pooling = holds("attn_pool.latent") ? Pooling::map
              : holds("fc_norm.weight") ? Pooling::mean
              : c.class_token           ? Pooling::token
                                        : Pooling::normed_mean;

  const int64_t rows = shape_of("pos_embed", 3).dim(1), patches = rows - c.prefix();
  const int64_t side = root_of(patches), side_without = root_of(rows);
  check(side > 0 || side_without > 0,
        "{}: pos_embed has {} patch positions, which is no square; other grids are not known", who, patches);
  check(c.prefix() == 0 || side == 0 || side_without == 0,
        "{}: pos_embed has {} rows, which with or without {} for the tokens before the patches is a square; "
        "the file's metadata must tell",
        who, rows, c.prefix());
  c.prefix_positions = side > 0;
  c.image_size = (side > 0 ? side : side_without) * c.patch;

  c.depth = 0;
  while (file.tensors.contains(text("blocks.{}.norm1.weight", c.depth))) ++c.depth;
  check(c.depth > 0, "{}: no tensor 'blocks.0.norm1.weight': not a ViT in timm's names", who);
  c.qkv_bias = holds("blocks.0.attn.qkv.bias");
  c.layer_scale = holds("blocks.0.ls1.gamma");
  const int64_t given = shape_of("blocks.0.mlp.fc1.weight", 2).dim(0),
                taken = shape_of("blocks.0.mlp.fc2.weight", 2).dim(1);
  c.gated_mlp = given == 2 * taken;
  c.mlp_width = c.gated_mlp ? taken : given;
  c.classes = holds("head.weight") ? shape_of("head.weight", 2).dim(0) : 0;
  c.head_bias = c.classes == 0 || holds("head.bias");
  c.heads = heads != 0 ? heads : usual_heads(c.width);
  check(c.heads > 0, "{}: how many attention heads? Shapes cannot tell for width {}; give --heads", who,
        c.width);
  check(c.width % c.heads == 0, "{}: {} attention heads do not divide its width {}", who, c.heads, c.width);
  told_by(who, [&] { check_config(c); });
  return c;
}

namespace {

constexpr const char* pooling_names[] = {"token", "mean", "normed_mean", "map"};

// The yes-and-no features of descendants by name.
struct Feature {
  const char* name;
  bool VitConfig::*field;
};
constexpr Feature features[] = {{"distillation_token", &VitConfig::distillation_token},
                                {"prefix_positions", &VitConfig::prefix_positions},
                                {"layer_scale", &VitConfig::layer_scale},
                                {"norm_pre", &VitConfig::norm_pre},
                                {"gated_mlp", &VitConfig::gated_mlp},
                                {"patch_bias", &VitConfig::patch_bias},
                                {"qkv_bias", &VitConfig::qkv_bias},
                                {"head_bias", &VitConfig::head_bias}};

}  // namespace

std::string config_to_json(const VitConfig& c) {
  std::map<std::string, std::string> j{{"model", json_text("vit")},
                                       {"image_size", std::to_string(c.image_size)},
                                       {"patch", std::to_string(c.patch)},
                                       {"width", std::to_string(c.width)},
                                       {"depth", std::to_string(c.depth)},
                                       {"heads", std::to_string(c.heads)},
                                       {"mlp_width", std::to_string(c.mlp_width)},
                                       {"classes", std::to_string(c.classes)},
                                       {"pooling", json_text(pooling_names[static_cast<int>(c.pooling)])},
                                       {"class_token", json_boolean(c.class_token)},
                                       {"gelu", json_text(gelu_names[static_cast<int>(c.gelu)])},
                                       {"epsilon", json_number(c.epsilon)}};
  // Only what the first ViT has not, so that identities of such backbones stay what they were. The bias of a head that
  // is not there is nobody's.
  const VitConfig plain;
  if (c.registers > 0) j["registers"] = std::to_string(c.registers);
  for (const Feature& feature : features) {
    const bool there = c.*feature.field,
               of_no_head = feature.field == &VitConfig::head_bias && c.classes == 0;
    if (there != plain.*feature.field && !of_no_head) j[feature.name] = json_boolean(there);
  }
  return json_object(j);
}

VitConfig vit_config_from_json(const Json& j) {
  VitConfig c;
  for (const auto& [key, field] :
       std::initializer_list<std::pair<const char*, int64_t*>>{{"image_size", &c.image_size},
                                                               {"patch", &c.patch},
                                                               {"width", &c.width},
                                                               {"depth", &c.depth},
                                                               {"heads", &c.heads},
                                                               {"mlp_width", &c.mlp_width},
                                                               {"classes", &c.classes}})
    *field = whole_number(j.at(key));
  c.pooling = static_cast<Pooling>(name_place(pooling_names, j.at("pooling").text(), "pooling"));
  c.class_token = j.at("class_token").boolean();
  c.gelu = static_cast<Gelu>(name_place(gelu_names, j.at("gelu").text(), "gelu"));
  c.epsilon = j.at("epsilon").real();
  if (j.has("registers")) c.registers = whole_number(j.at("registers"));
  for (const Feature& feature : features)
    if (j.has(feature.name)) c.*feature.field = j.at(feature.name).boolean();
  check_config(c);
  return c;
}

int64_t parameter_count(const VitConfig& c) {
  const int64_t d = c.width, m = c.mlp_width, hidden = c.gated_mlp ? 2 * m : m;
  const int64_t embedding = 3 * c.patch * c.patch * d + (c.patch_bias ? d : 0) + c.prefix() * d +
                            c.positions() * d + (c.norm_pre ? 2 * d : 0);
  const int64_t block = 4 * d * d + d * hidden + m * d + 6 * d + hidden + (c.qkv_bias ? 3 * d : 0) +
                        (c.layer_scale ? 2 * d : 0);
  const int64_t pool = c.pooling == Pooling::map ? 4 * d * d + 2 * d * m + 8 * d + m : 0;
  const int64_t head = c.classes * (d + (c.head_bias ? 1 : 0)) * c.pooled_tokens();
  return embedding + c.depth * block + 2 * d + pool + head;
}

int64_t multiply_accumulates(const VitConfig& c) {
  const int64_t d = c.width, m = c.mlp_width, hidden = c.gated_mlp ? 2 * m : m, t = c.tokens();
  const int64_t pool =
      c.pooling == Pooling::map ? c.patches() * (2 * d * d + 2 * d) + 2 * d * d + 2 * d * m : 0;
  return c.patches() * 3 * c.patch * c.patch * d +
         c.depth * (t * (4 * d * d + d * hidden + m * d) + 2 * t * t * d) + pool +
         d * c.classes * c.pooled_tokens();
}

}  // namespace vitrine
