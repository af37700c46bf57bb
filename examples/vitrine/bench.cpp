// bench.cpp: `vitrine bench step` and `bench infer`. One training step of the tuned model, timed: the calls that
// tune makes; or one forward pass, as predict makes it.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/instruction_set.h"
#include "engine/parallel.h"
#include "engine/recording.h"
#include "engine/text.h"
#include "models/cost.h"
#include "nn/optimizer.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

// A folder of its own, gone with all that is in it at the end; a signal to end the program waits until then.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* const wanted = std::getenv("TMPDIR");
    std::string pattern = text("{}/vitrine-bench-XXXXXX", wanted && *wanted ? wanted : "/tmp");
    const bool made = ::mkdtemp(pattern.data()) != nullptr;
    const std::string reason = std::strerror(errno);
    if (!made)
      fail(Fault::output, "cannot make a folder for the backbone's file, {}: {}; TMPDIR names another place",
           quote(pattern), reason);
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  const SignalGuard guard_;
  std::filesystem::path path_;
};

// A backbone of random weights.
Backbone random_backbone(const std::string& model, uint64_t seed) {
  const TransformerConfig config = with_classes(preset(model), 0);
  Parameters parameters;
  const Transformer net(config, trainable(parameters, seed, DType::f32));
  TensorFile file;
  file.name = model;
  for (const Parameter& p : parameters.all()) file.tensors[p.name] = p.value.value();
  file.metadata["config"] = config_to_json(config);
  // Through a file, as everybody's backbone comes: its memory is what theirs is.
  TensorFile mapped;
  {
    const TemporaryFolder folder;
    const std::string path = folder.file("backbone.safetensors");
    save_safetensors(path, file);
    mapped = load_safetensors(path);
  }
  if (SignalGuard::caught()) std::exit(SignalGuard::exit_code());
  return make_backbone(std::move(mapped), model);
}

struct Images {
  Tensor pixels, labels;
};

Images random_images(const TransformerConfig& config, const BenchOptions& o, const Memory& memory) {
  const int64_t side = image_size(config);
  Random random(o.seed, Purpose::test);
  const Memory here = memory.device() == nullptr ? memory : Memory();
  Images images{Tensor::empty(Shape{o.batch, 3, side, side}, DType::f32, here),
                Tensor::empty(Shape{o.batch}, DType::i64, here)};
  for (float& value : images.pixels.mutable_data<float>()) value = static_cast<float>(random.normal());
  for (int64_t& label : images.labels.mutable_data<int64_t>())
    label = random.below(static_cast<uint32_t>(o.classes));
  if (memory.device() != nullptr) images = {images.pixels.copied_to(memory), images.labels.copied_to(memory)};
  return images;
}

struct StepTimes {
  std::vector<double> whole, forward, backward, optimizer;  // seconds
};

