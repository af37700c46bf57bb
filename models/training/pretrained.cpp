#include "models/training/pretrained.h"

#include <nlohmann/json.hpp>

#ifdef VITRINE_FILES
#include <filesystem>

#include "engine/file.h"
#endif
#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/text.h"
#include "models/training/pictures.h"

namespace vitrine {

namespace {

constexpr size_t longest_config = 4 << 20;  // bytes; with 21,843 names of classes they have about one million

#ifdef VITRINE_FILES
std::string words_of(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  check(bytes.size() <= longest_config, "{}: expected at most {} bytes, got {}", path, longest_config,
        bytes.size());
  std::string words(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  check(words.find('\0') == std::string::npos, "{}: expected text, got a zero byte", path);
  return words;
}

// The file of this name in the checkpoint's folder; empty if there is none. What cannot be read there is not passed over.
std::string beside(const std::string& source, const char* name) {
  const std::filesystem::path place(source), path = place.parent_path() / name;
  std::error_code problem;
  // What is no file, a host's bytes for example, lies beside nothing, whatever the working folder holds.
  if (!place.has_parent_path() && !std::filesystem::exists(place, problem)) return {};
  return std::filesystem::exists(std::filesystem::symlink_status(path, problem)) ? path.string() : "";
}
#endif

std::string dialect_title(std::string_view name) {
  for (const Dialect& dialect : dialects())
    if (dialect.name == name) return dialect.naming.title;
  return {};
}

// torchvision's Swins of three sizes were trained on squares of three sizes.
std::string family_of(const Checkpoint& checkpoint) {
  const std::string& family = checkpoint.facts.preprocess;
  if (family != "torchvision-swin") return family;
  const auto* swin = std::get_if<SwinConfig>(&checkpoint.config);
  if (swin == nullptr) return {};
  return family + (swin->width > 96 ? "-b" : swin->blocks() > 12 ? "-s" : "-t");
}

// The preset that --pictures names, by itself or by a family whose it is; empty: it is a file.
std::string picture_preset(const std::string& name) {
  const auto known = [](const std::string& preset) {
    return std::ranges::any_of(preprocess_presets(), [&](const auto& p) { return preset == p.name; });
  };
  if (known(name)) return name;
  const std::vector<std::string> families = family_names();
  const bool family = std::ranges::find(families, name) != families.end();
  return family && known(facts_of_family(name).preprocess) ? facts_of_family(name).preprocess : "";
}

// The path of --pictures, if it names none of the presets.
std::string picture_file(const std::string& name) {
#ifdef VITRINE_FILES
  std::error_code problem;
  if (name.ends_with(".json") || std::filesystem::exists(name, problem)) return name;
#endif
  std::vector<std::string_view> names;
  for (const PreprocessPreset& preset : preprocess_presets()) names.emplace_back(preset.name);
  const std::string guess = nearest(name, names);
  fail(Fault::input, "--pictures: {} is no file, and no name of docs/families.md{}", quote(name),
       guess.empty() ? "" : text("; did you mean {}?", guess));
}

// What a task file remembers of its backbone.
Facts facts_from(const std::string& config) {
  Facts facts;
  if (config.empty()) return facts;
  const TransformerConfig known = config_from_json(config);
  if (const auto* vit = std::get_if<VitConfig>(&known)) facts.heads = vit->heads;
  std::visit(
      [&](const auto& c) {
        facts.epsilon = c.epsilon;
        facts.gelu = c.gelu;
      },
      known);
  return facts;
}

// The size of pictures at which a task was tuned, if it was tuned on this net; else that of the net.
int64_t known_size(const std::string& known, const VitConfig& config) {
  if (known.empty()) return config.image_size;
  const TransformerConfig then = config_from_json(known);
  if (!std::holds_alternative<VitConfig>(then)) return config.image_size;
  VitConfig same = std::get<VitConfig>(then);
  same.image_size = config.image_size;
  return config_to_json(with_classes(same, 0)) == config_to_json(with_classes(config, 0)) ? image_size(then)
                                                                                          : config.image_size;
}

// How positions are resampled: as is asked for, as a task remembers it, as the file's own program does it, or as timm.
PositionFilter filter_of(const TensorFile& file, const BackboneHints& hints) {
  if (hints.positions) return *hints.positions;
  const auto own = file.metadata.find("positions");
  const std::string name = !hints.known_positions.empty() ? hints.known_positions
                           : own != file.metadata.end()   ? own->second
                                                          : name_of(PositionFilter::bicubic_antialias);
  const auto filter = position_filter_named(name);
  check(filter.has_value(), "{}: its positions are resampled as {}, which is not known", file.name,
        quote(name));
  return *filter;
}

// A ViT's positions for pictures of the size that is asked for; tells what was done.
std::string resize_positions(TensorFile& file, const TransformerConfig& config, const BackboneHints& hints) {
  const auto* vit = std::get_if<VitConfig>(&config);
  if (vit == nullptr) {
    check(!hints.positions, "--positions: a Swin has no position embedding");
    return {};
  }
  std::optional<Preprocess> pictures;
  if (const auto stored = file.metadata.find("preprocess"); stored != file.metadata.end())
    pictures = preprocess_from_json(stored->second);
  int64_t size = hints.image_size != 0 ? hints.image_size : known_size(hints.known, *vit);
  // To larger ones only if somebody asks for them: no file makes a net greater than it is.
  if (hints.image_size == 0 && hints.known.empty() && !hints.as_stored && pictures &&
      pictures->size < vit->image_size && file.metadata.contains("any_size"))
    size = pictures->size;
  const int64_t less = size / vit->patch * vit->patch;
  check(size == less, "--image-size {}: the net's patches have {} pixels; {}{} are whole patches", size,
        vit->patch, less == 0 ? "" : text("{} or ", less), less + vit->patch);
  const int64_t old = vit->image_size / vit->patch;
  const PositionFilter filter = filter_of(file, hints);
  if (size == vit->image_size) {
    if (hints.image_size != 0 && pictures && pictures->size != size)
      file.metadata["preprocess"] = to_json(pictures_at(file.metadata, *pictures, size));
    check(!hints.positions,
          "--positions: the net was trained for {} pixels; its positions are resampled if --image-size names "
          "another size",
          size);
    return text("{} x {}; for another --image-size resampled as {}", old, old, name_of(filter));
  }
  file = with_image_size(std::move(file), *vit, size, filter);
  file.metadata["resampled"] = name_of(filter);
  if (pictures) file.metadata["preprocess"] = to_json(pictures_at(file.metadata, *pictures, size));
  const int64_t now = size / vit->patch;
  return text("{} x {}, resampled to {} x {} as {}", old, old, now, now, name_of(filter));
}

// The canonical form; if heads are refused that nobody said, it is told whose they are.
Checkpoint canonical_form_with(TensorFile file, const Facts& given, const HubConfig& hub,
                               const std::string& hub_path) {
  try {
    return canonical_form(std::move(file), given);
  } catch (const Error& e) {
    if (!hub.usual_heads || std::string_view(e.what()).find("attention heads") == std::string_view::npos)
      throw;
    fail(e.fault(), "{}; {} has no num_attention_heads, which are {} in transformers then", e.what(),
         hub_path, *given.heads);
  }
}

bool own(const TensorFile& file) {
  const auto format = file.metadata.find("format");
  return file.metadata.contains("config") ||
         (format != file.metadata.end() && format->second.starts_with("vitrine "));
}

}  // namespace

Pretrained make_pretrained(TensorFile file, const std::string& source, const BackboneHints& hints,
                           const Memory& memory) {
  Pretrained out;
  if (own(file)) {
    check(hints.config.empty(),
          "{}: tells its configuration itself; --backbone-config is for files of other programs", source);
    check(hints.pictures.empty(),
          "{}: tells itself how its pictures were prepared; --pictures is for files of other programs",
          source);
    out.dialect = "Vitrine's own file";
    if (file.tensors.contains("pos_embed") || hints.positions)  // else make_backbone says what is missing
      out.positions = resize_positions(file, transformer_config_of(file, hints.heads), hints);
    out.backbone = make_backbone(std::move(file), source, hints.heads, memory);
    return out;
  }
  HubConfig hub;
  Facts given = facts_from(hints.known);
  std::string preprocess, pictures;
  bool processor = false;  // it is transformers' that told it
  const std::string family = hints.config.ends_with(".json") ? "" : hints.config;
  std::string hub_path;
#ifdef VITRINE_FILES
  hub_path = hints.config.ends_with(".json") ? hints.config
             : hints.config.empty()          ? beside(source, "config.json")
                                             : "";
  if (!hub_path.empty()) {
    hub = hub_config_from_json(words_of(hub_path), hub_path);
    overlay(given, hub.facts);
    preprocess = hub.preprocess;
    pictures = hub.pictures;
    out.told_by.push_back(hub_path);
    out.read.push_back(hub_path);
  }
  // Beside the config.json that tells, if one does, wherever it lies.
  const std::string preset = picture_preset(hints.pictures);
  const bool look_beside = hints.pictures.empty() && (hints.config.empty() || !hub_path.empty());
  const std::string path = !hints.pictures.empty() && preset.empty() ? picture_file(hints.pictures)
                           : look_beside
                               ? beside(hub_path.empty() ? source : hub_path, "preprocessor_config.json")
                               : "";
  if (!path.empty()) {
    preprocess = to_json(preprocess_from_hugging_face(words_of(path), path));
    pictures.clear();
    processor = true;
    out.told_by.push_back(path);
    out.read.push_back(path);
  }
#else
  check(!hints.config.ends_with(".json"), "--backbone-config: this build reads no files; name a family");
  const std::string preset = picture_preset(hints.pictures);
  if (!hints.pictures.empty() && preset.empty()) picture_file(hints.pictures);
#endif
  if (!family.empty()) {
    overlay(given, facts_of_family(family));
    out.told_by.push_back("the family " + family);
  }
  if (hints.heads != 0) given.heads = hints.heads;

  Checkpoint checkpoint =
      canonical_form_with(std::move(file), given, hints.heads == 0 ? hub : HubConfig{}, hub_path);
  // A file in timm's names is timm's own if timm's config.json tells of it, whoever else writes such names.
  if (hub.kind_field == "architecture" && checkpoint.dialect == dialect_title("timm"))
    checkpoint.facts.positions = PositionFilter::bicubic_antialias;
  if (!hub_path.empty()) check_agreement(hub, hints.config.empty(), checkpoint, hub_path);
  if (!family.empty()) {
    const bool swin = std::holds_alternative<SwinConfig>(checkpoint.config);
    check(is_swin_family(family) == swin, "--backbone-config: {} is a family of {}, but {} is a {}", family,
          swin ? "ViTs" : "Swins", source, checkpoint.dialect);
    check_family(family, checkpoint, source);
  }
  TensorFile canonical = hints.only_look ? checkpoint.file : settled(checkpoint);
  if (hints.only_look) {
    out.unsettled = checkpoint.unsettled;
    canonical.metadata["config"] = config_to_json(checkpoint.config);
  }
  if (!preset.empty()) {
    pictures = preset;
    preprocess = to_json(*preprocess_preset_at(pictures, image_size(checkpoint.config)));
    out.told_by.push_back("--pictures " + pictures);
  }
  if (checkpoint.projection) canonical.metadata["head"] = "projection";
  out.dialect = checkpoint.dialect;
  out.left_out = std::move(checkpoint.left_out);
  canonical.metadata["dialect"] = out.dialect;
  if (checkpoint.facts.positions) canonical.metadata["positions"] = name_of(*checkpoint.facts.positions);
  if (!preprocess.empty()) {
    const auto* vit = std::get_if<VitConfig>(&checkpoint.config);
    canonical.metadata["preprocess"] =
        vit == nullptr ? preprocess
                       : to_json(without_rest(preprocess_from_json(preprocess), vit->image_size, vit->patch));
    if (!pictures.empty()) canonical.metadata["pictures"] = pictures;
    if (processor && checkpoint.facts.preprocess == "dinov2") canonical.metadata["any_size"] = "true";
  }
  if (preprocess.empty()) {
    pictures = family_of(checkpoint);
    if (const auto usual = preprocess_preset_at(pictures, image_size(checkpoint.config))) {
      canonical.metadata["preprocess"] = to_json(*usual);
      canonical.metadata["pictures"] = pictures;
    }
  }
  out.positions = resize_positions(canonical, checkpoint.config, hints);
  if (!hub.class_names.empty() &&
      static_cast<int64_t>(hub.class_names.size()) == class_count(checkpoint.config))
    canonical.metadata["class_names"] = nlohmann::json(hub.class_names).dump();
  out.backbone = make_backbone(std::move(canonical), source, 0, memory);
  return out;
}

}  // namespace vitrine
