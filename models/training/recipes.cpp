// recipes.cpp: the table of recipes, and grids from it.
#include "models/training/recipes.h"

#include <algorithm>
#include <set>

#include "engine/check.h"
#include "engine/text.h"
#include "models/methods.h"

namespace vitrine {

namespace {

// The grids of the paper's table 6 and of its released code, which scales rates with the batch.
const std::vector<double> sgd_rates{50, 25, 10, 5, 2.5, 1, 0.5, 0.25, 0.1, 0.05},
    adamw_rates{0.001, 0.0001, 0.0005, 0.005}, decays{0.01, 0.001, 0.0001, 0};
const std::vector<int64_t> vit_prompts{1, 5, 10, 50, 100, 200}, swin_prompts{1, 5, 10, 50};
constexpr int64_t most_at_once = 128;
constexpr BySize paper_batch{128, 64, 28}, paper_epochs{100, 50, 50};

std::vector<Recipe> make_recipes() {
  const Recipe paper_sgd{.preset = "paper",
                         .method = "",
                         .optimizer = OptimizerKind::sgd,
                         .per_256 = true,
                         .learning_rates = sgd_rates,
                         .weight_decays = decays,
                         .prompts = vit_prompts,
                         .swin_prompts = swin_prompts,
                         .batch = paper_batch,
                         .batch_of_many = {64, 32, 14},
                         .epochs = paper_epochs,
                         .paper_head = true,
                         .imagenet_statistics = true};
  const Recipe retuned{.preset = "retuned",
                       .method = "",
                       .learning_rates = {1e-3},
                       .weight_decays = {1e-4},
                       .prompts = vit_prompts,
                       .swin_prompts = swin_prompts,
                       .prompt_dropout = 0.1,
                       .drop_path = 0.1};
  const Recipe quick{.preset = "quick",
                     .method = "",
                     .learning_rates = {1e-3, 3e-3},
                     .weight_decays = {1e-2},
                     .prompts = {10},
                     .swin_prompts = {10},
                     .batch = {16, 16, 16},
                     .epochs = {10, 10, 10},
                     .warmup = 1};
  std::vector<Recipe> all;
  const auto add = [&all](Recipe recipe, std::string_view method, auto change) {
    recipe.method = method;
    change(recipe);
    all.push_back(std::move(recipe));
  };
  const auto as_it_is = [](Recipe&) {};
  const auto adamw = [](Recipe& r) {
    r.optimizer = OptimizerKind::adamw;
    r.learning_rates = adamw_rates;
  };
  const auto head_alone = [](Recipe& r) { r.batch = {2048, 2048, 1024}; };
  add(paper_sgd, "vpt-deep", [](Recipe& r) { r.prompt_dropout = 0.1; });
  add(paper_sgd, "vpt-shallow", as_it_is);
  add(paper_sgd, "linear", head_alone);
  add(paper_sgd, "mlp", head_alone);
  add(paper_sgd, "sidetune", as_it_is);
  add(paper_sgd, "partial", [&](Recipe& r) {
    adamw(r);
    r.batch = {1280, 640, 240};
  });
  add(paper_sgd, "bias", adamw);
  add(paper_sgd, "adapter", [&](Recipe& r) {
    adamw(r);
    r.sizes = {8, 64, 256};
  });
  add(paper_sgd, "full", adamw);
  add(paper_sgd, "*", [](Recipe& r) { r.prompt_dropout = 0.1; });

  // A head alone keeps its features, and no block that is left out now and then could teach it anything.
  add(retuned, "linear", [](Recipe& r) { r.drop_path = 0; });
  add(retuned, "mlp", [](Recipe& r) { r.drop_path = 0; });
  add(retuned, "full", [](Recipe& r) { r.learning_rates = {1e-4}; });
  add(retuned, "*", as_it_is);

  const auto quick_head = [](Recipe& r) {
    r.learning_rates = {1e-3, 3e-3, 1e-2, 3e-2};
    r.batch = {64, 64, 64};
    r.epochs = {40, 40, 40};
    r.warmup = 1;
  };
  add(quick, "linear", quick_head);
  add(quick, "mlp", quick_head);
  add(quick, "vpt-shallow", [](Recipe& r) { r.learning_rates = {3e-3, 1e-2}; });
  add(quick, "full", [](Recipe& r) {
    r.learning_rates = {2e-4, 1e-3};
    r.weight_decays = {0.05};
    r.batch = {32, 32, 32};
  });
  add(quick, "*", as_it_is);
  return all;
}

// "adapter" of "adapter-8"; the name itself if no number stands behind it.
std::string family_of(const std::string& method) {
  const size_t dash = method.rfind('-');
  if (dash == std::string::npos || dash + 1 == method.size()) return method;
  const bool number =
      std::ranges::all_of(method.substr(dash + 1), [](char c) { return c >= '0' && c <= '9'; });
  return number ? method.substr(0, dash) : method;
}

int64_t of_size(const BySize& numbers, const TransformerConfig& net) {
  if (!std::holds_alternative<VitConfig>(net)) return numbers.base;
  const int64_t width = feature_width(net);
  return width >= 1280 ? numbers.huge : width >= 1024 ? numbers.large : numbers.base;
}

}  // namespace

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = make_recipes();
  return all;
}

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  for (const Recipe& r : recipes())
    if (names.empty() || names.back() != r.preset) names.push_back(r.preset);
  return names;
}

