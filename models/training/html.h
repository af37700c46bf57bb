// html.h: pieces of a page. Whatever comes from outside (class names, paths, settings) passes `escaped` on its way in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vitrine::html {

// Words as HTML or SVG text or as the value of a quoted attribute: & < > " ' become entities; what is no UTF-8, control
// characters and what HTML does not allow become U+FFFD. Words may hold what turns the direction of text: put them into
// an element of their own (<bdi>, or an SVG <text>), where that ends.
std::string escaped(std::string_view words);

// At most `characters` characters (code points) of well-formed words, the last of them an ellipsis where some are left
// out; what is no UTF-8 becomes U+FFFD first. Not escaped.
std::string shortened(std::string_view words, size_t characters);
// How many characters (code points) that are.
size_t length_of(std::string_view words);

// Names in an element of their own, <bdi>, shortened to `characters`, with the whole name as its title if it was.
std::string name(std::string_view words, size_t characters = 60);

// The same of a path, of which the end tells more than the beginning.
std::string path(std::string_view words, size_t characters);

// Numbers, the same in every locale: 3.14 with so many digits behind the point; six digits at most, 0.00031 or 3.1e-05;
// "84.2 %" with a space that does not break; "1,234,567". What is not finite is a dash.
std::string fixed(double value, int digits);
std::string shortest(double value);
std::string rough(double value);  // two digits
std::string percent(double share);
std::string thousands(int64_t value);
// "1 image", "1,000 images"
std::string counted(int64_t value, std::string_view one);

// data:image/png;base64,...
std::string png_uri(std::span<const std::byte> png);

}  // namespace vitrine::html
