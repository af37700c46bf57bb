#include "models/training/sweep_run.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <new>

#include "data/subset.h"
#include "engine/check.h"
#include "engine/parallel.h"
#include "engine/text.h"
#include "models/training/checkpoint.h"
#include "models/training/metrics.h"
#include "models/training/run_files.h"
#include "models/training/tune_parts.h"

namespace vitrine {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int64_t asked_at_once = 64;  // images; the loss is summed by such batches

// Training seconds of a run that may have been interrupted: those of its epochs.
double seconds_of_epochs(const std::string& folder) {
  double sum = 0;
  for (const EpochLine& line : read_metrics(folder)) sum += line.seconds;
  return sum;
}

class OneRun {
 public:
  OneRun(const SweepConfig& config, const SweepHooks& hooks, const SweepFolder& folder, const SweepData& data,
         const Cell& cell, const PlannedRun& run)
      : config_(config),
        hooks_(hooks),
        folder_(folder),
        data_(data),
        cell_(cell),
        run_(run),
        tuned_(run.config) {
    tuned_.model = for_classes(tuned_.model, data.learned->classes());
  }
  LedgerLine line();

 private:
  const Backbone& backbone() const { return config_.backbone(tuned_.model); }
  void keep_all_features();
  TuneResult train(LedgerLine& line);
  void ask(const Task& task, LedgerLine& line);
  void save_record(const LedgerLine& line) const;
  // A model has no hook to stop while it is asked.
  std::function<void(int64_t, int64_t)> asking() const {
    return [this](int64_t, int64_t) {
      if (hooks_.stop && hooks_.stop()) throw Stopped{};
    };
  }

