// gelu.h: the kernel of gelu, which row_layers uses on rows that are in the cache. Private to the ops.
#pragma once

#include "engine/gpu/kernels.h"
#include "engine/ops.h"

namespace vitrine {

// out = gelu(x) of n numbers; out may be x. `slopes`, if not null, receives the derivatives.
template <class T>
void gelu_run(Gelu form, const T* x, int64_t n, T* out, T* slopes);

gpu::GeluForm device_form(Gelu form);

}  // namespace vitrine
