// run_files.h: what a run folder tells to those who come after the run. Present only in builds with VITRINE_FILES.
//
//   metrics.jsonl     a line for each epoch, by the training loop (tune.h)
//   run.json          what the run was told and what came out, by the program
//   task.safetensors  what was learned (models/tuned.h)
#pragma once

#ifdef VITRINE_FILES

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vitrine {

// A line of metrics.jsonl. NaN where a number was not finite.
struct EpochLine {
  int64_t epoch = 0, step = 0;  // done: 1, 2, ...; optimizer steps so far
  double loss = 0, accuracy = 0, learning_rate = 0;
  std::optional<double> val_loss{}, val_accuracy{};
  double seconds = 0;  // 0 if the line does not tell
};
// All lines; none if there is no such file (a run of no epochs). Throws for what is no such line, naming it, and unless
// epochs and steps rise.
std::vector<EpochLine> read_metrics(const std::string& folder);

// What a run's own files do not hold: written once, when the run has come to its end. Nothing of a run depends on it.
struct RunRecord {
  std::string version;  // of Vitrine
  std::string data;     // the data set's specification (data/dataset.h: open_dataset); places are absolute
  bool exif = false;    // whether its photos were turned
  std::string device{}, precision{};
  int64_t train_samples = 0, val_samples = 0;
  int64_t trained_parameters = 0, backbone_parameters = 0;
  std::optional<double> test_accuracy{}, test_loss{};
  int64_t test_samples = 0;
  // How training and validation images were chosen, in words such as "--train-limit 240, --data-seed 1".
  std::string choice{};
};
// A data set's specification as it holds wherever the program is started next: with an absolute place.
std::string with_absolute_place(const std::string& data);
void save_run_record(const std::string& folder, const RunRecord& record);
// None if the folder has none, as those of older versions. Throws for a file that is not one.
std::optional<RunRecord> load_run_record(const std::string& folder);

// A JSON object's entries as words, in their order: {"batch": 64, "seed": 0} -> ("batch", "64"), ("seed", "0"). Throws,
// beginning with `who`, for other JSON.
std::vector<std::pair<std::string, std::string>> words_of_json(const std::string& object,
                                                               const std::string& who);

}  // namespace vitrine

#endif
