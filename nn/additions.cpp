#include "nn/additions.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

void check_part() {
  if constexpr (!parts::methods) left_out("what a method adds to a layer", "VITRINE_METHODS");
}

}  // namespace

ScaleShift::ScaleShift(int64_t width, const Scope& scope) {
  if (!scope.additions().scale_shift) return;
  check_part();
  const Scope own = scope.added();
  scale = own.get("scale", {width}, Role::norm, Init::constant(1));
  shift = own.get("shift", {width}, Role::bias, Init::constant(0));
}

ScaleShift ScaleShift::part(int64_t begin, int64_t end) const {
  ScaleShift out;
  if (!defined()) return out;
  out.scale = slice(scale, 0, begin, end);
  out.shift = slice(shift, 0, begin, end);
  return out;
}

Lora::Lora(int64_t in, int64_t out, const Scope& scope) {
  const int64_t rank = scope.additions().lora;
  if (rank == 0) return;
  check_part();
  check(rank > 0 && rank <= in, "lora: expected a rank of 1 to {}, got {}", in, rank);
  const Scope own = scope.added();
  down = own.get("down", {rank, in}, Role::weight, Init::uniform(1 / std::sqrt(static_cast<double>(in))));
  up = own.get("up", {out, rank}, Role::weight, Init::constant(0));
}

Adapter::Adapter(int64_t width, const Scope& scope) {
  const int64_t factor = scope.additions().adapter;
  if (factor == 0) return;
  check_part();
  check(factor > 0, "adapter: expected a positive factor, got {}", factor);
  const int64_t bottleneck = std::max<int64_t>(width / factor, 1);
  const Scope own = scope.added();
  const Init start = Init::normal(1 / std::sqrt(static_cast<double>(width)));
  down = own.get("down.weight", {bottleneck, width}, Role::weight, start);
  down_bias = own.get("down.bias", {bottleneck}, Role::bias, Init::constant(0));
  up = own.get("up.weight", {width, bottleneck}, Role::weight, Init::constant(0));
  up_bias = own.get("up.bias", {width}, Role::bias, Init::constant(0));
}

}  // namespace vitrine
