#include "models/training/device_step.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "models/training/hits.h"

namespace vitrine {

namespace {

int64_t begin_of(int64_t part, int64_t parts, int64_t images) { return images * part / parts; }

}  // namespace

DeviceStep::DeviceStep(TunedModel& model, Optimizer& optimizer, const TuneConfig& config,
                       const CrossEntropy& loss, const TuneData& data)
    : model_(model), optimizer_(optimizer), config_(config), loss_(loss), home_(model.home()) {
  if (loss_.class_weights.defined()) loss_.class_weights = loss_.class_weights.copied_to(home_);
  const int64_t side = data.preprocess.size;
  const bool pictures = !data.dataset->tensors().defined();
  if (pictures) values_ = values_of_bytes(data.preprocess).copied_to(home_);
  one_ = pictures ? Shape{1, side, side, 3} : data.dataset->tensors().shape().with(0, 1);
  type_ = pictures ? DType::u8 : DType::f32;
  // What is brought ahead waits for no work, so none may be under way that uses these blocks.
  for (Ahead& ahead : ahead_) ahead.room = Tensor::empty(shape_of(config.batch), type_, home_);
  home_.device()->wait();
  if (config.augment.changes_anything()) return;
  for (const int64_t sample : data.train) place_of_.emplace(sample, static_cast<int64_t>(place_of_.size()));
  known_ = std::make_unique<std::atomic<bool>[]>(data.train.size());
}

Shape DeviceStep::shape_of(int64_t images) const { return one_.with(0, images); }

bool DeviceStep::knows(int64_t sample) const {
  const auto found = place_of_.find(sample);
  return found != place_of_.end() && known_[static_cast<size_t>(found->second)];
}

DeviceStep::Inputs DeviceStep::make_inputs(int64_t images, int64_t parts) const {
  Inputs in;
  in.images = Tensor::zeros(shape_of(images), type_, home_);
  in.labels = Tensor::zeros({images}, DType::i64, home_);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t own = begin_of(part + 1, parts, images) - begin_of(part, parts, images);
    in.noise.push_back(Tensor::zeros({1 + own}, DType::i64, home_));
  }
  return in;
}

// Of the images that are kept, those of these samples.
void DeviceStep::find(const std::vector<int64_t>& samples, Tensor& images) const {
  std::vector<int64_t> places;
  for (const int64_t sample : samples) places.push_back(place_of_.at(sample));
  const auto count = static_cast<int64_t>(samples.size());
  const Tensor rows = Tensor::of<int64_t>({count}, places).copied_to(home_);
  const Device& device = *home_.device();
  device.run(&gpu::Kernels::gather,
             {count, one_.numel() * static_cast<int64_t>(size_of(type_)), gpu::in(device, kept_),
              gpu::in<int64_t>(device, rows), gpu::out(device, images)});
}

void DeviceStep::fill(Inputs& in, const Batch& batch, uint32_t epoch) {
  in.labels.assign(batch.labels);
  if (all_known(batch)) {
    find(batch.samples, in.images);
  } else {
    // Only what was brought for this very step: the same samples look different in another epoch.
    const Ahead& last = ahead_[1 - turn_];
    const bool there = last.samples == batch.samples;
    in.images.assign(there ? last.room.rows(0, static_cast<int64_t>(batch.samples.size()))
                           : (values_.defined() ? batch.pixels : batch.images));
  }
  for (Ahead& ahead : ahead_) ahead.samples.clear();
  auto next = batch.samples.begin();
  for (Tensor& noise : in.noise) {
    std::vector<int64_t> key{static_cast<int64_t>(epoch)};
    key.insert(key.end(), next, next + (noise.numel() - 1));
    next += noise.numel() - 1;
    noise.assign(Tensor::of<int64_t>(noise.shape(), key));
  }
}

