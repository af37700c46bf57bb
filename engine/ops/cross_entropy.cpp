// cross_entropy.cpp: softmax and negative log likelihood in one, with label smoothing and class weights.
#include <algorithm>
#include <cmath>

#include "engine/check.h"
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
    const Tensor given = options.class_weights.to(DType::f64);
    std::ranges::copy(given.data<double>(), out.of_class.begin());
  }
  for (const double w : out.of_class) {
    check(w >= 0 && std::isfinite(w), "cross_entropy: a class weight is ", w);
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

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& labels, const CrossEntropy& options) {
  check(logits.shape().rank() == 2 && logits.dim(0) > 0 && logits.dim(1) > 0,
        "cross_entropy: expected logits (B, C), got ", logits.shape());
  check(labels.defined() && labels.dtype() == DType::i64 && labels.shape() == Shape{logits.dim(0)},
        "cross_entropy: expected i64 labels (", logits.dim(0), "), got ", name_of(labels.dtype()), " ",
        labels.shape());
  check(options.smoothing >= 0 && options.smoothing < 1, "cross_entropy: expected smoothing in [0, 1), got ",
        options.smoothing);
  const Tensor& class_weights = options.class_weights;
  check(!class_weights.defined() ||
            (class_weights.shape() == Shape{logits.dim(1)} && class_weights.dtype() == logits.dtype()),
        "cross_entropy: expected ", name_of(logits.dtype()), " class weights (", logits.dim(1), "), got ",
        name_of(class_weights.dtype()), " ", class_weights.shape());
  for (const int64_t label : labels.data<int64_t>())
    check(label >= 0 && label < logits.dim(1), "cross_entropy: label ", label, " is not below ",
          logits.dim(1));

  const Weights weights = weights_of(options, labels.data<int64_t>(), logits.dim(1));
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
