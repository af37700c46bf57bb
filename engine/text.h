// text.h: words for error messages: quoting what came from outside, and guessing what was meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vitrine {

// Whether all of `words` is well-formed UTF-8 (Unicode, table 3-7): no overlong forms, no surrogates, nothing
// beyond U+10FFFF, no character cut off. JSON can hold no other text.
bool is_utf8(std::string_view words);

// The bytes of the well-formed UTF-8 character that `words`, which is not empty, begins with; 0 if with none.
size_t character_length(std::string_view words);

// 'words', fit to be printed: control characters and bytes that are no UTF-8 become \x1b, \xe9 and the like,
// and a long text is cut short with "...".
std::string quote(std::string_view words);

// "a, b and c", with "and" or another word.
std::string listed(std::span<const std::string> words, std::string_view last = "and");

// The least number of characters to insert, remove, replace or swap with their neighbour that turns `a` into
// `b` (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `wanted` by edit distance, the first of equals; empty if none is within a third of
// the length of `wanted` (at least one edit). Looks at no more than the first 10,000 candidates.
std::string nearest(std::string_view wanted, std::span<const std::string_view> candidates);

}  // namespace vitrine
