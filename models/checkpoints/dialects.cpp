#include "models/checkpoints/dialects.h"

#include <algorithm>
#include <array>
#include <set>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

// Where `sign` begins in `name`, if it does so at a boundary.
std::optional<size_t> place_of(std::string_view sign, std::string_view name) {
  const size_t place = name.find(sign);
  if (place == std::string_view::npos) return std::nullopt;
  if (place == 0 || name[place - 1] == '.' || name[place - 1] == '/') return place;
  return std::nullopt;
}

// Of two nets trained together, the one that its authors publish.
constexpr std::array<std::string_view, 4> taken = {"teacher.", "base_encoder.", "vision_model.", "visual."};

}  // namespace

void overlay(Facts& facts, const Facts& more) {
  if (more.heads) facts.heads = more.heads;
  if (more.epsilon) facts.epsilon = more.epsilon;
  if (more.gelu) facts.gelu = more.gelu;
  if (!more.preprocess.empty()) facts.preprocess = more.preprocess;
  if (more.positions) facts.positions = more.positions;
}

std::span<const Dialect> dialects() {
  static const std::vector<Dialect> all = [] {
    std::vector<Dialect> list = swin_dialects();
    for (Dialect& dialect : vit_dialects()) list.push_back(std::move(dialect));
    return list;
  }();
  return all;
}

Spoken dialect_of(const Sources& names, const std::string& who) {
  for (const Dialect& dialect : dialects()) {
    std::set<std::string> prefixes;
    for (const auto& [name, source] : names)
      for (const std::string& sign : dialect.signs)
        if (const auto place = place_of(sign, name)) {
          prefixes.insert(name.substr(0, *place));
          break;  // a shorter sign may lie within a longer one
        }
    if (prefixes.empty()) continue;
    Spoken spoken{&dialect, *prefixes.begin(), {}};
    if (prefixes.size() > 1) {
      const auto best = std::find_if(prefixes.begin(), prefixes.end(), [](const std::string& prefix) {
        return std::any_of(taken.begin(), taken.end(),
                           [&](std::string_view word) { return place_of(word, prefix).has_value(); });
      });
      check(best != prefixes.end(), who, ": holds several backbones, ", quote(*prefixes.begin()), " and ",
            quote(*std::next(prefixes.begin())), "; keep one of them");
      spoken.prefix = *best;
      for (const std::string& prefix : prefixes)
        if (prefix != *best && !prefix.empty()) spoken.others.push_back(prefix);
    }
    return spoken;
  }
  return {};
}

}  // namespace vitrine
