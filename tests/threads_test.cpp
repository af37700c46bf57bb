// threads_test.cpp: twenty steps of training are the same to the last bit for 1, 2, 3, 4 and 8 threads, also
// with recomputation; for the sets of instructions that are not the best one, a few of these counts.
#include <doctest/doctest.h>

#include "models/tuned.h"
#include "nn/optimizer.h"
#include "tests/op_cases.h"
#include "tests/sine_models.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

constexpr int64_t classes = 5, steps = 20;

// Sizes that no tile, register or chunk divides, and just large enough that the loops are really cut in pieces:
// sums over rows at 64 columns, layer norms at 8192 elements, sums over images at 4096 elements of one, the
// optimizer at 16384 elements of a weight. 10 tokens: 130 rows of 74 for a batch of 13.
const VitConfig vit{.image_size = 12, .patch = 4, .width = 74, .depth = 3, .heads = 2, .mlp_width = 70};
// Maps of 7 x 7 and 4 x 4 tokens, in windows of 3: all are filled up, and every other block's map is rolled.
const SwinConfig swin{
    .image_size = 28, .width = 36, .depths = {2, 1}, .heads = {2, 3}, .window = 3, .mlp_ratio = 1};

Backbone backbone_of(const TransformerConfig& config, TensorFile file) {
  file.metadata["config"] = config_to_json(config);
  return make_backbone(file, "sine");
}

// What a case trains; a batch of its images.
struct Case {
  Backbone backbone;
  TunedConfig tuned;
  Tensor images, labels;

  Case(const Backbone& net, const TunedConfig& config, int64_t batch) : backbone(net), tuned(config) {
    tuned.classes = classes;
    tuned.paper_head = true;  // prompts learn from the first step on
    const int64_t side = image_size(net.config);
    images = random_tensor({batch, 3, side, side}, DType::f32, 1);
    labels = make_input({{batch}, Fill::labels, true, classes}, DType::i64, 2);
  }
};

// All that stands after a step: the loss and the norm of the gradients, then every trained parameter.
struct Step {
  double loss, norm;
  std::vector<Tensor> parameters;
  bool operator==(const Step& other) const {
    return loss == other.loss && norm == other.norm &&
           std::ranges::equal(parameters, other.parameters, same_bits);
  }
};

std::vector<Step> train(const Case& c, int threads, int64_t recompute) {
  const Threads some(threads);
  TunedModel model(c.backbone, c.tuned, 1);
  Optimizer optimizer(model.parameters(), {.weight_decay = 0.01});
  Pass pass{.training = true, .noise = {.seed = 3, .samples = {}}, .recompute = recompute};
  for (int64_t i = 0; i < c.labels.numel(); ++i) pass.noise.samples.push_back(i);
  std::vector<Step> out;
  for (int64_t step = 0; step < steps; ++step) {
    pass.noise.epoch = static_cast<uint32_t>(step);
    model.parameters().clear_gradients();
    const Variable loss = cross_entropy(model.logits(c.images, pass), c.labels, {0.1});
    backward(loss);
    Step now{loss.value().item(), clip_gradients(model.parameters(), 1), {}};
    optimizer.step(5e-3);
    for (const Parameter& p : model.parameters().all()) now.parameters.push_back(p.value.value().clone());
    out.push_back(std::move(now));
  }
  return out;
}

struct Run {
  int threads;
  int64_t recompute;  // blocks
};

void check_all_threads(const Case& c) {
  const std::vector<Run> all{{2, 0}, {3, 0}, {4, 0}, {8, 0}, {3, 3}};
  // The same loops call other kernels: fewer runs tell whether their bits depend on where a loop is cut.
  const std::vector<Run> fewer{{3, 0}, {4, 2}};
  for (const std::string& set : instruction_sets()) {
    const Instructions those(set);
    const std::vector<Step> alone = train(c, 1, 0);
    // A step that changes nothing would be the same for all.
    REQUIRE(alone.back().loss < alone.front().loss);
    for (const Run& run : set == instruction_sets().front() ? all : fewer) {
      const std::vector<Step> together = train(c, run.threads, run.recompute);
      const auto same = std::ranges::mismatch(alone, together).in1 - alone.begin();
      INFO(std::string(name_of(c.tuned.method)), " of ", c.tuned.prompts.count, " prompts, ", set, ", ",
           run.threads, " threads, ", run.recompute, " blocks recomputed");
      CHECK(same == steps);
    }
  }
}

const PromptConfig noisy{.count = 7, .dropout = 0.2};

}  // namespace

TEST_CASE("threads: 20 steps of a ViT give the same bits, however many threads work on them") {
  const Backbone net = backbone_of(vit, sine_vit(vit));
  check_all_threads({net, {.method = Method::vpt_deep, .prompts = noisy, .drop_path = 0.2}, 13});
  // Without dropout all images share the prompts, and their gradients are summed over the batch.
  check_all_threads({net, {.method = Method::vpt_deep, .prompts = {.count = 57}, .drop_path = 0.2}, 13});
  check_all_threads({net, {.method = Method::full, .drop_path = 0.2}, 13});
}

TEST_CASE("threads: 20 steps of a Swin give the same bits, however many threads work on them") {
  const Backbone net = backbone_of(swin, sine_swin(swin));
  check_all_threads({net, {.method = Method::vpt_deep, .prompts = noisy, .drop_path = 0.2}, 5});
  check_all_threads({net, {.method = Method::vpt_shallow, .prompts = noisy, .drop_path = 0.2}, 5});
  check_all_threads({net, {.method = Method::full, .drop_path = 0.2}, 5});
}
