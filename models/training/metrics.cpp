#include "models/training/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/check.h"

namespace vitrine {

Metrics::Metrics(int64_t classes)
    : classes_(static_cast<size_t>(std::max<int64_t>(classes, 0))), hits_(classes_), counts_(classes_) {
  check(classes >= 1, "metrics: expected at least one class, got {}", classes);
}

void Metrics::add(std::span<const float> logits, std::span<const int64_t> labels) {
  check(logits.size() == labels.size() * classes_, "metrics: expected {} x {} logits, got {}", labels.size(),
        classes_, logits.size());
  for (size_t b = 0; b < labels.size(); ++b) {
    check(labels[b] >= 0 && labels[b] < static_cast<int64_t>(classes_), "metrics: label {} of {} classes",
          labels[b], classes_);
    const auto label = static_cast<size_t>(labels[b]);
    const auto row = logits.subspan(b * classes_, classes_);
    size_t before = 0;  // classes that the model names before the right one
    bool numbers = true;
    for (size_t c = 0; c < classes_; ++c) {
      numbers = numbers && !std::isnan(row[c]);
      before += row[c] > row[label] || (row[c] == row[label] && c < label);
    }
    ++counts_[label];
    hits_[label] += numbers && before == 0;
    among_five_ += numbers && before < 5;
    if (classes_ == 2) scores_.emplace_back(double{row[1]} - double{row[0]}, label == 1);
  }
  samples_ += static_cast<int64_t>(labels.size());
}

void Metrics::put(MessageWriter& message) const {
  std::vector<double> differences;
  std::vector<uint8_t> ones;
  for (const auto& [difference, one] : scores_) {
    differences.push_back(difference);
    ones.push_back(one);
  }
  message.put(samples_).put(among_five_);
  message.put_all(std::span<const int64_t>(hits_)).put_all(std::span<const int64_t>(counts_));
  message.put_all(std::span<const double>(differences)).put_all(std::span<const uint8_t>(ones));
}

void Metrics::add(MessageReader& message) {
  samples_ += message.get<int64_t>();
  among_five_ += message.get<int64_t>();
  for (std::vector<int64_t>* own : {&hits_, &counts_}) {
    const auto other = message.get_all<int64_t>();
    check(other.size() == own->size(), "metrics: expected counts of {} classes, got {}", own->size(),
          other.size());
    for (size_t c = 0; c < other.size(); ++c) (*own)[c] += other[c];
  }
  const auto differences = message.get_all<double>();
  const auto ones = message.get_all<uint8_t>();
  check(ones.size() == differences.size(), "metrics: expected {} labels, got {}", differences.size(),
        ones.size());
  for (size_t i = 0; i < ones.size(); ++i) scores_.emplace_back(differences[i], ones[i] != 0);
}

double Metrics::top1() const {
  const int64_t hits = std::accumulate(hits_.begin(), hits_.end(), int64_t{0});
  return samples_ == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(samples_);
}

double Metrics::top5() const {
  return samples_ == 0 ? 0 : static_cast<double>(among_five_) / static_cast<double>(samples_);
}

double Metrics::mean_class() const {
  double sum = 0;
  int64_t present = 0;
  for (size_t c = 0; c < classes_; ++c) {
    if (counts_[c] == 0) continue;
    sum += static_cast<double>(hits_[c]) / static_cast<double>(counts_[c]);
    ++present;
  }
  return present == 0 ? 0 : sum / static_cast<double>(present);
}

std::optional<double> Metrics::roc_auc() const {
  if (classes_ != 2 || counts_[0] == 0 || counts_[1] == 0) return std::nullopt;
  auto scores = scores_;
  if (std::any_of(scores.begin(), scores.end(), [](const auto& s) { return std::isnan(s.first); }))
    return std::nullopt;
  std::sort(scores.begin(), scores.end());
  // Twice the pairs in which class 1 wins, so that halves are whole: by groups of equal scores.
  double wins = 0, zeros_below = 0;
  for (size_t begin = 0; begin < scores.size();) {
    size_t end = begin;
    double zeros = 0, ones = 0;
    for (; end < scores.size() && scores[end].first == scores[begin].first; ++end)
      (scores[end].second ? ones : zeros) += 1;
    wins += ones * (2 * zeros_below + zeros);
    zeros_below += zeros;
    begin = end;
  }
  return wins / (2 * static_cast<double>(counts_[0]) * static_cast<double>(counts_[1]));
}

double value_of(Metric metric, const Evaluation& evaluation) {
  switch (metric) {
    case Metric::top1:
      return evaluation.accuracy;
    case Metric::top5:
      return evaluation.top5;
    case Metric::mean_class:
      return evaluation.mean_class_accuracy;
  }
  return 0;
}

}  // namespace vitrine
