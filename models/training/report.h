// report.h: a run as a page of pictures: curves, mistakes, attention, an embedding. Present only in builds with
// VITRINE_FILES (its pictures are PNGs).
//
//   Report report{.title = "runs/mine", .epochs = read_metrics("runs/mine"), ...};
//   report.findings = examine({model, dataset, all_samples(*dataset), preprocess});
//   const std::string page = report_page(report);
#pragma once

#ifdef VITRINE_FILES

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/preprocess.h"
#include "models/training/run_files.h"
#include "models/tuned.h"

namespace vitrine {

// --- what a model makes of pictures ------------------------------------------------------------------------

struct ReportOptions {
  int64_t mistakes = 24;    // pictures of mistakes, the most confident ones
  int64_t attended = 6;     // pictures with maps of attention
  int64_t embedded = 1000;  // at most so many pictures in the embedding; 0: none
  int64_t batch = 64;
  int workers = 1;
  int64_t max_bad = 0;  // damaged pictures to leave out
};

// What is looked at.
struct Examined {
  const TunedModel& model;
  std::shared_ptr<const Dataset> dataset;
  std::vector<int64_t> samples;  // of the data set
  Preprocess preprocess;
  // The same task in main memory, for maps of attention, if `model` is on a device; null: `model` itself.
  const TunedModel* in_memory = nullptr;
};

// A picture as the net sees it, and what the model says of it.
struct ShownPicture {
  std::string name;  // the data set's
  int64_t label = 0, predicted = 0;
  double confidence = 0;  // probability of `predicted`
  Image picture;
};

// What one token looks at in one picture.
struct SeenMap {
  std::string who;                // "class token", "prompt 3"
  int64_t block = 0;              // 1, 2, ...; 0: the pooling behind the last block
  int64_t rows = 0, columns = 0;  // of patches
  std::vector<double> weights;    // (rows * columns), means over the heads
  double on_prompts = 0;          // the sum of what goes to prompts
  double elsewhere = 0;           // to class token, registers, and what fills up a Swin's windows
};

struct Findings {
  int64_t classes = 0;
  // Of all pictures that could be read, in the order of the samples:
  std::vector<int64_t> labels, predicted;
  std::vector<double> confidence;
  double accuracy = 0, loss = 0;       // as evaluate (tune.h) has them
  std::vector<std::string> bad;        // damaged pictures that were left out: what was wrong
  std::vector<ShownPicture> mistakes;  // the most confident first

  struct Attention {
    ShownPicture shown;
    std::vector<SeenMap> maps;  // the same tokens and blocks for each picture
  };
  std::vector<Attention> attention;
  bool pools_class_token = false;  // else a mean of tokens, or a learned question
  // The greatest difference between the features that follow from the maps and the model's own, as a share of the
  // greatest feature. Maps are only kept where it is small (5 % with weights packed in bf16 or int8, else 0.1 %): a model
  // of whose forward pass they are not would show itself so.
  double attention_error = 0;

  struct Embedding {
    std::vector<int64_t> labels, predicted;
    std::vector<std::pair<double, double>> pca, tsne;
    double pca_share = 0;  // of all variance that the two components show
    double perplexity = 0;
  } embedding;

  std::vector<int64_t> confusion() const;  // (classes * classes): how many of class i are taken for j
};

// Where the work is: "pictures", "attention", "embedding"; done of all.
using ReportProgress = std::function<void(const char* what, int64_t done, int64_t all)>;

// Asks the model for every sample, once. The pictures of the embedding are evenly spaced among the samples. For maps of
// attention pictures that were named right, of classes that are evenly spaced, and mistakes take turns; of the prompts
// those are shown that the pooled tokens of these pictures look at most in the last block (at most three). Throws if the
// samples are none or none can be read.
Findings examine(const Examined& what, const ReportOptions& options = {},
                 const ReportProgress& progress = {});

// --- the page ----------------------------------------------------------------------------------------------

struct Report {
  std::string title;                                          // the run
  std::vector<std::pair<std::string, std::string>> facts;     // what it was: name and words
  std::vector<std::pair<std::string, std::string>> settings;  // of its training
  std::vector<EpochLine> epochs;
  std::vector<std::string> class_names;
  bool search = false;   // a search run of a sweep, which the protocol never asks on test
  std::string pictures;  // where the pictures of the findings come from: "folder:x, split test"
  std::optional<Findings> findings;
  std::string without;  // why there are none
  std::string version;  // of the program
};

// What the files of a run folder tell: title, facts, settings, epochs and class names, all but the findings. `record`, if not
// null, gets what run.json tells, `task` the task. Throws if task.safetensors is not there or a file is not as it must be.
Report report_of_run(const std::string& folder, Task* task = nullptr,
                     std::optional<RunRecord>* record = nullptr);

// One HTML page that needs nothing but itself: styles and drawings are inline, pictures are data: URIs of PNGs, there is
// no script, and a Content-Security-Policy forbids everything else. What comes from outside is escaped. The same report gives the same
// bytes.
std::string report_page(const Report& report);

}  // namespace vitrine

#endif
