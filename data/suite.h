// suite.h: a suite: the tasks that a comparison is made on, as a TOML file.
//
//   name = "my tasks"
//
//   [[task]]
//   name = "flowers"                     # required, different from all others
//   data = "folder:$PICTURES/flowers"    # required, as open_dataset takes it
//   group = "natural"                    # any name; tables give the mean of each group [tasks]
//   train_limit = 1000                   # learn from so many images, val among them, equally many of each class
//                                        # [1000; all of data that have a val of their own]
//   val = 200                            # so many of them to choose settings, from the data's own val if there is one
//                                        # [a fifth; all of the data's own val if there is no train_limit]
//   classes = 5                          # how many there must be, which is checked on opening [not checked]
//   metric = "top1"                      # or top5, or mean-class: the mean of the classes' accuracies [top1]
//   resize = "squash"                    # or crop, or own: as the backbone's pictures were [own]
//   augment = ["flip", "crop"]           # of training images, as Augment has it, or shift, which needs room around the
//                                        # square: no squashed pictures [nothing]
//
// A study is a suite that also says what is to be done with its tasks, which may be another suite's:
//
//   tasks_of = "mini-vtab.toml"          # beside this file, as the names of data; its tasks stand before those of this one
//
//   [[sweep]]                            # one sweep, by options of vitrine sweep without their dashes; several are done
//   methods = "vpt-deep"                 # one after the other
//   prompt-blocks = "1-3"                # text (with $NAME), numbers, lists of these as one word, or true for an option
//                                        # without a value; what is for the command alone, such as out, is refused there
//
// $NAME and ${NAME} in `data` are variables of the environment, $$ is a dollar. A relative place begins where the suite
// file lies, unless it begins with a variable: then it is taken as the shell would take it. What is unknown, twice there,
// senseless or not set is an error that names it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/preprocess.h"

namespace vitrine {

enum class Metric { top1, top5, mean_class };
const char* name_of(Metric metric);  // as in a suite file

struct SuiteTask {
  std::string name, group, data;
  std::optional<int64_t> train_limit, val, classes;
  Metric metric = Metric::top1;
  ResizeMode resize = ResizeMode::own;
  Augment augment{};
};

// The name of an option without dashes, and its value; none for one that takes none.
using SuiteOption = std::pair<std::string, std::optional<std::string>>;

struct Suite {
  std::string name;
  std::vector<SuiteTask> tasks;  // at least one, in the file's order
  std::vector<std::vector<SuiteOption>>
      sweeps;  // in the file's order; whether there are such options the program knows
};

// Throws Error{Fault::input} for what is wrong in the file, with its line where TOML has one. No data set is opened. Only
// in builds with VITRINE_FILES, as read_suite_text.
Suite read_suite(const std::string& path);
// The same from text; relative places begin in `folder`, and `who` opens the sentences.
Suite read_suite_text(std::string_view toml, const std::string& folder, const std::string& who = "suite");

// A split of the task's data; throws unless it has the classes that the suite expects.
std::shared_ptr<const Dataset> open_dataset(const SuiteTask& task, Split split,
                                            const OpenOptions& options = {});

}  // namespace vitrine
