#include "models/training/tune.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "engine/check.h"
#include "engine/device.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/checkpoint.h"
#include "models/training/class_tokens.h"
#include "models/training/device_step.h"
#include "models/training/gradient_sum.h"
#include "models/training/hits.h"
#include "models/training/shallow_json.h"
#include "models/training/tune_parts.h"

namespace vitrine {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A double as text that gives the same bits back.
std::string exact(double value) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%a", value);
  return digits;
}

// Of the settings that a checkpoint keeps; -1 if they tell none.
int64_t epochs_of(const std::string& settings) {
  try {
    const auto kept = shallow_object<nlohmann::json>(settings, 4, "checkpoint");
    return kept.contains("epochs") && kept["epochs"].is_number_integer() ? kept["epochs"].get<int64_t>() : -1;
  } catch (const Error&) {
    return -1;
  }
}

// What a checkpoint keeps beside parameters and optimizer state.
struct Progress {
  int64_t epoch = 0;     // epochs done
  int64_t position = 0;  // batches done of the next one
  double loss = 0;       // sums over the present epoch's samples
  int64_t hits = 0, samples = 0;
  double best = -1;  // best validation accuracy so far, with keep_best
  std::map<std::string, Tensor> best_tensors;
  std::string metrics;  // the lines of metrics.jsonl
};

class Run {
 public:
  Run(const Backbone& backbone, const TuneData& data, const TuneConfig& config, const std::string& folder,
      const TuneHooks& hooks, const Task* start, const Memory& memory, Processes& processes)
      : processes_(processes),
        backbone_(backbone),
        data_(data),
        config_(config),
        folder_(folder),
        hooks_(hooks),
        backbone_identity_(identity_of(backbone)),
        start_digest_(digest_of(start)),
        memory_(memory),
        model_(make_model(backbone, config, start, memory)),
        optimizer_(model_->parameters(), config.optimizer),
        loader_(data.dataset, data.train, data.preprocess, loader_options(memory)) {
    if (processes.count() > 1)
      check_same_run(processes, config, digest_of(data), backbone_identity_, start_digest_);
    steps_per_epoch_ = loader_.batches();
    if (keeps_features(config)) {
      features_ = data.kept.features ? data.kept.features : std::make_shared<KeptFeatures>(data.dataset);
      features_->belong_to(backbone, data.dataset.get(), data.preprocess);
    }
    if (!keeps_features(config) && data.kept.embedded && keeps_embedding(config, backbone)) {
      embedded_ = data.kept.embedded;
      embedded_->tokens().belong_to(backbone, data.dataset.get(), data.preprocess);
    }
    if (config.balance_classes) loss_.class_weights = class_weights(data, model_->config().classes);
    loss_.smoothing = config.smoothing;
    if (backbone.on_device() && !keeps_features(config))
      device_step_ = std::make_unique<DeviceStep>(*model_, optimizer_, config, loss_, data);
  }

  void restore(const TensorFile& state);
  void begin();  // of fresh prompts, where nothing is restored
  bool train();  // false if stopped
  TuneResult result();

