// pretrain_test.cpp: pretraining stops, resumes and ends as it says; what is learned besides the class.
#include "models/training/pretrain.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "engine/check.h"
#include "engine/safetensors.h"
#include "models/training/pretrain_prompts.h"

using namespace vitrine;
namespace fs = std::filesystem;

namespace {

PretrainConfig tiny() {
  PretrainConfig config;
  config.model =
      VitConfig{.image_size = 32, .patch = 8, .width = 16, .depth = 2, .heads = 2, .mlp_width = 32};
  config.steps = 4;
  config.batch = 4;
  config.warmup = 1;
  config.thumbnail_weight = 1;
  config.edge_weight = 2;
  return config;
}

std::vector<std::byte> bytes_of(const std::optional<TensorFile>& file) {
  REQUIRE(file.has_value());
  return write_safetensors(*file);
}

}  // namespace

TEST_CASE("pretrain: stopped after any step but the last and gone on from, it ends with the same bytes") {
  PretrainConfig config = tiny();
  config.prompt_tasks = 3;  // the four steps are of all kinds
  const auto whole = bytes_of(pretrain(config, 2, "", {}));
  const std::string state = (fs::temp_directory_path() / "vitrine-pretrain-test.safetensors").string();
  for (int64_t stop_after = 1; stop_after <= 4; ++stop_after) {
    CAPTURE(stop_after);
    fs::remove(state);
    int64_t done = 0;
    const auto first = pretrain(config, 2, state, {}, [&] { return ++done == stop_after; });
    CHECK(first.has_value() == (stop_after == 4));  // after the last step there is nothing to stop
    CHECK(bytes_of(pretrain(config, 2, state, {})) == whole);
  }
  PretrainConfig other = config;
  other.prompt_tasks = 4;
  CHECK_THROWS_WITH_AS(pretrain(other, 2, state, {}), doctest::Contains("other settings"), Error);
  const auto start = pretrain(config, 4, "", {});
  CHECK_THROWS_WITH_AS(pretrain(config, 2, state, {}, {}, &*start), doctest::Contains("other settings"),
                       Error);
  fs::remove(state);
}

TEST_CASE("pretrain: thumbnails and edges are learned only if they weigh something") {
  const auto both = bytes_of(pretrain(tiny(), 4, "", {}));
  for (const bool thumbnails : {false, true}) {
    PretrainConfig config = tiny();
    (thumbnails ? config.thumbnail_weight : config.edge_weight) = 0;
    PretrainReport last{};
    const auto file = pretrain(config, 4, "", [&](const PretrainReport& r) { last = r; });
    CHECK(bytes_of(file) != both);
    CHECK((last.thumbnail_loss == 0) == thumbnails);
    CHECK((last.edge_loss == 0) == !thumbnails);
    for (const auto& [name, tensor] : file->tensors) CHECK_FALSE(name.starts_with("pretrain_"));
  }
}

TEST_CASE("pretrain with prompts: each image is led by its own task's, and only these learn from it") {
  const SwinConfig swin{
      .image_size = 32, .patch = 4, .width = 8, .depths = {1, 2}, .heads = {1, 2}, .window = 4};
  const VitConfig vit{.image_size = 32, .patch = 8, .width = 16, .depth = 2, .heads = 2, .mlp_width = 32};
  for (const TransformerConfig& config : {TransformerConfig(vit), TransformerConfig(swin)}) {
    Parameters parameters;
    const Scope scope = trainable(parameters, 5);
    const Transformer net(config, scope);
    const size_t first = parameters.all().size();
    const PretrainPrompts prompts(3, config, 7, scope);
    Tensor images = Tensor::empty({3, 3, 32, 32}, DType::f32);
    for (int64_t i = 0; i < images.numel(); ++i)
      images.mutable_data<float>()[i] = std::sin(0.05f * static_cast<float>(i));
    const std::vector<int64_t> tasks{2, 0, 2};
    const Variable together = net.features(images, prompts.of_tasks(6, tasks));
    for (int64_t b = 0; b < 3; ++b) {
      const Tensor alone = net.features(images.rows(b, b + 1), prompts.of_tasks(6, {tasks[b]})).value();
      const Tensor other = net.features(images.rows(b, b + 1), prompts.of_tasks(6, {1})).value();
      double difference = 0;
      for (int64_t i = 0; i < alone.numel(); ++i) {
        const float one = together.value().rows(b, b + 1).data<float>()[i];
        CHECK(std::abs(one - alone.data<float>()[i]) < 1e-5f);
        difference = std::max(difference, std::abs(double{one} - double{other.data<float>()[i]}));
      }
      CHECK(difference > 1e-4);
    }
    backward(mean(mean(mul(together, together), 1), 0));
    const Tensor gradient = parameters.all()[first].value.gradient();  // (tasks, L P D) of the first group
    for (int64_t task = 0; task < 3; ++task) {
      double size = 0;
      for (const float g : gradient.rows(task, task + 1).data<float>()) size += std::abs(g);
      CHECK((size > 0) == (task != 1));
    }
  }
}

TEST_CASE(
    "pretrain with prompts: a task sorts the classes into groups of about one size, each task otherwise") {
  Parameters parameters;
  const VitConfig vit{.image_size = 32, .patch = 8, .width = 16, .depth = 2, .heads = 2, .mlp_width = 32};
  const PretrainPrompts prompts(4, vit, 7, trainable(parameters, 5));
  const int64_t classes = 1280;
  Tensor labels = Tensor::empty({classes}, DType::i64);
  for (int64_t c = 0; c < classes; ++c) labels.mutable_data<int64_t>()[c] = c;
  std::vector<std::vector<int64_t>> sorted;
  for (int64_t task = 0; task < 4; ++task) {
    const Tensor answers = prompts.answers_of(std::vector<int64_t>(classes, task), labels);
    std::vector<int64_t> counts(PretrainPrompts::answers, 0);
    for (const int64_t a : answers.data<int64_t>()) ++counts.at(static_cast<size_t>(a));
    const double share = 1.0 / PretrainPrompts::answers, expected = classes * share;
    for (const int64_t n : counts)  // five deviations of a binomial
      CHECK(std::abs(static_cast<double>(n) - expected) < 5 * std::sqrt(expected * (1 - share)));
    sorted.emplace_back(answers.data<int64_t>().begin(), answers.data<int64_t>().end());
    for (int64_t before = 0; before < task; ++before) {
      int64_t same = 0;
      for (int64_t c = 0; c < classes; ++c) same += sorted[before][c] == sorted[task][c];
      CHECK(std::abs(static_cast<double>(same) - expected) < 5 * std::sqrt(expected * (1 - share)));
    }
  }
  CHECK(PretrainPrompts().kind_of(3) == PretrainPrompts::Kind::none);
  CHECK(prompts.kind_of(4) == PretrainPrompts::Kind::none);
  CHECK(prompts.kind_of(5) == PretrainPrompts::Kind::fresh);
  CHECK(prompts.kind_of(7) == PretrainPrompts::Kind::tasks);
}
