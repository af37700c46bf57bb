// plain_product.h: products by a plain kernel, for layouts that nothing faster takes, and the parts of a product that
// are done apart.
#pragma once

#include "engine/gpu/kernels.h"

namespace vitrine::gpu {

// z of a product: its epilogue is none, and `added` has steps of its own.
struct Sums {
  Product product;
  int64_t added_step, added_image;
};

// A product is these sums, then its epilogue: z lies in `inner` for Epilogue::gelu, else in `out`.
Sums sums_of(const Product& a);
Result run_epilogue(Queue* queue, const Product& a);

// out = bias + added: what sums start from, and all they are if k is 0. `out` may be `added`.
Result start_sums(Queue* queue, const Sums& sums);

// Any steps and alignment; the terms are added in the order of k.
Result plain_sums(Queue* queue, const Sums& sums);
Result plain_product(Queue* queue, const Product& a);

}  // namespace vitrine::gpu
