#include "nn/layers.h"

#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

// 1 / sqrt(x + epsilon). x is small, and changes between training passes only.
Tensor inverse_root(const Tensor& x, double epsilon) {
  const Tensor from = in_main_memory(x);
  Tensor out = Tensor::empty(from.shape(), from.dtype());
  dispatch(from.dtype(), "batch norm", [&](auto zero) {
    using T = decltype(zero);
    const auto values = from.data<T>();
    const auto to = out.mutable_data<T>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = T(1) / std::sqrt(values[i] + static_cast<T>(epsilon));
  });
  return out.copied_to(x.memory());
}

Variable bias_of(int64_t width, const Scope& scope, const std::string& name, Bias bias) {
  return bias == Bias::own ? scope.get(name, {width}, Role::bias, Init::constant(0)) : Variable();
}

}  // namespace

Variable residual(const Variable& x, Variable branch, double rate, uint32_t lane, const Pass& pass,
                  const Variable& gamma) {
  if (gamma.defined()) branch = mul(branch, gamma);
  if (!pass.drops(rate)) return add(x, std::move(branch));
  NoiseKey key = pass.noise;
  key.lane = lane;
  return add(x, drop_path(branch, rate, key));
}

Linear::Linear(int64_t in, int64_t out, const Scope& scope, const Init& init, Bias own)
    : weight(scope.get("weight", {out, in}, Role::weight, init)),
      bias(bias_of(out, scope, "bias", own)),
      behind(out, scope) {}

LayerNorm::LayerNorm(int64_t width, double eps, const Scope& scope)
    : gamma(scope.get("weight", {width}, Role::norm, Init::constant(1))),
      beta(scope.get("bias", {width}, Role::bias, Init::constant(0))),
      epsilon(eps),
      behind(width, scope) {}

BatchNorm::BatchNorm(int64_t width, const Scope& scope)
    : gamma(scope.get("weight", {width}, Role::norm, Init::constant(1))),
      beta(scope.get("bias", {width}, Role::bias, Init::constant(0))),
      mean(scope.get("mean", {width}, Role::statistic, Init::constant(0))),
      variance(scope.get("variance", {width}, Role::statistic, Init::constant(1))) {
  if (!mean.defined()) return;  // somebody only counts
  const Tensor& like = mean.value();
  *seen = {Tensor::zeros(like.shape(), like.dtype(), like.memory()),
           Tensor::zeros(like.shape(), like.dtype(), like.memory())};
}

Variable BatchNorm::operator()(const Variable& x, const Pass& pass) const {
  if (pass.training) {
    BatchStatistics own;
    Variable y = batch_norm(x, gamma, beta, epsilon, &own);
    seen->mean.assign(own.mean);
    seen->variance.assign(own.variance);
    return y;
  }
  // gamma (x - mean) / sqrt(variance + epsilon) + beta
  const Variable rstd = inverse_root(variance.value(), epsilon);
  return add(mul(add(x, scale(mean, -1)), mul(rstd, gamma)), beta);
}

void BatchNorm::settle(int64_t images) {
  constexpr double share = 0.1;  // PyTorch's momentum
  const auto n = static_cast<double>(images);
  const auto settle_one = [](const Variable& value, const Tensor& of_batch, double factor) {
    Tensor target = value.value();
    target.assign(add(scale(value, 1 - share), scale(Variable(of_batch), share * factor)).value());
  };
  settle_one(mean, seen->mean, 1);
  settle_one(variance, seen->variance, images > 1 ? n / (n - 1) : 1);
}

Mlp::Mlp(int64_t width, int64_t hidden, Gelu gelu_form, const Scope& scope, bool gate)
    : fc1(width, gate ? 2 * hidden : hidden, scope / "fc1"),
      fc2(hidden, width, scope / "fc2"),
      form(gelu_form),
      gated(gate) {}

Variable Mlp::after(const LayerNorm& norm, const Variable& x, double rate, uint32_t lane, const Pass& pass,
                    const Variable& gamma, const Adapter& adapter) const {
  if (adapter.defined() || !norm.plain() || !fc1.plain() || !fc2.plain()) {
    const Variable inner = fc1(norm(x));
    Variable branch = fc2(gated ? swiglu(inner) : gelu(inner, form));
    if (gamma.defined()) branch = mul(branch, gamma);
    return residual(x, adapter.defined() ? adapter(branch) : branch, rate, lane, pass);
  }
  const bool plain = !gamma.defined() && !pass.drops(rate);  // the sum with x comes along
  if (gated) {
    const Variable hidden =
        swiglu(row_layers(x, {norm.gamma, norm.beta, norm.epsilon, fc1.weight, fc1.bias}));
    return plain ? linear(hidden, fc2.weight, fc2.bias, x)
                 : residual(x, fc2(hidden), rate, lane, pass, gamma);
  }
  Variable out = row_layers(
      x, {norm.gamma, norm.beta, norm.epsilon, fc1.weight, fc1.bias, form, fc2.weight, fc2.bias}, plain);
  return plain ? out : residual(x, std::move(out), rate, lane, pass, gamma);
}

Attention::Attention(int64_t d, int64_t h, const Scope& scope, Bias bias)
    : qkv(d, 3 * d, scope / "qkv", Init::truncated(0.02), bias),
      proj(d, d, scope / "proj"),
      width(d),
      heads(h) {
  check(h > 0 && d % h == 0, "attention: {} heads do not divide width {}", h, d);
  query = Lora(d, d, scope / "lora_query");
  value = Lora(d, d, scope / "lora_value");
}

