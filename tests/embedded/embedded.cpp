// embedded.cpp: a host without files: a backbone and pictures from memory, all bytes from the host's
// own allocator. Tunes two steps and prints the logits before and after; tests/variants_test.sh compares
// them between machines.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "models/training/tune.h"

#ifdef VITRINE_FILES
#error "this host is for a build without VITRINE_FILES"
#endif

using namespace vitrine;

namespace {

// A fresh ViT in timm's names, as the bytes of a safetensors file that a host might carry inside.
std::vector<std::byte> backbone_bytes() {
  const VitConfig config{
      .image_size = 16, .patch = 4, .width = 32, .depth = 2, .heads = 4, .mlp_width = 64, .classes = 0};
  Parameters parameters;
  const Vit vit(config, trainable(parameters, 1));
  TensorFile file;
  for (const Parameter& p : parameters.all()) file.tensors[p.name] = p.value.value();
  file.metadata["config"] = config_to_json(config);
  return write_safetensors(file);
}

// Pictures of two classes: a ramp to the right and a ramp downwards, no two alike.
std::shared_ptr<const Dataset> pictures() {
  std::vector<Image> images;
  std::vector<int64_t> labels;
  for (int i = 0; i < 8; ++i) {
    Image image{.width = 16, .height = 16, .rgb = std::vector<uint8_t>(size_t{3} * 16 * 16)};
    for (int y = 0; y < 16; ++y)
      for (int x = 0; x < 16; ++x)
        for (int c = 0; c < 3; ++c)
          image.rgb[static_cast<size_t>((y * 16 + x) * 3 + c)] =
              static_cast<uint8_t>(10 * (i % 2 == 0 ? x : y) + 10 * i + 5 * c);
    images.push_back(std::move(image));
    labels.push_back(i % 2);
  }
  return memory_dataset(std::move(images), std::move(labels), {"right", "down"});
}

void print_logits(const char* when, const TunedModel& model, const TuneData& data, const Memory& memory) {
  Loader loader(data.dataset, data.train, data.preprocess, {.batch_size = 8, .workers = 0, .memory = memory});
  loader.start_epoch(0);
  Batch batch;
  loader.next(batch);
  const Variable logits = model.logits(batch.images);
  for (const float value : logits.value().data<float>())
    std::printf("%s %.9g\n", when, static_cast<double>(value));
}

// Where a size has 32 bits, 4 GiB and four bytes would be four bytes.
void check_addresses() {
  if (sizeof(size_t) > 4) return;
  try {
    Tensor::empty({(int64_t{1} << 30) + 1}, DType::f32);
  } catch (const Error& error) {
    if (error.fault() == Fault::resources) return;
  }
  fail(Fault::input, "embedded: expected that a tensor of more than 4 GiB is refused");
}

size_t run(const Memory& memory) {
  check_addresses();
  const std::vector<std::byte> bytes = backbone_bytes();
  const Backbone backbone = make_backbone(read_safetensors(bytes, nullptr, "inside"), "inside", 0, memory);
  TuneData data;
  data.dataset = pictures();
  data.train = {0, 1, 2, 3, 4, 5, 6, 7};
  data.preprocess = {.size = 16, .resize = 16};
  TuneConfig config;
  config.model = {
      .method = Method::vpt_deep, .prompts = {.kind = PromptKind::deep, .count = 3}, .classes = 2};
  config.epochs = 1;
  config.batch = 4;  // two steps
  config.optimizer = {.kind = OptimizerKind::sgd};
  config.learning_rate = 0.05;
  config.schedule = Schedule::constant;
  config.warmup_epochs = 0;
  config.workers = 0;
  print_logits("before", TunedModel(backbone, config.model, config.seed, DType::f32, memory), data, memory);
  int64_t steps = 0;
  TuneHooks hooks;
  hooks.step = [&](const StepReport& report) { steps = report.step; };
  const TuneResult result = tune(backbone, data, config, "", false, hooks, nullptr, memory);
  check(steps == 2, "embedded: expected 2 steps, got {}", steps);
  // The task goes through its file form, as a host would keep it.
  const std::vector<std::byte> kept = write_safetensors(to_file(result.task));
  const Task task = task_from_file(read_safetensors(kept, nullptr, "kept"));
  print_logits("after", TunedModel(backbone, task, DType::f32, memory), data, memory);
  return memory.statistics().peak;
}

}  // namespace

int main() {
  size_t alive = 0, taken = 0;
  const HostAllocator host{.allocate =
                               [&](size_t bytes) {
                                 alive += bytes;
                                 taken += bytes;
                                 return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
                               },
                           .release =
                               [&](void* pointer, size_t bytes) {
                                 alive -= bytes;
                                 std::free(pointer);  // NOLINT: it came from aligned_alloc
                               }};
  try {
    const size_t peak = run(Memory::counted(0, host));
    std::printf("bytes %zu taken, %zu at once, %zu left\n", taken, peak, alive);
    return taken >= peak && peak > 0 && alive == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
}
