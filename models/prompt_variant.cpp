// prompt_variant.cpp: the paper's variants of prompts in words.
#include <array>

#include "engine/check.h"
#include "engine/json.h"
#include "engine/text.h"
#include "models/prompt.h"

namespace vitrine {

namespace {

constexpr std::array<const char*, 3> locations{"prepend", "add", "pixels"};
constexpr std::array<const char*, 4> poolings{"backbone", "images", "prompts", "all"};
constexpr std::array<const char*, 2> starts{"random", "class-tokens"};

template <class Kind, size_t n>
Kind find(const std::array<const char*, n>& names, const std::string& name, const char* what) {
  std::string list;
  for (size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<Kind>(i);
    list += text("{}{}", i > 0 ? ", " : "", names[i]);
  }
  fail(Fault::input, "{}: expected one of {}, got {}", what, list, quote(name));
}

}  // namespace

const char* name_of(PromptLocation location) { return locations[static_cast<size_t>(location)]; }
const char* name_of(PromptPooling pooling) { return poolings[static_cast<size_t>(pooling)]; }
const char* name_of(PromptStart start) { return starts[static_cast<size_t>(start)]; }
PromptLocation prompt_location_of(const std::string& name) {
  return find<PromptLocation>(locations, name, "prompt location");
}
PromptPooling prompt_pooling_of(const std::string& name) {
  return find<PromptPooling>(poolings, name, "prompt pooling");
}
PromptStart prompt_start_of(const std::string& name) {
  return find<PromptStart>(starts, name, "prompt init");
}

std::string variant_to_json(const PromptConfig& config) {
  std::map<std::string, std::string> j;
  if (config.location != PromptLocation::prepend) j["location"] = json_text(name_of(config.location));
  if (config.pooling != PromptPooling::backbone) j["pooling"] = json_text(name_of(config.pooling));
  if (config.first > 0) j["first"] = std::to_string(config.first);
  if (config.last > 0) j["last"] = std::to_string(config.last);
  if (config.shared) j["shared"] = json_boolean(true);
  if (config.start != PromptStart::random) j["init"] = json_text(name_of(config.start));
  return j.empty() ? "" : json_object(j);
}

void set_variant(PromptConfig& config, const std::string& json, const std::string& who) {
  const std::string where = who + ": the variant of its prompts";
  const Json all = Json::parse(json, 2, where);
  for (const auto& [key, value] : all.object()) {
    if (key == "location") {
      config.location = prompt_location_of(value.text());
    } else if (key == "pooling") {
      config.pooling = prompt_pooling_of(value.text());
    } else if (key == "init") {
      config.start = prompt_start_of(value.text());
    } else if (key == "shared") {
      config.shared = value.boolean();
    } else {
      check(key == "first" || key == "last", "{}: unknown {}", where, quote(key));
      (key == "first" ? config.first : config.last) = value.whole(0, 1 << 20);
    }
  }
}

}  // namespace vitrine
