#include "models/task_set.h"

#include <algorithm>
#include <numeric>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

// These images of a batch, in this order; the batch itself if that is what it is.
Variable images_at(const Variable& images, const std::vector<size_t>& places) {
  bool all = static_cast<int64_t>(places.size()) == images.dim(0);
  for (size_t i = 0; i < places.size() && all; ++i) all = places[i] == i;
  if (all) return images;
  std::vector<Variable> parts;
  for (const size_t place : places) {
    const auto at = static_cast<int64_t>(place);
    parts.push_back(slice(images, 0, at, at + 1));
  }
  return concat(parts, 0);
}

}  // namespace

TaskSet::TaskSet(const Backbone& backbone, DType dtype, const Memory& memory)
    : backbone_(with_identity(backbone)),
      dtype_(dtype),
      home_(backbone.on_device() ? backbone.home : memory),
      net_(with_classes(backbone.config, 0), frozen_weights(backbone_, dtype, home_)) {}

std::shared_ptr<const ReadyTask> TaskSet::ready(const Task& given) const {
  // Each tensor in a block of its own, so that none is kept for another's sake.
  Task task = given;
  for (auto& [tensor_name, tensor] : task.tensors)
    tensor = tensor.copied_to(backbone_.on_device() ? Memory() : home_).seal();
  auto model = std::make_unique<TunedModel>(backbone_, task, dtype_, home_, Use::prediction);
  auto ready = std::make_shared<ReadyTask>();
  if (!trains_inside(task.config.method) && task.config.method != Method::sidetune &&
      vitrine::shares_pass(model->config().prompts, backbone_.config)) {
    ready->prompts = prepare_prompts(net_, model->parts().prompts, model->image_type());
    ready->head = model->parts().head;
    ready->bytes = ready->prompts.bytes();
  } else {
    ready->own = std::move(model);
  }
  for (const auto& [tensor_name, tensor] : task.tensors)
    if (ready->own != nullptr || tensor_name.starts_with("head.")) ready->bytes += tensor.bytes();
  task.tensors.clear();
  ready->task = std::move(task);
  return ready;
}

void TaskSet::put(const std::string& name, std::shared_ptr<const ReadyTask> task) {
  check(task != nullptr, "task set: no task for {}", quote(name));
  const std::lock_guard lock(mutex_);
  tasks_[name].swap(task);  // the old one is freed behind the lock
}

std::shared_ptr<const ReadyTask> TaskSet::put(const std::string& name, const Task& task) {
  std::shared_ptr<const ReadyTask> made = ready(task);
  put(name, made);
  return made;
}

bool TaskSet::remove(const std::string& name) {
  std::shared_ptr<const ReadyTask> last;  // freed behind the lock
  const std::lock_guard lock(mutex_);
  const auto found = tasks_.find(name);
  if (found == tasks_.end()) return false;
  last = std::move(found->second);
  tasks_.erase(found);
  return true;
}

std::shared_ptr<const ReadyTask> TaskSet::get(const std::string& name) const {
  if (std::shared_ptr<const ReadyTask> found = find(name)) return found;
  const std::vector<std::string> all = names();
  const std::vector<std::string_view> known(all.begin(), all.end());
  const std::string guess = nearest(name, known);
  fail(Fault::input, "task set: no task {}{}", quote(name), guess.empty() ? "" : "; nearest: " + guess);
}

std::shared_ptr<const ReadyTask> TaskSet::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = tasks_.find(name);
  return found == tasks_.end() ? nullptr : found->second;
}

std::vector<std::string> TaskSet::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [name, task] : tasks_) out.push_back(name);
  return out;
}

size_t TaskSet::size() const {
  const std::lock_guard lock(mutex_);
  return tasks_.size();
}

std::vector<Tensor> TaskSet::logits(const Variable& given,
                                    std::span<const std::shared_ptr<const ReadyTask>> tasks) const {
  check(given.shape().rank() == 4 && given.dim(0) == static_cast<int64_t>(tasks.size()),
        "task set: expected images ({}, 3, H, W), one for each task, got {}", tasks.size(), given.shape());
  for (size_t i = 0; i < tasks.size(); ++i) check(tasks[i] != nullptr, "task set: image {} has no task", i);
  const bool elsewhere = home_.device() != given.value().device();
  const Variable images = elsewhere ? Variable(given.value().copied_to(home_)) : given;

  // Those that share the pass come first, in an order of forms; images of one task stand together.
  std::vector<size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    const ReadyTask &x = *tasks[a], &y = *tasks[b];
    if (x.shares_pass() != y.shares_pass()) return x.shares_pass();
    if (!same_form(x.prompts, y.prompts)) return form_before(x.prompts, y.prompts);
    return std::less<>()(&x, &y);
  });
  struct Group {
    const ReadyTask* task;
    std::vector<size_t> images;
  };
  std::vector<Group> groups;
  for (const size_t i : order) {
    if (groups.empty() || groups.back().task != tasks[i].get()) groups.push_back({tasks[i].get(), {}});
    groups.back().images.push_back(i);
  }

  std::vector<size_t> shared;
  std::vector<PromptedImages> batch;
  for (const Group& group : groups) {
    if (!group.task->shares_pass()) continue;
    shared.insert(shared.end(), group.images.begin(), group.images.end());
    batch.push_back({&group.task->prompts, static_cast<int64_t>(group.images.size())});
  }
  Variable features;
  if (!batch.empty()) features = mixed_features(net_, net_.embed(images_at(images, shared)), batch);

  std::vector<Tensor> out(tasks.size());
  int64_t begin = 0;
  for (const Group& group : groups) {
    const auto count = static_cast<int64_t>(group.images.size());
    Tensor logits;
    if (group.task->shares_pass()) {
      logits = group.task->head(slice(features, 0, begin, begin + count), {.history = false}).value();
      begin += count;
    } else {
      logits = group.task->own->logits(images_at(images, group.images), {.history = false}).value();
    }
    logits = in_main_memory(logits);
    for (int64_t i = 0; i < count; ++i) out[group.images[i]] = logits.rows(i, i + 1).reshape({logits.dim(1)});
  }
  return out;
}

std::vector<Tensor> TaskSet::logits(std::span<const Tensor> images,
                                    std::span<const std::shared_ptr<const ReadyTask>> tasks) const {
  check(images.size() == tasks.size(), "task set: {} images and {} tasks", images.size(), tasks.size());
  std::vector<Tensor> out(images.size());
  for (size_t first = 0; first < images.size(); ++first) {
    if (out[first].defined()) continue;  // was in an earlier batch
    check(images[first].defined() && images[first].shape().rank() == 3,
          "task set: expected images (3, H, W)");
    std::vector<size_t> places;
    std::vector<Variable> parts;
    std::vector<std::shared_ptr<const ReadyTask>> whose;
    for (size_t i = first; i < images.size(); ++i) {
      if (!images[i].defined() || images[i].shape() != images[first].shape()) continue;
      places.push_back(i);
      parts.push_back(reshape(images[i], {1, images[i].dim(0), images[i].dim(1), images[i].dim(2)}));
      whose.push_back(tasks[i]);
    }
    const std::vector<Tensor> found = logits(concat(parts, 0), whose);
    for (size_t i = 0; i < places.size(); ++i) out[places[i]] = found[i];
  }
  return out;
}

}  // namespace vitrine
