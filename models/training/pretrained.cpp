#include "models/training/pretrained.h"

#include <cmath>
#include <nlohmann/json.hpp>

#ifdef VITRINE_FILES
#include <filesystem>

#include "engine/file.h"
#endif
#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr size_t longest_config = 4 << 20;  // bytes; with 21,843 names of classes they have about one million

#ifdef VITRINE_FILES
std::string words_of(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  check(bytes.size() <= longest_config, path, ": expected at most ", longest_config, " bytes, got ",
        bytes.size());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The file of this name in the checkpoint's folder; empty if there is none.
std::string beside(const std::string& source, const char* name) {
  const std::filesystem::path path = std::filesystem::path(source).parent_path() / name;
  std::error_code problem;
  return std::filesystem::is_regular_file(path, problem) ? path.string() : "";
}
#endif

// The preset of a family at the size that the net sees: the one that it has for that size, else its usual one, scaled.
// Empty for an unknown family.
std::string preset_for(const std::string& family, int64_t size) {
  const std::string sized = text(family, "-", size);
  for (const std::string& name : {sized, family})
    for (const PreprocessPreset& preset : preprocess_presets()) {
      if (name != preset.name) continue;
      Preprocess p = preset.preprocess;
      p.resize =
          static_cast<int>(std::lround(static_cast<double>(p.resize) * static_cast<double>(size) / p.size));
      p.size = static_cast<int>(size);
      return to_json(p);
    }
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

// `more` goes before what is there.
void overlay(Facts& facts, const Facts& more) {
  if (more.heads) facts.heads = more.heads;
  if (more.epsilon) facts.epsilon = more.epsilon;
  if (more.gelu) facts.gelu = more.gelu;
  if (!more.preprocess.empty()) facts.preprocess = more.preprocess;
}

bool own(const TensorFile& file) {
  const auto format = file.metadata.find("format");
  return file.metadata.contains("config") ||
         (format != file.metadata.end() && format->second.starts_with("vitrine "));
}

}  // namespace

Pretrained make_pretrained(TensorFile file, const std::string& source, const BackboneHints& hints) {
  Pretrained out;
  if (own(file)) {
    check(hints.config.empty(), source,
          ": tells its configuration itself; --backbone-config is for files of other programs");
    out.dialect = "Vitrine's own file";
    out.backbone = make_backbone(std::move(file), source, hints.heads);
    return out;
  }
  HubConfig hub;
  Facts given = facts_from(hints.known);
  std::string preprocess;
#ifdef VITRINE_FILES
  const std::string hub_path = hints.config.ends_with(".json") ? hints.config
                               : hints.config.empty()          ? beside(source, "config.json")
                                                               : "";
  if (!hub_path.empty()) {
    hub = hub_config_from_json(words_of(hub_path), hub_path);
    overlay(given, hub.facts);
    preprocess = hub.preprocess;
    out.told_by.push_back(hub_path);
  }
  if (const std::string path = beside(source, "preprocessor_config.json");
      hints.config.empty() && !path.empty()) {
    preprocess = to_json(preprocess_from_hugging_face(words_of(path)));
    out.told_by.push_back(path);
  }
#else
  check(!hints.config.ends_with(".json"), "--backbone-config: this build reads no files; name a family");
#endif
  if (!hints.config.empty() && !hints.config.ends_with(".json")) {
    overlay(given, facts_of_family(hints.config));
    out.told_by.push_back("the family " + hints.config);
  }
  if (hints.heads != 0) given.heads = hints.heads;

  Checkpoint checkpoint = canonical_form(std::move(file), given);
  TensorFile canonical = settled(checkpoint);
  out.dialect = checkpoint.dialect;
  out.left_out = std::move(checkpoint.left_out);
  if (preprocess.empty()) preprocess = preset_for(family_of(checkpoint), image_size(checkpoint.config));
  canonical.metadata["dialect"] = out.dialect;
  if (!preprocess.empty()) canonical.metadata["preprocess"] = preprocess;
  if (!hub.class_names.empty() &&
      static_cast<int64_t>(hub.class_names.size()) == class_count(checkpoint.config))
    canonical.metadata["class_names"] = nlohmann::json(hub.class_names).dump();
  out.backbone = make_backbone(std::move(canonical), source);
  return out;
}

}  // namespace vitrine
