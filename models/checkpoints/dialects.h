// dialects.h: the names that the programs of this world give to the weights of a ViT or a Swin, a table for each, and how
// a file tells which one it speaks. docs/checkpoints.md lists them for users.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/checkpoints/names.h"
#include "models/checkpoints/position.h"
#include "nn/layers.h"

namespace vitrine {

// What shapes cannot tell of a backbone. What is absent is not known.
struct Facts {
  std::optional<int64_t> heads{};   // of a ViT
  std::optional<double> epsilon{};  // of all layer norms
  std::optional<Gelu> gelu{};
  std::string preprocess{};  // how its pictures were prepared: a name of data/preprocess.h, or ""
  // How its own program resamples position embeddings.
  std::optional<PositionFilter> positions{};
};

struct Dialect {
  std::string name;  // "timm"
  bool swin = false;
  std::vector<std::string>
      signs;  // a file speaks it if a name has one of these at its beginning or behind '.' or '/'
  Naming naming;
  Facts facts;  // true of every file that speaks it
};

// All that there are; the first whose sign a file has is its own. Made anew for each call: a table that stayed would lie in
// the memory of whichever host asked first.
std::vector<Dialect> dialects();

// All that `more` knows goes before what is there.
void overlay(Facts& facts, const Facts& more);

// Adds the classifiers that people put beside a trunk which they keep under a name of its own: head, classifier, fc. What
// is no single linear layer is left out.
void add_heads_beside(Naming& naming);

// In vit_names.cpp and swin_names.cpp.
std::vector<Dialect> vit_dialects();
std::vector<Dialect> swin_dialects();

// The dialect of a file and the prefix that the names of its backbone have in common.
struct Spoken {
  std::optional<Dialect> dialect;  // none: none that is known
  std::string prefix;
  std::vector<std::string> others;  // prefixes of further backbones in the file, which are left out
};
// `names` are those of a file without what wraps a whole model: module., _orig_mod. Towers for text and the state of an
// optimizer are no backbones. Throws if the file holds several and none of them is the one to take (the teacher of DINO,
// the base encoder of MoCo v3, the tower for pictures).
Spoken dialect_of(const Sources& names, const std::string& who);

// Whether the name is from the state of a JAX program's optimizer: opt/state/..., but not opt/target/..., its weights.
bool is_optimizer_state(std::string_view name);

}  // namespace vitrine
