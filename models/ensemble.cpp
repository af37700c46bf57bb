#include "models/ensemble.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/check.h"

namespace vitrine {

namespace {

// log x, elementwise.
Tensor logarithm(const Tensor& x) {
  const Tensor from = in_main_memory(x);
  Tensor out = Tensor::empty(from.shape(), from.dtype());
  dispatch(from.dtype(), "ensemble", [&](auto zero) {
    using T = decltype(zero);
    const auto values = from.data<T>();
    const auto to = out.mutable_data<T>();
    // A probability that was rounded to zero is still one.
    for (size_t i = 0; i < values.size(); ++i)
      to[i] = std::log(std::max(values[i], std::numeric_limits<T>::min()));
  });
  return out;
}

}  // namespace

Ensemble::Ensemble(const Backbone& backbone, const std::vector<Task>& tasks, DType dtype,
                   const Memory& memory) {
  check(!tasks.empty(), "ensemble: no tasks");
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Method method = tasks[i].config.method;
    check(!trains_inside(method) && method != Method::sidetune, "ensemble: task ", i + 1, " was tuned by ",
          name_of(method), ", which has a net of its own: its members share one");
    check(tasks[i].class_names == tasks[0].class_names, "ensemble: task ", i + 1,
          " has other classes than the first");
    members_.push_back(std::make_unique<TunedModel>(backbone, tasks[i], dtype, memory, Use::prediction));
  }
}

Variable Ensemble::member_logits(const Variable& images) const {
  const TunedModel& first = *members_[0];
  const bool elsewhere = first.home().device() != images.value().device();
  const Variable here = elsewhere ? Variable(images.value().copied_to(first.home())) : images;
  const Transformer& net = *first.parts().transformer;
  std::vector<const Prompts*> prompts;
  for (const auto& member : members_) prompts.push_back(&member->parts().prompts);
  const Variable features = net.features_of(net.embed(here), prompts);  // (E B, D)
  const int64_t count = images.dim(0), classes = first.config().classes;
  std::vector<Variable> out;
  for (size_t i = 0; i < members_.size(); ++i) {
    const auto begin = static_cast<int64_t>(i) * count;
    out.push_back(
        reshape(members_[i]->classify(slice(features, 0, begin, begin + count)), {1, count, classes}));
  }
  return concat(out, 0);
}

Variable Ensemble::logits(const Variable& images) const {
  return logarithm(mean(softmax(member_logits(images)), 0).value());
}

}  // namespace vitrine
