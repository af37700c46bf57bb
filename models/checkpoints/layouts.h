// layouts.h: the few ways in which other programs lay out a weight, turned into PyTorch's (names.h: Form).
#pragma once

#include <string>
#include <vector>

#include "models/checkpoints/names.h"

namespace vitrine {

// The tensor in its canonical layout, sealed; the tensor itself where that is the same. Every element type is moved as it
// is. `who` opens the sentence if the shape is not as the form has it: throws then.
Tensor laid_out(const Tensor& tensor, Form form, const std::string& who);

// The tensors below each other, along the first extent; the first itself if it is alone. Throws unless types and the other
// extents agree.
Tensor stacked(const std::vector<Tensor>& tensors, const std::string& who);

}  // namespace vitrine
