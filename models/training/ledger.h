// ledger.h: results of runs, one JSON object each: runs/NAME/result.json, and a line of ledger.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vitrine {

enum class Stage { search, final };  // asked of val, or of test
const char* name_of(Stage stage);

// A run whose loss is greater, or not finite, counts as diverged.
inline constexpr double greatest_loss = 1e30;
std::string too_great(double loss);  // why, in words

struct LedgerLine {
  std::string run;  // the name of its folder (plan.h)
  std::string task, group, data, metric;
  std::string method;    // the row of a table
  std::string form;      // the method with its size: "adapter-64", or the same as `method`
  std::string recipe;    // the preset that the settings came from
  std::string settings;  // JSON: to_json(TuneConfig)
  std::string
      variant;  // what of the settings makes prompts unusual, in words: "location add"; empty: nothing. Not written
  Stage stage = Stage::search;
  uint64_t seed = 0;
  // What of the settings decides a tie or makes a column.
  double learning_rate = 0, weight_decay = 0;
  int64_t prompts = 0, epochs = 0, batch = 0;
  int64_t train_images = 0, asked_images = 0, classes = 0;
  double accuracy = 0;  // share of the asked images that were named right ("top1")
  double score = 0;     // the task's metric, in [0, 1]
  double loss = 0;
  int64_t trained_parameters = 0;
  int64_t stored_parameters = 0;  // numbers in the task file
  int64_t backbone_parameters = 0;
  std::string backbone, net, backbone_identity;  // where it lies; its preset or a description; identity_of it
  std::string data_digest;                       // of the pictures and labels
  std::string contents{};    // of what is in some of them (sweep_data.h); older lines have none
  std::string preprocess{};  // how pictures were prepared (preprocess.h), in JSON; older lines have none
  // What was thrown; both empty if the run came to its end: then the numbers above hold.
  std::string diverged{}, failed{};
  // The sweep whose ledger it stands in has other pictures for this task: it is kept, and counts nowhere.
  bool other_pictures = false;
  double seconds = 0;  // of training and of asking
  int threads = 0;
  std::string version;  // of the program

  bool complete() const { return diverged.empty() && failed.empty(); }
  std::string pictures() const { return data_digest + " " + contents; }
};

// Whether a line is of the pictures with these digests, or two lines are of the same, as far as they tell it.
bool is_of_pictures(const LedgerLine& line, const std::string& digest, const std::string& contents);
bool same_pictures(const LedgerLine& a, const LedgerLine& b);

// Of settings as JSON: {"prompt_variant": {"first": 1, "last": 3, "shared": true}, "prompt_projection": 8} ->
// "blocks 2-3, shared, projection 8". Dropout of prompts is told where it is not `usual_dropout`, that of the recipe.
// Throws, beginning with `who`, for what no settings are.
std::string variant_words(const std::string& settings, std::optional<double> usual_dropout = {},
                          const std::string& who = "ledger");

// The dropout of prompts that a recipe has for a method with prompts; none for others.
std::optional<double> usual_dropout(const std::string& recipe, const std::string& method);

// Whether two lines tell the same of what came of a run, whatever time it took and under whatever name it stands.
bool same_result(const LedgerLine& a, const LedgerLine& b);

// The form of a line; to_json gives one without a line break.
std::string to_json(const LedgerLine& line);
// Throws, beginning with `who`, for what is no such object: a missing or unknown key, a wrong type, a number that makes no
// sense, another version of the form.
LedgerLine ledger_line_from_json(std::string_view json, const std::string& who);

// What a sweep set out to do, which is a line of the ledger as well: so a table can say what is missing.
struct LedgerPlan {
  struct Task {
    std::string task, group, metric;
    std::string failed{};  // why it could not be opened when a sweep looked at it last
  };
  struct Method {
    std::string method, recipe,
        settings;  // as in LedgerLine; the settings are those of one point of its grid
  };
  std::string net, backbone_identity;
  int64_t seeds = 0;
  std::vector<int64_t> train_sizes{};
  std::vector<Task> tasks{};
  std::vector<Method> methods{};

  // Of its file (sweep_folder.h): a digest of all but what failed.
  std::string name() const;
};
std::string to_json(const LedgerPlan& plan);
LedgerPlan ledger_plan_from_json(std::string_view json, const std::string& who);

#ifdef VITRINE_FILES
// All lines of a ledger. Throws for a line that is wrong, naming file and line, and for a run that is there twice with
// different results of the same pictures; lines that are equal but for time and places count once. Plans go into
// `plans`, if somebody wants them.
std::vector<LedgerLine> read_ledger(const std::string& path, std::vector<LedgerPlan>* plans = nullptr);
#endif

}  // namespace vitrine
