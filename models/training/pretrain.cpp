#include "models/training/pretrain.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <future>

#include "data/edge_histogram.h"
#include "data/formula_images.h"
#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/device.h"
#include "engine/sha256.h"
#include "models/training/hits.h"

namespace vitrine {

namespace {

constexpr int64_t side = kFormulaSide, pixels = 3 * side * side;
constexpr int64_t thumb = 8, cell = side / thumb, thumb_pixels = 3 * thumb * thumb;
constexpr int edge_bins = 8, edge_cell = 4;
constexpr int64_t edge_values = edge_bins * (side / edge_cell) * (side / edge_cell);
constexpr float edge_scale = 8;  // brings the histograms' deviation near 1, that of the other targets

struct FormulaBatch {
  Tensor images;      // (B, 3, 32, 32)
  Tensor labels;      // (B)
  Tensor families;    // (B)
  Tensor attributes;  // (B, A)
  Tensor thumbnails;  // (B, 3 * 8 * 8): means of 4 x 4 pixels
  Tensor edges;       // (B, 8 * 8 * 8): edge histograms of 4 x 4 pixels
};

FormulaBatch draw_batch(uint64_t seed, int64_t first, int64_t count, const Memory& memory) {
  FormulaBatch batch{Tensor::empty({count, 3, side, side}, DType::f32, memory),
                     Tensor::empty({count}, DType::i64),
                     Tensor::empty({count}, DType::i64),
                     Tensor::empty({count, kFormulaAttributes}, DType::f32),
                     Tensor::zeros({count, thumb_pixels}, DType::f32),
                     Tensor::empty({count, edge_values}, DType::f32)};
  for (int64_t i = 0; i < count; ++i) {
    const FormulaPicture picture = draw_formula_picture(seed, first + i);
    float* to = batch.images.mutable_data<float>().data() + i * pixels;
    for (int64_t j = 0; j < pixels; ++j)
      to[j] = (static_cast<float>(picture.rgb[j]) / 255.0f - formula_mean) / formula_std;
    float* small = batch.thumbnails.mutable_data<float>().data() + i * thumb_pixels;
    for (int64_t j = 0; j < pixels; ++j) {
      const int64_t x = j % side / cell, y = j / side % side / cell, channel = j / (side * side);
      small[(channel * thumb + y) * thumb + x] += to[j] / static_cast<float>(cell * cell);
    }
    const auto edges = batch.edges.mutable_data<float>().subspan(i * edge_values, edge_values);
    edge_histogram(picture.rgb, side, edge_cell, edge_bins, edges);
    for (float& value : edges) value *= edge_scale;
    batch.labels.mutable_data<int64_t>()[i] = picture.label;
    batch.families.mutable_data<int64_t>()[i] = picture.family;
    std::ranges::copy(picture.attributes,
                      batch.attributes.mutable_data<float>().begin() + i * kFormulaAttributes);
  }
  return batch;
}

Variable mean_squared_error(const Variable& prediction, const Tensor& target) {
  const Variable error = add(prediction, scale(target.copied_to(prediction.value().memory()), -1));
  return mean(mean(mul(error, error), 1), 0);
}

// The net with the heads that only pretraining knows.
struct Learner {
  Parameters parameters;
  Transformer net;
  Linear classes, families, attributes, thumbnails, edges;
  Learner(const PretrainConfig& c, const Scope& scope)
      : net(c.model, scope),
        classes(feature_width(c.model), formula_class_count(), scope / "pretrain_classes"),
        families(feature_width(c.model), formula_family_count(), scope / "pretrain_families"),
        attributes(feature_width(c.model), kFormulaAttributes, scope / "pretrain_attributes") {
    const int64_t d = feature_width(c.model);
    if (c.thumbnail_weight > 0) thumbnails = Linear(d, thumb_pixels, scope / "pretrain_thumbnails");
    if (c.edge_weight > 0) edges = Linear(d, edge_values, scope / "pretrain_edges");
  }
  Learner(const PretrainConfig& c, const Memory& memory)
      : Learner(c, trainable(parameters, c.seed, DType::f32, memory)) {}
};

void copy_into(Parameter& p, const TensorFile& file, const std::string& name) {
  const Tensor& stored = file.at(name);
  check(stored.shape() == p.value.shape(), "{}: tensor '{}': expected {}, got {}", file.name, name,
        p.value.shape(), stored.shape());
  Tensor target = p.value.value();
  target.assign(stored.to(DType::f32));
}

void start_from(Learner& learner, const TensorFile& backbone) {
  for (Parameter& p : learner.parameters.all())
    if (!p.name.starts_with("pretrain_")) copy_into(p, backbone, p.name);
}

#ifdef VITRINE_FILES
void save_state(const std::string& path, const Learner& learner, const Optimizer& optimizer,
                const std::string& config) {
  TensorFile file;
  for (const Parameter& p : learner.parameters.all())
    file.tensors["model." + p.name] = in_main_memory(p.value.value());
  optimizer.save(file);
  file.metadata["pretrain"] = config;
  save_safetensors(path, file);
}

void load_state(const std::string& path, Learner& learner, Optimizer& optimizer, const std::string& config) {
  const TensorFile file = load_safetensors(path);
  const auto stored = file.metadata.find("pretrain");
  check(stored != file.metadata.end() && stored->second == config,
        "{}: holds the state of a run with other settings: {}", path,
        stored == file.metadata.end() ? "none" : stored->second);
  for (Parameter& p : learner.parameters.all()) {
    copy_into(p, file, "model." + p.name);
  }
  optimizer.load(file);
}
#endif

std::string settings(const PretrainConfig& c) {
  return text(
      "steps {}, batch {}, AdamW lr {}, weight decay {}, warm-up {}, clip {}, smoothing {}, family weight "
      "{}, attribute weight {}{}{}{}, seed {}, {}",
      c.steps, c.batch, c.learning_rate, c.weight_decay, c.warmup, c.clip, c.smoothing, c.family_weight,
      c.attribute_weight, c.thumbnail_weight > 0 ? text(", thumbnail weight {}", c.thumbnail_weight) : "",
      c.edge_weight > 0 ? text(", edge weight {}", c.edge_weight) : "",
      c.fresh_prompts > 0 ? text(", fresh prompts {}", c.fresh_prompts) : "", c.seed,
      config_to_json(c.model));
}

TensorFile result(const Learner& learner, const PretrainConfig& c, const TensorFile* start) {
  TensorFile file;
  for (const Parameter& p : learner.parameters.all())
    if (!p.name.starts_with("pretrain_")) file.tensors[p.name] = p.value.value().copied_to({});
  file.metadata["config"] = config_to_json(c.model);
  const int size = static_cast<int>(image_size(c.model));
  file.metadata["preprocess"] = to_json(Preprocess{.size = size,
                                                   .resize = size,
                                                   .squash = true,
                                                   .filter = Filter::bilinear,
                                                   .mean = {formula_mean, formula_mean, formula_mean},
                                                   .std = {formula_std, formula_std, formula_std}});
  std::string& provenance = file.metadata["provenance"];
  if (start) {
    const auto before = start->metadata.find("provenance");
    provenance = before == start->metadata.end() ? "a file" : before->second;
  }
  if (c.steps > 0 || !start)
    provenance = "vitrine pretrain: formula-driven pictures, " + settings(c) +
                 (start ? "; started from: " + provenance : "");
  return file;
}

// Sums since the last report.
struct Sums {
  PretrainReport all{};
  int64_t steps = 0, prompted = 0;  // of them with fresh prompts
  double prompted_accuracy = 0;

