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

bool has_one_of(std::span<const std::string_view> words, std::string_view prefix) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return place_of(word, prefix).has_value(); });
}

// Of two nets trained together, the one that its authors publish; of a net and its average, the average.
constexpr std::array<std::string_view, 7> taken = {"teacher.",   "base_encoder.", "vision_model.", "visual.",
                                                   "ema_model.", "model_ema.",    "ema."};
// Those that see no pictures, whose blocks may have the names of another dialect.
constexpr std::array<std::string_view, 3> of_text = {"text.", "text_model.", "text_encoder."};

}  // namespace

void overlay(Facts& facts, const Facts& more) {
  if (more.heads) facts.heads = more.heads;
  if (more.epsilon) facts.epsilon = more.epsilon;
  if (more.gelu) facts.gelu = more.gelu;
  if (!more.preprocess.empty()) facts.preprocess = more.preprocess;
  if (more.positions) facts.positions = more.positions;
}

void add_heads_beside(Naming& naming) {
  for (const std::string head : {"head", "classifier", "fc"}) {
    // Some dialects have such a name themselves, or a reason to leave it out.
    if (!knows(naming, "trunk.", "/" + head + ".weight"))
      naming.rules.push_back({"//" + head + ".?", "head.?"});
    naming.ignored.push_back({"//" + head + ".**", "a head that is not one linear layer"});
  }
}

std::vector<Dialect> dialects() {
  std::vector<Dialect> list = swin_dialects();
  for (Dialect& dialect : vit_dialects()) list.push_back(std::move(dialect));
  for (Dialect& dialect : list) add_heads_beside(dialect.naming);
  return list;
}

bool is_optimizer_state(std::string_view name) {
  constexpr std::string_view weights = "target/";
  for (const std::string_view word : {"opt/", "optimizer/", "opt_state/"})
    if (const auto place = place_of(word, name))
      return !name.substr(*place + word.size()).starts_with(weights);
  return false;
}

Spoken dialect_of(const Sources& names, const std::string& who) {
  Spoken found;
  std::vector<std::string> several;
  for (const Dialect& dialect : dialects()) {
    std::set<std::string> prefixes;
    for (const auto& [name, source] : names)
      for (const std::string& sign : dialect.signs)
        if (const auto place = place_of(sign, name)) {
          const std::string prefix = name.substr(0, *place);
          if (!has_one_of(of_text, prefix) && !is_optimizer_state(prefix)) prefixes.insert(prefix);
          break;  // a shorter sign may lie within a longer one
        }
    if (prefixes.empty()) continue;
    const auto best = std::find_if(prefixes.begin(), prefixes.end(),
                                   [](const std::string& prefix) { return has_one_of(taken, prefix); });
    // The tower for text may have another dialect, and stand at the front of its names.
    if (best == prefixes.end() && found.dialect) continue;
    found = {dialect, best == prefixes.end() ? *prefixes.begin() : *best, {}};
    for (const std::string& prefix : prefixes)
      if (prefix != found.prefix && !prefix.empty()) found.others.push_back(prefix);
    several.clear();
    if (best != prefixes.end()) return found;
    several.assign(prefixes.begin(), prefixes.end());
  }
  check(several.size() < 2, "{}: holds several backbones, {} and {}; keep one of them", who,
        quote(several.empty() ? "" : several[0]), quote(several.size() < 2 ? "" : several[1]));
  return found;
}

}  // namespace vitrine
