// forecast.cpp: the memory of a run, told before it begins.
//
// The run's own calls are made on one and on two blank images, in a pool that writes down the bytes in use after
// every block that is taken or given back. All sizes are linear in the images of a micro-batch, and working space
// knows nothing of them (engine/cpu/rows.h: Scratch): so the two series tell that of any number of images, moment
// by moment, and the greatest of it is the peak, wherever in the step it falls.
#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

#include "engine/check.h"
#include "models/training/class_tokens.h"
#include "models/training/gradient_sum.h"
#include "models/training/tune.h"

namespace vitrine {

namespace {

// A pool that keeps a record. Only one thread takes memory from it.
class Recorder {
 public:
  explicit Recorder(size_t limit)
      : memory_(Memory::counted(
            limit,
            {.allocate = [state = state_](size_t bytes) { return state->allocate(bytes); },
             .release = [state = state_](void* pointer, size_t bytes) { state->release(pointer, bytes); }})) {
  }
  const Memory& memory() const { return memory_; }
  int64_t current() const { return state_->current; }
  // What was in use after each change since the last call.
  std::vector<int64_t> take() { return std::exchange(state_->series, {state_->current}); }

 private:
  struct State {
    Memory source = Memory::counted();  // keeps blocks for reuse
    std::map<void*, std::shared_ptr<std::byte>> alive;
    int64_t current = 0;
    std::vector<int64_t> series;
    void note(int64_t change) { series.push_back(current += change); }
    void* allocate(size_t bytes) {
      const std::shared_ptr<std::byte> block = source.allocate(bytes);
      alive[block.get()] = block;
      note(static_cast<int64_t>(bytes));
      return block.get();
    }
    void release(void* pointer, size_t bytes) {
      alive.erase(pointer);
      note(-static_cast<int64_t>(bytes));
    }
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  Memory memory_;
};

// What a run is made of.
enum Phase { the_start, a_step, validation, the_task, phases };
using Series = std::array<std::vector<int64_t>, phases>;

}  // namespace

struct MemoryPlanner::State {
  TuneConfig config;
  int64_t samples, validation_samples, side;
  Memory frozen;
  Recorder recorder;
  Backbone backbone;
  bool one_form = false;
  std::unique_ptr<TunedModel> model;
  std::unique_ptr<Optimizer> optimizer;
  std::map<std::string, Tensor> best;
  int64_t at_rest = 0;  // model and optimizer
  CrossEntropy loss;
  // Of `images` and of twice as many.
  struct Pair {
    int64_t images = 1;
    Series one, two;
  };
  std::map<std::tuple<int64_t, bool, bool>, Pair> known;

  State(const Backbone& from, const TuneConfig& c, int64_t n, int64_t val, int64_t images_side, size_t limit,
        bool one)
      : config(c),
        samples(n),
        validation_samples(val),
        side(images_side ? images_side : image_size(from.config)),
        frozen(Memory::counted(limit)),
        recorder(limit),
        backbone(counted_in(frozen, one ? with_one_form(from) : from)),  // packed forms are counted apart
        one_form(keeps_one_form(backbone)) {
    check_image_size(backbone.config, side);
    model = std::make_unique<TunedModel>(backbone, config.model, config.seed, DType::f32, recorder.memory());
    optimizer = std::make_unique<Optimizer>(model->parameters(), config.optimizer);
    if (config.keep_best && config.epochs > 1) best = model->task_tensors();
    at_rest = recorder.current();
    if (config.balance_classes) loss.class_weights = Tensor::full({config.model.classes}, 1.0, DType::f32);
    loss.smoothing = config.smoothing;
  }

  int64_t batch() const { return std::min(config.batch, samples); }
  int64_t micro_batch(int64_t accumulate) const {
    TuneConfig split = config;
    split.accumulate = accumulate;
    return images_at_once(split, samples);
  }
  // Parts of a batch that are rehearsed: the second is worked on beside the first one's gradients, as all others do.
  int64_t rehearsed_parts(int64_t accumulate) const { return std::min<int64_t>({accumulate, batch(), 2}); }

