// forward.cpp: how fast one thread of this build computes on the built-in ViT: a forward pass and a tuning step of 16 pictures
// with 10 deep prompts. For WebAssembly beside the machine's own instructions (tests/web_test.sh --measure).
//
//   forward [INSTRUCTIONS]     a set of kernels (engine/instruction_set.h) [the best here]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <vector>

#include "engine/instruction_set.h"
#include "engine/safetensors.h"
#include "models/backbone.h"
#include "models/builtin.h"
#include "models/cost.h"
#include "models/training/tuner.h"

using namespace vitrine;

namespace {

constexpr int64_t batch = 16, prompts = 10, classes = 10;

// The middle and the least of 40 runs, in seconds.
template <class Body>
std::pair<double, double> seconds(const Body& body) {
  std::vector<double> all;
  for (int i = 0; i < 43; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (i >= 3) all.push_back(took.count());
  }
  std::sort(all.begin(), all.end());
  return {all[all.size() / 2], all[0]};
}

void print(const char* what, int64_t products, std::pair<double, double> took) {
  const auto rate = [&](double s) { return 2e-9 * static_cast<double>(products) / s; };
  std::printf("%s %s: %.2f ms in the middle, %.2f at least; %.2f and %.2f GFLOP/s\n",
              instruction_set().c_str(), what, 1e3 * took.first, 1e3 * took.second, rate(took.first),
              rate(took.second));
}

void run() {
  const std::span<const std::byte> bytes = builtin_vit();
  const Backbone backbone = make_backbone(
      read_safetensors(bytes, std::shared_ptr<const void>(std::shared_ptr<const void>{}, bytes.data()),
                       "builtin"),
      "builtin", 0, {});
  TunerConfig config;
  config.model = {.method = Method::vpt_deep,
                  .prompts = {.kind = PromptKind::deep, .count = prompts},
                  .classes = classes};
  Tuner tuner(backbone, config);
  Tensor images = Tensor::empty({batch, 3, 32, 32}, DType::f32, {});
  Tensor labels = Tensor::empty({batch}, DType::i64, {});
  const auto numbers = images.mutable_data<float>();
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i * 7919 % 2000) / 1000 - 1;
  for (int64_t i = 0; i < batch; ++i) labels.mutable_data<int64_t>()[static_cast<size_t>(i)] = i % classes;
  const TuningCost cost = tuning_cost(with_classes(backbone.config, classes), prompts, batch);
  print("forward", cost.forward, seconds([&] { tuner.logits(images); }));
  print("step", cost.step(), seconds([&] { tuner.step(images, labels, 1e-3); }));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1) use_instruction_set(argv[1]);
    run();
    return 0;
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
}