 private:
  static std::unique_ptr<TunedModel> make_model(const Backbone& backbone, const TuneConfig& config,
                                                const Task* start, const Memory& memory) {
    if (start) return std::make_unique<TunedModel>(backbone, *start, DType::f32, memory);
    return std::make_unique<TunedModel>(backbone, config.model, config.seed, DType::f32, memory);
  }
  LoaderOptions loader_options(const Memory& memory) const {
    LoaderOptions options{.batch_size = config_.batch,
                          .shuffle = !config_.sequential,
                          .seed = config_.seed,
                          .augment = config_.augment,
                          .workers = config_.workers,
                          .max_bad = config_.max_bad,
                          .on_bad = hooks_.note,
                          .memory = memory,
                          .as_bytes = backbone_.on_device() && !keeps_features(config_),
                          .prepared = data_.kept.images,
                          .known = [this](int64_t sample) {
                            if (embedded_ != nullptr) return embedded_->has(sample);
                            return features_ != nullptr
                                       ? features_->has(sample)
                                       : device_step_ != nullptr && device_step_->knows(sample);
                          }};
    if (processes_.count() == 1) return options;
    options.known = nullptr;
    options.wanted = [this](int64_t row, int64_t rows) {
      const int64_t parts = std::min(config_.accumulate, rows), part = ((row + 1) * parts - 1) / rows;
      return part % processes_.count() == processes_.rank();
    };
    options.all_damaged = [this](const std::vector<BadImage>& here) {
      MessageWriter own;
      put_bad(own, here);
      std::vector<BadImage> all;
      for (const Processes::Bytes& bytes : processes_.exchange(own.bytes())) {
        MessageReader other(bytes);
        std::ranges::move(get_bad(other), std::back_inserter(all));
      }
      return all;
    };
    return options;
  }
  Variable logits_of(const Tensor& images, std::span<const int64_t> samples);
  double weight_of(const Tensor& labels) const;
  void check_finite() const;
  bool next(Batch& batch);
  const Batch* take_ahead();
  void step(const Batch& batch, double learning_rate);
  void note_part(double loss, double share, int64_t images, int64_t hits);
  void save();
  double rate_at(int64_t step) const;
  void end_epoch(double seconds, int64_t samples_seen);

  Processes& processes_;
  const Backbone& backbone_;
  const TuneData& data_;
  const TuneConfig& config_;
  const std::string& folder_;
  const TuneHooks& hooks_;
  const std::string backbone_identity_, start_digest_;
  const Memory memory_;
  std::unique_ptr<TunedModel> model_;
  Optimizer optimizer_;
  std::unique_ptr<DeviceStep> device_step_;  // where the backbone is on a device; the loader asks it
  std::shared_ptr<KeptFeatures>
      features_;  // where only the head learns; see logits_of. The loader asks it, too
  std::shared_ptr<KeptEmbedded> embedded_;  // where the data have it and nothing changes it
  Loader loader_;
  // Taken from the loader already, for a device brings it while it works; or what was thrown instead, which is of the
  // step to come.
  std::optional<Batch> ahead_;
  std::exception_ptr ahead_failed_;
  int64_t position_ = 0;  // in the loader, of the batch that is worked on
  CrossEntropy loss_;
  bool told_empty_ = false;  // that damaged images left classes without any
  Progress progress_;
  int64_t steps_per_epoch_ = 0;
  double last_loss_ = 0;
  std::vector<EpochReport> reports_;
};

// The logits of a micro-batch's images. Where only the head learns and images never change, neither
// do their features: they are computed once per image, and a batch whose features are known has no images.
Variable Run::logits_of(const Tensor& images, std::span<const int64_t> samples) {
  const Pass pass{.training = true,
                  .noise = {.seed = config_.seed,
                            .epoch = static_cast<uint32_t>(progress_.epoch),
                            .samples = {samples.begin(), samples.end()}},
                  .recompute = config_.recompute};
  if (embedded_ != nullptr)
    return model_->classify(
        model_->features(embedded_->rows(pass.noise.samples, [&] { return model_->embed(images); }), pass),
        pass);
  if (features_ == nullptr) return model_->logits(images, pass);
  return model_->classify(
      features_->rows(pass.noise.samples, [&] { return model_->features(images).value(); }), pass);
}

// What the mean of the loss divides by: the number of images, or the sum of their classes' weights.
double Run::weight_of(const Tensor& labels) const {
  if (!loss_.class_weights.defined()) return static_cast<double>(labels.dim(0));
  const auto weights = loss_.class_weights.data<float>();
  double sum = 0;
  for (const int64_t label : labels.data<int64_t>()) sum += weights[label];
  return sum;
}

// What a micro-batch gave, whose loss counts `share` in its batch.
void Run::note_part(double loss, double share, int64_t images, int64_t hits) {
  if (!std::isfinite(loss)) {
    const int64_t step =
        optimizer_.steps() + (device_step_ == nullptr ? 1 : 0);  // a device has made it already
    fail(Fault::diverged,
         "tune: the loss became {} in step {} (epoch {}); a smaller learning rate may help. The last "
         "checkpoint is untouched",
         loss, step, progress_.epoch + 1);
  }
  last_loss_ += share * loss;
  progress_.loss += loss * static_cast<double>(images);
  progress_.hits += hits;
  progress_.samples += images;
}

