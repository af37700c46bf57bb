#include "models/ensemble.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/check.h"
#include "engine/text.h"

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

std::vector<const Prompts*> prompts_of(const std::vector<std::unique_ptr<TunedModel>>& members) {
  std::vector<const Prompts*> out;
  for (const auto& member : members) out.push_back(&member->parts().prompts);
  return out;
}

}  // namespace

Ensemble::Ensemble(const Backbone& backbone, const std::vector<Task>& tasks, DType dtype,
                   const Memory& memory, const std::vector<std::string>& names) {
  check(!tasks.empty(), "ensemble: no tasks");
  check(names.empty() || names.size() == tasks.size(), "ensemble: {} names for {} tasks", names.size(),
        tasks.size());
  const auto who = [&](size_t i) { return names.empty() ? text("task {}", i + 1) : quote(names[i]); };
  const std::vector<std::string>& classes = tasks[0].class_names;
  const Backbone known = with_identity(backbone);  // each member asks for it
  const std::string& identity = known.identity;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks[i];
    const Method method = task.config.method;
    check(!trains_inside(method) && method != Method::sidetune,
          "ensemble: {} was tuned by {}, which has a net of its own: its members share one", who(i),
          name_of(method));
    check(task.class_names.size() == classes.size(), "ensemble: {} tells {} classes apart, {} {}", who(i),
          task.class_names.size(), who(0), classes.size());
    for (size_t c = 0; c < classes.size(); ++c)
      check(task.class_names[c] == classes[c], "ensemble: class {} is {} in {}, but {} in {}", c,
            quote(task.class_names[c]), who(i), quote(classes[c]), who(0));
    check(task.backbone_identity == identity,
          "ensemble: {} belongs to another backbone, {} with identity {}...; that of {} is {}...", who(i),
          quote(task.backbone), task.backbone_identity.substr(0, 16), quote(backbone.source),
          identity.substr(0, 16));
    members_.push_back(std::make_unique<TunedModel>(known, task, dtype, memory, Use::prediction));
  }
}

Variable Ensemble::member_logits(const Variable& images) const {
  const TunedModel& first = *members_[0];
  const bool elsewhere = first.home().device() != images.value().device();
  const Variable here = elsewhere ? Variable(images.value().copied_to(first.home())) : images;
  const Transformer& net = *first.parts().transformer;
  const Variable features = net.features_of(net.embed(here), prompts_of(members_));  // (E B, D)
  const int64_t count = images.dim(0), classes = first.config().classes;
  std::vector<Variable> out;
  for (size_t i = 0; i < members_.size(); ++i) {
    const auto begin = static_cast<int64_t>(i) * count;
    out.push_back(
        reshape(members_[i]->classify(slice(features, 0, begin, begin + count)), {1, count, classes}));
  }
  return concat(out, 0);
}

Variable Ensemble::together(const Variable& member_logits) {
  return logarithm(mean(softmax(member_logits), 0).value());
}

std::vector<Transformer::Group> Ensemble::groups() const {
  return members_[0]->parts().transformer->groups_of(prompts_of(members_));
}

double Ensemble::shared_work() const {
  const TransformerConfig net = with_classes(members_[0]->transformer(), 0);
  const auto whole = static_cast<double>(multiply_accumulates(net));
  // Of one image: the patch embedding, and the first block's queries, keys and values. (Where the first block is the last
  // one, a class token's row is all that is asked for.)
  double embedding = 0, joint = 0;
  if (const auto* vit = std::get_if<VitConfig>(&net)) {
    embedding = static_cast<double>(vit->patches() * 3 * vit->patch * vit->patch * vit->width);
    if (vit->depth > 1 || vit->pooling != Pooling::token)
      joint = static_cast<double>(vit->tokens() * 3 * vit->width * vit->width);
  } else {
    const auto& swin = std::get<SwinConfig>(net);
    embedding = static_cast<double>(3 * swin.image_size * swin.image_size * swin.width);
  }
  const auto others = [](size_t count) { return static_cast<double>(count) - 1; };
  double saved = others(size()) * embedding;
  for (const Transformer::Group& group : groups())
    saved += others(group.members.size()) * (group.same ? whole - embedding : joint);
  return saved / (static_cast<double>(size()) * whole);
}

}  // namespace vitrine
