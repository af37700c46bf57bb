// options.h: what the command line said, as plain structs. An option that was not given and whose default
// depends on another one is empty here; tune.cpp holds those defaults.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "models/training/pretrained.h"
#include "models/training/recipes.h"
#include "models/training/table.h"
#include "models/training/tune.h"

namespace vitrine::cli {

// What all commands share.
struct Common {
  std::string program = "vitrine";  // as it was called, for commands to copy
  std::string command;              // "tune", ...
  std::optional<int> threads;       // empty: all cores
  std::optional<std::string> instructions;
  bool json = false;   // one JSON object on standard output, everything else on standard error
  bool quiet = false;  // nothing is said at all: another process of the same run speaks
  std::map<std::string, std::vector<std::string>> given{};  // words on the command line, by option
};

// Where a net computes, and in what numbers.
struct Placement {
  std::string device = "cpu";
  std::optional<Precision> given;  // empty: f32, on a device bf16 for a frozen backbone
  bool tf32 = false;

  bool on_device() const { return device != "cpu"; }
  Precision precision(bool trained = false) const {
    return given.value_or(on_device() && !trained ? Precision::bf16 : Precision::f32);
  }
};

struct TuneOptions {
  Common common;
  Placement place;
  std::optional<std::string> backbone;  // a file, or "builtin"
  BackboneHints hints;
  std::string data;
  std::optional<int64_t> train_limit, val;
  uint64_t data_seed = 0;
  ResizeMode resize = ResizeMode::own;
  bool exif = false;
  std::optional<TunedConfig> method;  // with its own number alone
  std::optional<int64_t> prompts, prompt_projection;
  PromptConfig variant;  // what makes them unusual: location, pooling, blocks, shared
  std::optional<double> prompt_dropout, drop_path;
  std::optional<bool> paper_head;
  std::optional<std::string> init;
  std::optional<int64_t> epochs, batch, accumulate;
  std::optional<OptimizerKind> optimizer;
  std::optional<double> learning_rate, base_learning_rate, weight_decay, momentum, warmup;
  // the rest: schedule, clip, smoothing, weights, seed, order, augment, workers, ...
  TuneConfig config;
  std::optional<std::string> out;
  bool resume = false, no_test = false, tensorboard = false;
  size_t memory_limit = 0;  // bytes; 0: none
};

struct EvalOptions {
  Common common;
  Placement place;
  std::vector<std::string> tasks;  // several: an ensemble
  std::string data;
  std::optional<std::string> backbone, logits_out;
  std::optional<Split> split;  // empty: test, or else val, or else train
  BackboneHints hints;
  int64_t batch = 64, max_bad = 0;
  int workers = 1;
  bool exif = false;
};

struct PredictOptions {
  Common common;
  Placement place;
  std::vector<std::string> tasks;  // several: an ensemble
  std::optional<std::string> backbone, class_names;
  std::vector<std::string> images;
  BackboneHints hints;
  int64_t top = 5;
  bool exif = false;
};

struct ReportOptions {
  Common common;
  Placement place;
  std::string run;
  std::optional<std::string> out, data, backbone;
  std::optional<Split> split;  // empty: test, or else val, or else train
  BackboneHints hints;
  int64_t images = 24, embedding = 1000, batch = 64, max_bad = 0;
  int workers = 1;
  bool exif = false;
};

struct PretrainOptions {
  Common common;
  Placement place;
  std::string out, state, init;
  bool swin = false;
  std::optional<int64_t> width, patch, window;
  std::vector<int64_t> depth, heads;  // a number for each stage of a Swin, one for a ViT; empty: the default
  int64_t steps = 9000, batch = 32, warmup = 500, every = 100, fresh_prompts = 0;
  double learning_rate = 1e-3, weight_decay = 0.05, thumbnail_weight = 0, edge_weight = 0;
  uint64_t seed = 1;
  bool bf16 = true;
};

struct InspectOptions {
  Common common;
  std::string file;
  BackboneHints hints;
};

struct ConvertOptions {
  Common common;
  std::string backbone, out;
  std::optional<std::string> class_names;
  BackboneHints hints;
  DType dtype = DType::f32;
};

// The model that bench measures.
struct BenchModel {
  std::string model = "vit-ti16";
  std::optional<std::string> backbone;
  Placement place;
  bool one_form = false;
  TunedConfig method = method_from_text("vpt-deep");
  BackboneHints hints;
  int64_t prompts = 10, classes = 100;
};

// bench step and bench infer: a training step, or forward alone.
struct BenchOptions : BenchModel {
  Common common;
  bool infer = false;
  int64_t batch = 8, steps = 5, warmup = 2, recompute = 0;
  OptimizerKind optimizer = OptimizerKind::sgd;
  uint64_t seed = 0;
  bool eager = false;  // a device's step is not recorded
};

struct GemmBenchOptions {
  Common common;
  Precision precision = Precision::f32;
  double seconds = 0.3;  // of each measurement
};

struct MemoryOptions : BenchModel {
  Common common;
  int64_t batch = 8;
  OptimizerKind optimizer = OptimizerKind::sgd;
};

struct LoadBenchOptions {
  Common common;
  std::string file;
  BackboneHints hints;
  int64_t runs = 5;
};

struct SweepOptions {
  Common common;
  Placement place;
  std::optional<std::string> backbone, suite;
  BackboneHints hints;
  std::vector<std::string> data, tasks, methods{"linear", "vpt-shallow", "vpt-deep", "full"};
  bool exif = false;
  std::string recipe = "quick";
  GridChanges changes;
  int64_t seeds = 3, max_bad = 0;
  uint64_t data_seed = 0;
  std::vector<int64_t> train_sizes;
  std::string out;
  std::vector<std::string> ledgers;
  bool show_plan = false, keep_tasks = false, retry = false;
  int part = 0, parts = 1;
  size_t cache = size_t{2} << 30;
  int workers = 1;
  // Of a study: what its suite says for this sweep, in words (else empty), and the sweeps that come behind it.
  std::string of_study;
  std::vector<SweepOptions> then;
};

struct TableOptions {
  Common common;
  std::vector<std::string> ledgers;  // or folders of sweeps
  std::optional<By> by;
  bool runs = false;                  // a list of runs instead
  std::optional<TableFormat> format;  // empty: as the name of `out` ends, or else Markdown
  PaperRows paper = PaperRows::of_form;
  std::optional<std::string> out;
};

struct ServeOptions {
  Common common;
  Placement place;
  std::string backbone = "builtin";
  BackboneHints hints;
  std::string tasks;  // the folder
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any that is free
  std::optional<std::string> token_file, data_root;
  int64_t batch = 16, queue = 32, connections = 64, most_tasks = 1000, tunings = 8;
  size_t body = size_t{16} << 20;
  double timeout = 10;  // seconds
};

// What --help and --version ask for: text for standard output.
struct Show {
  std::string text;
};

using Request = std::variant<Show, TuneOptions, EvalOptions, PredictOptions, ReportOptions, PretrainOptions,
                             InspectOptions, ConvertOptions, BenchOptions, GemmBenchOptions, MemoryOptions,
                             LoadBenchOptions, SweepOptions, TableOptions, ServeOptions>;

// Reads the command line. `command` is set as soon as it is known, so that an error can name it. Throws
// Error{Fault::input} for unknown commands and options, with the nearest; for values that are not what the
// option takes; for options that are missing or exclude each other.
Request parse(int argc, const char* const* argv, std::string& command);

}  // namespace vitrine::cli
