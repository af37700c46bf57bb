// tuned.h: a backbone with what a task adds to it: prompts or what else a method trains (methods.h), and a head. And the
// task file that stores them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/backbone.h"
#include "models/head.h"
#include "models/methods.h"

namespace vitrine {

// What one task stores: a file of some hundred kilobytes beside a backbone of some hundred megabytes.
struct Task {
  TunedConfig config;
  std::vector<std::string> class_names;
  std::string backbone;           // where the backbone was: a path, or "builtin"
  std::string backbone_identity;  // identity_of it
  int64_t heads = 0;              // its attention heads, which a file of weights need not tell
  std::string backbone_config{};  // its configuration as JSON; older files have none
  std::string positions{};        // how its positions were resampled (position.h), or ""
  std::string preprocess;         // JSON, see data/preprocess.h
  std::string settings;           // JSON: hyper-parameters and what was measured
  // prompts, head.weight, head.bias (and the rest of an MLP's head), delta.<name> of what was tuned inside the backbone
  // or added there, side.<name> of a net beside it
  std::map<std::string, Tensor> tensors;
};
// Safetensors; reading checks every tensor against the metadata.
TensorFile to_file(const Task& task);
Task task_from_file(const TensorFile& file);

// Throws, naming both identities, if `task` was tuned on another backbone.
void check_backbone(const Task& task, const Backbone& backbone);

// What a task is opened for. For prediction its own tensors are constants, too: passes record no graph, keep
// nothing, and `parameters` is empty.
enum class Use { training, prediction };

// What a tuned model consists of, from whatever sources its weights come.
struct TunedParts {
  std::unique_ptr<Transformer> transformer;
  Prompts prompts;
  std::unique_ptr<Vit> side;  // of method sidetune: its net, ...
  Linear side_projection;     // ... what brings its features to the backbone's width, ...
  Variable side_share;        // ... and (1): sigmoid of it is the backbone's share
  Head head;
  TunedParts() = default;
  // Asks `own` for prompts, head and side net, `inside` for everything else.
  TunedParts(const TunedConfig& config, const TransformerConfig& backbone, const Scope& inside,
             const Scope& own);
};

// The model. The frozen parts are sealed constants; `parameters` lists all that is trained. Built on a backbone that is on
// a device, it lives there, in the backbone's home, and `memory` is not used; what it trains is `dtype` there, too.
class TunedModel {
 public:
  // What is fresh comes from `seed`; the head's bias starts at 0.
  TunedModel(const Backbone& backbone, const TunedConfig& config, uint64_t seed, DType dtype = DType::f32,
             const Memory& memory = {});
  // From a task file: to go on training, or to predict. Throws if the backbone is not the
  // task's (by identity).
  TunedModel(const Backbone& backbone, const Task& task, DType dtype = DType::f32, const Memory& memory = {},
             Use use = Use::training);
  TunedModel(const TunedModel&) = delete;
  TunedModel& operator=(const TunedModel&) = delete;

  // images (B, 3, H, W) -> logits (B, C), of `dtype`. On a device images are brought there; logits stay.
  Variable logits(const Variable& images, const Pass& pass = {}) const {
    return classify(features(images, pass), pass);
  }
  // Its two halves: what the backbone makes of images under the prompts (B, D), and the head.
  Variable features(const Variable& images, const Pass& pass = {}) const;
  // The first of them in halves again: what goes into the first block, which some methods leave as it is for an image
  // (keeps_embedding), and the rest; the images are where the model lives.
  Embedded embed(const Variable& images) const { return parts_.transformer->embed(images); }
  Variable features(const Embedded& embedded, const Pass& pass) const;
  Variable classify(const Variable& features, const Pass& pass = {}) const {
    return parts_.head(features, pass);
  }
  // Ends a training pass on so many images: what layers remember of batches moves on (Head::settle).
  void settle(int64_t images) { parts_.head.settle(images); }
  // What they remember, in its present state: part of a model's state beside `parameters`.
  std::vector<Statistic> statistics() const { return parts_.head.statistics(); }

  const TunedConfig& config() const { return config_; }
  const Memory& home() const { return home_; }      // where it lives
  DType image_type() const { return image_type_; }  // to which it converts images first: that of its weights
  TransformerConfig transformer() const { return parts_.transformer->config(); }
  const TunedParts& parts() const { return parts_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  int64_t backbone_count() const;  // scalars of the backbone without its own head
  // What a task file stores of the present state of a model for training.
  std::map<std::string, Tensor> task_tensors() const;

 private:
  TunedConfig config_;
  Parameters parameters_;
  Memory home_;
  DType image_type_ = DType::f32;
  TunedParts parts_;
};

// The task of a model's present state: `preprocess` and `settings` are JSON (Task).
Task task_of(const TunedModel& model, const Backbone& backbone, const std::vector<std::string>& class_names,
             const std::string& preprocess, const std::string& settings);

// How many numbers a task of that method and form trains on such a backbone, found by asking the layers themselves.
struct ParameterCounts {
  int64_t backbone = 0;  // all of the backbone's, without its own head
  int64_t inside = 0;    // of these, how many are tuned
  int64_t added = 0;     // inside the backbone or beside it
  int64_t prompts = 0;   // with their projections and gates
  int64_t head = 0;
  int64_t tuned() const { return inside + added + prompts + head; }
};
ParameterCounts count_parameters(const TunedConfig& config, const TransformerConfig& backbone);

}  // namespace vitrine
