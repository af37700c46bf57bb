// json_test.cpp: JSON as it is read and written, against nlohmann-json's own document.
#include "engine/json.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/check.h"

using namespace vitrine;

TEST_CASE(
    "json: numbers are written with the fewest digits, laid out as nlohmann-json does, and read back as the "
    "same") {
  const auto check_number = [](double number) {
    const std::string words = json_number(number), others = nlohmann::json(number).dump();
    CHECK(Json::parse(words, 1, "number").real() == number);
    CHECK(words.size() <= others.size());  // which now and then have a digit more than it takes
    if (words.size() == others.size()) CHECK(words.find_first_of(".e") == others.find_first_of(".e"));
  };
  std::vector<double> same{0.0,    -0.0,
                           1,      -1,
                           0.1,    1e-6,
                           1e-5,   1e-4,
                           0.001,  123456789012345,
                           1e15,   1e16,
                           5e-324, 1.7976931348623157e308};
  // Such as people choose for the epsilon of a norm: identities of backbones hash them.
  for (int digits = 1; digits < 100; ++digits)
    for (int power = -20; power <= 0; ++power)
      same.push_back(std::strtod(text("{}e{}", digits, power).c_str(), nullptr));
  for (const double number : same) {
    CHECK(json_number(number) == nlohmann::json(number).dump());
    check_number(number);
  }
  for (int digits = 1; digits < 1000; ++digits)
    for (int power = -20; power <= 20; ++power)
      check_number(std::strtod(text("{}e{}", digits, power).c_str(), nullptr));
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const auto number = std::bit_cast<double>(random());
    if (std::isfinite(number)) check_number(number);
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

namespace {

// A document with something of everything, as text.
std::string anything(std::mt19937_64& random, int depth) {
  const auto one_of = [&](std::vector<std::string> choices) { return choices[random() % choices.size()]; };
  const std::string space = one_of({"", "", "", " ", "\t\n\r "});
  if (depth == 0 || random() % 4 == 0)
    return space +
           one_of({"null",
                   "true",
                   "false",
                   "0",
                   "-0",
                   "-1",
                   "12",
                   "0.5",
                   "-2.25e-3",
                   "1E5",
                   "1e+2",
                   "123456789012345678",
                   "9223372036854775807",
                   "9223372036854775808",
                   "-9223372036854775808",
                   "-9223372036854775809",
                   "18446744073709551615",
                   "18446744073709551616",
                   "5e-324",
                   "1e-400",
                   "0.1",
                   R"("")",
                   R"("a b")",
                   R"("\"\\\/\b\f\n\r\t")",
                   R"("\u0041\u00e9\u20AC\ud83d\uDDBC")",
                   "\"\u00e9\u20ac\U0001f5bc\""}) +
           space;
  const bool object = random() % 2 == 0;
  std::string out = space + (object ? "{" : "[");
  const size_t count = random() % 4;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) out += ",";
    if (object)
      out += space + '"' + one_of({"a", "", "\\u0062", "\u00e9"}) + std::to_string(i) + '"' + space + ":";
    out += anything(random, depth - 1);
  }
  return out + (object ? "}" : "]") + space;
}

}  // namespace

TEST_CASE("json: what nlohmann-json's parser takes is taken, as the same, and nothing else") {
  std::mt19937_64 random(2);
  constexpr char bytes[] =
      "{}[]:,\"\\/ \t\n0123456789-+.eEntfu\x00\x01\x1f\x7f\x80\xbf\xc3\xa9\xe2\xed\xf0\xff";
  int taken = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string words = anything(random, 4);
    if (i % 4 == 1) words.insert(0, "\xef\xbb\xbf");     // a mark of the byte order
    for (int changes = i % 3; changes > 0; --changes) {  // replaced, inserted, removed
      const size_t at = random() % words.size();
      const char byte = bytes[random() % (sizeof bytes - 1)];
      words.replace(at, random() % 2, random() % 2, byte);
      if (words.empty()) words = " ";
    }
    // A NUL ends what nlohmann reads.
    const bool good = words.find('\0') == std::string::npos && nlohmann::json::accept(words);
    CAPTURE(words);
    (good ? taken : refused)++;
    const std::string said = refusal(words, 100);
    if (said.find("appears twice") != std::string::npos) continue;
    REQUIRE(said.empty() == good);
    if (good) REQUIRE(document(Json::parse(words, 100, "it")) == nlohmann::json::parse(words));
  }
  CHECK(taken > 5000);
  CHECK(refused > 5000);
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
  CHECK(refusal(std::string_view("1\0", 2)) == "it: is no JSON in UTF-8, by its byte 2");
  CHECK(refusal("\"\\udc00\"") == "it: is no JSON in UTF-8, by its byte 7");  // half a character
  CHECK(refusal("\"\\ud800\\u0041\"") == "it: is no JSON in UTF-8, by its byte 13");
  CHECK_THROWS_WITH_AS(Json::parse("[1, [2]]", 2, "it", 3), "it: has more than 3 values", Error);
  CHECK_NOTHROW(Json::parse("[1, [2]]", 2, "it", 4));
  // A long key over a long list: values of a list have its name, not a copy each.
  const Json wide = Json::parse(text("{\"{}\": [1, 2]}", std::string(1000, 'k')), 2, "it");
  const std::vector<Json>& list = wide.object().begin()->second.list();
  CHECK(&list[0].name() == &list[1].name());
  CHECK(list[0].name() == "it: " + std::string(1000, 'k'));
  const Json json = Json::parse(R"({"a": [1.5], "b": 7})", 2, "it");
  CHECK(json.at("b").whole(0, 7) == 7);
  CHECK_THROWS_WITH_AS(json.at("b").whole(0, 6), "it: b: expected a whole number of 0 to 6, got 7", Error);
  CHECK_THROWS_WITH_AS(json.at("a").list()[0].whole(), "it: a: expected a whole number, got 1.5", Error);
  CHECK_THROWS_WITH_AS(json.at("a").text(), "it: a: expected a text, got a list", Error);
  CHECK_THROWS_WITH_AS(json.at("c"), "it: missing key 'c'", Error);
  CHECK_THROWS_WITH_AS(json.at("b").object(), "it: b: expected a JSON object, got 7", Error);
}
