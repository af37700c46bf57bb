// sine_models.h: small models and images by a rule, so that an independent implementation can make the very
// same ones. Weight i of a net (in torchvision's order), element k: 0.1 sin(0.7 k + 1.3 i), plus 1 for the
// gains of layer norms.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "models/transformer.h"

class SineFile {
 public:
  void put(const std::string& name, const vitrine::Shape& shape, bool gain = false) {
    vitrine::Tensor t = vitrine::Tensor::empty(shape, vitrine::DType::f64);
    const auto values = t.mutable_data<double>();
    for (size_t k = 0; k < values.size(); ++k)
      values[k] =
          0.1 * std::sin(0.7 * static_cast<double>(k) + 1.3 * static_cast<double>(index_)) + (gain ? 1 : 0);
    file.tensors[name] = t;
    ++index_;
  }
  void put_norm(const std::string& name, int64_t width) {
    put(name + ".weight", {width}, true);
    put(name + ".bias", {width});
  }
  void put_linear(const std::string& name, int64_t out, int64_t in) {
    put(name + ".weight", {out, in});
    put(name + ".bias", {out});
  }
  vitrine::TensorFile file;

 private:
  int64_t index_ = 0;
};

inline vitrine::TensorFile sine_vit(const vitrine::VitConfig& c) {
  using namespace vitrine;
  SineFile all;
  const int64_t d = c.width, m = c.mlp_width;
  if (c.class_token) all.put("cls_token", {1, 1, d});
  all.put("patch_embed.proj.weight", {d, 3, c.patch, c.patch});
  all.put("patch_embed.proj.bias", {d});
  all.put("pos_embed", {1, c.tokens(), d});
  for (int64_t i = 0; i < c.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    all.put_norm(block + "norm1", d);
    all.put_linear(block + "attn.qkv", 3 * d, d);
    all.put_linear(block + "attn.proj", d, d);
    all.put_norm(block + "norm2", d);
    all.put_linear(block + "mlp.fc1", m, d);
    all.put_linear(block + "mlp.fc2", d, m);
  }
  all.put_norm(c.pooling == Pooling::token ? "norm" : "fc_norm", d);
  if (c.classes) all.put_linear("head", c.classes, d);
  return all.file;
}

inline vitrine::TensorFile sine_swin(const vitrine::SwinConfig& c) {
  using namespace vitrine;
  SineFile all;
  all.put("patch_embed.proj.weight", {c.width, 3, c.patch, c.patch});
  all.put("patch_embed.proj.bias", {c.width});
  all.put_norm("patch_embed.norm", c.width);
  for (int64_t s = 0; s < c.stages(); ++s) {
    const int64_t d = c.stage_width(s);
    const std::string stage = "layers." + std::to_string(s) + ".";
    for (int64_t i = 0; i < c.depths[s]; ++i) {
      const std::string block = stage + "blocks." + std::to_string(i) + ".";
      all.put_norm(block + "norm1", d);
      all.put(block + "attn.relative_position_bias_table",
              {(2 * c.window - 1) * (2 * c.window - 1), c.heads[s]});
      all.put_linear(block + "attn.qkv", 3 * d, d);
      all.put_linear(block + "attn.proj", d, d);
      all.put_norm(block + "norm2", d);
      all.put_linear(block + "mlp.fc1", c.mlp_ratio * d, d);
      all.put_linear(block + "mlp.fc2", d, c.mlp_ratio * d);
    }
    if (s + 1 == c.stages()) break;
    all.put(stage + "downsample.reduction.weight", {2 * d, 4 * d});
    all.put_norm(stage + "downsample.norm", 4 * d);
  }
  all.put_norm("norm", c.feature_width());
  if (c.classes) all.put_linear("head", c.classes, c.feature_width());
  return all.file;
}

// (B, 3, rows, columns) f64: the value at flat index n is sin(0.05 n).
inline vitrine::Tensor sine_image(int64_t batch, int64_t rows, int64_t columns) {
  vitrine::Tensor t = vitrine::Tensor::empty({batch, 3, rows, columns}, vitrine::DType::f64);
  const auto values = t.mutable_data<double>();
  for (size_t n = 0; n < values.size(); ++n) values[n] = std::sin(0.05 * static_cast<double>(n));
  return t;
}
inline vitrine::Tensor sine_image(int64_t batch, int64_t size) { return sine_image(batch, size, size); }
