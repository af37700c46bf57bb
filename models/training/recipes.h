// recipes.h: how each method is trained in a comparison: grids of settings with names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/training/tune.h"

namespace vitrine {

// A number that depends on the size of a ViT (width below 1024, below 1280, or more); a Swin counts as `base`.
struct BySize {
  int64_t base, large, huge;
};

// How a method, or a family of methods, is trained, and what its grid is.
struct Recipe {
  std::string_view preset;  // "paper", "retuned" or "quick"
  std::string_view
      method;  // the name, or the family in front of a size ("adapter" of "adapter-8"), or "*" for all others
  OptimizerKind optimizer = OptimizerKind::adamw;
  bool per_256 = false;  // the learning rates are for 256 images a step, and grow with the batch
  std::vector<double> learning_rates, weight_decays;
  std::vector<int64_t> prompts, swin_prompts;  // of methods with prompts
  std::vector<int64_t> sizes{};                // of a family that is asked for without a size
  BySize batch{64, 64, 64};
  BySize batch_of_many{0, 0, 0};  // with 100 prompts or more; 0: the same
  BySize epochs{100, 100, 100};
  double warmup = 10;  // epochs
  double prompt_dropout = 0, drop_path = 0;
  bool paper_head = false;
  bool imagenet_statistics =
      false;  // pictures have ImageNet's mean and deviation, whatever the backbone's are
};

// All of them, in the order in which they are printed.
const std::vector<Recipe>& recipes();
std::vector<std::string_view> preset_names();
// One sentence on what a preset is.
std::string preset_text(std::string_view preset);
// The recipe of a method in a preset. Throws for an unknown preset, with the nearest.
const Recipe& recipe_of(std::string_view preset, const std::string& method);

// What a user wants otherwise than the recipe has it. Empty lists and options: as it is.
struct GridChanges {
  std::vector<double> learning_rates;       // absolute
  std::vector<double> base_learning_rates;  // for 256 images a step
  std::vector<double> weight_decays;
  std::vector<int64_t> prompts;
  std::optional<int64_t> epochs, batch, prompt_projection;
  std::optional<double> warmup, prompt_dropout, drop_path;
  std::optional<OptimizerKind> optimizer;
  std::optional<bool> paper_head;
  PromptConfig variant{};  // location, pooling, blocks, sharing and start, of methods with prompts (prompt.h)
};

// One point of a grid.
struct GridPoint {
  std::string method;  // with its size: "adapter-64", where the row of the table is "adapter"
  TuneConfig config;   // seed 0; classes 0, which the data tell
};

// The grid of a method, in the order of sizes (those that the backbone's width allows), prompts, learning rates and weight decays. Prompts that start from class
// tokens have the count 0, which the data settle (for_classes). Throws where check_config, check_method and check_prompts
// do, for a method that is not known, and for two equal points.
std::vector<GridPoint> grid_of(const Recipe& recipe, const std::string& method, const GridChanges& changes,
                               const TransformerConfig& backbone);

}  // namespace vitrine
