// swin_config.cpp: which Swin a name, a checkpoint or a piece of JSON means, and what it costs.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/config_json.h"
#include "models/swin.h"

namespace vitrine {

namespace {

constexpr const char* padding_names[] = {"before-roll", "after-roll"};

struct Preset {
  const char* name;
  int64_t width;
  std::array<int64_t, 4> depths, heads;
  int64_t window, image_size;
};
constexpr std::array<Preset, 6> presets{{{"swin-t", 96, {2, 2, 6, 2}, {3, 6, 12, 24}, 7, 224},
                                         {"swin-s", 96, {2, 2, 18, 2}, {3, 6, 12, 24}, 7, 224},
                                         {"swin-b", 128, {2, 2, 18, 2}, {4, 8, 16, 32}, 7, 224},
                                         {"swin-l", 192, {2, 2, 18, 2}, {6, 12, 24, 48}, 7, 224},
                                         {"swin-b384", 128, {2, 2, 18, 2}, {4, 8, 16, 32}, 12, 384},
                                         {"swin-l384", 192, {2, 2, 18, 2}, {6, 12, 24, 48}, 12, 384}}};

}  // namespace

int64_t SwinConfig::blocks() const {
  int64_t sum = 0;
  for (const int64_t depth : depths) sum += depth;
  return sum;
}

PromptPlaces SwinConfig::prompt_places() const {
  PromptPlaces places{{}, patch};
  for (int64_t s = 0; s < stages(); ++s) places.groups.push_back({text(".{}", s), depths[s], stage_width(s)});
  return places;
}

void check_config(const SwinConfig& c) {
  check(c.image_size > 0 && c.image_size <= 1 << 14 && c.patch > 0 && c.patch <= c.image_size,
        "swin: patch {} and image size {} make no sense", c.patch, c.image_size);
  check(c.stages() >= 1 && c.stages() <= 8, "swin: expected 1 to 8 stages, got {}", c.stages());
  check(c.heads.size() == c.depths.size(),
        "swin: expected heads for each stage; depths for {} and heads for {} were given", c.stages(),
        c.heads.size());
  check(c.width > 0 && c.width <= 1 << 14 && c.mlp_ratio > 0 && c.mlp_ratio <= 64 && c.classes >= 0,
        "swin: width {}, MLP ratio {}, classes {} make no sense", c.width, c.mlp_ratio, c.classes);
  for (int64_t s = 0; s < c.stages(); ++s) {
    check(c.depths[s] > 0 && c.depths[s] <= 1024, "swin: {} blocks in stage {} make no sense", c.depths[s],
          s);
    check(c.heads[s] > 0 && c.stage_width(s) % c.heads[s] == 0,
          "swin: {} heads do not divide width {} of stage {}", c.heads[s], c.stage_width(s), s);
  }
  check(c.windows.empty() || c.windows.size() == c.depths.size(),
        "swin: expected a window for each stage; depths for {} and windows for {} were given", c.stages(),
        c.windows.size());
  check(c.window > 0 && c.window <= 64, "swin: window {} makes no sense", c.window);
  for (const int64_t window : c.windows)
    check(window > 0 && window <= c.window, "swin: window {} of a stage makes no sense beside {}", window,
          c.window);
  check(c.epsilon > 0 && c.epsilon < 1, "swin: layer norm epsilon {} makes no sense", c.epsilon);
}

std::vector<std::string> swin_preset_names() {
  std::vector<std::string> names;
  for (const Preset& p : presets) names.emplace_back(p.name);
  return names;
}

SwinConfig swin_preset(const std::string& name) {
  std::vector<std::string_view> known;
  for (const Preset& p : presets) {
    known.emplace_back(p.name);
    if (name == p.name)
      return {.image_size = p.image_size,
              .width = p.width,
              .depths = {p.depths.begin(), p.depths.end()},
              .heads = {p.heads.begin(), p.heads.end()},
              .window = p.window,
              .classes = 1000};
  }
  const std::string guess = nearest(name, known);
  fail(Fault::input, "swin: no preset {}{} Presets are {}", quote(name),
       guess.empty() ? "." : "; did you mean " + guess + "?", listed(swin_preset_names()));
}

SwinConfig swin_config_of(const TensorFile& file) {
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  const auto shape_of = [&](const std::string& name, int rank) -> const Shape& {
    const Shape& shape = file.at(name).shape();
    check(shape.rank() == rank && shape.numel() > 0,
          "{}: tensor '{}': expected {} extents, none of them 0, got {}", who, name, rank, shape);
    return shape;
  };
  SwinConfig c;
  const Shape& projection = shape_of("patch_embed.proj.weight", 4);
  c.width = projection.dim(0);
  c.patch = projection.dim(3);
  c.depths.clear();
  c.heads.clear();
  // Any tensor of a block is a sign of it, so that the one that is missing will be named.
  const auto has_block = [&](int64_t stage, int64_t block) {
    const std::string prefix = text("layers.{}.blocks.{}.", stage, block);
    const auto found = file.tensors.lower_bound(prefix);
    return found != file.tensors.end() && found->first.starts_with(prefix);
  };
  for (int64_t s = 0; has_block(s, 0); ++s) {
    int64_t depth = 1;
    while (has_block(s, depth)) ++depth;
    const Shape& bias = shape_of(text("layers.{}.blocks.0.attn.relative_position_bias_table", s), 2);
    const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(bias.dim(0)))));
    check(side * side == bias.dim(0) && side % 2 == 1,
          "{}: a bias table of {} rows fits no window: (2 w - 1)^2", who, bias.dim(0));
    c.windows.push_back((side + 1) / 2);
    c.depths.push_back(depth);
    c.heads.push_back(bias.dim(1));
  }
  check(!c.depths.empty(), "{}: no tensor 'layers.0.blocks.0.*': not a Swin in its authors' names", who);
  check(c.stages() == 1 || file.tensors.contains("layers.0.downsample.reduction.weight") ||
            !file.tensors.contains("layers.1.downsample.reduction.weight"),
        "{}: merges patches before a stage, as timm's newer names have it; Vitrine reads the authors' names, "
        "in which layers.1.downsample is layers.0.downsample and so on",
        who);
  c.window = *std::max_element(c.windows.begin(), c.windows.end());
  const int64_t last = c.windows.back();
  if (std::count(c.windows.begin(), c.windows.end(), c.window) == c.stages()) c.windows.clear();
  const int64_t hidden = shape_of("layers.0.blocks.0.mlp.fc1.weight", 2).dim(0);
  check(hidden % c.width == 0, "{}: an MLP of width {} is no multiple of {}", who, hidden, c.width);
  c.mlp_ratio = hidden / c.width;
  c.classes = file.tensors.contains("head.weight") ? shape_of("head.weight", 2).dim(0) : 0;
  check(c.stages() <= 8 && last <= 64 && c.patch <= 1 << 14,
        "{}: {} stages, windows of {} and patches of {} make no sense", who, c.stages(), last, c.patch);
  c.image_size = last * c.patch << (c.stages() - 1);
  told_by(who, [&] { check_config(c); });
  return c;
}

