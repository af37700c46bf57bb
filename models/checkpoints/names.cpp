#include "models/checkpoints/names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <set>
#include <utility>

#include "engine/text.h"
#include "models/checkpoints/layouts.h"

namespace vitrine {

namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

std::string_view as_seen(std::string_view pattern, const std::string& prefix) {
  if (pattern.starts_with("//")) return prefix.empty() ? pattern : pattern.substr(1);
  return prefix.empty() && pattern.starts_with('/') && pattern != "/**" ? pattern.substr(1) : pattern;
}

std::string original_name(const std::string& name, const std::string& prefix) {
  return name.starts_with('/') ? name.substr(1) : prefix + name;
}

struct Part {
  const NameRule* rule;
  std::string original;
  Tensor tensor;
};

// What the tensor may have been meant to be: the patterns with the numbers that its name has.
std::string nearest_name(const Naming& naming, const std::string& prefix, const std::string& name) {
  Match numbers;
  for (size_t i = 0; i < name.size();) {
    if (!digit(name[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < name.size() && digit(name[end])) ++end;
    numbers.numbers.push_back(name.substr(i, end - i));
    i = end;
  }
  std::vector<std::string> known;
  for (const NameRule& rule : naming.rules) {
    const std::string_view from = as_seen(rule.from, prefix);
    if (from.starts_with("//")) continue;
    for (const char* ending : {"weight", "bias"}) {
      numbers.ending = ending;
      known.push_back(original_name(instantiate(from, numbers), prefix));
    }
  }
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  return nearest(original_name(name, prefix), candidates);
}

// Of nets that cannot be built here, by what their names alone have.
std::string whose(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, const char*>, 7> signs{
      {{"lora_", "it is of a LoRA adapter: merge it into its net before"},
       {"cpb_mlp", "it is of a Swin v2, which cannot be built here"},
       {"attn.logit_scale", "it is of a Swin v2, which cannot be built here"},
       {"attn.q_norm", "it is of a net that norms queries and keys, which cannot be built here"},
       {"attn.k_norm", "it is of a net that norms queries and keys, which cannot be built here"},
       {"patch_embed.backbone", "it is of a ViT behind a convolutional net, which cannot be built here"},
       {"patch_embed.proj.0", "it is of a ViT with a convolutional stem, which cannot be built here"}}};
  for (const auto& [sign, words] : signs)
    if (name.find(sign) != std::string_view::npos) return words;
  return {};
}

}  // namespace

bool knows(const Naming& naming, const std::string& prefix, std::string_view name) {
  const auto fits = [&](const auto& entry) { return matches(as_seen(entry.from, prefix), name); };
  return std::any_of(naming.rules.begin(), naming.rules.end(), fits) ||
         std::any_of(naming.ignored.begin(), naming.ignored.end(), fits);
}

bool matches(std::string_view pattern, std::string_view name, Match* match) {
  Match found;
  while (!pattern.empty()) {
    if (pattern == "**") {
      name = {};
      pattern = {};
      break;
    }
    if (pattern == "?") {
      if (name != "weight" && name != "bias") return false;
      found.ending = name;
      name = {};
      pattern = {};
      break;
    }
    if (pattern[0] == '*' || pattern[0] == '#') {
      size_t end = 0;
      while (end < name.size() && digit(name[end])) ++end;
      if (end == 0 || end > 4) return false;
      if (pattern[0] == '*') found.numbers.emplace_back(name.substr(0, end));
      name.remove_prefix(end);
    } else {
      if (name.empty() || name[0] != pattern[0]) return false;
      name.remove_prefix(1);
    }
    pattern.remove_prefix(1);
  }
  if (!name.empty()) return false;
  if (match) *match = std::move(found);
  return true;
}

std::string instantiate(std::string_view pattern, const Match& match) {
  std::string out;
  size_t number = 0;
  for (const char c : pattern) {
    if (c == '*')
      out += number < match.numbers.size() ? match.numbers[number++] : "0";
    else if (c == '#')
      out += '0';
    else if (c == '?')
      out += match.ending.empty() ? "weight" : match.ending;
    else
      out += c;
  }
  return out;
}

Renamed rename(const Naming& naming, Sources& sources, const std::string& prefix, const std::string& who) {
  std::map<std::string, std::vector<Part>> parts;  // of each canonical tensor
  Renamed out;
  for (auto& [name, source] : sources) {
    const std::string speaker = text("{}: tensor {}", who, quote(source.original));
    bool known = false;
    for (const NameRule& rule : naming.rules) {
      Match match;
      if (!matches(as_seen(rule.from, prefix), name, &match)) continue;
      known = true;
      check(source.unreadable.empty(), "{}: cannot read tensor {}: {}", who, quote(source.original),
            source.unreadable);
      const std::string to = instantiate(rule.to, match);
      std::vector<Part>& beside = parts[to];
      for (const Part& other : beside)
        check(other.rule->parts == rule.parts && other.rule->part != rule.part, "{} and {} are both {}",
              speaker, quote(other.original), quote(to));
      beside.push_back({&rule, source.original, source.tensor});
    }
    if (known) {
      source.tensor = {};
      continue;
    }
    const auto ignored =
        std::find_if(naming.ignored.begin(), naming.ignored.end(),
                     [&, &name = name](const Ignored& i) { return matches(as_seen(i.from, prefix), name); });
    if (ignored != naming.ignored.end()) {
      out.left_out.push_back({source.original, ignored->reason});
      continue;
    }
    if (source.is_object) {
      out.left_out.push_back({source.original, source.unreadable});
      continue;
    }
    // Where the net has a name of its own, what stands outside is something else: of a loss, of a measure.
    if (name.starts_with('/')) {
      out.left_out.push_back({source.original, "stands beside the net"});
      continue;
    }
    const std::string guess = nearest_name(naming, prefix, name), foreign = whose(name);
    fail(Fault::input, "{} belongs to no {}{}", speaker, naming.title,
         !foreign.empty() ? "; " + foreign
         : guess.empty()  ? ""
                          : "; nearest: " + guess);
  }
  for (auto& [to, found] : parts) {
    std::sort(found.begin(), found.end(),
              [](const Part& a, const Part& b) { return a.rule->part < b.rule->part; });
    const int expected = found[0].rule->parts;
    if (static_cast<int>(found.size()) < expected) {
      // Which part is missing, by the name that the rule beside the one at hand gives it.
      int missing = 0;
      while (missing < static_cast<int>(found.size()) && found[missing].rule->part == missing) ++missing;
      const NameRule* beside = found[0].rule;
      const auto first = static_cast<size_t>(beside - naming.rules.data());
      Match match;
      matches(beside->to, to, &match);
      const NameRule& rule = naming.rules.at(first - beside->part + missing);
      fail(Fault::input, "{}: expected tensor {} beside {}, got none", who,
           quote(original_name(instantiate(as_seen(rule.from, prefix), match), prefix)),
           quote(found[0].original));
    }
    // One canonical tensor after the other, so that there is hardly more than one copy of them all.
    std::vector<Piece> pieces;
    for (Part& part : found)
      pieces.push_back({std::exchange(part.tensor, {}), part.rule->form,
                        text("{}: tensor {}", who, quote(part.original))});
    out.origin[to] = found[0].original;
    if (pieces.size() > 1) {
      out.tensors[to] = stacked(std::move(pieces));
      continue;
    }
    const Piece& only = pieces[0];
    const Tensor& tensor = out.tensors[to] = laid_out(only.tensor, only.form, only.who).seal();
    if (!tensor.shares_block_with(only.tensor)) only.tensor.set_aside();
  }
  return out;
}

std::string source_name(const Naming& naming, const Sources& sources, const std::string& prefix,
                        const std::string& canonical) {
  std::string first;
  for (const NameRule& rule : naming.rules) {
    Match match;
    if (!matches(rule.to, canonical, &match)) continue;
    const std::string_view from = as_seen(rule.from, prefix);
    if (from.starts_with("//")) continue;
    std::string name = original_name(instantiate(from, match), prefix);
    // A table may hold older and newer names: those that the file has elsewhere are its own.
    if (std::any_of(sources.begin(), sources.end(), [&](const auto& s) { return matches(from, s.first); }))
      return name;
    if (first.empty()) first = name;
  }
  return first;
}

}  // namespace vitrine
