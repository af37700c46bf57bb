// dtype.h: the element types that a tensor can hold, and the two half-width floats.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vitrine {

enum class DType : uint8_t { f32, f64, bf16, f16, i64, i32, i8, u8 };

constexpr bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16 || dtype == DType::f16;
}
size_t size_of(DType dtype);            // bytes of one element
std::string_view name_of(DType dtype);  // "f32", "bf16", ...

// bfloat16: the upper half of an f32. Storage only: arithmetic happens in f32.
struct bf16 {
  uint16_t bits = 0;
};
inline float to_float(bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }
bf16 to_bf16(float value);  // rounds to nearest, ties to even; NaN stays NaN

// IEEE half precision. Storage only.
struct f16 {
  uint16_t bits = 0;
};
// Without branches, so that loops over many of them become vector instructions: the bits as those of an f32 with too
// small an exponent, which a product with a power of two makes right, for subnormals, too.
inline float to_float(f16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const float magnitude = std::bit_cast<float>(static_cast<uint32_t>(value.bits & 0x7fff) << 13) * 0x1p112f;
  const uint32_t infinite = magnitude >= 65536.0f ? 0x7f800000 : 0;  // or NaN
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | infinite | sign);
}
f16 to_f16(float value);  // rounds to nearest, ties to even; overflow gives infinity

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<f16>() {
  return DType::f16;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::i8;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}

}  // namespace vitrine
