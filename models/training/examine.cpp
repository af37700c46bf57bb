// examine.cpp: what a model makes of pictures, for a report.
#ifdef VITRINE_FILES

#include <algorithm>
#include <numeric>

#include "data/resize.h"
#include "engine/check.h"
#include "models/attention_maps.h"
#include "models/training/pass_over.h"
#include "models/training/pca.h"
#include "models/training/report.h"
#include "models/training/tsne.h"

namespace vitrine {

namespace {

constexpr int thumbnail_side = 128, attended_side = 160;  // at most so large, in pixels
constexpr size_t most_prompts = 3;                        // with maps of their own

// The class of the greatest logit (the first of equals), and its probability.
std::pair<int64_t, double> best_of(std::span<const float> row) {
  const auto best = std::ranges::max_element(row);
  return {best - row.begin(), Softmax(row)(*best)};
}

// --- pictures ----------------------------------------------------------------------------------------------

// What normalise made of bytes, as bytes again: plane by plane (3, H, W) -> an image.
Image picture_of(std::span<const float> planes, int64_t height, int64_t width, const Preprocess& preprocess) {
  Image out = blank_image(static_cast<int>(width), static_cast<int>(height));
  const auto pixels = static_cast<size_t>(height * width);
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = 0; i < pixels; ++i) {
      const float value = planes[c * pixels + i] * preprocess.std[c] + preprocess.mean[c];
      out.rgb[3 * i + c] = static_cast<uint8_t>(std::lround(std::clamp(value, 0.0f, 1.0f) * 255));
    }
  return out;
}

struct Loaded {
  Tensor images;  // (1, 3, H, W), as the net takes them
  Image picture;
};

// Calls each(i, picture) for the samples, one after the other.
void load_each(const Examined& what, const std::vector<int64_t>& samples,
               const std::function<void(size_t i, const Loaded& loaded)>& each) {
  if (samples.empty()) return;
  const Tensor values = values_of_bytes(what.preprocess);
  Loader loader(what.dataset, samples, what.preprocess,
                {.batch_size = 1, .workers = 0, .cache_bytes = 0, .as_bytes = true});
  loader.start_epoch(0);
  size_t i = 0;
  for (Batch batch; loader.next(batch); ++i) {
    Loaded loaded;
    if (batch.pixels.defined()) {
      loaded.images = planes(batch.pixels, values);
      const auto bytes = batch.pixels.data<uint8_t>();
      loaded.picture = {static_cast<int>(batch.pixels.dim(2)), static_cast<int>(batch.pixels.dim(1)),
                        std::vector<uint8_t>(bytes.begin(), bytes.end())};
    } else {  // no bytes were ever there
      loaded.images = batch.images;
      loaded.picture =
          picture_of(batch.images.data<float>(), batch.images.dim(2), batch.images.dim(3), what.preprocess);
    }
    each(i, loaded);
  }
}

Image at_most(const Image& picture, int side) {
  const int longer = std::max(picture.width, picture.height);
  if (longer <= side) return picture;
  const auto scaled = [&](int extent) { return std::max(1, extent * side / longer); };
  return resize(picture, scaled(picture.width), scaled(picture.height), Filter::bicubic);
}

// --- choices -----------------------------------------------------------------------------------------------

// Places in the findings' lists: mistakes, the most confident first.
std::vector<size_t> mistakes_in(const Findings& found) {
  std::vector<size_t> out;
  for (size_t i = 0; i < found.labels.size(); ++i)
    if (found.labels[i] != found.predicted[i]) out.push_back(i);
  std::ranges::stable_sort(out, std::greater{}, [&](size_t i) { return found.confidence[i]; });
  return out;
}

// The most confidently right picture of each of about `count` classes, evenly spaced among those that have one.
std::vector<size_t> right_in(const Findings& found, int64_t count) {
  std::vector<std::optional<size_t>> best(static_cast<size_t>(found.classes));
  for (size_t i = 0; i < found.labels.size(); ++i) {
    if (found.labels[i] != found.predicted[i]) continue;
    std::optional<size_t>& of_class = best[static_cast<size_t>(found.labels[i])];
    if (!of_class || found.confidence[i] > found.confidence[*of_class]) of_class = i;
  }
  std::vector<size_t> there, out;
  for (const auto& of_class : best)
    if (of_class) there.push_back(*of_class);
  const auto wanted = std::min(there.size(), static_cast<size_t>(count));
  for (size_t k = 0; k < wanted; ++k) out.push_back(there[k * there.size() / wanted]);
  return out;
}

// Right ones and mistakes in turns, `count` in all if there are so many.
std::vector<size_t> attended_in(const Findings& found, int64_t count) {
  const std::vector<size_t> wrong = mistakes_in(found);
  const auto most = static_cast<int64_t>(wrong.size());
  const std::vector<size_t> right = right_in(found, std::max((count + 1) / 2, count - most));
  std::vector<size_t> out;
  for (size_t k = 0; out.size() < static_cast<size_t>(count) && (k < right.size() || k < wrong.size()); ++k) {
    if (k < right.size()) out.push_back(right[k]);
    if (k < wrong.size() && out.size() < static_cast<size_t>(count)) out.push_back(wrong[k]);
  }
  return out;
}

// --- attention ---------------------------------------------------------------------------------------------

std::string pooled_name(const TransformerConfig& config) {
  if (std::holds_alternative<SwinConfig>(config)) return "mean of all tokens";
  const VitConfig& vit = std::get<VitConfig>(config);
  if (vit.pooling != Pooling::token) return "mean of the patches";
  return vit.distillation_token ? "class and distillation token" : "class token";
}

// What tokens [begin, end) of the one picture of a map look at.
SeenMap seen_by(const AttentionMap& map, int64_t begin, int64_t end, std::string who) {
  SeenMap out{
      .who = std::move(who), .block = map.block + 1, .rows = map.rows, .columns = map.columns, .weights = {}};
  const Tensor row = mean_attention(map, begin, end).to(DType::f64);
  const auto weights = row.data<double>();
  const auto prefix = static_cast<size_t>(map.prefix), patches = prefix + static_cast<size_t>(map.prompts);
  out.weights.assign(weights.begin() + static_cast<std::ptrdiff_t>(patches), weights.end());
  for (size_t i = prefix; i < patches; ++i) out.on_prompts += weights[i];
  const double on_patches = std::accumulate(out.weights.begin(), out.weights.end(), 0.0);
  out.elsewhere = std::max(0.0, 1 - on_patches - out.on_prompts);
  return out;
}

Precision precision_of(const TunedModel& model) {
  if (const auto* vit = std::get_if<Vit>(&model.parts().transformer->net()))
    return vit->blocks()[0].attn.qkv.weight.value().precision();
  return std::get<Swin>(model.parts().transformer->net())
      .stages()[0]
      .blocks[0]
      .attn.attention.qkv.weight.value()
      .precision();
}

// Of the one picture in `pass`: all that may be shown, and how much of it goes to each prompt in the last block.
struct Seen {
  std::vector<SeenMap> pooled, prompts;
  std::vector<double> to_prompts;
};

Seen seen_in(const AttentionPass& pass, const TransformerConfig& config) {
  Seen out;
  const AttentionMap& last = pass.maps.back();
  if (pass.pool.defined()) {
    SeenMap map{
        .who = "learned question", .block = 0, .rows = last.rows, .columns = last.columns, .weights = {}};
    const Tensor row = mean(pass.pool, 1).value().to(DType::f64);
    map.weights.assign(row.data<double>().begin(), row.data<double>().end());
    out.pooled.push_back(std::move(map));
  } else {
    for (const AttentionMap& map : pass.maps)
      out.pooled.push_back(seen_by(map, map.pooled_begin, map.pooled_end, pooled_name(config)));
  }
  const Tensor row = mean_attention(last, last.pooled_begin, last.pooled_end).to(DType::f64);
  for (int64_t p = 0; p < last.prompts; ++p) {
    out.prompts.push_back(seen_by(last, last.prefix + p, last.prefix + p + 1, text("prompt {}", p + 1)));
    out.to_prompts.push_back(row.data<double>()[static_cast<size_t>(last.prefix + p)]);
  }
  return out;
}

double largest(const Tensor& x) {
  double out = 0;
  for (const double v : x.data<double>()) out = std::max(out, std::abs(v));
  return out;
}

void find_attention(const Examined& what, const std::vector<size_t>& places,
                    const std::vector<ShownPicture>& shown, const std::vector<int64_t>& samples,
                    const ReportProgress& progress, Findings& found) {
  const TunedModel& model = what.in_memory ? *what.in_memory : what.model;
  const TransformerConfig config = model.transformer();
  const auto* vit = std::get_if<VitConfig>(&config);
  found.pools_class_token = vit != nullptr && vit->pooling == Pooling::token;
  const int64_t blocks = std::min<int64_t>(2, block_count(config));
  std::vector<Seen> seen;
  load_each(what, samples, [&](size_t i, const Loaded& loaded) {
    const AttentionPass pass = attention_maps(model, loaded.images, blocks);
    const Tensor own = model.features(loaded.images, {.history = false}).value().to(DType::f64),
                 same = pass.features.to(DType::f64);
    double difference = 0;
    for (int64_t k = 0; k < own.numel(); ++k)
      difference = std::max(difference, std::abs(own.data<double>()[k] - same.data<double>()[k]));
    found.attention_error = std::max(found.attention_error, difference / std::max(largest(own), 1e-30));
    seen.push_back(seen_in(pass, config));
    found.attention.push_back({shown[i], {}});
    found.attention.back().shown.picture = at_most(loaded.picture, attended_side);
    if (progress) progress("attention", static_cast<int64_t>(i) + 1, static_cast<int64_t>(places.size()));
  });
  if (found.attention_error > (precision_of(model) == Precision::f32 ? 1e-3 : 5e-2)) {
    found.attention.clear();
    return;
  }
  if (seen.empty()) return;
  std::vector<size_t> prompts(seen[0].to_prompts.size());
  std::iota(prompts.begin(), prompts.end(), size_t{0});
  std::ranges::stable_sort(prompts, std::greater{}, [&](size_t p) {
    double sum = 0;
    for (const Seen& one : seen) sum += one.to_prompts[p];
    return sum;
  });
  prompts.resize(std::min(prompts.size(), most_prompts));
  for (size_t i = 0; i < seen.size(); ++i) {
    found.attention[i].maps = std::move(seen[i].pooled);
    for (const size_t p : prompts) found.attention[i].maps.push_back(seen[i].prompts[p]);
  }
}

// --- embedding ---------------------------------------------------------------------------------------------

void find_embedding(const std::vector<double>& features, int64_t width, const ReportProgress& progress,
                    Findings::Embedding& out) {
  const auto n = static_cast<int64_t>(out.labels.size());
  if (n < 3) {  // nothing to be seen
    out = {};
    return;
  }
  const Tensor points = Tensor::of<double>({n, width}, features);
  const Pca flat = pca(points, std::min<int64_t>(2, width));
  const int64_t had = flat.projected.dim(1);
  for (int64_t i = 0; i < n; ++i) {
    const double* row = flat.projected.data<double>().data() + i * had;
    out.pca.emplace_back(row[0], had > 1 ? row[1] : 0);
  }
  const double shown = std::accumulate(flat.variances.begin(), flat.variances.end(), 0.0);
  out.pca_share = flat.total > 0 ? shown / flat.total : 1;
  const TsneOptions options;
  out.perplexity = std::clamp(options.perplexity, 1.0, std::max(1.0, static_cast<double>(n - 1) / 3));
  const Tensor layout = tsne(points, options, [&](int64_t done, int64_t all) {
    if (progress) progress("embedding", done, all);
  });
  for (int64_t i = 0; i < n; ++i)
    out.tsne.emplace_back(layout.data<double>()[2 * i], layout.data<double>()[2 * i + 1]);
}

}  // namespace

