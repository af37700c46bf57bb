// device_step.h: the optimizer step of tune on a device. A step that comes again is recorded and replayed
// (engine/recording.h), and images that never change stay on the device once they are there.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "engine/recording.h"
#include "models/training/tune.h"

namespace vitrine {

class DeviceStep {
 public:
  // All of them outlive this. Pictures come as bytes and become numbers on the device; images that are numbers already
  // (Dataset::tensors) come as they are. Those of training are kept there if none is ever augmented and all fit into a
  // third of the memory that is still free after the first steps.
  DeviceStep(TunedModel& model, Optimizer& optimizer, const TuneConfig& config, const CrossEntropy& loss,
             const TuneData& data);

  // Whether the sample's image lies on the device. Any thread may ask.
  bool knows(int64_t sample) const;

  struct Part {  // of a batch
    double loss;
    int64_t images, hits;
  };
  struct Told {
    std::vector<Part> parts;
    double norm = 0;  // of the gradients, if it is limited
  };
  // One step. `shares`: what the loss of each micro-batch counts; the batch may lack images that are known. While the
  // device works, `next` is asked for the batch of the next step (null: there is none), whose images are brought to the
  // device meanwhile. Nothing is thrown for a loss or a norm that is not finite: who reads it sees it.
  Told run(const Batch& batch, uint32_t epoch, const std::vector<double>& shares, double learning_rate,
           const std::function<const Batch*()>& next);

 private:
  // What the work of a step reads, in tensors whose addresses stay.
  struct Inputs {
    Tensor images;              // a batch's pixels or images
    Tensor labels;              // (B) i64
    std::vector<Tensor> noise;  // for each micro-batch: epoch and samples
  };
  struct Outputs {
    std::vector<Tensor> loss, logits;  // of each micro-batch
    Tensor squares;                    // of the gradients' norm, if it is limited
  };
  struct Kind {
    Inputs inputs;
    int64_t runs = 0;
    Outputs outputs;  // of the recording
    std::unique_ptr<Recording> recording;
  };

  Inputs make_inputs(int64_t images, int64_t parts) const;
  void fill(Inputs& inputs, const Batch& batch, uint32_t epoch);
  void find(const std::vector<int64_t>& samples, Tensor& images) const;
  Outputs work(const Inputs& inputs, const std::vector<double>& shares) const;
  void make_room();
  void keep(const Batch& batch, const Tensor& images);
  bool all_known(const Batch& batch) const;
  void bring(const Batch& batch);
  // Of what a batch brings: pixels (B, H, W, 3), or images (B, 3, H, W).
  Shape shape_of(int64_t images) const;

  TunedModel& model_;
  Optimizer& optimizer_;
  const TuneConfig& config_;
  CrossEntropy loss_;
  Memory home_;
  Tensor values_;           // of bytes (values_of_bytes); undefined: batches bring images
  Shape one_;               // what a batch brings of one sample
  DType type_ = DType::u8;  // of it, or f32
  Tensor kept_;             // the same of all samples; undefined: none are kept, or not yet
  int64_t steps_ = 0;
  // What was brought for the next step, in two turns: one may still be copied from while the other is written.
  struct Ahead {
    Tensor room;
    std::vector<int64_t> samples;
  };
  std::array<Ahead, 2> ahead_;
  size_t turn_ = 0;  // the one that is written next
  std::map<int64_t, int64_t> place_of_;
  std::unique_ptr<std::atomic<bool>[]> known_;         // by place
  std::map<std::pair<int64_t, int64_t>, Kind> kinds_;  // by images and parts
};

}  // namespace vitrine
