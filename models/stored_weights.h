// stored_weights.h: weights as files store them in fewer bits, and as f32 wherever their numbers are asked for. Private to
// backbone.cpp.
#pragma once

#include <string>

#include "engine/safetensors.h"

namespace vitrine {

// The numbers of a sealed tensor of another type as f32, converted whenever they are fetched (Tensor::fetched).
Tensor widened(const Tensor& stored, const Memory& memory);

// A matrix (R, ...) as whole numbers of 8 bits: row r is its entries / scale r, rounded to nearest, ties to even; scale r
// is the greatest size in the row / 127. Its tensor keeps its name, the scales (R) f32 stand beside it as NAME.scales.
void put_int8(TensorFile& file, const std::string& name, const Tensor& matrix);

// Makes f32 of what put_int8 has written, fetched from where it is: number times scale. Throws, beginning with `source`, for
// an int8 tensor without its scales, and for scales of another shape or type or that are not finite.
void take_int8(TensorFile& file, const std::string& source, const Memory& memory);

}  // namespace vitrine
