// prompt.h: visual prompts (arXiv 2203.12119): the trainable tokens that steer a frozen transformer.
//
// VPT-shallow puts P tokens beside those of the image, after patch and position embedding, and lets them flow
// through all blocks. VPT-deep gives each block its own P tokens; what a block makes of them is thrown away
// before the next. A deep prompt therefore needs no query, no output projection and no MLP: it is one more key
// and one more value, the same for all images. tests/prompt_test.cpp and tests/swin_prompt_test.cpp hold the
// textbook forms with full tokens beside the fast ones of models/vit.cpp and models/swin.cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace vitrine {

enum class PromptKind { none, shallow, deep };

// Where prompts meet the tokens (the paper's ablations; a ViT alone).
enum class PromptLocation {
  prepend,  // beside them
  add,      // one for each token, class token and its like included, added to it
  pixels  // beside them, as patches of pixels that pass the patch embedding (without position); shallow alone
};

// What is pooled. Not with pooling by attention.
enum class PromptPooling {
  backbone,  // what the backbone itself pools: a ViT's class token or patches, a Swin's tokens and prompts
  images,    // the patches
  prompts,   // the prompts, as the last block leaves them
  all        // both
};

// Where fresh prompts start (the paper's ablation of initialisation).
enum class PromptStart {
  random,
  // At what the frozen net makes of the classes: prompt p of P, as many as classes, at the mean class token of class p's
  // training images: deep ones of block i at the class token behind block i, shallow and shared ones behind the last block,
  // before the final norm. (training/class_tokens.h, which has the images, sets them. A ViT with a class token alone.)
  class_tokens
};

struct PromptConfig {
  PromptKind kind = PromptKind::none;
  int64_t count = 0;       // P; with `add` the number of tokens
  double dropout = 0;      // of prompt values, in training; drawn for each image and layer
  int64_t projection = 0;  // 0: none; else prompts live in this width and one Linear a group brings them to D
  PromptLocation location = PromptLocation::prepend;
  PromptPooling pooling = PromptPooling::backbone;
  // Deep prompts of a ViT: the blocks [first, last) have their own; last 0: all that follow. What block `last` - 1 makes of
  // its prompts lives on through the blocks behind it.
  int64_t first = 0, last = 0;
  bool shared = false;  // deep: the same prompts in all blocks (a Swin: of a stage)
  PromptStart start = PromptStart::random;
  // Shallow: after block i the prompts are p + g_i (q - p), where it got p and gives q, and g_i = sigmoid(a learned
  // number, 0 at first). (After the gates of arXiv 2306.07050, without its temperatures.)
  bool gated = false;
};

// Where a model takes prompts.
struct PromptPlaces {
  // Blocks of one width D, first to last: all of a ViT's, or one stage of a Swin's.
  struct Group {
    std::string suffix;  // of the names: "" or ".0", ".1", ...
    int64_t layers, width;
  };
  std::vector<Group> groups;
  int64_t patch = 16;        // its side, which the size of fresh prompts depends on
  int64_t tokens = 0;        // of the first block; 0: it depends on the image (a Swin)
  bool class_token = false;  // whether one is among them
  int64_t blocks() const;
};

// Throws unless such prompts fit such places.
void check_prompts(const PromptConfig& config, const PromptPlaces& places);
// The same with what the places settle: the count of `add`, and `last`.
PromptConfig settled(PromptConfig config, const PromptPlaces& places);

// What makes such prompts unusual (all but kind, count, dropout and projection), as JSON; empty if nothing does.
std::string variant_to_json(const PromptConfig& config);
// Throws, beginning with `who`, for what the former does not write.
void set_variant(PromptConfig& config, const std::string& json, const std::string& who);
// "prepend", "add", "pixels"; "backbone", "images", "prompts", "all"; "random", "class-tokens". Reading throws for others.
const char* name_of(PromptLocation location);
const char* name_of(PromptPooling pooling);
const char* name_of(PromptStart start);
PromptLocation prompt_location_of(const std::string& name);
PromptPooling prompt_pooling_of(const std::string& name);
PromptStart prompt_start_of(const std::string& name);

class Prompts {
 public:
  Prompts() = default;  // none
  // Asks `scope` for "prompts<suffix>" of each group, (L, P, D) deep or (P, D) shallow (the first group
  // alone), and with a projection (D then being its width) for "prompt_projection<suffix>". L is 1 if they are shared, D
  // the 3 p^2 numbers of a patch if they are pixels. Gates are "prompt_gates" (blocks). Fresh prompts start
  // U(-v, v), v = sqrt(6 / (3 patch^2 + D)) with the first group's D.
  Prompts(const PromptConfig& config, const PromptPlaces& places, const Scope& scope);

  const PromptConfig& config() const { return config_; }
  bool shallow() const { return config_.kind == PromptKind::shallow; }
  bool deep() const { return config_.kind == PromptKind::deep; }
  // Whether block i has prompts of its own.
  bool in_block(int64_t i) const;
  // What lives on of the prompts among the tokens, (B, P, D) each: `before` went into block i, `after` came out of it.
  Variable passed(int64_t i, const Variable& before, const Variable& after) const;
  // The prompts of block i of all blocks (0 for shallow), projected: (P, D), or with dropout (B, P, D) for the
  // batch of `pass`.
  Variable layer(int64_t i, const Pass& pass) const;
  // The same as full tokens of `images` images: (B, P, D).
  Variable tokens(int64_t i, int64_t images, const Pass& pass) const;
  // All of them after projection, by name, as a task file stores them.
  std::map<std::string, Tensor> product() const;

 private:
  struct Group {
    std::string name;
    Variable prompts;  // (L, P, D) or (P, D)
    Linear projection;
    int64_t layers;  // blocks that they are for
  };
  Variable projected(const Group& group, const Variable& prompts) const;
  PromptConfig config_;
  std::vector<Group> groups_;
  Variable gates_;
};

}  // namespace vitrine
