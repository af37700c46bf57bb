#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "engine/check.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

constexpr int64_t grain = 1 << 14;

bool decays(Role role) { return role == Role::weight || role == Role::prompt; }

template <class T>
void sgd_step(Tensor value, const Tensor& gradient, Tensor& velocity, double lr, double momentum,
              double decay) {
  T *w = value.mutable_data<T>().data(), *v = velocity.mutable_data<T>().data();
  const T* g = gradient.data<T>().data();
  const T rate = static_cast<T>(lr), keep = static_cast<T>(momentum), pull = static_cast<T>(decay);
  parallel_for(value.numel(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      v[i] = keep * v[i] + (g[i] + pull * w[i]);
      w[i] -= rate * v[i];
    }
  });
}

template <class T>
void adamw_step(Tensor value, const Tensor& gradient, Tensor& first, Tensor& second, double lr, double decay,
                int64_t steps, const OptimizerConfig& c) {
  T *w = value.mutable_data<T>().data(), *m = first.mutable_data<T>().data(),
    *v = second.mutable_data<T>().data();
  const T* g = gradient.data<T>().data();
  const T b1 = static_cast<T>(c.beta1), b2 = static_cast<T>(c.beta2), epsilon = static_cast<T>(c.epsilon);
  const T rate = static_cast<T>(lr / (1 - std::pow(c.beta1, static_cast<double>(steps))));
  const T unbias = static_cast<T>(1 / (1 - std::pow(c.beta2, static_cast<double>(steps))));
  const T shrink = static_cast<T>(lr * decay);
  parallel_for(value.numel(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      w[i] -= shrink * w[i] + rate * m[i] / (std::sqrt(v[i] * unbias) + epsilon);
    }
  });
}

}  // namespace

Optimizer::Optimizer(Parameters& parameters, const OptimizerConfig& config)
    : parameters_(parameters), config_(config) {
  check(config.weight_decay >= 0 && config.momentum >= 0 && config.momentum < 1 && config.beta1 >= 0 &&
            config.beta1 < 1 && config.beta2 >= 0 && config.beta2 < 1 && config.epsilon > 0,
        "optimizer: weight decay ", config.weight_decay, " or another setting makes no sense");
  for (const Parameter& p : parameters.all()) {
    const Tensor& value = p.value.value();
    first_.push_back(Tensor::zeros(value.shape(), value.dtype(), value.memory()));
    if (config.kind == OptimizerKind::adamw)
      second_.push_back(Tensor::zeros(value.shape(), value.dtype(), value.memory()));
  }
}

void Optimizer::step(double lr) {
  check(parameters_.all().size() == first_.size(), "optimizer: the list of parameters has changed");
  ++steps_;
  for (size_t i = 0; i < first_.size(); ++i) {
    const Parameter& p = parameters_.all()[i];
    const Tensor& gradient = p.value.gradient();
    if (!gradient.defined()) continue;
    const double decay = decays(p.role) ? config_.weight_decay : 0;
    dispatch(gradient.dtype(), "optimizer", [&](auto zero) {
      using T = decltype(zero);
      if (config_.kind == OptimizerKind::sgd) {
        sgd_step<T>(p.value.value(), gradient, first_[i], lr, config_.momentum, decay);
      } else {
        adamw_step<T>(p.value.value(), gradient, first_[i], second_[i], lr, decay, steps_, config_);
      }
    });
  }
}

void Optimizer::save(TensorFile& file) const {
  file.metadata["optimizer.steps"] = std::to_string(steps_);
  file.metadata["optimizer.kind"] = config_.kind == OptimizerKind::sgd ? "sgd" : "adamw";
  for (size_t i = 0; i < first_.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    file.tensors["optimizer.first." + name] = first_[i];
    if (!second_.empty()) file.tensors["optimizer.second." + name] = second_[i];
  }
}

void Optimizer::load(const TensorFile& file) {
  const auto kind = file.metadata.find("optimizer.kind");
  const auto steps = file.metadata.find("optimizer.steps");
  check(kind != file.metadata.end() && steps != file.metadata.end(), file.name, ": holds no optimizer state");
  check(kind->second == (config_.kind == OptimizerKind::sgd ? "sgd" : "adamw"), file.name,
        ": its optimizer is ", kind->second);
  const auto restore = [&](Tensor& state, const std::string& name) {
    const Tensor& stored = file.at(name);
    check(stored.shape() == state.shape() && stored.dtype() == state.dtype(), file.name, ": tensor '", name,
          "': expected ", state.shape(), " ", name_of(state.dtype()), ", got ", stored.shape(), " ",
          name_of(stored.dtype()));
    std::ranges::copy(stored.raw(), state.mutable_raw().begin());
  };
  for (size_t i = 0; i < first_.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    restore(first_[i], "optimizer.first." + name);
    if (!second_.empty()) restore(second_[i], "optimizer.second." + name);
  }
  steps_ = std::strtoll(steps->second.c_str(), nullptr, 10);
  check(steps_ >= 0, file.name, ": optimizer.steps is ", steps_);
}

double clip_gradients(Parameters& parameters, double largest) {
  double squares = 0;
  for (const Parameter& p : parameters.all()) {
    const Tensor& gradient = p.value.gradient();
    if (!gradient.defined()) continue;
    dispatch(gradient.dtype(), "clip", [&](auto zero) {
      for (const auto g : gradient.data<decltype(zero)>())
        squares += static_cast<double>(g) * static_cast<double>(g);
    });
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm))
    fail(Fault::diverged, "clip: expected gradients of a finite norm, got a norm of ", norm);
  if (largest > 0 && norm > largest) {
    for (Parameter& p : parameters.all()) {
      if (!p.value.gradient().defined()) continue;
      Tensor scaled = p.value.gradient().clone();
      dispatch(scaled.dtype(), "clip", [&](auto zero) {
        for (auto& g : scaled.mutable_data<decltype(zero)>())
          g *= static_cast<decltype(zero)>(largest / norm);
      });
      p.value.set_gradient(scaled);
    }
  }
  return norm;
}

double learning_rate_at(Schedule schedule, double lr, int64_t step, int64_t warmup, int64_t total) {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (schedule == Schedule::constant || total <= warmup) return lr;
  const double done = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
  return lr * (1 + std::cos(std::numbers::pi * std::min(done, 1.0))) / 2;
}

}  // namespace vitrine
