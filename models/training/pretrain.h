// pretrain.h: a backbone from nothing: supervised training on formula-driven pictures
// (data/formula_images.h).
//
// The net learns to name the class of a picture, out of 1,280, and its family (the generating process),
// and to read off its attributes (rotation, scale, place, contrast ...), if wanted also a thumbnail and
// the edges of its parts. These heads are thrown away; the backbone remains.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/transformer.h"
#include "nn/optimizer.h"

namespace vitrine {

struct PretrainConfig {
  TransformerConfig model =
      VitConfig{.image_size = 32, .patch = 4, .width = 128, .depth = 6, .heads = 4, .mlp_width = 512};
  int64_t steps = 9000;  // 0: the untrained start
  int64_t batch = 32;
  double learning_rate = 1e-3;
  double weight_decay = 0.05;
  int64_t warmup = 500;           // steps
  double clip = 1.0;              // largest gradient norm
  double smoothing = 0;           // of the class labels
  double family_weight = 0.5;     // of the family's cross entropy beside the class's
  double attribute_weight = 1.0;  // of the attributes' mean squared error
  double thumbnail_weight = 0;    // of the thumbnail's mean squared error
  double edge_weight = 0;         // of the edge histograms' mean squared error
  // In every second step 1 to this many fresh deep prompts stand beside the tokens, so that the net learns to
  // see as well with prompts that nobody has trained yet. 0: none.
  int64_t fresh_prompts = 0;
  uint64_t seed = 1;
};

struct PretrainReport {
  int64_t step, steps;
  // means since the last report
  double loss, class_loss, family_loss, attribute_loss, thumbnail_loss, edge_loss;
  double accuracy;                          // of naming the class
  std::optional<double> prompted_accuracy;  // the same over the steps with fresh prompts, if there were any
  double learning_rate, images_per_second;
};

// The mean and deviation by which pictures are normalised, for all three channels.
inline constexpr float formula_mean = 0.5f, formula_std = 0.25f;

// Trains and returns the backbone: f32 tensors, with the metadata that make_backbone and tune read
// (configuration, preprocessing, provenance). `report` is called every `every` steps. If `state_path` is
// not empty, the whole state is saved there at the same time, and a run that finds a state there goes on from
// it, bit for bit as if it had never stopped; the state of other settings or another start is refused.
// `home`: memory of a device on which to learn; else the CPU does. `start`: a backbone of this configuration to go on from, with a fresh optimizer. `stop` is asked after each
// step but the last; true ends the run after saving, and there is no result.
std::optional<TensorFile> pretrain(const PretrainConfig& config, int64_t every, const std::string& state_path,
                                   const std::function<void(const PretrainReport&)>& report,
                                   const std::function<bool()>& stop = {}, const TensorFile* start = nullptr,
                                   const Memory& home = {});

}  // namespace vitrine
