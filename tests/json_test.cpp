// json_test.cpp: JSON as it is read and written, against nlohmann-json's own document.
#include "engine/json.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/check.h"

using namespace vitrine;

TEST_CASE("json: numbers are written as nlohmann-json writes them, and read back as the same") {
  std::vector<double> numbers{0.0,    -0.0,
                              1,      -1,
                              0.1,    1e-6,
                              1e-5,   1e-4,
                              0.001,  123456789012345,
                              1e15,   1e16,
                              5e-324, 1.7976931348623157e308};
  for (int digits = 1; digits < 1000; ++digits)  // such as people choose
    for (int power = -20; power <= 20; ++power)
      numbers.push_back(std::strtod(text(digits, "e", power).c_str(), nullptr));
  for (const double number : numbers) CHECK(json_number(number) == nlohmann::json(number).dump());
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const auto number = std::bit_cast<double>(random());
    if (!std::isfinite(number)) continue;
    CHECK(json_number(number) == nlohmann::json(number).dump());
    CHECK(Json::parse(json_number(number), 1, "number").real() == number);
  }
  CHECK_THROWS_AS(json_number(INFINITY), Error);
}

TEST_CASE("json: texts are written as nlohmann-json writes them, and read back as the same") {
  std::string words;
  for (int c = 1; c < 0x80; ++c) words += static_cast<char>(c);
  words += "\u00e9\u2028\U0001f5bc";
  CHECK(json_text(words) == nlohmann::json(words).dump());
  CHECK(Json::parse(json_text(words), 0, "text").text() == words);
  CHECK_THROWS_WITH_AS(json_text("\xff"), "json: expected UTF-8, got '\\xff'", Error);
  const std::vector<std::string> texts{"a", "b\"c"};
  CHECK(json_list(texts) == nlohmann::json(texts).dump());
  CHECK(json_list(std::vector<int64_t>{1, -2}) == "[1,-2]");
  CHECK(json_object({{"b", "1"}, {"a", json_boolean(true)}}) == nlohmann::json{{"a", true}, {"b", 1}}.dump());
}

namespace {

// The tree as nlohmann's document.
nlohmann::json document(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::null:
      return nullptr;
    case Json::Kind::boolean:
      return json.boolean();
    case Json::Kind::whole:
      return json.whole();
    case Json::Kind::real:
      return json.real();
    case Json::Kind::text:
      return json.text();
    case Json::Kind::list: {
      nlohmann::json out = nlohmann::json::array();
      for (const Json& item : json.list()) out.push_back(document(item));
      return out;
    }
    case Json::Kind::object: {
      nlohmann::json out = nlohmann::json::object();
      for (const auto& [key, value] : json.object()) out[key] = document(value);
      return out;
    }
  }
  return {};
}

std::string refusal(std::string_view words, int deepest = 3) {
  try {
    Json::parse(words, deepest, "it");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("json: a tree holds what the document holds") {
  const std::string words =
      R"({"a": [1, -2, 2.5, 1e3, true, null, "x"], "b": {"c": [], "d": {}}, "e": 18446744073709551615, "": ""})";
  CHECK(document(Json::parse(words, 3, "it")) == nlohmann::json::parse(words));
}

TEST_CASE("json: what is wrong is named") {
  CHECK(refusal("[[[1]]]").empty());
  CHECK(refusal("[[[[1]]]]") == "it: is nested too deeply");
  CHECK(refusal(std::string(100000, '[')) == "it: is nested too deeply");
  CHECK(refusal(R"({"a": 1, "a": 2})") == "it: key 'a' appears twice");
  CHECK(refusal(R"({"a": 1,})") == "it: is no JSON in UTF-8, by its byte 9");
  CHECK(refusal("1e999") == "it: is no JSON in UTF-8, by its byte 5");
  CHECK(refusal("\"\xff\"").starts_with("it: is no JSON in UTF-8"));
  CHECK(refusal("").starts_with("it: is no JSON in UTF-8"));
  CHECK(refusal(std::string_view("1\0", 2)) == "it: holds a NUL");
  const Json json = Json::parse(R"({"a": [1.5], "b": 7})", 2, "it");
  CHECK(json.at("b").whole(0, 7) == 7);
  CHECK_THROWS_WITH_AS(json.at("b").whole(0, 6), "it: b: expected a whole number of 0 to 6, got 7", Error);
  CHECK_THROWS_WITH_AS(json.at("a").list()[0].whole(), "it: a: expected a whole number, got 1.5", Error);
  CHECK_THROWS_WITH_AS(json.at("a").text(), "it: a: expected a text, got a list", Error);
  CHECK_THROWS_WITH_AS(json.at("c"), "it: missing key 'c'", Error);
  CHECK_THROWS_WITH_AS(json.at("b").object(), "it: b: expected a JSON object, got 7", Error);
}
