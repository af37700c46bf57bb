// device_step.h: the optimizer step of tune on a device. A step that comes again is recorded and replayed
// (engine/recording.h), and images that never change stay on the device once they are there.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "engine/recording.h"
#include "models/training/tune.h"

namespace vitrine {

class DeviceStep {
 public:
  // All of them outlive this. `samples`: of training. Their images are kept if none is ever augmented and all fit into a
  // third of the device's memory, in the type of the backbone's weights.
  DeviceStep(TunedModel& model, Optimizer& optimizer, const TuneConfig& config, const CrossEntropy& loss,
             const std::vector<int64_t>& samples, const Preprocess& preprocess);

  // Whether the sample's image lies on the device. Any thread may ask.
  bool knows(int64_t sample) const;

  struct Part {  // of a batch
    double loss;
    int64_t images, hits;
  };
  // One step. `shares`: what the loss of each micro-batch counts; the batch may lack images that are known. Nothing is
  // thrown for a loss that is not finite: who reads it sees it.
  std::vector<Part> run(const Batch& batch, uint32_t epoch, const std::vector<double>& shares,
                        double learning_rate);

 private:
  // What the work of a step reads, in tensors whose addresses stay.
  struct Inputs {
    Tensor images;              // (B, 3, H, W) f32, or ...
    Tensor places;              // ... (B) i64: rows of `kept_`
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

  Inputs make_inputs(int64_t images, int64_t parts, bool known) const;
  void fill(Inputs& inputs, const Batch& batch, uint32_t epoch) const;
  Outputs work(const Inputs& inputs, const std::vector<double>& shares) const;
  void keep(const Batch& batch, const Tensor& images);

  TunedModel& model_;
  Optimizer& optimizer_;
  const TuneConfig& config_;
  CrossEntropy loss_;
  Memory home_;
  int64_t side_;
  Tensor kept_;  // (samples, 3, H, W); undefined: none are kept
  std::map<int64_t, int64_t> place_of_;
  std::unique_ptr<std::atomic<bool>[]> known_;                // by place
  std::map<std::tuple<int64_t, int64_t, bool>, Kind> kinds_;  // by images, parts, and whether they are known
};

}  // namespace vitrine
