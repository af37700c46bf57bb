// hub_fields.h: fields of a config.json, read with errors that name them; for hub_config.cpp and timm_config.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "engine/check.h"
#include "engine/text.h"
#include "models/training/pretrained.h"

namespace vitrine {

// A word, or `otherwise` if the field is not there; without one it must be.
inline std::string word(const nlohmann::json& object, const char* key, const std::string& who,
                        const std::optional<std::string>& otherwise = {}) {
  const auto found = object.find(key);
  if (found == object.end() && otherwise) return *otherwise;
  check(found != object.end() && found->is_string(), "{}: {}: expected a name, got {}", who, key,
        found == object.end() ? "none" : quote(found->dump()));
  return found->get<std::string>();
}

inline int64_t whole(const nlohmann::json& value, const char* key, const std::string& who) {
  check(value.is_number_integer() && value > 0 && value <= 1 << 30,
        "{}: {}: expected a positive whole number, got {}", who, key, quote(value.dump()));
  return value.get<int64_t>();
}

// The side of a square: n, or [n, n].
inline int64_t side(const nlohmann::json& value, const char* key, const std::string& who) {
  if (!value.is_array()) return whole(value, key, who);
  check(value.size() == 2 && value[0] == value[1], "{}: {} is {}, but only squares are known", who, key,
        quote(value.dump()));
  return whole(value[0], key, who);
}

// What timm's config.json tells; throws, beginning with `who`.
HubConfig timm_config_from(const nlohmann::json& all, const std::string& who);

// Whether timm has a ViT of this architecture that can be built here: the attention and the blocks of the first one.
bool is_timm_vit(const std::string& architecture);
// Whether it is one of the first version of its Swins.
bool is_timm_swin(const std::string& architecture);

}  // namespace vitrine
