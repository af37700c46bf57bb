// plans.h: how cuBLASLt makes products of one shape and layout: settled at the first such product, then kept.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>

#include "engine/gpu/plain_product.h"

namespace vitrine::gpu {

using PlanKey = std::array<int64_t, 27>;  // all that cuBLASLt's choice depends on but the device

struct Plan {
  bool usable = false;  // else cuBLASLt has nothing for it, or its epilogue is faster apart
  cublasLtMatmulDescOpaque_t work{};
  cublasLtMatrixLayoutOpaque_t a{}, b{}, added{}, out{};
  cublasLtMatmulAlgo_t algorithm{};
};

// The plan for a product that cuBLASLt shall make whole, epilogue included. Which algorithm: of those that add in one
// fixed order, the fastest on these operands. As another one could round differently, the choice is kept in the plan
// file, and where it cannot be (no file, or work is being recorded and cannot be timed) it is the one that cuBLASLt
// names first. An epilogue is fused only where that was timed to be faster than `apart`, which makes the same apart.
Result plan_of(Queue* queue, const Sums& sums, Result (*apart)(Queue*, const Product&), Plan** plan);

Result run_plan(Queue* queue, Plan& plan, const Sums& sums);

}  // namespace vitrine::gpu
