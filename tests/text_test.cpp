// text_test.cpp: quoting and guessing for error messages.
#include "engine/text.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "engine/check.h"

using namespace vitrine;

TEST_CASE("text: quoted words are printable and short") {
  CHECK(quote("blocks.0") == "'blocks.0'");
  const std::vector<std::string> words{"a", "b", "c"};
  CHECK(listed(words) == "a, b and c");
  CHECK(listed(std::span(words).first(2), "or") == "a or b");
  CHECK(listed(std::span(words).first(1)) == "a");
  CHECK(listed({}).empty());
  CHECK(quote("") == "''");
  CHECK(quote(std::string_view("a\x1b[2J\0", 6)) == "'a\\x1b[2J\\x00'");
  CHECK(quote(std::string(1000, 'x')) == "'" + std::string(120, 'x') + "...'");
  // A character of two bytes across the cut is left out whole.
  CHECK(quote(std::string(119, 'x') + "\xc3\xa9" + "y") == "'" + std::string(119, 'x') + "...'");
}

TEST_CASE("text: edit distance counts insertions, removals, replacements and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("sunday", "saturday") == 3);
  CHECK(edit_distance("prmopts", "prompts") == 1);
  CHECK(edit_distance("ca", "abc") == 3);  // a swapped pair is not edited again
}

TEST_CASE("text: the nearest name, if one is near") {
  const std::vector<std::string_view> options = {"--prompts", "--epochs", "--learning-rate", "--seed"};
  CHECK(nearest("--promtps", options) == "--prompts");
  CHECK(nearest("--epoch", options) == "--epochs");
  CHECK(nearest("--seed", options) == "--seed");
  CHECK(nearest("--quite-another-thing", options) == "");
  CHECK(nearest("", options) == "");
  CHECK(nearest("--seed", {}) == "");
  const std::vector<std::string_view> equals = {"ac", "ab"};
  CHECK(nearest("a", equals) == "ac");
}

namespace {

// A code point in `length` bytes as UTF-8 spreads the bits, whether it may be so long or not.
std::string spread(uint32_t point, int length) {
  if (length == 1) return {static_cast<char>(point)};
  constexpr uint32_t starts[] = {0, 0, 0xc0, 0xe0, 0xf0, 0xf8};
  std::string out(1, static_cast<char>(starts[length] | (point >> 6 * (length - 1))));
  for (int i = length - 2; i >= 0; --i) out += static_cast<char>(0x80 | (point >> 6 * i & 0x3f));
  return out;
}

}  // namespace

TEST_CASE("text: UTF-8 is each code point in its shortest form, and nothing else") {
  CHECK(is_utf8(""));
  CHECK(is_utf8(std::string_view("a\0b", 3)));
  int wrong = 0;
  for (uint32_t point = 0; point < 0x200000; ++point) {
    const int shortest = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    const bool exists = point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
    const std::string character = spread(point, shortest);
    wrong += is_utf8(character) != exists;
    wrong += is_utf8("x" + character + "y") != exists;
    if (point % 97 != 0 && point > 0x3000) continue;  // the rest in samples
    for (int length = shortest + 1; length <= 5; ++length) wrong += is_utf8(spread(point, length));
    for (int length = 1; length < shortest; ++length) {
      wrong += is_utf8(character.substr(0, static_cast<size_t>(length)));
      wrong += is_utf8(character.substr(0, static_cast<size_t>(length)) + "y");
      wrong += is_utf8(character.substr(static_cast<size_t>(length)));
    }
  }
  CHECK(wrong == 0);
  CHECK_FALSE(is_utf8("caf\xe9"));  // Latin-1
  for (int byte = 0xf5; byte <= 0xff; ++byte)
    CHECK_FALSE(is_utf8(std::string(1, static_cast<char>(byte)) + "\x80\x80\x80"));
}

TEST_CASE("text: bytes that are no UTF-8 are quoted by their numbers") {
  CHECK(quote("caf\xe9 \xc3\xa9") == "'caf\\xe9 \xc3\xa9'");
  CHECK(quote("\xed\xa0\x80\xf0\x9f\x98\x80\xf0\x9f") == "'\\xed\\xa0\\x80\xf0\x9f\x98\x80\\xf0\\x9f'");
  // Later bytes alone do not draw the cut back to the beginning.
  CHECK(quote(std::string(200, '\x80')).size() > 4 * 100);
}

TEST_CASE("text: a null pointer in a sentence is told as such") {
  const char* reason = nullptr;
  CHECK(text("stb: {}, so", reason) == "stb: (null), so");
}