std::string config_to_json(const SwinConfig& c) {
  std::map<std::string, std::string> j{{"model", json_text("swin")},
                                       {"image_size", std::to_string(c.image_size)},
                                       {"patch", std::to_string(c.patch)},
                                       {"width", std::to_string(c.width)},
                                       {"depths", json_list(c.depths)},
                                       {"heads", json_list(c.heads)},
                                       {"window", std::to_string(c.window)},
                                       {"mlp_ratio", std::to_string(c.mlp_ratio)},
                                       {"classes", std::to_string(c.classes)},
                                       {"padding", json_text(padding_names[static_cast<int>(c.padding)])},
                                       {"gelu", json_text(gelu_names[static_cast<int>(c.gelu)])},
                                       {"epsilon", json_number(c.epsilon)}};
  // Only where it says something, so that identities of other nets stay what they were.
  if (!c.windows.empty()) j["windows"] = json_list(c.windows);
  return json_object(j);
}

SwinConfig swin_config_from_json(const Json& j) {
  SwinConfig c;
  for (const auto& [key, field] :
       std::initializer_list<std::pair<const char*, int64_t*>>{{"image_size", &c.image_size},
                                                               {"patch", &c.patch},
                                                               {"width", &c.width},
                                                               {"window", &c.window},
                                                               {"mlp_ratio", &c.mlp_ratio},
                                                               {"classes", &c.classes}})
    *field = whole_number(j.at(key));
  for (const auto& [key, field] : std::initializer_list<std::pair<const char*, std::vector<int64_t>*>>{
           {"depths", &c.depths}, {"heads", &c.heads}, {"windows", &c.windows}}) {
    if (field == &c.windows && !j.has(key)) continue;
    check(j.at(key).list().size() <= 8, "config: {} is no list of at most 8 numbers", key);
    field->clear();
    for (const Json& value : j.at(key).list()) field->push_back(whole_number(value));
  }
  if (std::count(c.windows.begin(), c.windows.end(), c.window) == c.stages() &&
      c.windows.size() == c.depths.size())
    c.windows.clear();  // as in files whose shapes tell them: there is one way to say it
  c.padding = static_cast<WindowGrid::Padding>(name_place(padding_names, j.at("padding").text(), "padding"));
  c.gelu = static_cast<Gelu>(name_place(gelu_names, j.at("gelu").text(), "gelu"));
  c.epsilon = j.at("epsilon").real();
  check_config(c);
  return c;
}

int64_t parameter_count(const SwinConfig& c) {
  int64_t count = 3 * c.patch * c.patch * c.width + 3 * c.width;  // patch embedding and its norm
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t d = c.stage_width(s), m = c.mlp_ratio * d, side = 2 * c.window_of(s) - 1,
                  table = side * side;
    count += c.depths[s] * (4 * d * d + 2 * d * m + 9 * d + m + table * c.heads[s]);
    if (s + 1 < c.stages()) count += 8 * d + 8 * d * d;
  }
  const int64_t d = c.feature_width();
  return count + 2 * d + (c.classes ? (d + 1) * c.classes : 0);
}

int64_t multiply_accumulates(const SwinConfig& c) {
  int64_t side = (c.image_size + c.patch - 1) / c.patch;
  int64_t sum = side * side * 3 * c.patch * c.patch * c.width;
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t d = c.stage_width(s), tokens = side * side, keys = c.window_of(s) * c.window_of(s);
    sum += c.depths[s] * tokens * (4 * d * d + 2 * d * c.mlp_ratio * d + 2 * keys * d);
    if (s + 1 == c.stages()) break;
    side = (side + 1) / 2;
    sum += side * side * 8 * d * d;
  }
  return sum + c.feature_width() * c.classes;
}

}  // namespace vitrine
