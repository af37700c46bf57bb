// layouts.h: the few ways in which other programs lay out a weight, turned into PyTorch's (names.h: Form).
#pragma once

#include <string>
#include <vector>

#include "models/checkpoints/names.h"

namespace vitrine {

// The tensor in its canonical layout, sealed; the tensor itself where that is the same. Every element type is moved as it
// is. `who` opens the sentence if the shape is not as the form has it: throws then.
Tensor laid_out(const Tensor& tensor, Form form, const std::string& who);

// One of several tensors that are put together; `who` opens the sentence about it.
struct Piece {
  Tensor tensor;
  Form form = Form::same;
  std::string who;
};

// The pieces, each in its canonical layout, below each other, along the first extent. Each is written just once, set aside
// and let go. Throws unless all have the same type and shape then, naming one that differs from the others.
Tensor stacked(std::vector<Piece> pieces);

}  // namespace vitrine
