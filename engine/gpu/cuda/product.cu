// product.cu: products, by cuBLASLt wherever it can.
#include <cstdint>
#include <string>

#include "engine/gpu/cuda/queue.h"
#include "engine/gpu/port.h"

namespace vitrine::gpu {

namespace {

constexpr uintptr_t chunk = 16;  // bytes that cuBLASLt moves at once

bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % chunk == 0; }

// Images that share the second factor and follow each other are one matrix.
Product as_one_matrix(Product a) {
  const bool one = a.batch > 1 && a.b.image == 0 && !a.a.transposed && a.a.image == a.m * a.a.step &&
                   a.out_image == a.m * a.out_step;
  if (one) {
    a.m *= a.batch;
    a.batch = 1;
  }
  return a;
}

// What cuBLASLt's epilogues of gelu take: it has the tanh form alone, and no bias of a derivative.
bool epilogue_fits(const Product& a) {
  return a.form == GeluForm::tanh && a.a.dtype == DType::bf16 && a.out_type == DType::bf16 &&
         a.added == nullptr && a.n % 8 == 0 && aligned(a.inner) && aligned(a.bias) &&
         (a.epilogue == Epilogue::gelu || a.bias == nullptr);
}

Result make_sums(Queue* queue, Sums sums) {
  Product& p = sums.product;
  if (p.bias != nullptr && (p.a.dtype != p.out_type || !aligned(p.bias))) {  // not as cuBLASLt takes it
    if (Result wrong = start_sums(queue, sums)) return wrong;
    p.bias = nullptr;
    p.added = p.out;
    sums.added_step = p.out_step;
    sums.added_image = p.out_image;
  }
  Plan* plan = nullptr;
  if (Result wrong = plan_of(queue, sums, nullptr, &plan)) return wrong;
  if (plan->usable) return run_plan(queue, *plan, sums);
  note(queue, "cuBLASLt has no product of (" + std::to_string(p.m) + ", " + std::to_string(p.k) + ") and (" +
                  std::to_string(p.k) + ", " + std::to_string(p.n) + ") in " +
                  (p.a.dtype == DType::bf16 ? "bf16" : "f32") +
                  " as they lie: a plain kernel makes it, more slowly");
  return plain_sums(queue, sums);
}

Result with_epilogue_apart(Queue* queue, const Product& a) {
  if (Result wrong = make_sums(queue, sums_of(a))) return wrong;
  return run_epilogue(queue, a);
}

}  // namespace

Result product(Queue* queue, const Product& given) {
  const Product a = as_one_matrix(given);
  if (a.batch == 0 || a.m == 0 || a.n == 0) return nullptr;
  if (a.k == 0) {
    if (Result wrong = start_sums(queue, sums_of(a))) return wrong;
    return run_epilogue(queue, a);
  }
  if (a.epilogue != Epilogue::none && epilogue_fits(a)) {
    const Sums whole{a, a.out_step, a.out_image};
    Plan* plan = nullptr;
    if (Result wrong = plan_of(queue, whole, with_epilogue_apart, &plan)) return wrong;
    if (plan->usable) return run_plan(queue, *plan, whole);
  }
  return with_epilogue_apart(queue, a);
}

}  // namespace vitrine::gpu