std::string preset_text(std::string_view preset) {
  if (preset == "paper")
    return "the grids of VPT's paper and released code, ImageNet's mean and deviation for every backbone";
  if (preset == "retuned")
    return "the stronger recipe that later work found: AdamW, drop path, the backbone's own mean and "
           "deviation";
  return "few points and epochs, for small backbones and laptops";
}

const Recipe& recipe_of(std::string_view preset, const std::string& method) {
  const std::vector<std::string_view> names = preset_names();
  if (std::ranges::find(names, preset) == names.end()) {
    const std::string guess = nearest(preset, names);
    fail(Fault::input, "recipe: expected paper, retuned or quick, got {}{}", quote(preset),
         guess.empty() ? "" : text("; did you mean {}?", guess));
  }
  const std::string family = family_of(method);
  for (const Recipe& r : recipes())
    if (r.preset == preset && (r.method == method || r.method == family || r.method == "*")) return r;
  fail(Fault::input, "recipe: {} has none for {}", preset, quote(method));
}

std::vector<GridPoint> grid_of(const Recipe& recipe, const std::string& method, const GridChanges& changes,
                               const TransformerConfig& backbone) {
  std::vector<std::string> forms{method};
  if (!recipe.sizes.empty() && method == recipe.method) {
    forms.clear();
    for (const int64_t size : recipe.sizes)
      if (size <= feature_width(backbone)) forms.push_back(text("{}-{}", method, size));
  }
  const bool swin = std::holds_alternative<SwinConfig>(backbone);
  const auto chosen = [](const auto& wanted, const auto& usual) { return wanted.empty() ? usual : wanted; };
  check(changes.learning_rates.empty() || changes.base_learning_rates.empty(),
        "recipe: learning rates are absolute or for 256 images, not both");
  const bool per_256 =
      changes.learning_rates.empty() && (recipe.per_256 || !changes.base_learning_rates.empty());
  const std::vector<double> rates =
      chosen(changes.learning_rates, chosen(changes.base_learning_rates, recipe.learning_rates));

  std::vector<GridPoint> points;
  std::set<std::string> seen;
  for (const std::string& form : forms) {
    TuneConfig config;
    config.model = method_from_text(form);
    const bool prompted = config.model.prompts.kind != PromptKind::none;
    config.model.drop_path = changes.drop_path.value_or(recipe.drop_path);
    config.model.paper_head = changes.paper_head.value_or(recipe.paper_head);
    config.optimizer.kind = changes.optimizer.value_or(recipe.optimizer);
    config.epochs = changes.epochs.value_or(of_size(recipe.epochs, backbone));
    config.warmup_epochs = changes.warmup.value_or(
        changes.epochs ? std::min(recipe.warmup, static_cast<double>(config.epochs) / 10) : recipe.warmup);
    if (prompted) {
      const PromptKind kind = config.model.prompts.kind;
      const bool gated = config.model.prompts.gated;
      config.model.prompts = changes.variant;
      config.model.prompts.kind = kind;
      config.model.prompts.gated = gated;
      config.model.prompts.projection = changes.prompt_projection.value_or(0);
    }
    if (prompted) config.model.prompts.dropout = changes.prompt_dropout.value_or(recipe.prompt_dropout);
    std::vector<int64_t> lengths{0};
    // Prompts that are added to tokens are as many as these; those that start from class tokens, as the classes.
    const bool by_classes = changes.variant.start == PromptStart::class_tokens;
    check(!prompted || !by_classes || changes.prompts.empty(),
          "recipe: prompts that start from class tokens are as many as a task has classes; no other lengths "
          "can be tried");
    check(!prompted || changes.variant.location != PromptLocation::add || changes.prompts.empty(),
          "recipe: prompts that are added to tokens are as many as these; no other lengths can be tried");
    if (prompted && !by_classes && changes.variant.location != PromptLocation::add)
      lengths = chosen(changes.prompts, swin ? recipe.swin_prompts : recipe.prompts);
    if (prompted) {
      PromptConfig any = config.model.prompts;
      any.count = by_classes ? 1 : lengths[0];
      const PromptPlaces places = prompt_places(backbone);
      // All blocks, said explicitly, are no variant.
      if (any.first == 0 && any.last == places.blocks()) config.model.prompts.last = 0;
      try {
        check_prompts(any, places);
      } catch (const Error& e) {
        fail(e.fault(), "method {}: {}", form, e.what());
      }
    }
    for (const int64_t prompts : lengths) {
      config.model.prompts.count = prompts;
      const BySize& usual =
          prompts >= 100 && recipe.batch_of_many.base > 0 ? recipe.batch_of_many : recipe.batch;
      config.accumulate = 1;
      config.batch = changes.batch.value_or(of_size(usual, backbone));
      // Large batches are worked off in parts, which is the same sum; where features are kept there are no images.
      if (!keeps_features(config)) config.accumulate = (config.batch + most_at_once - 1) / most_at_once;
      for (const double rate : rates) {
        config.learning_rate = per_256 ? rate * static_cast<double>(config.batch) / 256 : rate;
        for (const double decay : chosen(changes.weight_decays, recipe.weight_decays)) {
          config.optimizer.weight_decay = decay;
          check_config(config);
          check_method(config.model, backbone);
          check(seen.insert(text("{}{}", form, to_json(config))).second,
                "recipe: the grid of {} has the learning rate {} with the weight decay {}{} twice", method,
                rate, decay, prompts > 0 ? text(" and {} prompts", prompts) : "");
          points.push_back({method_text(config.model), config});
        }
      }
    }
  }
  return points;
}

}  // namespace vitrine
