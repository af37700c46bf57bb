// task_set.h: many tasks of one backbone, ready at once. One batch may mix images of any of them.
//
// A task is ready when its prompts' keys and values are computed for every block; that is done once, when it comes. Tasks that
// leave the backbone as it is share one pass (mixed.h); one whose method changes the backbone has a pass of its own, on the same
// weights as far as they are the same. docs/task_sets.md says which methods do what, and what it costs.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "models/mixed.h"
#include "models/tuned.h"

namespace vitrine {

// A task as a set keeps it. Never changes, and stays usable after it was removed, for who still holds it.
struct ReadyTask {
  Task task;  // without its tensors
  PreparedPrompts prompts;
  Head head;
  std::unique_ptr<TunedModel>
      own;  // if its method changes the backbone or its prompts are unusual: a pass of its own
  bool shares_pass() const { return own == nullptr; }
  size_t bytes = 0;  // of tensors that are kept for this task alone
};

// May be used by several threads at once: a batch goes on with the tasks that it was given, whatever becomes of the set.
class TaskSet {
 public:
  // Lives where the backbone does: on a device, or in `memory`. `dtype` is that of prompts, heads and logits, and, where the
  // backbone is in main memory, of all between.
  explicit TaskSet(const Backbone& backbone, DType dtype = DType::f32, const Memory& memory = {});

  // Makes a task ready, without putting it anywhere. Throws if it was tuned on another backbone or does not fit. Tensors are
  // copied.
  std::shared_ptr<const ReadyTask> ready(const Task& task) const;
  // Puts a task that this set made ready under `name`, in the place of the one of that name if there is one.
  void put(const std::string& name, std::shared_ptr<const ReadyTask> task);
  // Both; if it throws, the set is as it was.
  std::shared_ptr<const ReadyTask> put(const std::string& name, const Task& task);
  // Whether there was one of that name.
  bool remove(const std::string& name);
  // Throws if there is none of that name, naming the nearest.
  std::shared_ptr<const ReadyTask> get(const std::string& name) const;
  std::shared_ptr<const ReadyTask> find(const std::string& name) const;  // null if there is none
  std::vector<std::string> names() const;                                // sorted
  size_t size() const;

  // images (B, 3, H, W), a task of this set for each -> logits (C) of each image, C the classes of its task. The bits are those
  // that its task gives alone. One pass for all tasks that share it, and one for each other task.
  std::vector<Tensor> logits(const Variable& images,
                             std::span<const std::shared_ptr<const ReadyTask>> tasks) const;
  // The same for images (3, H, W) apart, which may be of several sizes (a Swin's): those of one size make a batch.
  std::vector<Tensor> logits(std::span<const Tensor> images,
                             std::span<const std::shared_ptr<const ReadyTask>> tasks) const;

  const Backbone& backbone() const { return backbone_; }
  const Memory& home() const { return home_; }  // where it lives

 private:
  Backbone backbone_;
  DType dtype_;
  Memory home_;
  Transformer net_;
  mutable std::mutex mutex_;  // of tasks_
  std::map<std::string, std::shared_ptr<const ReadyTask>> tasks_;
};

}  // namespace vitrine
