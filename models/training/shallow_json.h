// shallow_json.h: JSON that comes from outside, by people or by a file of an earlier run; private to models/training. Deep
// nesting would exhaust the stack of whoever prints it or lets it go.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/check.h"

namespace vitrine {

// An object that holds objects or lists at most `deepest` deep. Throws for anything else, beginning with `who`.
template <class Json>
Json shallow_object(std::string_view words, int deepest, const std::string& who) {
  Json json;
  try {
    json = Json::parse(words, [&](int depth, typename Json::parse_event_t, const Json&) {
      check(depth <= deepest, "{}: is nested too deeply", who);
      return true;
    });
  } catch (const nlohmann::json::parse_error& e) {
    fail(Fault::input, "{}: is no JSON in UTF-8, by its byte {}", who, e.byte);
  } catch (const nlohmann::json::exception&) {  // a number that is none
    fail(Fault::input, "{}: has a number that is too large", who);
  }
  check(json.is_object(), "{}: expected a JSON object", who);
  return json;
}

}  // namespace vitrine