// The device's work of a step, by the calls that tune makes on the CPU, but that gradients of micro-batches are added up
// where they arrive (gradient_sum.h tells the difference); nothing is brought to it or from it.
DeviceStep::Outputs DeviceStep::work(const Inputs& in, const std::vector<double>& shares) const {
  Outputs out;
  const Device& device = *home_.device();
  const int64_t count = in.labels.dim(0), parts = static_cast<int64_t>(in.noise.size());
  const Tensor images = values_.defined() ? planes(in.images, values_, model_.image_type()) : in.images;
  model_.parameters().clear_gradients();
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = begin_of(part, parts, count), end = begin_of(part + 1, parts, count);
    Pass pass{.training = true, .recompute = config_.recompute};
    pass.noise.seed = config_.seed;
    pass.noise.samples.resize(static_cast<size_t>(end - begin));
    pass.noise.on_device = in.noise[static_cast<size_t>(part)];
    const Variable logits = model_.logits(images.rows(begin, end), pass);
    const Variable loss = cross_entropy(logits, in.labels.rows(begin, end), loss_);
    backward(parts == 1 ? loss : scale(loss, shares[static_cast<size_t>(part)]));
    model_.settle(end - begin);
    out.loss.push_back(loss.value());
    out.logits.push_back(logits.value());
  }
  if (config_.clip > 0) out.squares = clip_gradients_on(device, model_.parameters(), config_.clip);
  optimizer_.apply();
  return out;
}

// When the first steps have taken what they need: what is left may serve evaluation and other sizes of batches.
void DeviceStep::make_room() {
  constexpr int64_t first_steps = 3;  // one that is not recorded, one that is, and one more
  if (known_ == nullptr || ++steps_ != first_steps) return;
  const Shape shape = shape_of(static_cast<int64_t>(place_of_.size()));
  const size_t bytes = static_cast<size_t>(shape.numel()) * size_of(type_);
  if (bytes <= home_.device()->free_memory() / 3) kept_ = Tensor::empty(shape, type_, home_);
}

// Images that have come for the first time stay.
void DeviceStep::keep(const Batch& batch, const Tensor& images) {
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const int64_t place = place_of_.at(batch.samples[i]);
    if (known_[static_cast<size_t>(place)]) continue;
    const auto row = static_cast<int64_t>(i);
    Tensor to = kept_.rows(place, place + 1);
    to.assign(images.rows(row, row + 1));
    known_[static_cast<size_t>(place)] = true;
  }
}

bool DeviceStep::all_known(const Batch& batch) const {
  return std::ranges::all_of(batch.samples, [&](int64_t sample) { return knows(sample); });
}

// To the room that the last step but one was copied from: that step has been read, so the copy is done.
void DeviceStep::bring(const Batch& batch) {
  const Tensor& from = values_.defined() ? batch.pixels : batch.images;
  if (!from.defined() || all_known(batch)) return;
  Ahead& ahead = ahead_[turn_];
  turn_ = 1 - turn_;
  const int64_t images = from.dim(0);
  const Device& device = *home_.device();
  Tensor to = ahead.room.rows(0, images);
  device.upload_ahead(gpu::out(device, to), from.address(), from.bytes());
  ahead.samples = batch.samples;
}

DeviceStep::Told DeviceStep::run(const Batch& batch, uint32_t epoch, const std::vector<double>& shares,
                                 double learning_rate, const std::function<const Batch*()>& next) {
  const auto images = static_cast<int64_t>(batch.samples.size()), parts = static_cast<int64_t>(shares.size());
  const bool known = all_known(batch);
  check(known || batch.images.defined() || batch.pixels.defined(),
        "device step: a batch without images, which are not known");
  Kind& kind = kinds_[{images, parts}];
  if (!kind.inputs.labels.defined()) kind.inputs = make_inputs(images, parts);
  fill(kind.inputs, batch, epoch);
  optimizer_.prepare(learning_rate);

  // The first of a kind is not recorded: products choose their algorithms. Shares of class weights differ from batch to
  // batch, and a recording would repeat the first ones.
  const bool repeats = parts == 1 || !loss_.class_weights.defined();
  Outputs eager;
  if (kind.runs++ == 0 || !repeats) {
    eager = work(kind.inputs, shares);
  } else {
    if (kind.recording == nullptr)
      kind.recording = std::make_unique<Recording>(home_.device()->shared_from_this(),
                                                   [&] { kind.outputs = work(kind.inputs, shares); });
    kind.recording->replay();
  }
  make_room();
  if (!known && kept_.defined()) keep(batch, kind.inputs.images);
  if (const Batch* following = next()) bring(*following);

  const Outputs& out = kind.recording == nullptr ? eager : kind.outputs;
  Told told;
  for (int64_t part = 0; part < parts; ++part) {
    const auto i = static_cast<size_t>(part);
    const int64_t begin = begin_of(part, parts, images), end = begin_of(part + 1, parts, images);
    const auto labels =
        batch.labels.data<int64_t>().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    told.parts.push_back({out.loss[i].item(), end - begin, count_hits(out.logits[i], labels)});
  }
  if (out.squares.defined()) told.norm = std::sqrt(out.squares.item());
  return told;
}

}  // namespace vitrine
