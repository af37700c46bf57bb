#include "nn/layers.h"

#include <cmath>

#include "engine/check.h"

namespace vitrine {

Variable residual(const Variable& x, Variable branch, double rate, uint32_t lane, const Pass& pass) {
  if (!pass.training || rate == 0) return add(x, std::move(branch));
  NoiseKey key = pass.noise;
  key.lane = lane;
  return add(x, drop_path(branch, rate, key));
}

Linear::Linear(int64_t in, int64_t out, const Scope& scope, const Init& init)
    : weight(scope.get("weight", {out, in}, Role::weight, init)),
      bias(scope.get("bias", {out}, Role::bias, Init::constant(0))) {}

LayerNorm::LayerNorm(int64_t width, double eps, const Scope& scope)
    : gamma(scope.get("weight", {width}, Role::norm, Init::constant(1))),
      beta(scope.get("bias", {width}, Role::norm, Init::constant(0))),
      epsilon(eps) {}

Mlp::Mlp(int64_t width, int64_t hidden, Gelu gelu_form, const Scope& scope)
    : fc1(width, hidden, scope / "fc1"), fc2(hidden, width, scope / "fc2"), form(gelu_form) {}

Variable Mlp::after(const LayerNorm& norm, const Variable& x, double rate, uint32_t lane,
                    const Pass& pass) const {
  const bool dropped = pass.training && rate > 0;
  Variable out = row_layers(
      x, {norm.gamma, norm.beta, norm.epsilon, fc1.weight, fc1.bias, form, fc2.weight, fc2.bias}, !dropped);
  return dropped ? residual(x, std::move(out), rate, lane, pass) : out;
}

Attention::Attention(int64_t d, int64_t h, const Scope& scope)
    : qkv(d, 3 * d, scope / "qkv"), proj(d, d, scope / "proj"), width(d), heads(h) {
  check(h > 0 && d % h == 0, "attention: ", h, " heads do not divide width ", d);
}

Variable Attention::joint(const LayerNorm& norm, const Variable& x) const {
  return row_layers(x, {norm.gamma, norm.beta, norm.epsilon, qkv.weight, qkv.bias});
}

Variable Attention::project(const Variable& x, const Variable& attended, double rate, uint32_t lane,
                            const Pass& pass) const {
  if (pass.training && rate > 0) return residual(x, proj(attended), rate, lane, pass);
  return linear(attended, proj.weight, proj.bias, x);
}

Variable Attention::after(const LayerNorm& norm, const Variable& x, const KeyValuePrefix& prefix, double rate,
                          uint32_t lane, const Pass& pass) const {
  return project(x, self_attention(joint(norm, x), heads, prefix), rate, lane, pass);
}

Variable Attention::first_token(const LayerNorm& norm, const Variable& x, const Variable& prompts) const {
  return first_token_attention(x, {norm.gamma, norm.beta, norm.epsilon, qkv.weight, qkv.bias}, heads,
                               prompts);
}

KeyValuePrefix Attention::keys_values(const Variable& x) const {
  const auto part = [&](int64_t i) {
    return linear(x, slice(qkv.weight, 0, i * width, (i + 1) * width),
                  slice(qkv.bias, 0, i * width, (i + 1) * width));
  };
  return {part(1), part(2)};
}

WindowAttention::WindowAttention(int64_t width, int64_t heads, int64_t w, const Scope& scope)
    : attention(width, heads, scope),
      bias(scope.get("relative_position_bias_table", {(2 * w - 1) * (2 * w - 1), heads}, Role::table,
                     Init::truncated(0.02))),
      window(w) {}

Variable WindowAttention::after(const LayerNorm& norm, const Variable& x, const WindowGrid& grid,
                                const KeyValuePrefix& prefix, double rate, uint32_t lane,
                                const Pass& pass) const {
  const Variable attended =
      window_attention(attention.joint(norm, x), bias, attention.heads, grid, prefix, attention.qkv.bias);
  return attention.project(x, attended, rate, lane, pass);
}

namespace {

int64_t checked_patch(int64_t p) {
  check(p >= 1, "patch embedding: expected patches of at least 1 pixel, got ", p);
  return p;
}

}  // namespace

PatchEmbedding::PatchEmbedding(int64_t p, int64_t width, const Scope& scope)
    : weight(scope.get("proj.weight", {width, 3, checked_patch(p), p}, Role::weight,
                       Init::normal(1.0 / std::sqrt(3.0 * static_cast<double>(p) * static_cast<double>(p))))),
      bias(scope.get("proj.bias", {width}, Role::bias, Init::constant(0))),
      patch(p) {}

Variable PatchEmbedding::operator()(const Variable& images) const {
  const int64_t p = checked_patch(patch);
  check(images.shape().rank() == 4 && images.dim(1) == 3 && images.dim(2) % p == 0 && images.dim(3) % p == 0,
        "patch embedding: expected images (B, 3, H, W) with H and W multiples of ", p, ", got ",
        images.shape());
  const int64_t b = images.dim(0), rows = images.dim(2) / p, columns = images.dim(3) / p;
  const Variable cut = reshape(convert(images, weight.dtype()), {b, 3, rows, p, columns, p});
  const Variable patches = reshape(permute(cut, {0, 2, 4, 1, 3, 5}), {b, rows * columns, 3 * p * p});
  return linear(patches, reshape(weight, {weight.dim(0), 3 * p * p}), bias);
}

}  // namespace vitrine