  const SweepConfig& config_;
  const SweepHooks& hooks_;
  const SweepFolder& folder_;
  const SweepData& data_;
  const Cell& cell_;
  const PlannedRun& run_;
  TuneConfig tuned_;  // with the number of classes
};

// In batches of their own: those of a recipe may be too large to go through the net at once.
void OneRun::keep_all_features() {
  data_.kept.features->belong_to(backbone(), data_.learned.get(), data_.preprocess);
  data_.test_kept.features->belong_to(backbone(), data_.test.get(), data_.preprocess);
  const std::vector<int64_t> samples = data_.both();
  if (std::ranges::all_of(samples, [&](int64_t i) { return data_.kept.features->has(i); })) return;
  const TunedModel model(backbone(), tuned_.model, tuned_.seed);
  evaluate(model, data_.learned, samples, data_.preprocess, asked_at_once, tuned_.workers, tuned_.max_bad,
           nullptr, asking(), {}, nullptr, data_.kept);
}

TuneResult OneRun::train(LedgerLine& line) {
  const Clock::time_point began = Clock::now();
  TuneData part{.dataset = data_.learned,
                .train = run_.stage == Stage::search ? data_.train : data_.both(),
                .val = {},  // is asked once, after the last epoch
                .val_set = {},
                .preprocess = data_.preprocess,
                .kept = data_.kept};
  line.train_images = static_cast<int64_t>(part.train.size());
  const bool features = keeps_features(tuned_);
  if (features) keep_all_features();
  TuneHooks hooks;
  hooks.step = hooks_.step;
  // What is so for all runs of the task was told when it was opened.
  if (hooks_.note)
    hooks.note = [&, known = classes_without_images(part)](const std::string& words) {
      if (words != known) hooks_.note(words);
    };
  hooks.stop = hooks_.stop;
  // A head on kept features is trained faster than its states would be written.
  const bool saves = !features || config_.keep_tasks;
  const std::string state = saves ? folder_.state_folder(run_.name) : "";
  TuneResult result = tune(backbone(), part, tuned_, state, saves && holds_run(state), hooks);
  if (result.stopped) throw Stopped{};
  line.trained_parameters = result.trained_parameters;
  for (const auto& [name, tensor] : result.task.tensors) line.stored_parameters += tensor.numel();
  line.seconds = saves && std::filesystem::exists(state + "/metrics.jsonl") ? seconds_of_epochs(state)
                                                                            : seconds_since(began);
  return result;
}

void OneRun::ask(const Task& task, LedgerLine& line) {
  const bool search = run_.stage == Stage::search;
  const Clock::time_point began = Clock::now();
  const TunedModel model(backbone(), task, DType::f32, Memory{}, Use::prediction);
  const auto& dataset = search ? data_.learned : data_.test;
  const std::vector<int64_t> samples = search ? data_.val : all_samples(*data_.test);
  Kept kept = search ? data_.kept : data_.test_kept;
  if (!keeps_features(tuned_)) kept.features = nullptr;
  if (kept.embedded && !keeps_embedding(tuned_, backbone())) kept.embedded = nullptr;
  if (kept.embedded && !keeps_features(tuned_))
    kept.embedded->tokens().belong_to(backbone(), dataset.get(), data_.preprocess);
  const Evaluation e = evaluate(model, dataset, samples, data_.preprocess, asked_at_once, tuned_.workers,
                                tuned_.max_bad, nullptr, asking(), {}, nullptr, kept);
  if (!std::isfinite(e.loss) || e.loss > greatest_loss) fail(Fault::diverged, "{}", too_great(e.loss));
  line.accuracy = e.accuracy;
  line.score = value_of(cell_.task.metric, e);
  line.loss = e.loss;
  line.asked_images = e.samples;
  if (hooks_.note)
    for (const BadImage& image : e.bad)
      hooks_.note(text("{}; it was left out of {}", image.message, search ? "val" : "test"));
  line.seconds += seconds_since(began);
}

// For a report of the run.
void OneRun::save_record(const LedgerLine& line) const {
  RunRecord record{.version = line.version,
                   .data = with_absolute_place(line.data),
                   .exif = data_.preprocess.exif,
                   .device = tuned_.device.empty() ? "cpu" : tuned_.device,
                   .precision = name_of(tuned_.precision),
                   .train_samples = line.train_images,
                   .trained_parameters = line.trained_parameters,
                   .backbone_parameters = line.backbone_parameters};
  if (run_.stage == Stage::final) {
    record.test_accuracy = line.accuracy;
    record.test_loss = line.loss;
    record.test_samples = line.asked_images;
  }
  if (cell_.task.train_limit) record.choice = text("train_limit {}", *cell_.task.train_limit);
  if (config_.plan.data_seed != 0)
    record.choice += text("{}data_seed {}", record.choice.empty() ? "" : ", ", config_.plan.data_seed);
  save_run_record(folder_.state_folder(run_.name), record);
}

LedgerLine OneRun::line() {
  check(is_utf8(backbone().source),
        "sweep: the backbone's path {} is not UTF-8, as the ledger's text must be", quote(backbone().source));
  const TransformerConfig net = with_classes(backbone().config, 0);
  const std::string preset = preset_name(net);
  LedgerLine line{.run = run_.name,
                  .task = cell_.task.name,
                  .group = cell_.task.group,
                  .data = cell_.task.data,
                  .metric = name_of(cell_.task.metric),
                  .method = cell_.method,
                  .form = run_.method,
                  .recipe = std::string(cell_.recipe->preset),
                  .settings = to_json(tuned_),
                  .variant = variant_words(to_json(tuned_),
                                           usual_dropout(std::string(cell_.recipe->preset), run_.method)),
                  .stage = run_.stage,
                  .seed = tuned_.seed,
                  .learning_rate = tuned_.learning_rate,
                  .weight_decay = tuned_.optimizer.weight_decay,
                  .prompts = tuned_.model.prompts.count,
                  .epochs = tuned_.epochs,
                  .batch = tuned_.batch,
                  .classes = tuned_.model.classes,
                  .backbone_parameters = parameter_count(net),
                  .backbone = backbone().source,
                  .net = preset.empty() ? describe(net) : preset,
                  .backbone_identity = identity_of(backbone()),
                  .data_digest = data_.digest,
                  .contents = data_.contents,
                  .preprocess = to_json(data_.preprocess),
                  .threads = thread_count(),
                  .version = config_.version};
  const LedgerLine blank = line;
  const Clock::time_point began = Clock::now();
  const auto without_numbers = [&] {
    const int64_t images = line.train_images;
    line = blank;
    line.train_images = images;
    line.seconds = seconds_since(began);
  };
  try {
    const TuneResult result = train(line);
    ask(result.task, line);
    if (config_.keep_tasks) save_record(line);
  } catch (const Error& e) {
    // What the machine lacks says nothing of the run, which is done another time.
    if (e.fault() == Fault::output || e.fault() == Fault::resources)
      fail(e.fault(), "{} on {} (run {}): {}", run_.method, cell_.task.name, run_.name, e.what());
    without_numbers();
    (e.fault() == Fault::diverged ? line.diverged : line.failed) = e.what();
  } catch (const std::bad_alloc&) {
    fail(Fault::resources, "{} on {} (run {}): not enough memory", run_.method, cell_.task.name, run_.name);
  }
  return line;
}

}  // namespace

LedgerLine do_planned_run(const SweepConfig& config, const SweepHooks& hooks, const SweepFolder& folder,
                          const SweepData& data, const Cell& cell, const PlannedRun& run) {
  return OneRun(config, hooks, folder, data, cell, run).line();
}

}  // namespace vitrine

#endif