  // The calls of models/training/tune.cpp, with micro-batches of so many blank images.
  Series rehearse(int64_t recompute, int64_t parts, int64_t images) {
    Series series;
    const Tensor blank = Tensor::zeros({parts * images, 3, side, side}, DType::f32, recorder.memory());
    const int64_t blank_bytes = recorder.current() - at_rest;
    const auto finish = [&](Phase phase) {
      series[phase] = recorder.take();
      for (int64_t& bytes : series[phase]) bytes -= blank_bytes;  // the loader's are added later
    };
    recorder.take();
    const auto count = static_cast<size_t>(images);
    const Tensor labels = Tensor::of<int64_t>({images}, std::vector<int64_t>(count, 0));
    const PromptConfig& prompts = model->config().prompts;
    if (prompts.kind != PromptKind::none && prompts.start == PromptStart::class_tokens) {
      ClassTokens tokens(*model, recorder.memory());
      tokens.add(blank.rows(0, images), labels.data<int64_t>());
      const Tensor start = Tensor::zeros(model->parts().prompts.product().at("prompts").shape(), DType::f32,
                                         recorder.memory());
    }
    finish(the_start);
    std::vector<Tensor> features;
    OneProcess alone;
    GradientSum gradient(model->parameters(), alone);
    for (int64_t part = 0; part < parts; ++part) {
      const Tensor own = blank.rows(part * images, (part + 1) * images);
      const Variable logits = [&] {
        const Pass pass{
            .training = true, .noise = {.samples = std::vector<int64_t>(count, 0)}, .recompute = recompute};
        if (!keeps_features(config)) return model->logits(own, pass);
        const Tensor fresh = model->features(own).value();
        features.push_back(fresh.clone());  // there, a block for each image
        return model->classify(concat({features.back()}, 0), pass);
      }();
      const Variable value = cross_entropy(logits, labels, loss);
      backward(parts == 1 ? value : scale(value, 1.0 / static_cast<double>(parts)));
      model->settle(images);
      gradient.add();
    }
    gradient.finish();
    if (config.clip > 0) clip_gradients(model->parameters(), 1e-30);
    optimizer->step(0);
    finish(a_step);
    if (validation_samples > 0) {
      const Variable logits = model->logits(blank.rows(0, images), {.history = false});
      cross_entropy(logits.detach(), labels);
    }
    finish(validation);
    model->task_tensors();
    finish(the_task);
    model->parameters().clear_gradients();
    return series;
  }

  const Pair& pair(int64_t recompute, int64_t accumulate) {
    const int64_t parts = rehearsed_parts(accumulate);
    const bool single = micro_batch(accumulate) == 1;
    const std::tuple key{recompute, parts > 1, single};
    if (const auto found = known.find(key); found != known.end()) return found->second;
    Pair pair;
    try {
      pair.one = rehearse(recompute, parts, 1);
      // A second time in any case: what is made of weights is then beside all of their packed forms.
      pair.two = rehearse(recompute, parts, single ? 1 : 2);
      // An op may go another way for very few rows: then the numbers of more images tell.
      while (!match(pair) && pair.images < 8) {
        pair.images *= 2;
        pair.one = std::move(pair.two);
        pair.two = rehearse(recompute, parts, 2 * pair.images);
      }
    } catch (...) {
      model->parameters().clear_gradients();
      throw;
    }
    check(match(pair), "forecast: steps on {} and on {} images do not take the same blocks", pair.images,
          2 * pair.images);
    return known[key] = std::move(pair);
  }

  static bool match(const Pair& pair) {
    for (int phase = 0; phase < phases; ++phase)
      if (pair.one[phase].size() != pair.two[phase].size()) return false;
    return true;
  }

