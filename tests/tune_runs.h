// tune_runs.h: small runs of the training loop, for its tests.
#pragma once

#include <filesystem>

#include "data/subset.h"
#include "engine/check.h"
#include "engine/sha256.h"
#include "models/training/tune.h"
#include "sine_models.h"

namespace vitrine::testing {

inline const VitConfig small{
    .image_size = 32, .patch = 8, .width = 16, .depth = 3, .heads = 2, .mlp_width = 32};

// As from a mapped file, whose memory can be given back.
inline Backbone as_mapped(const TensorFile& file) {
  const auto bytes = std::make_shared<const std::vector<std::byte>>(write_safetensors(file));
  return make_backbone(read_safetensors(*bytes, bytes, "sine", safetensors_header_limit, [](auto) {}),
                       "sine");
}

inline Backbone small_backbone() {
  TensorFile file = sine_vit(small);
  file.metadata["config"] = config_to_json(small);
  return as_mapped(file);
}

// Maps of 8 and 4 patches in windows of 3: rolled and filled up.
inline Backbone small_swin() {
  const SwinConfig config{.image_size = 32, .width = 8, .depths = {1, 2}, .heads = {2, 2}, .window = 3};
  TensorFile file = sine_swin(config);
  file.metadata["config"] = config_to_json(config);
  return as_mapped(file);
}

// What descendants of the ViT have, with fresh weights. Gains start at 1, for a LayerScale to matter.
inline Backbone small_descendant(Pooling pooling) {
  VitConfig config = small;
  config.pooling = pooling;
  config.class_token = config.distillation_token = pooling == Pooling::token;
  config.registers = 2;
  config.prefix_positions = false;
  config.layer_scale = config.gated_mlp = config.norm_pre = true;
  config.qkv_bias = config.patch_bias = false;
  Parameters parameters;
  const Vit unused(config, trainable(parameters, 3));
  TensorFile file;
  for (const Parameter& p : parameters.all())
    file.tensors[p.name] =
        p.name.ends_with(".gamma") ? Tensor::full(p.value.shape(), 1, DType::f32) : p.value.value().clone();
  file.metadata["config"] = config_to_json(config);
  return as_mapped(file);
}

inline TuneData small_data(const Backbone& backbone) {
  const auto dataset = open_dataset("synthetic:colors", Split::train);
  const TrainVal split = split_validation(class_balanced(*dataset, 50, 0), *dataset, 10, 0);
  return {dataset, split.train, split.val, nullptr, preprocess_of(backbone)};
}

// Another data set, of which some pictures cannot be decoded.
struct Damaged : Dataset {
  std::shared_ptr<const Dataset> inner;
  std::function<bool(int64_t)> is_damaged;
  Damaged(std::shared_ptr<const Dataset> whole, std::function<bool(int64_t)> damaged)
      : Dataset("damaged", whole->labels(), whole->class_names()),
        inner(std::move(whole)),
        is_damaged(std::move(damaged)) {}
  Image image(int64_t i) const override {
    check(!is_damaged(i), "picture {} is damaged", i);
    return inner->image(i);
  }
  std::string name(int64_t i) const override { return inner->name(i); }
};

inline TuneConfig small_config() {
  TuneConfig config;
  config.model.prompts = {.count = 3, .dropout = 0.1};
  config.model.paper_head = true;  // prompts learn from the first step on
  config.model.drop_path = 0.1;
  config.epochs = 3;
  config.batch = 16;
  config.accumulate = 2;
  config.warmup_epochs = 1;
  config.learning_rate = 1e-2;
  config.clip = 1;
  config.augment.flip = true;
  config.keep_best = true;
  return config;
}

inline std::string digest(const Task& task) { return sha256_hex(write_safetensors(to_file(task))); }

struct Folder {
  std::string path;
  explicit Folder(const std::string& name)
      : path((std::filesystem::temp_directory_path() / ("vitrine-tune-test-" + name)).string()) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

}  // namespace vitrine::testing
