// hello_prompts.cpp: a tour of visual prompt tuning. A frozen Vision Transformer learns a task through a few
// more tokens for each of its blocks and a linear head (arXiv 2203.12119). Every claim is checked.
// Another data set may be named on the command line.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "data/subset.h"
#include "models/builtin.h"
#include "models/training/tune.h"

using namespace vitrine;

// Prints a claim with a tick; if it is false, the tour ends here.
static void must(bool condition, const std::string& claim) {
  std::printf("  %s %s\n", condition ? "✓" : "✗ FALSE:", claim.c_str());
  if (!condition) std::exit(1);
}
static void say(const std::string& words) { std::printf("%s\n", words.c_str()); }
static double percent(double share) { return 100 * share; }

static void tour(const std::string& task) {
  say("1. The backbone: a small ViT that this program carries inside");
  const auto bytes = builtin_vit();
  // The bytes live as long as the program: an owner that owns nothing keeps them from being copied.
  const std::shared_ptr<const void> program(std::shared_ptr<const void>{}, bytes.data());
  const Backbone backbone = make_backbone(read_safetensors(bytes, program, "builtin"), "builtin");
  const auto& vit = std::get<VitConfig>(backbone.config);
  const std::string identity = identity_of(backbone);
  say(text("  {} x {} pixels in patches of {}, width {}, {} blocks; SHA-256 of its weights: {}...",
           vit.image_size, vit.image_size, vit.patch, vit.width, vit.depth, identity.substr(0, 16)));
  must(std::ranges::all_of(backbone.file.tensors, [](const auto& entry) { return entry.second.sealed(); }),
       "every weight is sealed");

  say(text("\n2. The task: {}", task));
  const auto train = open_dataset(task, Split::train), test = open_dataset(task, Split::test);
  const int64_t classes = train->classes();
  const TuneData data{.dataset = train,
                      .train = class_balanced(*train, 25 * classes, 0),
                      .val = {},
                      .val_set = {},
                      .preprocess = preprocess_of(backbone)};
  std::vector<int64_t> counts(classes, 0);
  for (const int64_t i : data.train) ++counts[train->label(i)];
  must(std::ranges::all_of(counts, [](int64_t n) { return n == 25; }),
       text("25 pictures of each of {} classes", classes));

  say("\n3. What is trained: ten prompts for each block, and the head");
  TuneConfig config;
  config.model = {
      .method = Method::vpt_deep, .prompts = {.kind = PromptKind::deep, .count = 10}, .classes = classes};
  config.epochs = 6;
  config.batch = 16;
  config.learning_rate = 2e-2;
  config.warmup_epochs = 1;
  const TunedModel fresh(backbone, config.model, config.seed);
  const int64_t trained = fresh.parameters().count(), frozen = fresh.backbone_count();
  must(trained == vit.depth * 10 * vit.width + (vit.width + 1) * classes,
       text("{} numbers: blocks x prompts x width, and (width + 1) x classes", trained));
  must(trained < frozen / 100, text("less than 1 % of the {} frozen ones", frozen));

  say("\n4. Tuning");
  TuneHooks hooks;
  hooks.epoch = [](const EpochReport& r) {
    std::printf("  epoch %d: loss %.3f, %4.1f %% right\n", static_cast<int>(r.epoch), r.loss,
                percent(r.accuracy));
  };
  const TuneResult result = tune(backbone, data, config, "", false, hooks);  // "": no folder, all in memory
  must(result.epochs.back().loss < result.epochs.front().loss, "the loss fell");
  must(identity_of(backbone) == identity, "the backbone's weights are what they were, to the last bit");

  say("\n5. The test: pictures that it never saw");
  const auto pictures = class_balanced(*test, 25 * classes, 0);
  const TunedModel model(backbone, result.task);
  Tensor logits;
  const Evaluation before = evaluate(fresh, test, pictures, data.preprocess, 50, 1);
  const Evaluation after = evaluate(model, test, pictures, data.preprocess, 50, 1, 0, &logits);
  const double chance = 1 / static_cast<double>(classes);
  std::printf("  right before: %.1f %%, after: %.1f %%, by chance: %.1f %%\n", percent(before.accuracy),
              percent(after.accuracy), percent(chance));
  must(after.loss < before.loss, "better than it began");
  must(after.accuracy > 2 * chance, "more than twice as often right as by chance");

  say("\n6. The task is a small file; whoever has the same backbone can use it");
  const std::vector<std::byte> file = write_safetensors(to_file(result.task));
  must(file.size() < bytes.size() / 20,
       text("{} KB beside {} KB of backbone", file.size() / 1000, bytes.size() / 1000));
  const TunedModel reloaded(backbone, task_from_file(read_safetensors(file, nullptr, "task")));
  Tensor again;
  evaluate(reloaded, test, pictures, data.preprocess, 50, 1, 0, &again);
  must(std::ranges::equal(again.raw(), logits.raw()), "read back, it gives the same logits, to the last bit");
  for (int64_t i = 0; i < 4; ++i) {
    const auto row = again.rows(i, i + 1).data<float>();
    const auto best = std::ranges::max_element(row) - row.begin();
    say(text("  {}: {}; the model says {}", test->name(pictures[i]),
             test->class_names()[test->label(pictures[i])], test->class_names()[best]));
  }
}

int main(int count, char** words) try {
  tour(count > 1 ? words[1] : "synthetic:colors");
} catch (const Error& error) {
  std::printf("  ✗ refused: %s\n", error.what());
  return 1;
}
