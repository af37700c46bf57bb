// bench.cpp: `vitrine bench step`. One training step of the tuned model, timed: the calls that tune makes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/parallel.h"
#include "nn/optimizer.h"

namespace vitrine::cli {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

Backbone random_backbone(const std::string& model, uint64_t seed, const Memory& memory) {
  const TransformerConfig config = with_classes(preset(model), 0);
  Parameters parameters;
  const Transformer net(config, trainable(parameters, seed, DType::f32, memory));
  TensorFile file;
  file.name = model;
  for (const Parameter& p : parameters.all()) file.tensors[p.name] = p.value.value();
  file.metadata["config"] = config_to_json(config);
  return make_backbone(std::move(file), model);
}

namespace {

struct StepTimes {
  std::vector<double> whole, forward, backward, optimizer;  // seconds
};

StepTimes time_steps(TunedModel& model, const BenchOptions& o, const Memory& memory, Console& console) {
  const int64_t side = image_size(model.transformer());
  Random random(o.seed, Purpose::test);
  Tensor images = Tensor::empty(Shape{o.batch, 3, side, side}, DType::f32, memory);
  for (float& value : images.mutable_data<float>()) value = static_cast<float>(random.normal());
  Tensor labels = Tensor::empty(Shape{o.batch}, DType::i64, memory);
  for (int64_t& label : labels.mutable_data<int64_t>())
    label = random.below(static_cast<uint32_t>(o.classes));
  Pass pass{.training = true, .recompute = o.recompute};
  for (int64_t i = 0; i < o.batch; ++i) pass.noise.samples.push_back(i);
  Optimizer optimizer(model.parameters(), {.kind = o.optimizer});

  StepTimes times;
  for (int64_t step = -o.warmup; step < o.steps; ++step) {
    if (step == 0) memory.reset_peak();
    const double begin = now();
    const Variable loss = cross_entropy(model.logits(images, pass), labels);
    const double forward = now();
    model.parameters().clear_gradients();
    backward(loss);
    const double backwards = now();
    optimizer.step(1e-3);
    const double end = now();
    if (step >= 0) {
      times.whole.push_back(end - begin);
      times.forward.push_back(forward - begin);
      times.backward.push_back(backwards - forward);
      times.optimizer.push_back(end - backwards);
    }
    console.progress(step + o.warmup + 1, o.steps + o.warmup, static_cast<double>(o.batch) / (end - begin),
                     step < 0 ? "warming up" : "timing");
  }
  console.clear();
  return times;
}

}  // namespace

int bench(const BenchOptions& o, Console& console) {
  const Memory memory = Memory::counted();
  const Backbone backbone = o.backbone            ? open_backbone(*o.backbone, o.heads)
                            : is_builtin(o.model) ? open_backbone(o.model, o.heads)
                                                  : random_backbone(o.model, o.seed, memory);
  TunedConfig config{.method = o.method, .prompts = {}, .classes = o.classes, .paper_head = true};
  const bool prompts = prompt_kind(o.method) != PromptKind::none;
  if (prompts) config.prompts.count = o.prompts;
  TunedModel model(backbone, config, o.seed, DType::f32, memory);
  check(o.recompute < block_count(model.transformer()), "--recompute: of ", block_count(model.transformer()),
        " blocks, all but the last can be computed again, got ", o.recompute);
  const StepTimes times = time_steps(model, o, memory, console);

  const auto batch = static_cast<double>(o.batch);
  const double middle = batch / median(times.whole), slowest = batch / *std::ranges::max_element(times.whole),
               fastest = batch / *std::ranges::min_element(times.whole);
  const size_t peak = memory.statistics().peak;
  console.item("Model", fmt::format("{}; {}{}, {} trained parameters", describe(model.transformer()),
                                    name_of(o.method), prompts ? text(", ", plural(o.prompts, "prompt")) : "",
                                    count_text(model.parameters().count())));
  console.item("Step", fmt::format("batch {}, {} after {} untimed, {}{}", o.batch, plural(o.steps, "step"),
                                   o.warmup, plural(thread_count(), "thread"),
                                   o.recompute > 0 ? fmt::format(", {} computed again in backward",
                                                                 plural(o.recompute, "block"))
                                                   : ""));
  console.item("Speed", fmt::format("{:.2f} images/s (median; {:.2f} to {:.2f})", middle, slowest, fastest));
  console.item("Time", fmt::format("{:.4f} s a step: forward {:.4f}, backward {:.4f}, optimizer {:.5f}",
                                   median(times.whole), median(times.forward), median(times.backward),
                                   median(times.optimizer)));
  console.item("Memory", text("at most ", bytes_text(peak), " in tensors"));
  const nlohmann::ordered_json json{{"command", "bench step"},
                                    {"model", o.backbone.value_or(o.model)},
                                    {"method", name_of(o.method)},
                                    {"batch", o.batch},
                                    {"prompts", prompts ? o.prompts : 0},
                                    {"classes", o.classes},
                                    {"recompute", o.recompute},
                                    {"threads", thread_count()},
                                    {"steps", o.steps},
                                    {"images_per_second", middle},
                                    {"images_per_second_min", slowest},
                                    {"images_per_second_max", fastest},
                                    {"seconds_per_step", times.whole},
                                    {"forward_seconds", median(times.forward)},
                                    {"backward_seconds", median(times.backward)},
                                    {"optimizer_seconds", median(times.optimizer)},
                                    {"trained_parameters", model.parameters().count()},
                                    {"peak_bytes", peak}};
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
