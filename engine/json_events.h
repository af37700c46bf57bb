// json_events.h: nlohmann's parser by its events, for readers inside the engine. It is no public header.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace vitrine {

// One function for all readers, so that there is one parser in a program. The words must hold no NUL, which nlohmann's
// lexer takes for their end.
void read_json(std::string_view words, nlohmann::json_sax<nlohmann::json>& reader);

}  // namespace vitrine
