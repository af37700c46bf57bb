// vit_files.h: small ViTs and images by a rule, so that an independent implementation can
// make the very same ones.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "models/vit.h"

// Weight i of the net (in torchvision's order), element k: 0.1 sin(0.7 k + 1.3 i), plus 1 for
// the gains of layer norms.
inline vitrine::TensorFile sine_vit(const vitrine::VitConfig& c) {
  using namespace vitrine;
  TensorFile file;
  int64_t index = 0;
  const auto put = [&](const std::string& name, const Shape& shape, bool gain = false) {
    Tensor t = Tensor::empty(shape, DType::f64);
    const auto values = t.mutable_data<double>();
    for (size_t k = 0; k < values.size(); ++k)
      values[k] =
          0.1 * std::sin(0.7 * static_cast<double>(k) + 1.3 * static_cast<double>(index)) + (gain ? 1 : 0);
    file.tensors[name] = t;
    ++index;
  };
  const int64_t d = c.width, m = c.mlp_width;
  if (c.class_token) put("cls_token", {1, 1, d});
  put("patch_embed.proj.weight", {d, 3, c.patch, c.patch});
  put("patch_embed.proj.bias", {d});
  put("pos_embed", {1, c.tokens(), d});
  for (int64_t i = 0; i < c.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    put(block + "norm1.weight", {d}, true);
    put(block + "norm1.bias", {d});
    put(block + "attn.qkv.weight", {3 * d, d});
    put(block + "attn.qkv.bias", {3 * d});
    put(block + "attn.proj.weight", {d, d});
    put(block + "attn.proj.bias", {d});
    put(block + "norm2.weight", {d}, true);
    put(block + "norm2.bias", {d});
    put(block + "mlp.fc1.weight", {m, d});
    put(block + "mlp.fc1.bias", {m});
    put(block + "mlp.fc2.weight", {d, m});
    put(block + "mlp.fc2.bias", {d});
  }
  const std::string norm = c.pooling == Pooling::token ? "norm." : "fc_norm.";
  put(norm + "weight", {d}, true);
  put(norm + "bias", {d});
  if (c.classes) {
    put("head.weight", {c.classes, d});
    put("head.bias", {c.classes});
  }
  return file;
}

// (B, 3, size, size) f64: the value at flat index n is sin(0.05 n).
inline vitrine::Tensor sine_image(int64_t batch, int64_t size) {
  vitrine::Tensor t = vitrine::Tensor::empty({batch, 3, size, size}, vitrine::DType::f64);
  const auto values = t.mutable_data<double>();
  for (size_t n = 0; n < values.size(); ++n) values[n] = std::sin(0.05 * static_cast<double>(n));
  return t;
}
