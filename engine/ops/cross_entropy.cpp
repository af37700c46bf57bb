// cross_entropy.cpp: softmax and negative log likelihood in one, with label smoothing and class weights.
#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"

namespace vitrine {

namespace {

// The sums run in double: a loss is read by people and decides when training stops.
struct Weights {
  std::vector<double> of_class;  // (C)
  double all = 0;                // sum over classes
  double labels = 0;             // sum over the batch of the labels' weights: what the mean divides by
};

Weights weights_of(const CrossEntropy& options, std::span<const int64_t> labels, int64_t classes) {
  Weights out;
  out.of_class.assign(classes, 1.0);
  if (options.class_weights.defined()) {
    const Tensor given = in_main_memory(options.class_weights).to(DType::f64);
    std::ranges::copy(given.data<double>(), out.of_class.begin());
  }
  for (const double w : out.of_class) {
    check(w >= 0 && std::isfinite(w), "cross_entropy: a class weight is {}", w);
    out.all += w;
  }
  for (const int64_t label : labels) out.labels += out.of_class[label];
  check(out.labels > 0, "cross_entropy: the labels of this batch weigh nothing");
  return out;
}

// Returns the loss; fills probabilities (B, C) for backward.
template <class T>
double cross_entropy_forward(const Tensor& logits, std::span<const int64_t> labels, const Weights& weights,
                             double smoothing, Tensor& probabilities) {
  const int64_t classes = logits.dim(1);
  const T* from = logits.data<T>().data();
  T* p = probabilities.mutable_data<T>().data();
  double loss = 0;
  for (size_t b = 0; b < labels.size(); ++b) {
    const T* row = from + b * classes;
    const double top = *std::max_element(row, row + classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(row[c] - top);
    const double log_sum = top + std::log(sum);
    for (int64_t c = 0; c < classes; ++c) p[b * classes + c] = static_cast<T>(std::exp(row[c] - log_sum));
    loss += (1 - smoothing) * weights.of_class[labels[b]] * (log_sum - row[labels[b]]);
    if (smoothing > 0) {
      for (int64_t c = 0; c < classes; ++c)
        loss += smoothing / static_cast<double>(classes) * weights.of_class[c] * (log_sum - row[c]);
    }
  }
  return loss / weights.labels;
}

// dlogits = dloss ((1 - s) w_label (p - onehot) + s/C (p sum(w) - w)) / sum of the labels' weights
template <class T>
Tensor cross_entropy_backward(const Tensor& probabilities, std::span<const int64_t> labels,
                              const Weights& weights, double smoothing, double dloss) {
  const int64_t classes = probabilities.dim(1);
  Tensor out = Tensor::empty(probabilities.shape(), probabilities.dtype(), probabilities.memory());
  const T* p = probabilities.data<T>().data();
  T* to = out.mutable_data<T>().data();
  const double share = smoothing / static_cast<double>(classes), unit = dloss / weights.labels;
  for (size_t b = 0; b < labels.size(); ++b) {
    for (int64_t c = 0; c < classes; ++c) {
      const double probability = p[b * classes + c], hit = c == labels[b] ? 1.0 : 0.0;
      const double sharp = (1 - smoothing) * weights.of_class[labels[b]] * (probability - hit);
      const double smooth = share * (probability * weights.all - weights.of_class[c]);
      to[b * classes + c] = static_cast<T>(unit * (sharp + smooth));
    }
  }
  return out;
}

// The same where the logits are on a device. Labels and class weights that are there, too, are not looked at: a
// label that is no class makes the loss NaN.
Variable cross_entropy_on(const Device& device, const Variable& logits, const Tensor& labels,
                          const CrossEntropy& options) {
  const Memory memory = logits.value().memory();
  const auto bring = [&](const Tensor& x) {
    return x.defined() && x.device() == nullptr ? x.copied_to(memory) : x;
  };
  const Tensor own_labels = bring(labels), class_weights = bring(options.class_weights),
               value = logits.value();
  Tensor loss = Tensor::empty({}, logits.dtype(), memory);
  Tensor probabilities = Tensor::empty(logits.shape(), DType::f32, memory);
  Tensor weights = Tensor::empty({2}, DType::f32, memory);
  const gpu::CrossEntropy forward{logits.dtype(),
                                  logits.dim(0),
                                  logits.dim(1),
                                  gpu::in(device, value),
                                  gpu::in<int64_t>(device, own_labels),
                                  gpu::in(device, class_weights),
                                  options.smoothing,
                                  gpu::out(device, loss),
                                  gpu::out<float>(device, probabilities),
                                  gpu::out<float>(device, weights)};
  device.run(&gpu::Kernels::cross_entropy, forward);
  // The tensors are captured to keep alive what `forward` points to; backward does not look at the logits.
  return record(
      std::move(loss),
      {{logits, [=](const Tensor& dy) {
          const Device& home = *probabilities.device();
          Tensor dlogits = Tensor::empty(probabilities.shape(), dy.dtype(), dy.memory());
          gpu::CrossEntropy kept = forward;
          kept.logits = nullptr;
          kept.labels = gpu::in<int64_t>(home, own_labels);
          kept.class_weights = gpu::in(home, class_weights);
          static_cast<void>(weights);
          home.run(&gpu::Kernels::cross_entropy_backward, {kept, gpu::in(home, dy), gpu::out(home, dlogits)});
          return dlogits;
        }}});
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& labels, const CrossEntropy& options) {
  check(logits.shape().rank() == 2 && logits.dim(0) > 0 && logits.dim(1) > 0,
        "cross_entropy: expected logits (B, C), got {}", logits.shape());
  check(labels.defined() && labels.dtype() == DType::i64 && labels.shape() == Shape{logits.dim(0)},
        "cross_entropy: expected i64 labels ({}), got {} {}", logits.dim(0), name_of(labels.dtype()),
        labels.shape());
  check(options.smoothing >= 0 && options.smoothing < 1,
        "cross_entropy: expected smoothing in [0, 1), got {}", options.smoothing);
  const Tensor& class_weights = options.class_weights;
  check(!class_weights.defined() ||
            (class_weights.shape() == Shape{logits.dim(1)} && class_weights.dtype() == logits.dtype()),
        "cross_entropy: expected {} class weights ({}), got {} {}", name_of(logits.dtype()), logits.dim(1),
        name_of(class_weights.dtype()), class_weights.shape());
  const Device* device = device_of(logits.value(), "cross_entropy");
  if (device != nullptr && labels.device() != nullptr)
    return cross_entropy_on(*device, logits, labels, options);
  for (const int64_t label : labels.data<int64_t>())
    check(label >= 0 && label < logits.dim(1), "cross_entropy: label {} is not below {}", label,
          logits.dim(1));

  const Weights weights = weights_of(options, labels.data<int64_t>(), logits.dim(1));
  if (device != nullptr) return cross_entropy_on(*device, logits, labels, options);
  Tensor probabilities = Tensor::empty(logits.shape(), logits.dtype(), logits.value().memory());
  const double loss = dispatch(logits.dtype(), "cross_entropy", [&](auto zero) {
    return cross_entropy_forward<decltype(zero)>(logits.value(), labels.data<int64_t>(), weights,
                                                 options.smoothing, probabilities);
  });
  return record(Tensor::full({}, loss, logits.dtype(), logits.value().memory()),
                {{logits, [=, smoothing = options.smoothing](const Tensor& dy) {
                    return dispatch(dy.dtype(), "cross_entropy", [&](auto zero) {
                      return cross_entropy_backward<decltype(zero)>(probabilities, labels.data<int64_t>(),
                                                                    weights, smoothing, dy.item());
                    });
                  }}});
}

}  // namespace vitrine
