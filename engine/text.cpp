#include "engine/text.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace vitrine {

std::string quote(std::string_view words) {
  constexpr size_t longest = 120;
  const bool cut = words.size() > longest;
  if (cut) {
    size_t end = longest;
    // not inside a character
    while (end > 0 && (static_cast<unsigned char>(words[end]) & 0xc0) == 0x80) --end;
    words = words.substr(0, end);
  }
  std::string out = "'";
  for (const char character : words) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    } else {
      out += character;
    }
  }
  return out + (cut ? "...'" : "'");
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
