// tuned.h: a backbone with what a task adds to it: prompts and a linear head. And the task
// file that stores them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/backbone.h"

namespace vitrine {

enum class Method {
  vpt_deep,     // prompts for every block, and the head
  vpt_shallow,  // prompts for the first block, and the head
  linear,       // the head alone
  full          // every weight of the backbone, and the head
};
const char* name_of(Method method);
PromptKind prompt_kind(Method method);      // the prompts of its own that the method trains, or none
Method method_of(const std::string& name);  // "vpt-deep", ...; throws for others, with the nearest

struct TunedConfig {
  Method method = Method::vpt_deep;
  PromptConfig prompts{};  // the kind is set from the method
  int64_t classes = 0;
  double drop_path = 0;  // of the backbone, in training
  // The head starts at zeros, which is neutral. The paper's code starts it kaiming normal with fan-out: for
  // narrow backbones and few classes that is large (logits of deviation sqrt(2 D / C)), and few images do not
  // wash it out.
  bool paper_head = false;
};

// What one task stores: a file of some hundred kilobytes beside a backbone of some hundred megabytes.
struct Task {
  TunedConfig config;
  std::vector<std::string> class_names;
  std::string backbone;                   // where the backbone was: a path, or "builtin"
  std::string backbone_identity;          // identity_of it
  int64_t heads = 0;                      // its attention heads, which a file of weights need not tell
  std::string backbone_config{};          // its configuration as JSON; older files have none
  std::string positions{};                // how its positions were resampled (position.h), or ""
  std::string preprocess;                 // JSON, see data/preprocess.h
  std::string settings;                   // JSON: hyper-parameters and what was measured
  std::map<std::string, Tensor> tensors;  // prompts, head.weight, head.bias, and for `full` delta.<name>
};
// Safetensors; reading checks every tensor against the metadata.
TensorFile to_file(const Task& task);
Task task_from_file(const TensorFile& file);

// Throws, naming both identities, if `task` was tuned on another backbone.
void check_backbone(const Task& task, const Backbone& backbone);

// What a task is opened for. For prediction its own tensors are constants, too: passes record no graph, keep
// nothing, and `parameters` is empty.
enum class Use { training, prediction };

// The model. The frozen parts are sealed constants; `parameters` lists all that is trained. Built on a backbone that is on
// a device, it lives there, in the backbone's home, and `memory` is not used; what it trains is `dtype` there, too.
class TunedModel {
 public:
  // Fresh prompts and head from `seed`; the head's bias starts at 0.
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
    return classify(features(images, pass));
  }
  // Its two halves: what the backbone makes of images under the prompts (B, D), and the head.
  Variable features(const Variable& images, const Pass& pass = {}) const;
  Variable classify(const Variable& features) const { return head_(convert(features, head_.weight.dtype())); }

  const TunedConfig& config() const { return config_; }
  const Memory& home() const { return home_; }      // where it lives
  DType image_type() const { return image_type_; }  // to which it converts images first: that of its weights
  TransformerConfig transformer() const { return transformer_->config(); }
  // Its parts, for those who look into a pass (attention_maps.h).
  const Transformer& net() const { return *transformer_; }
  const Prompts& prompts() const { return prompts_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  int64_t backbone_count() const;  // scalars of the backbone without its own head
  // What a task file stores of the present state of a model for training.
  std::map<std::string, Tensor> task_tensors() const;

 private:
  void build(const Backbone& backbone, const Scope& fresh_scope, const Scope& backbone_scope);
  TunedConfig config_;
  Parameters parameters_;
  Memory home_;
  DType image_type_ = DType::f32;
  std::unique_ptr<Transformer> transformer_;
  Prompts prompts_;
  Linear head_;
};

}  // namespace vitrine