bool Run::next(Batch& batch) {
  if (ahead_failed_) std::rethrow_exception(std::exchange(ahead_failed_, nullptr));
  if (!ahead_ && !loader_.next(batch)) return false;
  if (ahead_) batch = *std::exchange(ahead_, std::nullopt);
  position_ = loader_.position();
  return true;
}

const Batch* Run::take_ahead() {
  try {
    if (Batch batch; loader_.next(batch)) ahead_ = std::move(batch);
  } catch (...) {
    ahead_failed_ = std::current_exception();
  }
  return ahead_ ? &*ahead_ : nullptr;
}

// One optimizer step from one batch, its micro-batches added up in their order. Processes take them in turn, and every
// process has all results and makes the step.
void Run::step(const Batch& batch, double learning_rate) {
  const auto n = static_cast<int64_t>(batch.samples.size());
  const int64_t parts = std::min(config_.accumulate, n);
  const auto begin_of = [&](int64_t part) { return n * part / parts; };
  last_loss_ = 0;
  const double weight = weight_of(batch.labels);
  std::vector<double> shares;
  for (int64_t part = 0; part < parts; ++part)
    shares.push_back(weight_of(batch.labels.rows(begin_of(part), begin_of(part + 1))) / weight);
  if (device_step_ != nullptr) {
    const DeviceStep::Told told = device_step_->run(batch, static_cast<uint32_t>(progress_.epoch), shares,
                                                    learning_rate, [this] { return take_ahead(); });
    for (size_t part = 0; part < told.parts.size(); ++part)
      note_part(told.parts[part].loss, shares[part], told.parts[part].images, told.parts[part].hits);
    check_norm(told.norm);
    return;
  }
  GradientSum gradient(model_->parameters(), processes_);
  // What others saw; one process has it already.
  const std::vector<Statistic> statistics =
      processes_.count() > 1 ? model_->statistics() : std::vector<Statistic>();
  int64_t row = 0;  // in the images, which are only those of this process's micro-batches
  for (int64_t first = 0; first < parts; first += processes_.count()) {
    MessageWriter own;
    if (const int64_t part = first + processes_.rank(); part < parts) {
      const int64_t begin = begin_of(part), end = begin_of(part + 1), count = end - begin;
      const Variable logits =
          logits_of(batch.images.defined() ? batch.images.rows(row, row + count) : Tensor(),
                    std::span(batch.samples).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
      row += count;
      const Tensor labels = batch.labels.rows(begin, end);
      const Variable loss = cross_entropy(logits, labels, loss_);
      const double value = loss.value().item();
      if (std::isfinite(value))  // else the run ends below
        backward(parts == 1 ? loss : scale(loss, shares[static_cast<size_t>(part)]));
      own.put(DeviceStep::Part{value, count, count_hits(logits.value(), labels.data<int64_t>())});
      for (const Statistic& s : statistics) own.put_all(s.seen.data<float>());
    }
    size_t part = static_cast<size_t>(first);
    for (const Processes::Bytes& bytes : processes_.exchange(own.bytes())) {
      if (bytes.empty()) break;  // the last processes had none
      MessageReader reader(bytes);
      const auto told = reader.get<DeviceStep::Part>();
      note_part(told.loss, shares[part++], told.images, told.hits);
      for (const Statistic& s : statistics) {
        Tensor seen = s.seen;
        std::ranges::copy(reader.get_all<float>(), seen.mutable_data<float>().begin());
      }
      model_->settle(told.images);
    }
    gradient.add();
  }
  gradient.finish();
  if (config_.clip > 0) clip_gradients(model_->parameters(), config_.clip);
  optimizer_.step(learning_rate);
}

// A state that holds NaN is worth nothing and must not replace one that does not.
void Run::check_finite() const {
  for (const Parameter& p : model_->parameters().all()) {
    const Tensor value = in_main_memory(p.value.value());
    if (std::ranges::all_of(value.data<float>(), [](float v) { return std::isfinite(v); })) continue;
    fail(Fault::diverged,
         "tune: '{}' became NaN or infinite by step {}; a smaller learning rate may help. The last "
         "checkpoint is untouched",
         p.name, optimizer_.steps());
  }
}

void Run::save() {
  check_finite();
  check_same_parameters(processes_, *model_, optimizer_.steps());
#ifdef VITRINE_FILES
  if (folder_.empty()) return;
  TensorFile state;
  for (const Parameter& p : model_->parameters().all())
    state.tensors["model." + p.name] = in_main_memory(p.value.value());
  for (const Statistic& s : model_->statistics())
    state.tensors["statistic." + s.name] = in_main_memory(s.value);
  for (const auto& [name, tensor] : progress_.best_tensors) state.tensors["best." + name] = tensor;
  optimizer_.save(state);
  state.metadata["format"] = "vitrine checkpoint 1";
  state.metadata["config"] = to_json(config_);
  state.metadata["data"] = digest_of(data_);
  state.metadata["backbone"] = backbone_identity_;
  state.metadata["start"] = start_digest_;
  state.metadata["epoch"] = std::to_string(progress_.epoch);
  state.metadata["position"] = std::to_string(progress_.position);
  state.metadata["loss"] = exact(progress_.loss);
  state.metadata["hits"] = std::to_string(progress_.hits);
  state.metadata["samples"] = std::to_string(progress_.samples);
  state.metadata["best"] = exact(progress_.best);
  state.metadata["metrics"] = progress_.metrics;
  save_checkpoint(folder_, optimizer_.steps(), state);
#endif
}

void Run::restore(const TensorFile& state) {
  const auto entry = [&](const char* key) {
    const auto found = state.metadata.find(key);
    check(found != state.metadata.end(), "{}: no metadata '{}'", state.name, key);
    return found->second;
  };
  check(entry("format") == "vitrine checkpoint 1", "{}: is not a checkpoint of this version", state.name);
  const std::string others = differences(entry("config"), to_json(config_));
  check(others.empty(), "resume: the run in '{}' has other settings: {}{}", folder_, others,
        epochs_of(entry("config")) == config_.epochs ? ""
                                                     : "; a finished run is trained longer as a new one: "
                                                       "--init its task.safetensors, with another --out");
  check(entry("data") == digest_of(data_), "resume: the run in '{}' was made on other data", folder_);
  check(entry("backbone") == backbone_identity_,
        "resume: the run in '{}' has another backbone, of identity {}..., but {} has {}...", folder_,
        entry("backbone").substr(0, 16), backbone_.source, backbone_identity_.substr(0, 16));
  check(entry("start") == start_digest_, "resume: the run in '{}' started from {}", folder_,
        entry("start") == "fresh" ? "fresh prompts and head" : "another task file");
  for (Parameter& p : model_->parameters().all()) {
    const Tensor& stored = state.at("model." + p.name);
    check(stored.shape() == p.value.shape() && stored.dtype() == p.value.dtype(),
          "{}: tensor 'model.{}': expected {}, got {}", state.name, p.name, p.value.shape(), stored.shape());
    Tensor target = p.value.value();
    target.assign(stored);
  }
  for (const Statistic& s : model_->statistics()) {
    Tensor target = s.value;
    target.assign(state.at("statistic." + s.name));
  }
  optimizer_.load(state);
  for (const auto& [name, tensor] : state.tensors)
    if (name.starts_with("best.")) progress_.best_tensors[name.substr(5)] = tensor;
  progress_.epoch = std::strtoll(entry("epoch").c_str(), nullptr, 10);
  progress_.position = std::strtoll(entry("position").c_str(), nullptr, 10);
  progress_.loss = std::strtod(entry("loss").c_str(), nullptr);
  progress_.hits = std::strtoll(entry("hits").c_str(), nullptr, 10);
  progress_.samples = std::strtoll(entry("samples").c_str(), nullptr, 10);
  progress_.best = std::strtod(entry("best").c_str(), nullptr);
  progress_.metrics = entry("metrics");
  if (hooks_.note)
    hooks_.note(text("going on after step {} ({}{} done)", optimizer_.steps(), progress_.epoch,
                     progress_.epoch == 1 ? " epoch" : " epochs"));
}

void Run::begin() {
  const PromptConfig& prompts = model_->config().prompts;
  if (prompts.kind != PromptKind::none && prompts.start == PromptStart::class_tokens)
    start_from_class_tokens(*model_, data_, config_, processes_, memory_);
}

void Run::end_epoch(double seconds, int64_t samples_seen) {
  check(progress_.samples > 0, "tune: none of {} training images could be read", data_.train.size());
  if (!loader_.bad().empty() && hooks_.note)
    if (const std::string words = classes_without_images(data_, loader_.bad());
        !words.empty() && !std::exchange(told_empty_, true))
      hooks_.note(words);
  const double learning_rate = rate_at(optimizer_.steps() - 1);
  const double n = static_cast<double>(std::max<int64_t>(progress_.samples, 1));
  EpochReport report{++progress_.epoch,
                     config_.epochs,
                     progress_.loss / n,
                     static_cast<double>(progress_.hits) / n,
                     learning_rate,
                     seconds,
                     static_cast<double>(samples_seen) / seconds,
                     std::nullopt};
  if (!data_.val.empty()) {
    report.val = evaluate(*model_, data_.val_set ? data_.val_set : data_.dataset, data_.val, data_.preprocess,
                          images_at_once(config_, static_cast<int64_t>(data_.train.size())), config_.workers,
                          config_.max_bad, nullptr, {}, memory_, &processes_);
    if (config_.keep_best && report.val->accuracy > progress_.best) {
      progress_.best = report.val->accuracy;
      progress_.best_tensors = model_->task_tensors();
    }
  }
  nlohmann::ordered_json line{{"epoch", report.epoch},
                              {"step", optimizer_.steps()},
                              {"loss", report.loss},
                              {"accuracy", report.accuracy},
                              {"learning_rate", learning_rate}};
  if (report.val) {
    line["val_loss"] = report.val->loss;
    line["val_accuracy"] = report.val->accuracy;
  }
  line["seconds"] = std::round(seconds * 1000) / 1000;
  progress_.metrics += line.dump() + "\n";
  progress_.position = 0;
  progress_.loss = 0;
  progress_.hits = progress_.samples = 0;
#ifdef VITRINE_FILES
  if (!folder_.empty()) {
    write_file_atomically((std::filesystem::path(folder_) / "metrics.jsonl").string(),
                          std::as_bytes(std::span(progress_.metrics)));
  }
#endif
  save();
  if (const Device* device = model_->home().device(); device != nullptr && hooks_.note)
    for (const std::string& note : device->notes()) hooks_.note(note);
  reports_.push_back(report);
  if (hooks_.epoch) hooks_.epoch(report);
}

double Run::rate_at(int64_t step) const {
  const auto warmup =
      static_cast<int64_t>(std::llround(config_.warmup_epochs * static_cast<double>(steps_per_epoch_)));
  return learning_rate_at(config_.schedule, config_.learning_rate, step, warmup,
                          steps_per_epoch_ * config_.epochs);
}

bool Run::train() {
  const int64_t total = steps_per_epoch_ * config_.epochs;
  while (progress_.epoch < config_.epochs) {
    loader_.start_epoch(progress_.epoch);
    loader_.skip(progress_.position);
    const Clock::time_point start = Clock::now();
    int64_t seen = 0;
    for (Batch batch; next(batch);) {
      step(batch, rate_at(optimizer_.steps()));
      seen += static_cast<int64_t>(batch.samples.size());
      progress_.position = position_;
      if (hooks_.step) {
        hooks_.step({optimizer_.steps(), total, progress_.epoch, config_.epochs, last_loss_,
                     static_cast<double>(seen) / seconds_since(start)});
      }
      if (processes_.any(hooks_.stop && hooks_.stop())) {
        save();
        return false;
      }
    }
    end_epoch(seconds_since(start), seen);
  }
  return true;
}

TuneResult Run::result() {
  check_finite();
  TuneResult out;
  out.epochs = reports_;
  for (const Parameter& p : model_->parameters().all()) out.trained_parameters += p.value.value().numel();
  out.task =
      task_of(*model_, backbone_, data_.dataset->class_names(), to_json(data_.preprocess), to_json(config_));
  if (config_.keep_best && progress_.best >= 0) out.task.tensors = progress_.best_tensors;
#ifdef VITRINE_FILES
  if (!folder_.empty())
    save_safetensors((std::filesystem::path(folder_) / "task.safetensors").string(), to_file(out.task));
#endif
  return out;
}

#ifdef VITRINE_FILES
// The checkpoint that the first process found, in all of them.
std::optional<TensorFile> in_all(std::optional<TensorFile> found, Processes& processes) {
  if (processes.count() == 1) return found;
  std::vector<std::byte> bytes;
  if (found) bytes = write_safetensors(*found);
  bytes = processes.from_first(bytes);
  if (found || bytes.empty()) return found;
  return read_safetensors(bytes, nullptr, "checkpoint");
}
#endif

TuneResult tune_here(const Backbone& backbone, const TuneData& data, const TuneConfig& given,
                     const std::string& folder, bool resume, const TuneHooks& hooks, const Task* start,
                     const Memory& memory, Processes& processes) {
  check(data.dataset != nullptr && !data.train.empty(), "tune: no training images");
  check(is_utf8(backbone.source),
        "tune: the backbone's path {} is not UTF-8, as the task file's text must be", quote(backbone.source));
  check_image_size(backbone.config, data.preprocess.size);
  const TuneConfig config = completed(given, backbone, data, start);
  check(
      config.accumulate >= processes.count(),
      "tune: {} processes share the micro-batches of each step, but there {} only {}; accumulate at least {}",
      processes.count(), config.accumulate == 1 ? "is" : "are", config.accumulate, processes.count());
  check(processes.count() == 1 || !backbone.on_device(),
        "tune: several processes compute on the CPU; a run on a device has one");
  check_all_resume(processes, resume);
  if (const std::string words = classes_without_images(data); !words.empty() && hooks.note) hooks.note(words);
  std::optional<TensorFile> state;
#ifdef VITRINE_FILES
  std::shared_ptr<const FolderLock> lock;
  if (!folder.empty()) {
    lock = take_run_folder(folder);
    check(resume || !holds_run(folder), "tune: '{}' holds a run already; resume it, or choose another folder",
          folder);
    if (resume) state = newest_checkpoint(folder, hooks.note);
  }
  if (resume) state = in_all(std::move(state), processes);
#else
  check(folder.empty() && !resume, "tune: this build writes no files");
#endif
  Run run(backbone, data, config, folder, hooks, start, memory, processes);
  if (!state && resume && hooks.note)
    hooks.note(text("no checkpoint in '{}' yet: starting from the beginning", folder));
  if (state)
    run.restore(*std::exchange(state, std::nullopt));
  else if (start == nullptr)
    run.begin();
  if (!run.train()) return {.stopped = true, .task = {}, .epochs = {}};
  return run.result();
}

}  // namespace

TuneResult tune(const Backbone& backbone, const TuneData& data, const TuneConfig& config,
                const std::string& folder, bool resume, const TuneHooks& hooks, const Task* start,
                const Memory& memory) {
  OneProcess alone;
  Processes& processes = hooks.processes == nullptr ? alone : *hooks.processes;
  // The others say and write nothing.
  TuneHooks own = hooks;
  if (!processes.first()) {
    own.step = {};
    own.epoch = {};
    own.note = {};
  }
  TuneResult result;
  processes.together([&] {
    result = tune_here(backbone, data, config, processes.first() ? folder : "", resume, own, start, memory,
                       processes);
  });
  return result;
}

}  // namespace vitrine
