// precision.h: in how many bits a frozen weight is packed for products.
#pragma once

#include <cstdint>

namespace vitrine {

// f32: as it is. bf16: each number rounded to the upper half of an f32, to nearest, ties to even. int8: each row of
// the weight (N, K) as whole numbers from -127 to 127 times a scale of its own, the row's greatest size / 127.
// Sums are in f32 in any case. What a bf16 weight multiplies is rounded to bf16, too, where the processor multiplies
// pairs of bf16 (the instruction set avx512_bf16), and stays as it is elsewhere.
enum class Precision : uint8_t { f32, bf16, int8 };

const char* name_of(Precision precision);  // "f32", ...

}  // namespace vitrine
