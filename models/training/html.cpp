#include "models/training/html.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine::html {

namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd", ellipsis = "\xe2\x80\xa6", dash = "\xe2\x80\x93";

// The bytes of the character that the (not empty) words begin with; 0: none that is well-formed.
size_t first_character(std::string_view words) {
  for (size_t bytes = 1; bytes <= std::min<size_t>(4, words.size()); ++bytes)
    if (is_utf8(words.substr(0, bytes))) return bytes;
  return 0;
}

// What HTML's parser calls an error: controls but for white space, and noncharacters.
bool is_allowed(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) >= 0x20 ? byte(0) != 0x7f : byte(0) == '\t' || byte(0) == '\n';
  if (character.size() == 2) return byte(0) != 0xc2 || byte(1) >= 0xa0;  // U+0080 to U+009F
  if (character.size() == 3) {
    const bool last_two = byte(0) == 0xef && byte(1) == 0xbf && byte(2) >= 0xbe;  // U+FFFE, U+FFFF
    const bool arabic =
        byte(0) == 0xef && byte(1) == 0xb7 && byte(2) >= 0x90 && byte(2) <= 0xaf;  // U+FDD0 ...
    return !last_two && !arabic;
  }
  return (byte(1) & 0x0f) != 0x0f || byte(2) != 0xbf || byte(3) < 0xbe;  // U+1FFFE and its like
}

// Calls f with each character that a page may hold.
template <class F>
void each_character(std::string_view words, F&& f) {
  while (!words.empty()) {
    const size_t bytes = first_character(words);
    const std::string_view character = words.substr(0, std::max<size_t>(bytes, 1));
    f(bytes > 0 && is_allowed(character) ? character : replacement);
    words.remove_prefix(character.size());
  }
}

std::string written(double value, std::chars_format format, int digits) {
  std::array<char, 400> out;
  const auto [end, problem] = std::to_chars(out.data(), out.data() + out.size(), value, format, digits);
  return problem == std::errc{} ? std::string(out.data(), end) : std::string(dash);
}

}  // namespace

std::string escaped(std::string_view words) {
  std::string out;
  each_character(words, [&](std::string_view character) {
    switch (character[0]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += character;
    }
  });
  return out;
}

size_t length_of(std::string_view words) {
  size_t count = 0;
  each_character(words, [&](std::string_view) { ++count; });
  return count;
}

std::string shortened(std::string_view words, size_t characters) {
  check(characters > 0, "html: cannot shorten words to nothing");
  const bool fits = length_of(words) <= characters;
  std::string out;
  size_t count = 0;
  each_character(words, [&](std::string_view character) {
    if (fits || ++count < characters) out += character;
  });
  if (!fits) out += ellipsis;
  return out;
}

std::string name(std::string_view words, size_t characters) {
  if (words.empty()) return "<i>no name</i>";
  if (length_of(words) <= characters) return text("<bdi>{}</bdi>", escaped(words));
  return text("<bdi title=\"{}\">{}</bdi>", escaped(words.substr(0, 4000)),
              escaped(shortened(words, characters)));
}

std::string path(std::string_view words, size_t characters) {
  const size_t length = length_of(words);
  if (length <= characters) return name(words, characters);
  std::string end(ellipsis);
  size_t count = 0;
  each_character(words, [&](std::string_view character) {
    if (++count > length - characters + 1) end += character;
  });
  return text("<bdi title=\"{}\">{}</bdi>", escaped(words.substr(0, 4000)), escaped(end));
}

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return std::string(dash);
  const std::string out = written(value, std::chars_format::fixed, digits);
  const bool zero = out.find_first_not_of("-0.") == std::string::npos;
  return zero && out[0] == '-' ? out.substr(1) : out;
}

std::string shortest(double value) {
  if (!std::isfinite(value)) return std::string(dash);
  return written(value, std::chars_format::general, 6);
}

std::string rough(double value) {
  if (!std::isfinite(value)) return std::string(dash);
  return written(value, std::chars_format::general, 2);
}

std::string percent(double share) {
  const double value = 100 * share;
  const int digits = value != 0 && std::abs(value) < 1 ? 2 : 1;
  return fixed(value, digits) + "\xc2\xa0%";
}

std::string thousands(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > (value < 0 ? size_t{4} : size_t{3}); i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string counted(int64_t value, std::string_view one) {
  return text("{} {}{}", thousands(value), one, value == 1 ? "" : "s");
}

std::string png_uri(std::span<const std::byte> png) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:image/png;base64,";
  out.reserve(out.size() + (png.size() + 2) / 3 * 4);
  for (size_t i = 0; i < png.size(); i += 3) {
    const size_t there = std::min<size_t>(3, png.size() - i);
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k) three = three << 8 | (k < there ? static_cast<uint32_t>(png[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= there ? letters[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace vitrine::html
