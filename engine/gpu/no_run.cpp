// no_run.cpp: run.h in a build without VITRINE_DEVICE. No tensor lives on a device there, so nothing calls these; compilers
// that optimise find that out themselves.
#include "engine/check.h"
#include "engine/gpu/run.h"

namespace vitrine {

namespace {
[[noreturn]] void refuse() { left_out("device", "VITRINE_DEVICE"); }
}  // namespace

const Device* checked_device_of(const Tensor&, const char*) { return nullptr; }

namespace gpu {

const void* in(const Device&, const Tensor&) { refuse(); }
void* out(const Device&, Tensor&) { refuse(); }
void move(const Tensor&, Tensor&, double) { refuse(); }
void move(const Tensor&, Tensor&, const Shape&, const Layout&, const Layout&, double) { refuse(); }
void sum(const Tensor&, Tensor&, const std::vector<bool>&, double) { refuse(); }
Tensor sum_first(const Tensor&, DType) { refuse(); }
Product product_of(const Device&, const Tensor&, const Tensor&, Tensor&) { refuse(); }
void check_head_width(const char*, int64_t) { refuse(); }
std::vector<int64_t> strides_of(const Shape&) { refuse(); }

}  // namespace gpu

}  // namespace vitrine
