// additions.h: what methods of tuning add to the layers of a frozen net. A layer asks its scope whether it is to have one
// (Scope::additions; a build without VITRINE_METHODS has none); what was not added is undefined and costs nothing. Each starts so that the net is what it was.
#pragma once

#include "engine/ops.h"
#include "engine/parts.h"
#include "nn/scope.h"

namespace vitrine {

// scale x + shift along the last axis, behind a linear layer or a norm (SSF, arXiv 2210.08823). Starts at 1 and 0.
struct ScaleShift {
  Variable scale, shift;  // (D)
  ScaleShift() = default;
  ScaleShift(int64_t width, const Scope& scope);
  bool defined() const { return parts::methods && scale.defined(); }
  Variable operator()(const Variable& x) const { return defined() ? add(mul(x, scale), shift) : x; }
  // Of columns [begin, end) alone.
  ScaleShift part(int64_t begin, int64_t end) const;
};

// up(down(x)), to be added to a linear layer's result (LoRA, arXiv 2106.09685, with its factor alpha / r at 1). `down`
// starts as PyTorch starts a linear layer, U(-v, v) with v = 1 / sqrt(in); `up` starts at 0.
struct Lora {
  Variable down, up;  // (r, in), (out, r)
  Lora() = default;
  Lora(int64_t in, int64_t out, const Scope& scope);  // undefined if the scope adds none
  bool defined() const { return parts::methods && down.defined(); }
  Variable operator()(const Variable& x) const { return linear(linear(x, down), up); }
};

// x + up(gelu(down(x))), behind an MLP and before its residual sum (arXiv 1902.00751, in the place that arXiv 2005.00247
// found best). `down` starts normal with deviation 1 / sqrt(D), `up` and biases at 0. (With both at 0, as in the
// published code of VPT, no gradient ever reaches either.)
struct Adapter {
  Variable down, down_bias, up, up_bias;  // (r, D), (r), (D, r), (D)
  Adapter() = default;
  // Undefined if the scope adds none; else r = D / its factor, at least 1.
  Adapter(int64_t width, const Scope& scope);
  bool defined() const { return parts::methods && down.defined(); }
  Variable operator()(const Variable& x) const {
    return add(x, linear(gelu(linear(x, down, down_bias)), up, up_bias));
  }
};

}  // namespace vitrine
