#include "models/training/class_tokens.h"

#include <algorithm>
#include <iterator>

#include "engine/check.h"
#include "engine/ops.h"
#include "models/training/pass_over.h"
#include "models/training/tune_parts.h"

namespace vitrine {

ClassTokens::ClassTokens(const TunedModel& model, const Memory& memory)
    : model_(model), images_(static_cast<size_t>(model.config().classes), 0) {
  const PromptConfig how = settled(model.config().prompts, prompt_places(model.transformer()));
  // Those that are one set for all blocks start as the last block leaves the token.
  const bool own = how.kind == PromptKind::deep && !how.shared;
  last_ = own ? how.last : block_count(model.transformer());
  first_ = own ? how.first : last_ - 1;
  sums_ = Tensor::zeros({how.count, last_ - first_, feature_width(model.transformer())}, DType::f64, memory);
}

void ClassTokens::add(const Tensor& images, std::span<const int64_t> labels) {
  const Vit& net = std::get<Vit>(model_.parts().transformer->net());
  const int64_t layers = sums_.dim(1), width = sums_.dim(2);
  const Pass pass{.history = false};
  const auto sums = sums_.mutable_data<double>();
  Variable x = pass.kept(net.embed(images));
  for (int64_t i = 0; i < last_; ++i) {
    const VitBlock& block = net.blocks()[static_cast<size_t>(i)];
    x = pass.kept(i + 1 == last_ ? block.first_tokens(1, x, {}, pass) : block(x, {}, pass));
    if (i < first_) continue;
    const Tensor tokens = in_main_memory(convert(slice(x, 1, 0, 1), DType::f32).value());  // (B, 1, D)
    const auto values = tokens.data<float>();
    for (size_t b = 0; b < labels.size(); ++b) {
      const auto to = static_cast<size_t>((labels[b] * layers + i - first_) * width),
                 from = b * static_cast<size_t>(width);
      for (size_t d = 0; d < static_cast<size_t>(width); ++d)
        sums[to + d] += static_cast<double>(values[from + d]);
    }
  }
  for (const int64_t label : labels) ++images_.at(static_cast<size_t>(label));
}

std::vector<float> ClassTokens::mean(int64_t label) const {
  const Tensor own = sums_.rows(label, label + 1);
  std::vector<float> out;
  for (const double sum : own.data<double>())
    out.push_back(static_cast<float>(sum / static_cast<double>(images(label))));
  return out;
}

void start_from_class_tokens(TunedModel& model, const TuneData& data, const TuneConfig& config,
                             Processes& processes, const Memory& memory) {
  const int64_t classes = model.config().classes, count = processes.count();
  const auto is_own = [&](int64_t label) { return label % count == processes.rank(); };
  std::vector<int64_t> samples;
  std::ranges::copy_if(data.train, std::back_inserter(samples),
                       [&](int64_t i) { return is_own(data.dataset->label(i)); });
  ClassTokens tokens(model, memory);
  std::vector<BadImage> bad;
  const auto all = static_cast<int64_t>(data.train.size());
  if (!samples.empty()) {
    // Which damaged images are too many is told by those of all processes.
    const PassOver how{.batch = images_at_once(config, all),
                       .workers = config.workers,
                       .max_bad = count == 1 ? config.max_bad : std::max(config.max_bad, all),
                       .memory = memory,
                       .kept = {.features = nullptr, .embedded = nullptr, .images = data.kept.images}};
    bad = pass_images(model, data.dataset, samples, data.preprocess, how, nullptr,
                      [&](const Batch& batch, const std::function<Tensor()>& images) {
                        tokens.add(images(), batch.labels.data<int64_t>());
                      });
  }
  MessageWriter message;
  put_bad(message, bad);
  for (int64_t label = 0; label < classes; ++label)
    if (is_own(label))
      message.put_all(
          std::span<const float>(tokens.images(label) > 0 ? tokens.mean(label) : std::vector<float>()));

  const auto messages = processes.exchange(message.bytes());
  std::vector<MessageReader> readers(messages.begin(), messages.end());
  bad.clear();
  for (MessageReader& reader : readers) std::ranges::move(get_bad(reader), std::back_inserter(bad));
  // As one process alone finds them.
  std::ranges::sort(bad, {},
                    [&](const BadImage& image) { return std::ranges::find(data.train, image.sample); });
  if (const auto most = static_cast<size_t>(config.max_bad); bad.size() > most)
    fail_for(bad[most], config.max_bad);
  check_every_class(data, bad);
  // (L, P, D) deep or (P, D)
  const auto prompts = std::ranges::find(model.parameters().all(), "prompts", &Parameter::name);
  check(prompts != model.parameters().all().end(), "class tokens: this model has no prompts");
  Tensor start = Tensor::zeros(prompts->value.shape(), DType::f32, memory);
  const auto values = start.mutable_data<float>();
  const auto width = static_cast<size_t>(start.shape().dim(start.shape().rank() - 1));
  for (int64_t label = 0; label < classes; ++label) {
    const std::vector<float> mean = readers[static_cast<size_t>(label % count)].get_all<float>();
    for (size_t at = 0; at < mean.size(); ++at) {
      const size_t layer = at / width;
      values[(layer * static_cast<size_t>(classes) + static_cast<size_t>(label)) * width + at % width] =
          mean[at];
    }
  }
  Tensor target = prompts->value.value();
  target.assign(start);
}

}  // namespace vitrine