  // The batches of `images` images that a loader has at once: the present one and those made ahead (its ring holds
  // one more than it has workers, see loader.cpp).
  int64_t loader_bytes(int64_t images, int64_t of) const {
    const int64_t all = (of + images - 1) / images, most = config.workers > 0 ? config.workers + 2 : 1;
    return std::min(all, most) * std::min(images, of) *
           (3 * side * side * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(int64_t)));
  }
};

MemoryPlanner::MemoryPlanner(const Backbone& backbone, const TuneConfig& config, int64_t samples,
                             int64_t validation_samples, int64_t side, size_t limit)
    : make_([=](bool one_form) {
        return std::make_unique<State>(backbone, config, samples, validation_samples, side, limit, one_form);
      }),
      state_(make_(false)) {}
MemoryPlanner::~MemoryPlanner() = default;

MemoryForecast MemoryPlanner::forecast(int64_t recompute, int64_t accumulate) {
  State& s = *state_;
  const State::Pair& pair = s.pair(recompute, accumulate);
  const int64_t images = s.micro_batch(accumulate);
  // Where features are kept, those of all images but the rehearsed ones come on top.
  const int64_t features = keeps_features(s.config)
                               ? (s.samples - std::min(s.samples, s.rehearsed_parts(accumulate) * images)) *
                                     feature_width(s.backbone.config) * static_cast<int64_t>(sizeof(float))
                               : 0;
  int64_t most = -1, slope = 0, loader = 0;
  for (int phase = 0; phase < phases; ++phase) {
    const int64_t batches = phase == a_step       ? s.loader_bytes(s.batch(), s.samples)
                            : phase == the_start  ? s.loader_bytes(images, s.samples)
                            : phase == validation ? s.loader_bytes(images, s.validation_samples)
                                                  : 0;
    for (size_t t = 0; t < pair.one[phase].size(); ++t) {
      const int64_t more = (pair.two[phase][t] - pair.one[phase][t]) / pair.images,
                    bytes = pair.one[phase][t] + more * (images - pair.images);
      if (bytes + batches <= most) continue;
      most = bytes + batches;
      loader = batches;
      slope = images > 1 ? more : bytes - s.at_rest;
    }
  }
  slope = std::clamp<int64_t>(slope, 0, (most - loader) / images);
  const size_t resident = resident_bytes(s.backbone);
  return {.weights = resident + s.frozen.statistics().peak,
          .resident = resident,
          .trained = static_cast<size_t>(most - loader - slope * images + features),
          .per_image = static_cast<size_t>(slope),
          .batch_images = static_cast<size_t>(images),
          .loader = static_cast<size_t>(loader),
          .recompute = recompute,
          .accumulate = accumulate,
          .one_form = s.one_form};
}

int64_t MemoryPlanner::most_recompute() const { return block_count(state_->backbone.config) - 1; }

std::optional<MemoryForecast> MemoryPlanner::within(size_t limit, int64_t recompute, int64_t accumulate) {
  try {
    const MemoryForecast found = forecast(recompute, accumulate);
    if (found.peak() <= limit) return found;
  } catch (const Error& e) {
    if (e.fault() != Fault::resources) throw;
  }
  return std::nullopt;
}

std::optional<MemoryForecast> MemoryPlanner::fit(size_t limit) {
  const int64_t accumulate = state_->config.accumulate;
  std::optional<MemoryForecast> best = within(limit, 0, accumulate);
  if (best) return best;
  if (!state_->one_form) {
    state_ = make_(true);
    best = within(limit, 0, accumulate);
    if (best) return best;
  }
  int64_t too_few = 0, enough = most_recompute();
  best = within(limit, enough, accumulate);
  // Each block more takes less.
  while (best && enough - too_few > 1) {
    const int64_t middle = (too_few + enough) / 2;
    if (const auto found = within(limit, middle, accumulate)) {
      best = found;
      enough = middle;
    } else {
      too_few = middle;
    }
  }
  return best;
}

MemoryForecast forecast_memory(const Backbone& backbone, const TuneConfig& config, int64_t samples,
                               int64_t validation_samples, int64_t side, size_t limit) {
  return MemoryPlanner(backbone, config, samples, validation_samples, side, limit)
      .forecast(config.recompute, config.accumulate);
}

}  // namespace vitrine
