// config_json.h: what the readers of model configurations share. Private to models/.
#pragma once

#include <string>

#include "engine/check.h"
#include "engine/json.h"
#include "engine/text.h"
#include "models/swin.h"
#include "models/vit.h"

namespace vitrine {

inline constexpr const char* gelu_names[] = {"erf", "tanh", "quick"};

// The place of `name` among `names`; throws if it is not there.
template <size_t N>
int name_place(const char* const (&names)[N], const std::string& name, const char* what) {
  for (size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<int>(i);
  fail(Fault::input, "config: unknown {} {}", what, quote(name));
}

// A whole number from 0 to 2^24.
inline int64_t whole_number(const Json& value) { return value.whole(0, 1 << 24); }

// Throw for keys that are missing and for values that make no sense.
VitConfig vit_config_from_json(const Json& json);
SwinConfig swin_config_from_json(const Json& json);

}  // namespace vitrine
