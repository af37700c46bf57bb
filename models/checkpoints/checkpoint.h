// checkpoint.h: from the tensors that somebody's program saved to a backbone's, whatever names and layouts it gave them.
// docs/checkpoints.md says which files load, and where what their shapes do not tell comes from.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/checkpoints/dialects.h"
#include "models/transformer.h"

namespace vitrine {

// What has to be told before a net is the one that was trained.
struct Unsettled {
  const char* key;     // of its configuration: "gelu"
  const char* clause;  // "the form of its GELU"
};

struct Checkpoint {
  TensorFile
      file;  // canonical names and layouts, sealed; its metadata holds "config" if nothing is unsettled
  std::string dialect;  // "ViT in Hugging Face's names"
  Facts facts;          // all that is known: what was given, else what the file or its dialect tells
  TransformerConfig config;
  bool projection = false;  // what stands where a classifier would is CLIP's projection
  std::vector<Unsettled> unsettled;
  std::vector<LeftOut> left_out;
  std::map<std::string, std::string> origin;  // canonical name -> name in the file
};

// Whether the file speaks a known dialect. It may still lack tensors.
bool is_checkpoint(const TensorFile& file);

// Finds out the file's dialect and names and lays out its tensors canonically, without a copy where they lie that way
// already. `given` goes before everything that the file tells, but not before the metadata that Vitrine itself wrote: such
// a file is complete and stays as it is. Throws for an unknown dialect, and if a tensor is missing, misshapen, there twice or left
// over: with its name in the file, and the nearest one that the dialect has.
Checkpoint canonical_form(TensorFile file, const Facts& given = {});

// The same, ready for make_backbone. Throws if anything is unsettled, with what would settle it.
TensorFile settled(const Checkpoint& checkpoint);

// What the published checkpoints of a family have in common: "deit", "augreg", "mae", "openai-clip", ... Throws for others.
Facts facts_of_family(const std::string& name);
std::vector<std::string> family_names();
// Those whose files have the names of this dialect (by its title) and are nets of this form.
std::vector<std::string> families_of(const std::string& dialect, const TransformerConfig& config);
// Throws unless the family is one of them, with those that are; `who` is the file's name.
void check_family(const std::string& name, const Checkpoint& checkpoint, const std::string& who);
// "the model's config.json or the name of its family, which may be deit, mae or dino"
std::string what_may_tell(const std::string& dialect, const TransformerConfig& config);
// "--pictures with the model's preprocessor_config.json or a name of docs/families.md, such as deit or mae".
std::string what_may_tell_pictures(const std::string& dialect, const TransformerConfig& config);
// Whether it is a family of Swins, not of ViTs. Throws for others.
bool is_swin_family(const std::string& name);

}  // namespace vitrine