Variable Attention::joint(const LayerNorm& norm, const Variable& x) const {
  if (!plain(norm)) {
    const Variable rows = norm(x);
    return concat({third(0, rows), third(1, rows), third(2, rows)}, rows.shape().rank() - 1);
  }
  return row_layers(x, {norm.gamma, norm.beta, norm.epsilon, qkv.weight, qkv.bias});
}

Variable Attention::project(const Variable& x, const Variable& attended, double rate, uint32_t lane,
                            const Pass& pass, const Variable& gamma) const {
  if (gamma.defined() || pass.drops(rate) || !proj.plain())
    return residual(x, proj(attended), rate, lane, pass, gamma);
  return linear(attended, proj.weight, proj.bias, x);
}

Variable Attention::after(const LayerNorm& norm, const Variable& x, const KeyValuePrefix& prefix, double rate,
                          uint32_t lane, const Pass& pass, const Variable& gamma) const {
  return project(x, self_attention(joint(norm, x), heads, prefix), rate, lane, pass, gamma);
}

Variable Attention::first_token(const LayerNorm& norm, const Variable& x, const Variable& prompts) const {
  if (!plain(norm))
    return first_tokens(1, norm, x, prompts.defined() ? keys_values(norm(prompts)) : KeyValuePrefix{});
  return first_token_attention(x, {norm.gamma, norm.beta, norm.epsilon, qkv.weight, qkv.bias}, heads,
                               prompts);
}

Variable Attention::first_tokens(int64_t count, const LayerNorm& norm, const Variable& x,
                                 const KeyValuePrefix& prefix) const {
  const Variable rows = norm(x);
  const KeyValuePrefix own = keys_values(rows);
  return attention(third(0, slice(rows, 1, 0, count)), own.keys, own.values, heads, prefix);
}

Variable Attention::third(int64_t i, const Variable& x) const {
  const Variable bias = qkv.bias.defined() ? slice(qkv.bias, 0, i * width, (i + 1) * width) : Variable();
  Variable out = linear(x, slice(qkv.weight, 0, i * width, (i + 1) * width), bias);
  if (i == 0 && query.defined()) out = add(out, query(x));
  if (i == 2 && value.defined()) out = add(out, value(x));
  return qkv.behind.part(i * width, (i + 1) * width)(out);
}

Variable Attention::filling() const { return qkv.bias.defined() ? qkv.behind(qkv.bias) : qkv.behind.shift; }

KeyValuePrefix Attention::keys_values(const Variable& x) const { return {third(1, x), third(2, x)}; }

AttentionPool::AttentionPool(int64_t d, int64_t h, int64_t hidden, Gelu form, double epsilon,
                             const Scope& scope)
    : latent(scope.get("latent", {1, 1, d}, Role::token,
                       Init::truncated(1 / std::sqrt(static_cast<double>(d))))),
      q(d, d, scope / "q"),
      kv(d, 2 * d, scope / "kv"),
      proj(d, d, scope / "proj"),
      norm(d, epsilon, scope / "norm"),
      mlp(d, hidden, form, scope / "mlp"),
      width(d),
      heads(h) {
  check(!scope.additions().any(), "attention pool: nothing can be added to it");
  check(h > 0 && d % h == 0, "attention pool: {} heads do not divide width {}", h, d);
}

Variable AttentionPool::operator()(const Variable& x) const {
  const auto half = [&](int64_t i) {
    return linear(x, slice(kv.weight, 0, i * width, (i + 1) * width),
                  slice(kv.bias, 0, i * width, (i + 1) * width));
  };
  const Variable question = repeat(reshape(q(latent), {1, width}), x.dim(0));  // (B, 1, D)
  const Variable found = proj(attention(question, half(0), half(1), heads));
  return reshape(mlp.after(norm, found, 0, 0, {}), {x.dim(0), width});
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
      window_attention(attention.joint(norm, x), bias, attention.heads, grid, prefix, attention.filling());
  return attention.project(x, attended, rate, lane, pass);
}

namespace {

int64_t checked_patch(int64_t p) {
  check(p >= 1, "patch embedding: expected patches of at least 1 pixel, got {}", p);
  return p;
}

}  // namespace

PatchEmbedding::PatchEmbedding(int64_t p, int64_t width, const Scope& scope, Bias own)
    : weight(scope.get("proj.weight", {width, 3, checked_patch(p), p}, Role::weight,
                       Init::normal(1.0 / std::sqrt(3.0 * static_cast<double>(p) * static_cast<double>(p))))),
      bias(bias_of(width, scope, "proj.bias", own)),
      patch(p),
      behind(width, scope / "proj") {}

Variable PatchEmbedding::operator()(const Variable& images) const {
  const int64_t p = checked_patch(patch);
  check(images.shape().rank() == 4 && images.dim(1) == 3 && images.dim(2) % p == 0 && images.dim(3) % p == 0,
        "patch embedding: expected images (B, 3, H, W) with H and W multiples of {}, got {}", p,
        images.shape());
  const int64_t b = images.dim(0), rows = images.dim(2) / p, columns = images.dim(3) / p;
  const Variable cut = reshape(convert(images, weight.dtype()), {b, 3, rows, p, columns, p});
  const Variable patches = reshape(permute(cut, {0, 2, 4, 1, 3, 5}), {b, rows * columns, 3 * p * p});
  return project(patches);
}

Variable PatchEmbedding::project(const Variable& patches) const {
  return behind(linear(patches, reshape(weight, {weight.dim(0), 3 * patch * patch}), bias));
}

}  // namespace vitrine
