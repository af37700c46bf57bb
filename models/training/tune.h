// tune.h: the training loop: a task from a backbone and a data set.
//
// The run folder holds metrics.jsonl (one line per epoch), checkpoint-<steps>.safetensors (the last two) and,
// at the end, task.safetensors. A run that was stopped at any point goes on from its newest sound checkpoint
// and ends with the very bytes of a run that never stopped.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "models/ensemble.h"
#include "models/training/kept_features.h"
#include "models/training/pictures.h"
#include "models/training/processes.h"
#include "models/tuned.h"
#include "nn/optimizer.h"

namespace vitrine {

struct TuneConfig {
  TunedConfig model;    // classes: filled from the data set if 0
  int64_t epochs = 50;  // 0: only the starting task
  int64_t batch = 64;   // images per optimizer step
  // Micro-batches that a batch is split into, added up in their order (gradient_sum.h). Several processes share them, so
  // there must be as many at least.
  int64_t accumulate = 1;
  OptimizerConfig optimizer{};
  // The kind of device on which the backbone is, which tells it; empty: the CPU. Kept among the settings, as is `tf32`.
  std::string device{};
  double learning_rate = 1e-3;  // absolute
  Schedule schedule = Schedule::cosine;
  double warmup_epochs = 5;      // linear, per step
  double clip = 0;               // largest gradient norm; 0: none
  double smoothing = 0;          // label smoothing
  bool balance_classes = false;  // weigh classes by 1 / their count
  uint64_t seed = 0;
  bool sequential = false;  // samples in data-set order instead of shuffled
  Augment augment{};
  int workers = 1;
  int64_t max_bad = 0;                   // damaged images to leave out
  Precision precision = Precision::f32;  // of the frozen backbone, which tells it; kept among the settings
  bool tf32 = false;       // whether the device may round what products of f32 multiply, which it tells
  bool keep_best = false;  // the task of the best validation accuracy (first of equals), not the last
  int64_t recompute = 0;   // of so many of the first blocks only the input is kept; see Pass. Changes no bit
};
// Every field that the result depends on, as JSON: for the task's settings and to tell whether a checkpoint belongs to
// this run.
std::string to_json(const TuneConfig& config);
// Throws for values that make no sense, naming the option.
void check_config(const TuneConfig& config);
// The images that a run on so many has at once: the largest part of a batch; as many in validation.
int64_t images_at_once(const TuneConfig& config, int64_t samples);
// Whether features of images never change, so that they are computed once and kept: only the head learns, and images
// are always the same.
bool keeps_features(const TuneConfig& config);

// Whether what goes into the first block never changes for an image: it can then be kept (TuneData::kept). On the CPU.
bool keeps_embedding(const TuneConfig& config, const Backbone& backbone);

// The data of a run. `val` may be empty.
struct TuneData {
  std::shared_ptr<const Dataset> dataset;
  std::vector<int64_t> train, val;         // samples of `dataset`
  std::shared_ptr<const Dataset> val_set;  // where `val` points to, if not into `dataset`
  Preprocess preprocess;
  Kept kept{};  // what runs on the same pictures of `dataset` share
};

struct Evaluation {
  double accuracy = 0, loss = 0;  // of `samples`; accuracy in [0, 1]
  int64_t samples = 0;
  std::vector<BadImage> bad;  // left out
  // Further measures, see metrics.h.
  double top5 = 0, mean_class_accuracy = 0;
  std::optional<double> roc_auc;  // of two classes
};

struct EpochReport {
  int64_t epoch, epochs;  // epochs done
  double loss, accuracy;  // mean over the epoch's training samples, in training mode
  double learning_rate;   // of the last step
  double seconds, images_per_second;
  std::optional<Evaluation> val;
};

struct StepReport {
  int64_t step, steps, epoch, epochs;  // steps done, of all
  double loss;                         // of this step
  double images_per_second;            // over this epoch
};

struct TuneHooks {
  std::function<void(const StepReport&)> step;
  std::function<void(const EpochReport&)> epoch;
  // remarks: a damaged image left out, a damaged checkpoint passed over
  std::function<void(const std::string&)> note;
  std::function<bool()> stop;  // asked after each step; true: save and end (Stopped below)
  // Several that make this run together, each with its own call of tune() and the same arguments. The run ends with the
  // bytes of one process alone. `step`, `epoch` and `note` are called in the first one only, which alone touches the
  // folder; `stop` in all, and all stop if it is true in one. They outlive the call.
  Processes* processes = nullptr;
};

struct TuneResult {
  bool stopped = false;  // by the hook; the state is saved, there is no task yet
  Task task;
  std::vector<EpochReport> epochs;
  int64_t trained_parameters = 0;  // scalars that the optimizer stepped
};

// Trains. `start`: a task to go on from instead of fresh prompts and head. `folder`: the run folder, which
// must exist; empty: nothing is written. `resume`: go on from the folder's checkpoint if there is one;
// without it a folder that holds a checkpoint is an error. Throws Fault::diverged when a loss is not finite:
// the last checkpoint stays. What is thrown is thrown in all processes.
TuneResult tune(const Backbone& backbone, const TuneData& data, const TuneConfig& config,
                const std::string& folder, bool resume, const TuneHooks& hooks, const Task* start = nullptr,
                const Memory& memory = {});

// Accuracy and mean cross entropy; `logits`, if given, receives (N, C) in the order of `samples`. Several processes
// share the batches, and all have the result, whose bits do not depend on their number; `progress` is told of this
// one's images. `kept` is of
// `dataset`; its features are used if the method keeps_features.
Evaluation evaluate(const TunedModel& model, std::shared_ptr<const Dataset> dataset,
                    const std::vector<int64_t>& samples, const Preprocess& preprocess, int64_t batch,
                    int workers, int64_t max_bad = 0, Tensor* logits = nullptr,
                    const std::function<void(int64_t done, int64_t all)>& progress = {},
                    const Memory& memory = {}, Processes* processes = nullptr, const Kept& kept = {});

// Several tasks asked together (ensemble.h), and each member by itself, in one pass: `batch` pictures are divided among the
// members, which go through the net beside each other. `logits` are those of the ensemble.
struct EnsembleEvaluation {
  Evaluation together;
  std::vector<Evaluation> members;  // `bad` stands in `together`
};
EnsembleEvaluation evaluate(const Ensemble& ensemble, std::shared_ptr<const Dataset> dataset,
                            const std::vector<int64_t>& samples, const Preprocess& preprocess, int64_t batch,
                            int workers, int64_t max_bad = 0, Tensor* logits = nullptr,
                            const std::function<void(int64_t done, int64_t all)>& progress = {},
                            const Memory& memory = {});

// The most that a run will have at once, tensors and frozen weights, to the byte where no workers load images
// (they may be late) and each class of moment comes up.
struct MemoryForecast {
  size_t weights;       // the frozen backbone as it is kept, packed forms included
  size_t resident;      // of these, numbers of the backbone's file (resident_bytes)
  size_t trained;       // prompts and head with gradients and optimizer state, and working space
  size_t per_image;     // of a micro-batch: activations kept for backward
  size_t batch_images;  // the images of a micro-batch
  size_t loader;        // batches of images, the present one and those made ahead
  int64_t recompute;    // with so many blocks computed again in backward (TuneConfig)
  int64_t accumulate;   // and batches split so
  bool one_form;        // of a backbone that keeps one packed form of each matrix (with_one_form)
  size_t peak() const { return weights + trained + per_image * batch_images + loader; }
};

// Foretells the memory of runs that differ in `recompute` and `accumulate`, by making the calls of such a run on one
// and on two blank images. It depends on thread_count(): each thread has working space.
class MemoryPlanner {
 public:
  // Training on so many images, validation on so many (0: none), `side` pixels wide (0: the backbone's own size).
  // What is tried keeps to `limit` bytes (0: none), or throws Fault::resources.
  MemoryPlanner(const Backbone& backbone, const TuneConfig& config, int64_t samples,
                int64_t validation_samples = 0, int64_t side = 0, size_t limit = 0);
  ~MemoryPlanner();

  MemoryForecast forecast(int64_t recompute, int64_t accumulate);
  // The last block has nothing to gain: its backward comes right after its forward.
  int64_t most_recompute() const;
  // The forecast if it is at most `limit`.
  std::optional<MemoryForecast> within(size_t limit, int64_t recompute, int64_t accumulate);
  // With the configuration's `accumulate`, what stays within `limit` and costs least: the backbone as it is, with one
  // packed form of each matrix, or then with the least recomputation; none if nothing does. After it the planner knows
  // the backbone as the last one that was tried.
  std::optional<MemoryForecast> fit(size_t limit);

 private:
  struct State;
  std::function<std::unique_ptr<State>(bool one_form)> make_;
  std::unique_ptr<State> state_;
};
// The same for one configuration.
MemoryForecast forecast_memory(const Backbone& backbone, const TuneConfig& config, int64_t samples,
                               int64_t validation_samples = 0, int64_t side = 0, size_t limit = 0);

}  // namespace vitrine