// `memory`: where the model lives. On a device images and labels lie there from the start, the step is recorded after the
// untimed ones, as in tune, and a time ends when the work is done, not when it has been handed over: that is waited for
// once in a step.
StepTimes time_steps(TunedModel& model, const BenchOptions& o, const Memory& memory, Console& console) {
  const Images images = random_images(model.transformer(), o, memory);
  const Device* device = memory.device();
  Pass pass{.training = true, .recompute = o.recompute};
  for (int64_t i = 0; i < o.batch; ++i) pass.noise.samples.push_back(i);
  Optimizer optimizer(model.parameters(), {.kind = o.optimizer});
  double forward = 0, backwards = 0;
  const auto work = [&] {
    const Variable loss = cross_entropy(model.logits(images.pixels, pass), images.labels);
    forward = now();
    model.parameters().clear_gradients();
    backward(loss);
    model.settle(images.pixels.dim(0));
    backwards = now();
    optimizer.apply();
  };

  StepTimes times;
  std::unique_ptr<Recording> recording;
  for (int64_t step = -o.warmup; step < o.steps; ++step) {
    if (step == 0) {
      memory.reset_peak();
      if (device != nullptr && !o.eager)
        recording = std::make_unique<Recording>(device->shared_from_this(), work);
    }
    const double begin = now();
    optimizer.prepare(1e-3);
    if (recording != nullptr)
      recording->replay();
    else
      work();
    if (device != nullptr) device->wait();
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

// Seconds of each forward pass.
std::vector<double> time_passes(const TunedModel& model, const BenchOptions& o, const Memory& memory,
                                Console& console) {
  const Images images = random_images(model.transformer(), o, memory);
  std::vector<double> times;
  for (int64_t pass = -o.warmup; pass < o.steps; ++pass) {
    if (pass == 0) memory.reset_peak();
    const double begin = now();
    const Variable logits = model.logits(images.pixels, {.history = false});
    if (memory.device() != nullptr) memory.device()->wait();
    const double end = now();
    if (pass >= 0) times.push_back(end - begin);
    console.progress(pass + o.warmup + 1, o.steps + o.warmup, static_cast<double>(o.batch) / (end - begin),
                     pass < 0 ? "warming up" : "timing");
  }
  console.clear();
  return times;
}

// The task that `model` holds, as a task file would give it back.
Task task_of(const TunedModel& model, const Backbone& backbone) {
  Task task;
  task.config = model.config();
  task.backbone_identity = identity_of(backbone);
  task.tensors = model.task_tensors();
  return task;
}

// Images per second: the median's, the slowest's, the fastest's.
struct Speed {
  double middle, slowest, fastest;
  Speed(const std::vector<double>& seconds, int64_t batch)
      : middle(static_cast<double>(batch) / median(seconds)),
        slowest(static_cast<double>(batch) / *std::ranges::max_element(seconds)),
        fastest(static_cast<double>(batch) / *std::ranges::min_element(seconds)) {}
  std::string words() const {
    return fmt::format("{:.2f} images/s (median; {:.2f} to {:.2f})", middle, slowest, fastest);
  }
};

// What both kinds say first.
void describe_run(const TunedModel& model, const BenchOptions& o, Console& console) {
  const bool prompts = prompt_kind(model.config().method) != PromptKind::none;
  console.item("Model", fmt::format("{}; {}{}", describe(model.transformer()), method_text(model.config()),
                                    prompts ? text(", {}", plural(o.prompts, "prompt")) : ""));
  console.item(o.infer ? "Pass" : "Step",
               fmt::format("batch {}, {} after {} untimed, {}{}{}", o.batch,
                           o.infer ? plural(o.steps, "pass", "passes") : plural(o.steps, "step"), o.warmup,
                           plural(thread_count(), "thread"),
                           text("{}{}", packed_text(o), o.eager ? ", not recorded" : ""),
                           o.recompute > 0
                               ? fmt::format(", {} computed again in backward", plural(o.recompute, "block"))
                               : ""));
}

nlohmann::ordered_json json_of(const TunedModel& model, const BenchOptions& o, const Speed& speed) {
  const bool prompts = prompt_kind(model.config().method) != PromptKind::none;
  return {{"command", o.infer ? "bench infer" : "bench step"},
          {"model", o.backbone.value_or(o.model)},
          {"method", method_text(model.config())},
          {"batch", o.batch},
          {"prompts", prompts ? o.prompts : 0},
          {"classes", o.classes},
          {"precision", name_of(o.place.precision(trains_inside(o.method.method)))},
          {"device", o.place.device},
          {"tf32", o.place.tf32},
          {"recorded", o.place.on_device() && !o.infer && !o.eager},
          {"one_form", o.one_form},
          {"recompute", o.recompute},
          {"instructions", instruction_set()},
          {"threads", thread_count()},
          {"steps", o.steps},
          {"images_per_second", speed.middle},
          {"images_per_second_min", speed.slowest},
          {"images_per_second_max", speed.fastest}};
}

// Of one step or pass; nothing for methods that are not counted.
std::optional<int64_t> multiply_accumulates_of(const TunedModel& model, const BenchOptions& o) {
  const Method method = model.config().method;
  if (method != Method::vpt_deep && method != Method::linear) return std::nullopt;
  const TuningCost cost = tuning_cost(with_classes(model.transformer(), o.classes),
                                      method == Method::linear ? 0 : o.prompts, o.batch);
  return o.infer ? cost.forward : cost.step();
}

}  // namespace

std::string packed_text(const BenchModel& o) {
  return text("{}{}", o.one_form ? ", matrices packed once" : "", place_text(o.place, o.method.method));
}

Backbone backbone_of(const BenchModel& o, uint64_t seed, const Memory& memory) {
  const bool trained = o.method.method == Method::full;
  check(!trained || (o.place.precision(trained) == Precision::f32 && !o.one_form),
        "--method full: trains the backbone, which is then not packed once for all: no --precision and no "
        "--one-form");
  const Backbone opened = o.backbone            ? open_backbone(*o.backbone, o.hints)
                          : is_builtin(o.model) ? open_backbone(o.model, o.hints)
                                                : random_backbone(o.model, seed);
  check(!o.place.on_device() || !o.one_form, "--one-form: on a device nothing is packed");
  const Backbone backbone = placed(counted_in(memory, opened), o.place, o.method.method);
  return o.one_form ? with_one_form(backbone) : backbone;
}

int bench(const BenchOptions& o, Console& console) {
  check(!o.eager || o.place.on_device(), "--eager: only a device's step is recorded");
  const Memory counted = Memory::counted();
  const Backbone backbone = backbone_of(o, o.seed, counted);
  const Memory memory = backbone.on_device() ? backbone.home : counted;
  TunedConfig config = o.infer && o.prompts == 0 ? method_from_text("linear") : o.method;
  config.classes = o.classes;
  config.paper_head = true;
  if (prompt_kind(config.method) != PromptKind::none) config.prompts.count = o.prompts;
  auto made = std::make_unique<TunedModel>(backbone, config, o.seed, DType::f32, memory);
  if (o.infer)
    made =
        std::make_unique<TunedModel>(backbone, task_of(*made, backbone), DType::f32, memory, Use::prediction);
  TunedModel& model = *made;
  check(o.recompute < block_count(model.transformer()),
        "--recompute: of {} blocks, all but the last can be computed again, got {}",
        block_count(model.transformer()), o.recompute);

  nlohmann::ordered_json json;
  describe_run(model, o, console);
  if (memory.device() != nullptr) console.item("Device", memory.device()->description());
  if (o.infer) {
    const std::vector<double> times = time_passes(model, o, memory, console);
    const Speed speed(times, o.batch);
    console.item("Speed", speed.words());
    json = json_of(model, o, speed);
    json["seconds_per_pass"] = times;
  } else {
    const StepTimes times = time_steps(model, o, memory, console);
    const Speed speed(times.whole, o.batch);
    console.item("Trained", plural(model.parameters().count(), "parameter"));
    console.item("Speed", speed.words());
    json = json_of(model, o, speed);
    json["seconds_per_step"] = times.whole;
    if (memory.device() != nullptr) {
      console.item("Time", fmt::format("{:.5f} s a step", median(times.whole)));
    } else {
      console.item("Time", fmt::format("{:.4f} s a step: forward {:.4f}, backward {:.4f}, optimizer {:.5f}",
                                       median(times.whole), median(times.forward), median(times.backward),
                                       median(times.optimizer)));
      json["forward_seconds"] = median(times.forward);
      json["backward_seconds"] = median(times.backward);
      json["optimizer_seconds"] = median(times.optimizer);
    }
    json["trained_parameters"] = model.parameters().count();
  }
  tell_notes(memory, console);
  const size_t peak = memory.statistics().peak, process = peak_rss_bytes();
  if (const auto products = multiply_accumulates_of(model, o)) {
    json["multiply_accumulates"] = *products;
    console.item("Arithmetic",
                 fmt::format("{:.1f} GFLOP an image in matrix products",
                             2e-9 * static_cast<double>(*products) / static_cast<double>(o.batch)));
  }
  json["peak_bytes"] = peak;
  json["peak_rss_bytes"] = process;
  console.item("Memory", text("at most {} in tensors, {} in all", bytes_text(peak), bytes_text(process)));
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
