// names.h: how a dialect's tensors become canonical ones: a table of names and layouts, and what applies it.
//
// Canonical are timm's names for a ViT (models/vit.h) and the authors' for a Swin (models/swin.h), with PyTorch's
// layouts: matrices (out, in), the patch projection (D, 3, p, p), attention's queries, keys and values as the rows
// of one matrix (3 D, D).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.h"

namespace vitrine {

// How the elements of a tensor lie in a dialect, seen from the canonical layout.
enum class Form {
  same,
  matrix,          // (in, out) -> (out, in)
  filters,         // (p, p, 3, D) -> (D, 3, p, p)
  patch,           // (D, 3, p, p) as it is, (D, 3 p p) -> (D, 3, p, p)
  heads_in,        // (D, h, hd) -> (h hd, D)
  heads_bias,      // (h, hd) -> (h hd)
  heads_out,       // (h, hd, D) -> (D, h hd)
  token,           // (D), (R, D) or (1, R, D) -> (1, R, D)
  first_third,     // of the rows: (3 D, ...) -> (D, ...)
  last_two_thirds  // (3 D, ...) -> (2 D, ...)
};

// The tensors named `from` become those named `to`. In both, `*` stands for a number (the first of `to` is the first of
// `from`), a last `?` for "weight" or "bias"; in `from`, `#` is a number that `to` does without. A leading `/` is a name
// outside of the prefix that the other names have in common: "/classifier.?" beside "vit.layernorm.?". If there is no
// prefix, "/classifier.?" is "classifier.?", and nothing is outside for "/**" or for a name with `//` in front.
// With `parts` > 1 the tensor is one of several that are put below each other, in the order of `part`.
struct NameRule {
  std::string from, to;
  Form form = Form::same;
  int part = 0, parts = 1;
};

// Tensors that a ViT or Swin does without, and why. A last `**` stands for anything.
struct Ignored {
  std::string from;
  std::string reason;
};

struct Naming {
  std::string title;  // "a ViT in Hugging Face's names"
  std::vector<NameRule> rules;
  std::vector<Ignored> ignored;
};

// A tensor under the name by which rules know it, with the one it has in the file.
struct Source {
  std::string original;
  Shape shape;
  Tensor tensor;  // undefined once it was renamed
  // Why the file's reader has no such tensor; and whether it is none because it is no array of numbers.
  std::string unreadable{};
  bool is_object = false;
};
// Names inside of the prefix are without it; the others begin with '/', unless there is no prefix.
using Sources = std::map<std::string, Source>;

struct LeftOut {
  std::string name, reason;
};

struct Renamed {
  std::map<std::string, Tensor> tensors;      // canonical, sealed
  std::map<std::string, std::string> origin;  // canonical name -> name in the file (of several, the first)
  std::vector<LeftOut> left_out;
};

// Applies the table and lets go of the tensors that are laid out anew, so that there is hardly more than one copy of
// them. Throws, naming the tensor as the file does and the nearest name, if one is left over that the table
// does not know, if two become the same one, if a part is missing or of another shape or type than the others, if a shape
// is not as the form has it, or if one that the table knows could not be read. Objects that it does not know are left out.
Renamed rename(const Naming& naming, Sources& sources, const std::string& prefix, const std::string& who);

// The name that a canonical tensor would have in this file; empty if the table has none.
std::string source_name(const Naming& naming, const Sources& sources, const std::string& prefix,
                        const std::string& canonical);

// Whether the table has a place, or a reason to leave it out, for this name as rules see it.
bool knows(const Naming& naming, const std::string& prefix, std::string_view name);

// Whether `name` is one of those that `pattern` stands for; the numbers and the ending at its places.
struct Match {
  std::vector<std::string> numbers;  // of `*`
  std::string ending;                // of `?`
};
bool matches(std::string_view pattern, std::string_view name, Match* match = nullptr);
std::string instantiate(std::string_view pattern, const Match& match);

}  // namespace vitrine
