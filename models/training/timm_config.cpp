// timm_config.cpp: what the config.json of timm's repositories on a hub tells of a ViT or a Swin.
#include <algorithm>
#include <array>
#include <string_view>

#include "data/preprocess.h"
#include "models/training/hub_fields.h"

namespace vitrine {

namespace {

using nlohmann::json;

// timm's ViTs (timm/models/vision_transformer.py and deit.py of August 2026) by what their weights do not tell. Not among
// them are those with other blocks or another attention: ..._rpn_..., ..._xp_..., 18x2, pwee, dwee, dpwee, dlittle.
struct Architectures {
  int64_t heads;
  Gelu gelu;  // of a gated MLP, which has none, as it comes
  bool qkv_bias;
  std::string_view names;
};
// clang-format off
constexpr std::array<Architectures, 18> architectures{{
    {3, Gelu::erf, true,
     "vit_tiny_patch16_224 vit_tiny_patch16_384 deit_tiny_patch16_224 deit_tiny_distilled_patch16_224"},
    {4, Gelu::erf, true,
     "vit_xsmall_patch16_clip_224 vit_wee_patch16_reg1_gap_256"},
    {5, Gelu::erf, true,
     "vit_little_patch16_reg1_gap_256 vit_little_patch16_reg4_gap_256"},
    {6, Gelu::erf, true,
     "vit_small_patch32_224 vit_small_patch32_384 vit_small_patch16_224 vit_small_patch16_384 "
     "vit_small_patch8_224 vit_small_patch16_36x1_224 vit_small_patch14_dinov2 "
     "vit_small_patch14_reg4_dinov2 deit_small_patch16_224 deit_small_distilled_patch16_224 "
     "deit3_small_patch16_224 deit3_small_patch16_384"},
    {8, Gelu::erf, false,
     "vit_medium_patch16_gap_240 vit_medium_patch16_gap_256 vit_medium_patch16_gap_384"},
    {8, Gelu::erf, true,
     "vit_medium_patch32_clip_224 vit_medium_patch16_clip_224 vit_medium_patch16_reg1_gap_256 "
     "vit_medium_patch16_reg4_gap_256 vit_mediumd_patch16_reg4_gap_256 vit_mediumd_patch16_reg4_gap_384 "
     "deit3_medium_patch16_224"},
    {10, Gelu::erf, false,
     "vit_betwixt_patch16_gap_256"},
    {10, Gelu::erf, true,
     "vit_betwixt_patch32_clip_224 vit_betwixt_patch16_reg1_gap_256 vit_betwixt_patch16_reg4_gap_256 "
     "vit_betwixt_patch16_reg4_gap_384"},
    {12, Gelu::erf, false,
     "vit_base_patch16_224_miil"},
    {12, Gelu::erf, true,
     "vit_base_patch32_224 vit_base_patch32_384 vit_base_patch16_224 vit_base_patch16_384 "
     "vit_base_patch8_224 vit_base_patch32_clip_224 vit_base_patch32_clip_256 vit_base_patch32_clip_384 "
     "vit_base_patch32_clip_448 vit_base_patch16_clip_224 vit_base_patch16_clip_384 "
     "vit_base_patch14_dinov2 vit_base_patch14_reg4_dinov2 vit_base_patch14_reg1_tipsv2 "
     "vit_base_patch16_siglip_224 vit_base_patch16_siglip_256 vit_base_patch16_siglip_384 "
     "vit_base_patch16_siglip_512 vit_base_patch16_siglip_gap_224 vit_base_patch16_siglip_gap_256 "
     "vit_base_patch16_siglip_gap_384 vit_base_patch16_siglip_gap_512 vit_base_patch16_reg4_gap_256 "
     "deit_base_patch16_224 deit_base_patch16_384 deit_base_distilled_patch16_224 "
     "deit_base_distilled_patch16_384 deit3_base_patch16_224 deit3_base_patch16_384"},
    {12, Gelu::quick, true,
     "vit_base_patch32_clip_quickgelu_224 vit_base_patch16_clip_quickgelu_224"},
    {12, Gelu::tanh, true,
     "vit_base_patch32_siglip_256 vit_base_patch32_siglip_gap_256"},
    {13, Gelu::erf, false,
     "vit_so150m2_patch16_reg1_gap_256 vit_so150m2_patch16_reg1_gap_384 vit_so150m2_patch16_reg1_gap_448"},
    {14, Gelu::erf, true,
     "vit_base_patch16_plus_clip_240 vit_base_patch32_plus_256 vit_base_patch16_plus_240 "
     "vit_so150m_patch16_reg4_map_256 vit_so150m_patch16_reg4_gap_256 vit_so150m_patch16_reg4_gap_384"},
    {16, Gelu::erf, true,
     "vit_large_patch32_224 vit_large_patch32_384 vit_large_patch16_224 vit_large_patch16_384 "
     "vit_large_patch14_224 vit_huge_patch14_224 vit_giant_patch14_224 vit_gigantic_patch14_224 "
     "vit_base_patch16_gap_224 vit_huge_patch14_gap_224 vit_huge_patch16_gap_448 vit_giant_patch16_gap_224 "
     "vit_large_patch14_clip_224 vit_large_patch14_clip_336 vit_huge_patch14_clip_224 "
     "vit_huge_patch14_clip_336 vit_huge_patch14_clip_378 vit_giant_patch14_clip_224 "
     "vit_gigantic_patch14_clip_224 vit_gigantic_patch14_clip_378 vit_large_patch14_dinov2 "
     "vit_large_patch14_reg4_dinov2 vit_large_patch14_reg1_tipsv2 vit_so400m_patch14_reg1_tipsv2 "
     "vit_large_patch16_siglip_256 vit_large_patch16_siglip_384 vit_so400m_patch14_siglip_224 "
     "vit_so400m_patch14_siglip_378 vit_so400m_patch14_siglip_384 vit_large_patch16_siglip_gap_256 "
     "vit_large_patch16_siglip_gap_384 vit_so400m_patch14_siglip_gap_224 vit_so400m_patch14_siglip_gap_378 "
     "vit_so400m_patch14_siglip_gap_384 vit_so400m_patch14_siglip_gap_448 "
     "vit_so400m_patch14_siglip_gap_896 deit3_large_patch16_224 deit3_large_patch16_384 "
     "deit3_huge_patch14_224"},
    {16, Gelu::quick, true,
     "vit_large_patch14_clip_quickgelu_224 vit_large_patch14_clip_quickgelu_336 "
     "vit_huge_patch14_clip_quickgelu_224 vit_huge_patch14_clip_quickgelu_378 "
     "vit_gigantic_patch14_clip_quickgelu_224"},
    {16, Gelu::tanh, true,
     "vit_large_patch16_siglip_512 vit_so400m_patch16_siglip_256 vit_so400m_patch16_siglip_384 "
     "vit_so400m_patch16_siglip_512 vit_giantopt_patch16_siglip_256 vit_giantopt_patch16_siglip_384 "
     "vit_large_patch16_siglip_gap_512 vit_so400m_patch16_siglip_gap_256 vit_so400m_patch16_siglip_gap_384 "
     "vit_so400m_patch16_siglip_gap_512 vit_giantopt_patch16_siglip_gap_256 "
     "vit_giantopt_patch16_siglip_gap_384"},
    {24, Gelu::erf, true,
     "vit_giant_patch14_dinov2 vit_giant_patch14_reg4_dinov2 vit_giant_patch14_reg1_tipsv2"},
}};
// clang-format on

const Architectures* architecture_named(std::string_view name) {
  if (name.find(' ') != std::string_view::npos) return nullptr;
  const std::string all = text(" {} ", name);
  const auto* const found = std::find_if(architectures.begin(), architectures.end(), [&](const auto& group) {
    return text(" {} ", group.names).find(all) != std::string::npos;
  });
  return found == architectures.end() ? nullptr : found;
}

// The number behind a word of the name; 0 if the word is not there.
int64_t number_behind(std::string_view name, std::string_view word) {
  const size_t place = name.find(word);
  int64_t number = 0;
  if (place == std::string_view::npos) return number;
  for (size_t i = place + word.size(); i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i)
    number = 10 * number + (name[i] - '0');
  return number;
}

// "base" of "vit_base_patch16_224".
std::string_view size_word(std::string_view name) {
  name.remove_prefix(std::min(name.find('_') + 1, name.size()));
  return name.substr(0, name.find('_'));
}

// What the name of an architecture says that the weights say as well.
std::vector<Claim> claims_of_vit_name(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 17> widths{{{"tiny", 192},
                                                                         {"xsmall", 256},
                                                                         {"wee", 256},
                                                                         {"little", 320},
                                                                         {"small", 384},
                                                                         {"medium", 512},
                                                                         {"mediumd", 512},
                                                                         {"betwixt", 640},
                                                                         {"base", 768},
                                                                         {"so150m", 896},
                                                                         {"so150m2", 832},
                                                                         {"large", 1024},
                                                                         {"so400m", 1152},
                                                                         {"huge", 1280},
                                                                         {"giant", 1408},
                                                                         {"giantopt", 1536},
                                                                         {"gigantic", 1664}}};
  const auto has = [&](std::string_view word) { return name.find(word) != std::string_view::npos; };
  std::vector<Claim> claims;
  const auto claim = [&](const char* key, const json& value) {
    claims.push_back({"architecture", std::string(name), key, value.dump()});
  };
  const auto* const width =
      std::find_if(widths.begin(), widths.end(), [&](const auto& w) { return w.first == size_word(name); });
  if (has("giant_") && (has("dinov2") || has("tipsv2")))
    claim("width", 1536);
  else if (has("_plus_"))
    claim("width", 896);
  else if (width != widths.end())
    claim("width", width->second);
  claim("patch", number_behind(name, "_patch"));
  claim("registers", number_behind(name, "_reg"));
  claim("distillation_token", has("_distilled_"));
  if (has("dinov2") || name.starts_with("deit"))
    claim("layer_scale", has("dinov2") || name.starts_with("deit3"));
  return claims;
}

// The four sizes of the first Swins, by what their names say: swin_tiny_patch4_window7_224.
std::vector<Claim> claims_of_swin_name(const std::string& architecture) {
  const std::string name = architecture.substr(0, architecture.find('.'));
  const std::string_view size = size_word(name);
  std::vector<Claim> claims;
  const auto claim = [&](const char* key, const json& value) {
    claims.push_back({"architecture", name, key, value.dump()});
  };
  claim("width", size == "large" ? 192 : size == "base" ? 128 : 96);
  claim("depths", json::array({2, 2, size == "tiny" ? 6 : 18, 2}));
  claim("patch", number_behind(name, "_patch"));
  claim("window", number_behind(name, "_window"));
  return claims;
}

std::array<float, 3> three(const json& list, const char* key, const std::string& who) {
  check(list.is_array() && list.size() == 3 && list[0].is_number() && list[1].is_number() &&
            list[2].is_number(),
        "{}: {}: expected three numbers", who, key);
  return {list[0].get<float>(), list[1].get<float>(), list[2].get<float>()};
}

Gelu gelu_named(const json& name, const std::string& who) {
  if (name == "gelu") return Gelu::erf;
  if (name == "gelu_tanh") return Gelu::tanh;
  if (name == "quick_gelu") return Gelu::quick;
  fail(Fault::input, "{}: act_layer is {}, which is no form of GELU", who, quote(name.dump()));
}

// How tokens become features, by timm's name; none where the net ends before.
void claim_pooling(HubConfig& out, const json& value, const std::string& who) {
  if (value == "") return;
  check(value == "token" || value == "avg" || value == "map", "{}: global_pool is {}, not token, avg or map",
        who, quote(value.dump()));
  out.claims.push_back(
      {"global_pool", value.dump(), "pooling", value == "avg" ? json("mean").dump() : value.dump()});
}

// What a ViT was made with beside what its architecture says: told, compared with the weights, or refused.
// These go before what the name says.
void read_arguments(HubConfig& out, const json& arguments, bool swin, const std::string& who) {
  check(arguments.is_object(), "{}: model_args: expected an object", who);
  // These change nothing when pictures are recognised, or are seen in the weights' names and shapes.
  constexpr std::array<std::string_view, 13> needless{
      "drop_rate",       "pos_drop_rate",  "patch_drop_rate", "proj_drop_rate",   "attn_drop_rate",
      "drop_path_rate",  "weight_init",    "fix_init",        "dynamic_img_size", "dynamic_img_pad",
      "strict_img_size", "no_embed_class", "fc_norm"};
  json ratio;
  for (const auto& item : arguments.items()) {
    const std::string& key = item.key();
    const json& value = item.value();
    const std::string field = "model_args: " + key;
    const auto claim = [&](const char* of_net, const json& told) {
      std::erase_if(out.claims, [&](const Claim& other) { return other.key == of_net; });
      out.claims.push_back({field, value.dump(), of_net, told.dump()});
    };
    const auto flag = [&] {
      check(value.is_boolean(), "{}: {}: expected true or false, got {}", who, field, quote(value.dump()));
      return value;
    };
    const auto of_swin = [&] {
      if (key == "depths")
        claim("depths", value);
      else if (key == "num_heads")
        claim("heads", value);
      else if (key == "window_size")
        claim("window", side(value, field.c_str(), who));
      else
        return key == "img_size";  // it takes pictures of any size
      return true;
    };
    const auto of_vit = [&] {
      if (key == "img_size")
        claim("image_size", side(value, field.c_str(), who));
      else if (key == "num_heads")
        out.facts.heads = whole(value, "model_args: num_heads", who);
      else if (key == "act_layer")
        out.facts.gelu = gelu_named(value, who + ": model_args");
      else if (key == "global_pool")
        claim_pooling(out, value, who);
      else if (key == "depth")
        claim("depth", whole(value, field.c_str(), who));
      else if (key == "reg_tokens")
        claim("registers", value);
      else if (key == "class_token")
        claim("class_token", flag());
      else if (key == "pre_norm")
        claim("norm_pre", flag());
      else if (key == "init_values")
        claim("layer_scale", value.is_number() && value != 0);
      else if (key == "qkv_bias")
        claim("qkv_bias", flag());
      else
        return false;
      return true;
    };
    // Without its head a net may be made, whatever the file has.
    if (std::ranges::find(needless, key) != needless.end() || (key == "num_classes" && value == 0)) continue;
    if (key == "num_classes")
      claim("classes", value);
    else if (key == "embed_dim")
      claim("width", whole(value, field.c_str(), who));
    else if (key == "patch_size")
      claim("patch", side(value, field.c_str(), who));
    else if (key == "mlp_ratio")
      ratio = value;
    else
      check(swin ? of_swin() : of_vit(), "{}: {} is {}, and what it makes of the net is not known", who,
            field, quote(value.dump()));
  }
  if (ratio.is_null()) return;
  check(ratio.is_number() && ratio.get<double>() > 0 && ratio.get<double>() <= 64,
        "{}: model_args: mlp_ratio: expected a number up to 64, got {}", who, quote(ratio.dump()));
  if (swin) {
    out.claims.push_back(
        {"model_args: mlp_ratio", ratio.dump(), "mlp_ratio", json(ratio.get<double>()).dump()});
    return;
  }
  for (const Claim& claim : std::vector<Claim>(out.claims))
    if (claim.key == "width")
      out.claims.push_back(
          {"model_args: mlp_ratio", ratio.dump(), "mlp_width",
           std::to_string(static_cast<int64_t>(std::stod(claim.value) * ratio.get<double>()))});
}

}  // namespace

bool is_timm_vit(const std::string& architecture) {
  return architecture_named(architecture.substr(0, architecture.find('.'))) != nullptr;
}

bool is_timm_swin(const std::string& architecture) {
  const std::string name = architecture.substr(0, architecture.find('.'));
  for (const char* size : {"tiny", "small", "base", "large"}) {
    const int64_t window = number_behind(name, "_window");
    const std::string first = text("swin_{}_patch4_window{}_", size, window);
    if (name.starts_with(first) && name.size() > first.size() &&
        name.find_first_not_of("0123456789", first.size()) == std::string::npos)
      return true;
  }
  return false;
}

HubConfig timm_config_from(const json& all, const std::string& who) {
  HubConfig out;
  out.kind_field = "architecture";
  out.kind = word(all, "architecture", who);
  const bool swin = out.kind.starts_with("swin");
  // In front of a dot; behind it stands who trained it.
  const Architectures* known = architecture_named(out.kind.substr(0, out.kind.find('.')));
  if (known != nullptr) {
    out.facts.heads = known->heads;
    out.facts.gelu = known->gelu;
    out.claims = claims_of_vit_name(out.kind.substr(0, out.kind.find('.')));
    out.claims.push_back({"architecture", out.kind, "qkv_bias", known->qkv_bias ? "true" : "false"});
  }
  if (is_timm_swin(out.kind)) out.claims = claims_of_swin_name(out.kind);
  if (const auto count = all.find("num_classes"); count != all.end() && *count != 0)
    out.claims.push_back({"num_classes", count->dump(), "classes", count->dump()});
  if (const auto pool = all.find("global_pool"); !swin && pool != all.end()) claim_pooling(out, *pool, who);
  if (const auto width = all.find("num_features"); !swin && width != all.end())
    out.claims.push_back({"num_features", width->dump(), "width", width->dump()});
  if (const auto arguments = all.find("model_args"); arguments != all.end() && !arguments->is_null())
    read_arguments(out, *arguments, swin, who);
  const json& c = all.at("pretrained_cfg");
  const json& input = c.at("input_size");
  check(input.is_array() && input.size() == 3 && input[0] == 3 && input[1] == input[2],
        "{}: input_size: expected [3, n, n], got {}", who, quote(input.dump()));
  if (!swin)  // which takes pictures of any size
    out.claims.push_back(
        {"input_size", input.dump(), "image_size", std::to_string(whole(input[1], "input_size", who))});
  Preprocess p;
  p.size = static_cast<int>(std::min<int64_t>(whole(input[1], "input_size", who), 1 << 14));
  const auto mode = c.value("crop_mode", std::string("center"));
  check(mode == "center" || mode == "squash", "{}: crop_mode is {}, not center or squash", who, quote(mode));
  const double share = c.value("crop_pct", 0.875);
  p.resize = resize_before_crop(p.size, share);
  out.pictures = "crop_pct " + json(share).dump();
  p.squash = mode == "squash";
  p.crop_squashed = p.squash && p.resize > p.size;
  const auto filter = c.value("interpolation", std::string("bicubic"));
  check(filter == "bicubic" || filter == "bilinear" || filter == "lanczos", "{}: interpolation is {}", who,
        quote(filter));
  p.filter = filter == "bicubic"    ? Filter::bicubic
             : filter == "bilinear" ? Filter::bilinear
                                    : Filter::lanczos;
  p.mean = three(c.at("mean"), "mean", who);
  p.std = three(c.at("std"), "std", who);
  check_preprocess(p);
  out.preprocess = to_json(p);
  if (const auto names = all.find("label_names"); names != all.end() && names->is_array()) {
    out.class_names = names->get<std::vector<std::string>>();
    out.claims.push_back({"label_names", text("a list of {} names", out.class_names.size()), "classes",
                          std::to_string(out.class_names.size())});
  }
  return out;
}

}  // namespace vitrine
