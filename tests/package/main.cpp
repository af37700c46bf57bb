#include <cmath>
#include <cstdio>

#include "engine/ops.h"
#include "engine/safetensors.h"
#include "models/builtin.h"

int main() {
  const auto x = vitrine::Tensor::of<double>({1, 2}, {0.0, std::log(3.0)});
  const vitrine::Variable y = vitrine::softmax(x);
  std::printf("%.6f %.6f\n", y.value().data<double>()[0], y.value().data<double>()[1]);
  const auto backbone = vitrine::read_safetensors(vitrine::builtin_vit(), nullptr, "builtin");
  return backbone.tensors.contains("patch_embed.proj.weight") ? 0 : 1;
}
