// commands.h: the commands, and what several of them need. Each throws vitrine::Error or
// returns the exit status.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "console.h"
#include "data/dataset.h"
#include "engine/device.h"
#include "models/ensemble.h"
#include "models/training/processes.h"
#include "models/tuned.h"
#include "options.h"

namespace vitrine::cli {

int tune(const TuneOptions& options, Console& console, Processes& processes);
int eval(const EvalOptions& options, Console& console);
int predict(const PredictOptions& options, Console& console);
// In vitrine: goes on as vitrine-serve with these arguments, or returns if there is none. In that: returns.
void become_server(const char* const* arguments);
int serve(const ServeOptions& options, Console& console);
int report(const ReportOptions& options, Console& console);
int sweep(const std::vector<SweepOptions>& sweeps, Console& console);  // one after the other, in one folder
int table(const TableOptions& options, Console& console);
int pretrain(const PretrainOptions& options, Console& console);
int inspect(const InspectOptions& options, Console& console);
int convert(const ConvertOptions& options, Console& console);
int bench(const BenchOptions& options, Console& console);
int bench_gemm(const GemmBenchOptions& options, Console& console);
int bench_load(const LoadBenchOptions& options, Console& console);
int bench_memory(const MemoryOptions& options, Console& console);

// --- bench.cpp ---------------------------------------------------------------------------------------------

// The backbone to measure; presets have random weights. Packed forms are counted in `memory`.
Backbone backbone_of(const BenchModel& o, uint64_t seed, const Memory& memory);
std::string packed_text(const BenchModel& o);  // in what form, if not as usual: ", packed as bf16"

// --- tune.cpp ----------------------------------------------------------------------------------------------

// What the options of vitrine tune ask for, defaults that depend on others included; `start`: the task to start from, or null.
TunedConfig model_of(const TuneOptions& o, const Task* start, int64_t classes);
TuneConfig config_of(const TuneOptions& o, const TunedConfig& model, int processes);
struct ChosenData {
  TuneData data;
  std::string val_from;  // words for the reader
};
ChosenData choose_data(const TuneOptions& o, const Backbone& backbone, const OpenOptions& open);

// --- processes.cpp -----------------------------------------------------------------------------------------

// This process alone, or those that mpirun started, of which this is one; MPI is started only for those. A program built
// without MPI throws instead of letting each do the whole work for itself; only the first one does, which is enough to be
// told, and the others get null.
std::unique_ptr<Processes> start_processes();
// The first thing that several of them say to each other. Throws, in all, unless all were called with the same command and
// the same options, but for those that belong to a machine.
void check_called_alike(Processes& processes, const Common& common);

// --- shared.cpp --------------------------------------------------------------------------------------------

// A file, a folder with one (tensor_file.h: weights_file), or "builtin" (a ViT) or "builtin-swin", which the program
// carries.
bool is_builtin(const std::string& where);
TensorFile open_tensors(const std::string& where);
Backbone open_backbone(const std::string& where, const BackboneHints& hints = {});
Pretrained open_pretrained(const std::string& where, const BackboneHints& hints = {});
// Throws if --image-size is given for a Swin, which sees any: for commands in which nothing else depends on it.
void check_own_size(const Backbone& backbone, const BackboneHints& hints);
// The backbone of a task: `wanted` if given, else the one that the task file names. heads 0: as the task has
// them.
Backbone open_backbone_of(const Task& task, const std::optional<std::string>& wanted, BackboneHints hints);
// The backbone where and in what numbers it is to compute for a method: opens the device if one was named.
Backbone placed(Backbone backbone, const Placement& place, Method method = Method::linear);
// What a device has to say of its work (Device::notes); nothing of main memory.
void tell_notes(const Memory& home, Console& console);
// The device that was named; null: the CPU.
std::shared_ptr<const Device> open_device(const Placement& place);
// ", packed as bf16", ", in bf16 on cuda": where that is not f32 on the CPU.
std::string place_text(const Placement& place, Method method = Method::linear);
Task load_task(const std::string& path);
// Tasks that are to be asked together, and their backbone. Throws, naming the file, if one is unlike the first.
struct Members {
  std::vector<std::string> files;
  std::vector<Task> tasks;
  Backbone backbone;
};
Members open_members(const std::vector<std::string>& files, const std::optional<std::string>& backbone,
                     const BackboneHints& hints, const Placement& place);
// What an ensemble computes only once: "the patch embedding, ...: 4.2 % of its members' work".
std::string shared_text(const Ensemble& ensemble);
bool is_task_file(const TensorFile& file);

// Throws if a safetensors file is to be written under the name of another format.
void check_safetensors_name(const char* option, const std::string& path);
// Throws if what an option names as a new file is one that is being read, by whatever name.
void check_not_read(const char* option, const std::string& path, const std::vector<std::string>& read);
// The files of a backbone: none of one that the program carries.
std::vector<std::string> files_of_backbone(const Backbone& backbone);
// Throws now if a file cannot be written later, be it that its folder is missing.
void prepare_output(const std::string& path);
// The split that a task is asked about if nobody says which: test if there is one, or else val, or else train.
Split usual_split(const std::string& spec);
// Throws unless a data set's classes are those of a task, by number and name.
void check_classes(const Task& task, const Dataset& dataset, const std::string& spec);

// What is said of photos that are turned as they ask, and of a task that was not tuned so.
inline constexpr const char* exif_words = "; photos are turned as their EXIF block asks";
inline constexpr const char* untold_exif =
    "the task file does not say that it was tuned on photos turned by EXIF; --exif turns these";

// For measuring: seconds of a steady clock, and the middle of some values (not none).
double now();
double median(std::vector<double> values);
// The most memory that this process has had (VmHWM), code and files included; 0 where the system does not tell.
size_t peak_rss_bytes();
// "12.3 MiB frozen weights, ... for each of 64 images at once, ..."
std::string memory_text(const MemoryForecast& forecast);
nlohmann::ordered_json memory_json(const MemoryForecast& forecast);

// The names in a file (data/class_names.h) of the classes of a backbone's own head; throws unless they are as many.
std::vector<std::string> read_class_names_of(const Backbone& backbone, const std::string& path);
// "circle, square, ring" or the first few of many.
std::string class_list(const std::vector<std::string>& names);

struct Guess {
  int64_t label;
  double probability;
};
// The `top` most probable classes of one row of logits.
std::vector<Guess> best(std::span<const float> row, int64_t top);

}  // namespace vitrine::cli
