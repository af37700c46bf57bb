#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
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

// What a device's kernels are told of a parameter.
gpu::StepItem item_on(const Device& device, Tensor value, Tensor gradient, Tensor& first, Tensor& second,
                      double decay) {
  return {gpu::out<float>(device, value),
          gpu::out<float>(device, gradient),
          gpu::out<float>(device, first),
          gpu::out<float>(device, second),
          gradient.numel(),
          static_cast<float>(decay)};
}

}  // namespace

Optimizer::Optimizer(Parameters& parameters, const OptimizerConfig& config)
    : parameters_(parameters), config_(config) {
  check(config.weight_decay >= 0 && config.momentum >= 0 && config.momentum < 1 && config.beta1 >= 0 &&
            config.beta1 < 1 && config.beta2 >= 0 && config.beta2 < 1 && config.epsilon > 0,
        "optimizer: weight decay {} or another setting makes no sense", config.weight_decay);
  for (const Parameter& p : parameters.all()) {
    const Tensor& value = p.value.value();
    if (value.device() != nullptr && !rates_.defined())
      rates_ = Tensor::zeros({3}, DType::f32, value.memory());
    first_.push_back(Tensor::zeros(value.shape(), value.dtype(), value.memory()));
    if (config.kind == OptimizerKind::adamw)
      second_.push_back(Tensor::zeros(value.shape(), value.dtype(), value.memory()));
  }
}

void Optimizer::prepare(double lr) {
  ++steps_;
  learning_rate_ = lr;
  if (!rates_.defined()) return;
  const auto steps = static_cast<double>(steps_);
  const float rates[] = {static_cast<float>(lr), static_cast<float>(1 / (1 - std::pow(config_.beta1, steps))),
                         static_cast<float>(1 / (1 - std::pow(config_.beta2, steps)))};
  rates_.assign(Tensor::of<float>({3}, rates));
}

void Optimizer::apply() {
  check(parameters_.all().size() == first_.size(), "optimizer: the list of parameters has changed");
  if (rates_.defined()) return apply_on(*rates_.device());
  const double lr = learning_rate_;
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

// All parameters in one go.
void Optimizer::apply_on(const Device& device) {
  std::vector<gpu::StepItem> items;
  Tensor none;
  for (size_t i = 0; i < first_.size(); ++i) {
    const Parameter& p = parameters_.all()[i];
    if (p.value.gradient().defined())
      items.push_back(item_on(device, p.value.value(), p.value.gradient(), first_[i],
                              second_.empty() ? none : second_[i],
                              decays(p.role) ? config_.weight_decay : 0));
  }
  device.run(&gpu::Kernels::optimizer_step,
             {config_.kind == OptimizerKind::adamw, static_cast<int64_t>(items.size()), items.data(),
              static_cast<float>(config_.momentum), static_cast<float>(config_.beta1),
              static_cast<float>(config_.beta2), static_cast<float>(config_.epsilon),
              gpu::in<float>(device, rates_)});
}

void Optimizer::save(TensorFile& file) const {
  file.metadata["optimizer.steps"] = std::to_string(steps_);
  file.metadata["optimizer.kind"] = config_.kind == OptimizerKind::sgd ? "sgd" : "adamw";
  for (size_t i = 0; i < first_.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    file.tensors["optimizer.first." + name] = in_main_memory(first_[i]);
    if (!second_.empty()) file.tensors["optimizer.second." + name] = in_main_memory(second_[i]);
  }
}

void Optimizer::load(const TensorFile& file) {
  const auto kind = file.metadata.find("optimizer.kind");
  const auto steps = file.metadata.find("optimizer.steps");
  check(kind != file.metadata.end() && steps != file.metadata.end(), "{}: holds no optimizer state",
        file.name);
  check(kind->second == (config_.kind == OptimizerKind::sgd ? "sgd" : "adamw"), "{}: its optimizer is {}",
        file.name, kind->second);
  const auto restore = [&](Tensor& state, const std::string& name) {
    const Tensor& stored = file.at(name);
    check(stored.shape() == state.shape() && stored.dtype() == state.dtype(),
          "{}: tensor '{}': expected {} {}, got {} {}", file.name, name, state.shape(),
          name_of(state.dtype()), stored.shape(), name_of(stored.dtype()));
    state = stored.copied_to(state.memory());
  };
  for (size_t i = 0; i < first_.size(); ++i) {
    const std::string& name = parameters_.all()[i].name;
    restore(first_[i], "optimizer.first." + name);
    if (!second_.empty()) restore(second_[i], "optimizer.second." + name);
  }
  steps_ = std::strtoll(steps->second.c_str(), nullptr, 10);
  check(steps_ >= 0, "{}: optimizer.steps is {}", file.name, steps_);
}

namespace {

double norm_here(const Parameters& parameters) {
  double squares = 0;
  for (const Parameter& p : parameters.all()) {
    const Tensor& gradient = p.value.gradient();
    if (!gradient.defined()) continue;
    dispatch(gradient.dtype(), "clip", [&](auto zero) {
      for (const auto g : gradient.data<decltype(zero)>())
        squares += static_cast<double>(g) * static_cast<double>(g);
    });
  }
  return std::sqrt(squares);
}

}  // namespace

Tensor clip_gradients_on(const Device& device, Parameters& parameters, double largest) {
  std::vector<gpu::StepItem> items;
  Memory memory;
  for (const Parameter& p : parameters.all()) {
    Tensor gradient = p.value.gradient();
    if (!gradient.defined()) continue;
    items.push_back({nullptr, gpu::out<float>(device, gradient), nullptr, nullptr, gradient.numel(), 0});
    memory = gradient.memory();
  }
  const auto count = static_cast<int64_t>(items.size());
  check(count > 0, "clip: no gradients");
  Tensor sum = Tensor::empty({}, DType::f64, memory);
  Tensor parts = Tensor::empty({count, gpu::square_sum_parts}, DType::f64, memory);
  device.run(&gpu::Kernels::square_sum,
             {count, items.data(), gpu::out<double>(device, sum), gpu::out<double>(device, parts)});
  if (largest > 0)
    device.run(&gpu::Kernels::clip_gradients,
               {count, items.data(), gpu::in<double>(device, sum), static_cast<float>(largest)});
  return sum;
}

void check_norm(double norm) {
  if (!std::isfinite(norm))
    fail(Fault::diverged, "clip: expected gradients of a finite norm, got a norm of {}", norm);
}

double clip_gradients(Parameters& parameters, double largest) {
  const Device* device = nullptr;
  for (const Parameter& p : parameters.all())
    if (p.value.gradient().defined()) device = p.value.gradient().device();
  const double norm = device == nullptr ? norm_here(parameters)
                                        : std::sqrt(clip_gradients_on(*device, parameters, largest).item());
  check_norm(norm);
  if (device == nullptr && largest > 0 && norm > largest) {
    for (Parameter& p : parameters.all())
      if (p.value.gradient().defined())
        p.value.set_gradient(scale(p.value.gradient(), largest / norm).value());
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
