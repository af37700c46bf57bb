#include "models/training/gradient_sum.h"

#include <cstring>
#include <utility>

#include "engine/check.h"
#include "engine/ops.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

void add_into(Tensor& sum, std::span<const float> term) {
  float* to = sum.mutable_data<float>().data();
  const float* from = term.data();
  parallel_for(sum.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

}  // namespace

GradientSum::GradientSum(Parameters& parameters, Processes& processes)
    : parameters_(parameters), processes_(processes), sums_(parameters.all().size()) {
  parameters_.clear_gradients();
}

void GradientSum::add() {
  for (size_t i = 0; i < sums_.size(); ++i) {
    Variable& leaf = parameters_.all()[i].value;
    Tensor own = leaf.gradient();
    leaf.clear_gradient();
    if (processes_.count() == 1) {
      if (!sums_[i].defined())
        sums_[i] = std::move(own);
      else if (own.defined() && own.device() != nullptr)
        sums_[i] = vitrine::add(Variable(sums_[i]), Variable(own)).value();
      else if (own.defined())
        add_into(sums_[i], own.data<float>());
      continue;
    }
    const auto all =
        processes_.exchange(own.defined() ? std::as_bytes(own.data<float>()) : std::span<const std::byte>());
    own = {};
    for (const Processes::Bytes& bytes : all) {
      if (bytes.empty()) continue;
      // What operator new returned is aligned for any type.
      const std::span<const float> term(reinterpret_cast<const float*>(bytes.data()),
                                        bytes.size() / sizeof(float));
      check(term.size() == static_cast<size_t>(leaf.numel()),
            "tune: another process has '{}' with {} numbers, this one with {}", parameters_.all()[i].name,
            term.size(), leaf.numel());
      if (sums_[i].defined())
        add_into(sums_[i], term);
      else
        sums_[i] = Tensor::of<float>(leaf.shape(), term, leaf.value().memory());
    }
  }
}

void GradientSum::finish() {
  for (size_t i = 0; i < sums_.size(); ++i)
    if (Tensor sum = std::exchange(sums_[i], Tensor()); sum.defined())
      parameters_.all()[i].value.set_gradient(std::move(sum));
}

}  // namespace vitrine
