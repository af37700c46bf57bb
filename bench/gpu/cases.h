// cases.h: what is measured: each kernel at the sizes at which training uses it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/gpu/kernels.h"
#include "operands.h"
#include "timing.h"

namespace vitrine::bench {

// What a run is made of: a ViT-B and a Swin-B of one batch, or the same in small for the emulator.
struct Sizes {
  int64_t images, tokens, width, heads;  // ViT; the hidden layer has 4 width columns
  int64_t wide;                          // width of the larger ViT's rows
  int64_t side, patch;                   // of the images
  int64_t map, swin_width,
      swin_heads;  // Swin's first stage; each later one has half the side and twice the width
  int stages;
  int64_t window;
  std::vector<int64_t> prompts;
  int64_t classes;
  int64_t square;  // the product by which the peak is measured
  size_t copied;   // bytes of one copy by which the bandwidth is measured
  size_t rotated;  // operands of one kernel together, at least: more than the cache holds
  int64_t period;  // of the random numbers

  int64_t rows() const { return images * tokens; }
  static Sizes full();
  static Sizes tiny();
};

struct Case {
  std::string group, name;  // `name` says the sizes and is unique
  double bytes, flops;      // the least that has to be moved and computed
  std::function<Call(const Operands&)> make;
  // For products: their sizes and epilogue, to find how the device makes them.
  std::vector<int64_t> product = {};
};

// The two ceilings: a copy of bytes by the device's own means and by the kernel, and a large product.
std::vector<Case> ceilings(const Sizes& sizes);
std::vector<Case> product_cases(const Sizes& sizes);
std::vector<Case> attention_cases(const Sizes& sizes);
std::vector<Case> window_cases(const Sizes& sizes);
std::vector<Case> row_cases(const Sizes& sizes);  // layer_norm, softmax, gelu, moves, sums, loss, optimizer

constexpr double bf16_bytes = 2, f32_bytes = 4;

}  // namespace vitrine::bench
