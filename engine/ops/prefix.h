// prefix.h: what the attention ops share in checking a prefix.
#pragma once

#include "engine/ops.h"

namespace vitrine {

// How many keys the prefix has, 0 if undefined. Throws, in the name of `op`, unless keys and values are both
// there, of the given type and (P, model) or (batch, P, model).
int64_t check_prefix(const char* op, const KeyValuePrefix& prefix, int64_t batch, int64_t model, DType dtype);

}  // namespace vitrine
