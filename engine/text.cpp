#include "engine/text.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace vitrine {

size_t character_length(std::string_view words) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(words[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;  // a later byte, an overlong form, beyond U+10FFFF
  const size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (words.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // After these four, the second byte tells overlong forms, surrogates and what is beyond U+10FFFF.
  const unsigned char second = byte(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

bool is_utf8(std::string_view words) {
  while (!words.empty()) {
    const size_t length = character_length(words);
    if (length == 0) return false;
    words.remove_prefix(length);
  }
  return true;
}

std::string quote(std::string_view words) {
  constexpr size_t longest = 120;
  const bool cut = words.size() > longest;
  if (cut) {
    size_t end = longest;  // not inside a character, none of which has more than three later bytes
    while (end > longest - 3 && (static_cast<unsigned char>(words[end]) & 0xc0) == 0x80) --end;
    words = words.substr(0, end);
  }
  std::string out = "'";
  while (!words.empty()) {
    const auto byte = static_cast<unsigned char>(words[0]);
    const size_t length = character_length(words);
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    } else {
      out += words.substr(0, length);
    }
    words.remove_prefix(std::max<size_t>(length, 1));
  }
  return out + (cut ? "...'" : "'");
}

std::string listed(std::span<const std::string> words, std::string_view last) {
  std::string all;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) all += i + 1 == words.size() ? " " + std::string(last) + " " : ", ";
    all += words[i];
  }
  return all;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  // Row i holds the distances from the first i characters of `a` to every beginning of `b`.
  std::vector<size_t> before_previous(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) current[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_previous, previous);
    std::swap(previous, current);
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = previous[j - 1] + (a[i - 1] != b[j - 1]);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before_previous[j - 2] + 1);
      }
    }
  }
  return current[b.size()];
}

std::string nearest(std::string_view wanted, std::span<const std::string_view> candidates) {
  const size_t tolerance = std::max<size_t>(1, wanted.size() / 3);
  size_t best_distance = tolerance + 1;
  std::string_view best;
  for (const std::string_view candidate : candidates.first(std::min<size_t>(candidates.size(), 10000))) {
    const size_t longer = std::max(candidate.size(), wanted.size());
    const size_t shorter = std::min(candidate.size(), wanted.size());
    if (longer - shorter >= best_distance) continue;
    const size_t distance = edit_distance(wanted, candidate);
    if (distance < best_distance) best_distance = distance, best = candidate;
  }
  return std::string(best);
}

}  // namespace vitrine
