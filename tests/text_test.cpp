// text_test.cpp: quoting and guessing for error messages.
#include "engine/text.h"

#include <doctest/doctest.h>

#include <vector>

using namespace vitrine;

TEST_CASE("text: quoted words are printable and short") {
  CHECK(quote("blocks.0") == "'blocks.0'");
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
