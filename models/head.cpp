#include "models/head.h"

#include <algorithm>

#include "engine/check.h"
#include "engine/parts.h"

namespace vitrine {

namespace {
constexpr double dropped = 0.1;
}

Head::Head(int64_t width, int64_t classes, int64_t layers, const Scope& scope, const Init& last_init) {
  const Init start = Init::normal(std::sqrt(2 / static_cast<double>(width)));
  if constexpr (!parts::methods)
    if (layers > 1) left_out("a head of several layers", "VITRINE_METHODS");
  for (int64_t i = 0; parts::methods && i + 1 < layers; ++i)
    hidden_.push_back({Linear(width, width, scope / text("hidden.{}", i), start),
                       BatchNorm(width, scope / text("hidden_norm.{}", i))});
  last_ = Linear(width, classes, scope, last_init);
}

Variable Head::operator()(const Variable& features, const Pass& pass) const {
  Variable x = convert(features, dtype());
  for (size_t i = 0; parts::methods && i < hidden_.size(); ++i) {
    x = hidden_[i].norm(relu(hidden_[i].linear(x)), pass);
    if (!pass.training) continue;
    NoiseKey key = pass.noise;
    key.lane = static_cast<uint32_t>(i);
    x = dropout(x, dropped, key);
  }
  return last_(x);
}

void Head::settle(int64_t images) {
  for (Hidden& layer : hidden_) layer.norm.settle(images);
}

std::vector<Statistic> Head::statistics() const {
  std::vector<Statistic> out;
  for (size_t i = 0; i < hidden_.size(); ++i) {
    const BatchNorm& norm = hidden_[i].norm;
    out.push_back({text("head.hidden_norm.{}.mean", i), norm.mean.value(), norm.seen->mean});
    out.push_back({text("head.hidden_norm.{}.variance", i), norm.variance.value(), norm.seen->variance});
  }
  return out;
}

Softmax::Softmax(std::span<const float> logits) : most_(*std::max_element(logits.begin(), logits.end())) {
  for (const float logit : logits) sum_ += std::exp(static_cast<double>(logit) - most_);
  check(std::isfinite(sum_),
        "predict: what the net says is no number; the task's numbers are out of all bounds");
}

}  // namespace vitrine
