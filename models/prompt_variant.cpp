// prompt_variant.cpp: the paper's variants of prompts in words.
#include <array>
#include <nlohmann/json.hpp>

#include "engine/check.h"
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
    list += text(i > 0 ? ", " : "", names[i]);
  }
  fail(Fault::input, what, ": expected one of ", list, ", got ", quote(name));
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
  nlohmann::json j = nlohmann::json::object();
  if (config.location != PromptLocation::prepend) j["location"] = name_of(config.location);
  if (config.pooling != PromptPooling::backbone) j["pooling"] = name_of(config.pooling);
  if (config.first > 0) j["first"] = config.first;
  if (config.last > 0) j["last"] = config.last;
  if (config.shared) j["shared"] = true;
  if (config.start != PromptStart::random) j["init"] = name_of(config.start);
  return j.empty() ? "" : j.dump();
}

void set_variant(PromptConfig& config, const std::string& json, const std::string& who) {
  try {
    const nlohmann::json j =
        nlohmann::json::parse(json, [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
          check(depth <= 2, who, ": the variant of its prompts is nested too deeply");
          return true;
        });
    check(j.is_object(), who, ": the variant of its prompts: expected a JSON object");
    for (const auto& [key, value] : j.items()) {
      if (key == "location") {
        config.location = prompt_location_of(value.get<std::string>());
      } else if (key == "pooling") {
        config.pooling = prompt_pooling_of(value.get<std::string>());
      } else if (key == "init") {
        config.start = prompt_start_of(value.get<std::string>());
      } else if (key == "shared") {
        config.shared = value.get<bool>();
      } else {
        check(
            (key == "first" || key == "last") && value.is_number_integer() && value >= 0 && value <= 1 << 20,
            who, ": the variant of its prompts: unknown ", quote(key));
        (key == "first" ? config.first : config.last) = value.get<int64_t>();
      }
    }
  } catch (const nlohmann::json::exception& e) {
    fail(Fault::input, who, ": the variant of its prompts cannot be read: ", e.what());
  }
}

}  // namespace vitrine