std::vector<int64_t> Findings::confusion() const {
  std::vector<int64_t> out(static_cast<size_t>(classes * classes), 0);
  for (size_t i = 0; i < labels.size(); ++i) ++out[static_cast<size_t>(labels[i] * classes + predicted[i])];
  return out;
}

Findings examine(const Examined& what, const ReportOptions& o, const ReportProgress& progress) {
  check(what.dataset != nullptr && !what.samples.empty(), "report: no pictures to look at");
  check(o.mistakes >= 0 && o.attended >= 0 && o.embedded >= 0 && o.batch > 0,
        "report: its options make no sense");
  const TunedModel& model = what.model;
  check(model.config().classes == what.dataset->classes(),
        "report: the task tells {} classes apart, the data has {}", model.config().classes,
        what.dataset->classes());
  const auto all = static_cast<int64_t>(what.samples.size());
  const int64_t embedded = std::min(o.embedded, all);
  std::vector<char> chosen(static_cast<size_t>(what.dataset->size()), 0);  // for the embedding, by sample
  for (int64_t i = 0; i < embedded; ++i)
    chosen.at(static_cast<size_t>(what.samples[static_cast<size_t>(i * all / embedded)])) = 1;

  Findings found;
  found.classes = model.config().classes;
  std::vector<int64_t> samples;
  std::vector<double> features;
  int64_t width = 0, hits = 0;
  const auto bad =
      pass_over(model, what.dataset, what.samples, what.preprocess,
                {.batch = o.batch, .workers = o.workers, .max_bad = o.max_bad},
                [&](const Batch& batch, const Variable& rows) {
                  const Variable logits = in_main_memory(model.classify(rows).value());
                  const Tensor wide = in_main_memory(rows.value()).to(DType::f64);
                  const auto classes = static_cast<size_t>(found.classes), n = batch.samples.size();
                  width = wide.dim(1);
                  found.loss += cross_entropy(logits, batch.labels).value().item() * static_cast<double>(n);
                  for (size_t b = 0; b < n; ++b) {
                    const auto [predicted, confidence] =
                        best_of(logits.value().data<float>().subspan(b * classes, classes));
                    const int64_t label = batch.labels.data<int64_t>()[b];
                    samples.push_back(batch.samples[b]);
                    found.labels.push_back(label);
                    found.predicted.push_back(predicted);
                    found.confidence.push_back(confidence);
                    hits += label == predicted;
                    if (chosen[static_cast<size_t>(batch.samples[b])] == 0) continue;
                    const auto row = wide.data<double>().subspan(b * static_cast<size_t>(width),
                                                                 static_cast<size_t>(width));
                    features.insert(features.end(), row.begin(), row.end());
                    found.embedding.labels.push_back(label);
                    found.embedding.predicted.push_back(predicted);
                  }
                  if (progress) progress("pictures", static_cast<int64_t>(samples.size()), all);
                });
  check(!samples.empty(), "report: none of {} pictures could be read", all);
  for (const BadImage& image : bad) found.bad.push_back(image.message);
  found.accuracy = static_cast<double>(hits) / static_cast<double>(samples.size());
  found.loss /= static_cast<double>(samples.size());

  const auto shown_at = [&](const std::vector<size_t>& places, std::vector<int64_t>& numbers) {
    std::vector<ShownPicture> out;
    for (const size_t i : places) {
      numbers.push_back(samples[i]);
      out.push_back({.name = what.dataset->name(samples[i]),
                     .label = found.labels[i],
                     .predicted = found.predicted[i],
                     .confidence = found.confidence[i],
                     .picture = {}});
    }
    return out;
  };
  std::vector<size_t> wrong = mistakes_in(found);
  wrong.resize(std::min(wrong.size(), static_cast<size_t>(o.mistakes)));
  std::vector<int64_t> numbers;
  found.mistakes = shown_at(wrong, numbers);
  load_each(what, numbers, [&](size_t i, const Loaded& loaded) {
    found.mistakes[i].picture = at_most(loaded.picture, thumbnail_side);
  });

  const std::vector<size_t> attended = attended_in(found, o.attended);
  std::vector<int64_t> attended_numbers;
  const std::vector<ShownPicture> pictures = shown_at(attended, attended_numbers);
  find_attention(what, attended, pictures, attended_numbers, progress, found);
  find_embedding(features, width, progress, found.embedding);
  return found;
}

}  // namespace vitrine

#endif
