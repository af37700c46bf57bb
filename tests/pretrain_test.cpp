// pretrain_test.cpp: pretraining stops, resumes and ends as it says; what is learned besides the class.
#include "models/training/pretrain.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "engine/check.h"
#include "engine/safetensors.h"

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
  config.fresh_prompts = 5;
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
  other.fresh_prompts = 6;
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

TEST_CASE("pretrain with fresh prompts: in every second step, another start each time") {
  PretrainConfig plain = tiny(), prompted = tiny();
  prompted.fresh_prompts = 5;
  std::vector<PretrainReport> without, with;
  pretrain(plain, 1, "", [&](const PretrainReport& r) { without.push_back(r); });
  pretrain(prompted, 1, "", [&](const PretrainReport& r) { with.push_back(r); });
  for (size_t i = 0; i < with.size(); ++i) {
    CAPTURE(i);
    CHECK_FALSE(without[i].prompted_accuracy.has_value());
    CHECK(with[i].prompted_accuracy.has_value() == (i % 2 == 1));
    // The first step is the same, the second sees the same weights and pictures but other tokens.
    CHECK((with[i].loss == without[i].loss) == (i == 0));
  }
  prompted.fresh_prompts = -1;
  CHECK_THROWS_WITH_AS(pretrain(prompted, 1, "", {}), doctest::Contains("make no sense"), Error);
}