  PretrainReport means(int64_t step, const PretrainConfig& c, double lr, double seconds) const {
    PretrainReport r = all;
    for (double* value : {&r.loss, &r.class_loss, &r.family_loss, &r.attribute_loss, &r.thumbnail_loss,
                          &r.edge_loss, &r.accuracy})
      *value /= static_cast<double>(steps);
    if (prompted > 0) r.prompted_accuracy = prompted_accuracy / static_cast<double>(prompted);
    r.step = step;
    r.steps = c.steps;
    r.learning_rate = lr;
    r.images_per_second = static_cast<double>(steps * c.batch) / seconds;
    return r;
  }
};

// The prompts of a step: in odd ones as a new task would start with, few of them more often than many.
Prompts fresh_prompts(const PretrainConfig& c, int64_t step, const Memory& memory) {
  if (c.fresh_prompts == 0 || step % 2 == 0) return {};
  Random random(c.seed, Purpose::pretrain, 0, static_cast<uint32_t>(step));
  const double most = static_cast<double>(c.fresh_prompts) + 0.999;  // rounded down below
  const auto count = static_cast<int64_t>(std::exp(random.uniform() * std::log(most)));
  const uint64_t seed = uint64_t{random.bits()} << 32 | random.bits();
  Parameters thrown_away;
  return {{.kind = PromptKind::deep, .count = count},
          prompt_places(c.model),
          trainable(thrown_away, seed, DType::f32, memory)};
}

// The loss of one step.
Variable learn(const Learner& learner, const PretrainConfig& c, const FormulaBatch& batch,
               const Prompts& prompts, Sums& sums) {
  const Pass pass{.training = true};
  const Memory home = learner.classes.weight.value().memory();
  const Tensor images = home.device() == nullptr ? batch.images : batch.images.copied_to(home);
  const Variable features = learner.net.features(images, prompts, pass);
  const Variable logits = learner.classes(features);
  const Variable class_loss = cross_entropy(logits, batch.labels, {.smoothing = c.smoothing});
  const Variable family_loss = cross_entropy(learner.families(features), batch.families);
  const Variable attribute_loss = mean_squared_error(learner.attributes(features), batch.attributes);
  Variable loss =
      add(add(class_loss, scale(family_loss, c.family_weight)), scale(attribute_loss, c.attribute_weight));
  if (c.thumbnail_weight > 0) {
    const Variable thumbnail_loss = mean_squared_error(learner.thumbnails(features), batch.thumbnails);
    sums.all.thumbnail_loss += thumbnail_loss.value().item();
    loss = add(loss, scale(thumbnail_loss, c.thumbnail_weight));
  }
  if (c.edge_weight > 0) {
    const Variable edge_loss = mean_squared_error(learner.edges(features), batch.edges);
    sums.all.edge_loss += edge_loss.value().item();
    loss = add(loss, scale(edge_loss, c.edge_weight));
  }
  sums.all.loss += loss.value().item();
  sums.all.class_loss += class_loss.value().item();
  sums.all.family_loss += family_loss.value().item();
  sums.all.attribute_loss += attribute_loss.value().item();
  const double accuracy = static_cast<double>(count_hits(logits.value(), batch.labels.data<int64_t>())) /
                          static_cast<double>(c.batch);
  sums.all.accuracy += accuracy;
  ++sums.steps;
  if (prompts.deep()) {
    sums.prompted_accuracy += accuracy;
    ++sums.prompted;
  }
  return loss;
}

}  // namespace

std::optional<TensorFile> pretrain(const PretrainConfig& c, int64_t every, const std::string& state_path,
                                   const std::function<void(const PretrainReport&)>& report,
                                   const std::function<bool()>& stop, const TensorFile* start,
                                   const Memory& home) {
  check(image_size(c.model) == side, "pretrain: formula pictures are {} pixels wide, not {}", side,
        image_size(c.model));
  check(c.fresh_prompts >= 0 && c.fresh_prompts <= 1 << 16, "pretrain: {} fresh prompts make no sense",
        c.fresh_prompts);
  check(c.steps >= 0 && c.batch > 0 && every > 0 && c.warmup >= 0,
        "pretrain: steps {}, batch {} make no sense", c.steps, c.batch);
  const Memory memory = Memory::counted(), where = home.device() == nullptr ? memory : home;
  Learner learner(c, where);
  if (start) start_from(learner, *start);
  const Device* device = home.device();
  const std::string run =
      settings(c) + (start ? "; from " + sha256_hex(write_safetensors(*start)) : std::string()) +
      (device ? text("; on {}{}", device->kind(), device->options().tf32 ? " in tf32" : "") : std::string());
  Optimizer optimizer(learner.parameters, {.kind = OptimizerKind::adamw, .weight_decay = c.weight_decay});
  const auto save = [&] {
#ifdef VITRINE_FILES
    if (!state_path.empty()) save_state(state_path, learner, optimizer, run);
#endif
  };
#ifdef VITRINE_FILES
  if (!state_path.empty() && std::filesystem::exists(state_path))
    load_state(state_path, learner, optimizer, run);
#else
  check(state_path.empty(), "pretrain: this build has no files to save a state in");
#endif

  // The next batch is drawn while the net learns from this one.
  const auto draw = [&](int64_t step) {
    return std::async(std::launch::async, draw_batch, c.seed, step * c.batch, c.batch, memory);
  };
  Sums sums;
  auto since = std::chrono::steady_clock::now();
  std::future<FormulaBatch> next;
  if (optimizer.steps() < c.steps) next = draw(optimizer.steps());
  while (optimizer.steps() < c.steps) {
    const FormulaBatch batch = next.get();
    if (optimizer.steps() + 1 < c.steps) next = draw(optimizer.steps() + 1);
    const Variable loss = learn(learner, c, batch, fresh_prompts(c, optimizer.steps(), where), sums);
    if (!std::isfinite(loss.value().item()))
      fail(Fault::diverged, "pretrain: the loss became {} in step {}", loss.value().item(),
           optimizer.steps() + 1);
    learner.parameters.clear_gradients();
    backward(loss);
    clip_gradients(learner.parameters, c.clip);
    const double lr =
        learning_rate_at(Schedule::cosine, c.learning_rate, optimizer.steps(), c.warmup, c.steps);
    optimizer.step(lr);

    const bool stopping = optimizer.steps() < c.steps && stop && stop();
    if (optimizer.steps() % every == 0 || optimizer.steps() == c.steps || stopping) {
      save();
      const auto now = std::chrono::steady_clock::now();
      const double seconds = std::chrono::duration<double>(now - since).count();
      if (report) report(sums.means(optimizer.steps(), c, lr, seconds));
      sums = {};
      since = now;
    }
    if (stopping) return std::nullopt;
  }
  return result(learner, c, start);
}

}  // namespace vitrine
