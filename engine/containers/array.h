// array.h: arrays as files hold them, of any element type, byte order and strides, and the tensors made of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/containers/allowance.h"
#include "engine/tensor.h"

namespace vitrine {

// The element types of the files that are read here. Tensors hold fewer: truth values become u8 (0 or 1), i16 and u16
// become i32, u32 becomes i64, all of them exactly; u64, complex numbers and floats of 8 and fewer bits cannot be read.
enum class Element {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  c64,
  c128,
  f8,
  f6,
  f4,  // of whatever kind
};

size_t bits_of(Element element);
std::string_view name_of(Element element);
// Whether tensors can hold such elements, and the type that they have then.
bool is_readable(Element element);
DType dtype_for(Element element);

// An array in a file. Nothing of it need be checked yet.
struct StoredArray {
  std::span<const std::byte> bytes;  // what it may point into
  Element element = Element::f32;
  bool big_endian = false;
  std::vector<int64_t> extents;
  std::vector<int64_t> strides;  // in elements, as many as extents
  int64_t offset = 0;            // of the first element, in elements
};

// Row-major strides (`column_major`: the other way round) of checked extents. Throws, beginning with `where`, if an
// extent is negative or their product overflows.
std::vector<int64_t> dense_strides(std::span<const int64_t> extents, bool column_major,
                                   const std::string& where);

// Whether elements with these strides lie one after the other, as a tensor's do. Extents of 1 may have any stride, and all in
// an empty array.
bool is_row_major(std::span<const int64_t> extents, std::span<const int64_t> strides);

// Whether the bytes are those of a tensor: row-major, little-endian, of a type that tensors have.
bool lies_as_a_tensor(const StoredArray& array);

// The array as a sealed tensor. It borrows the bytes, which `owner` keeps alive, where these are what a tensor would
// hold: row-major, little-endian, of a type that tensors have. Otherwise, and without an owner, it is one copy. Copies,
// and what will be copied when it is read because it is misaligned (Tensor::borrow), are taken from the allowance.
//
// Throws Fault::input, beginning with `where`, if the array points beyond its bytes. If it is right but no tensor can
// hold it (its type, more than eight extents, no allowance left), the tensor is undefined and `reason` says why.
Tensor make_tensor(const StoredArray& array, const std::shared_ptr<const void>& owner,
                   const SetAside& set_aside, Allowance& allowance, const std::string& where,
                   std::string& reason);

}  // namespace vitrine
