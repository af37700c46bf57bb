#include "engine/containers/array.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/parts.h"

namespace vitrine {

namespace {

static_assert(std::endian::native == std::endian::little, "files' data is used in place");

template <size_t width>
auto load(const std::byte* from, bool swap) {
  std::array<std::byte, width> bytes;
  std::memcpy(bytes.data(), from, width);
  if (swap) std::ranges::reverse(bytes);
  return bytes;
}

template <class Stored>
Stored load_as(const std::byte* from, bool swap) {
  return std::bit_cast<Stored>(load<sizeof(Stored)>(from, swap));
}

// Calls `copy(index)` with the position of each element, in elements, in the order of a row-major tensor.
template <class Copy>
void for_each_position(const StoredArray& array, Copy&& copy) {
  const size_t rank = array.extents.size();
  std::array<int64_t, Shape::max_rank> place{};
  int64_t position = array.offset;
  const int64_t row = rank ? array.extents[rank - 1] : 1, step = rank ? array.strides[rank - 1] : 0;
  while (true) {
    for (int64_t i = 0; i < row; ++i) copy(position + i * step);
    size_t d = rank > 0 ? rank - 1 : 0;
    while (d-- > 0) {
      position += array.strides[d];
      if (++place[d] < array.extents[d]) break;
      position -= array.extents[d] * array.strides[d];
      place[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return;
  }
}

template <size_t width>
void copy_elements(const StoredArray& array, std::byte* out) {
  for_each_position(array, [&](int64_t position) {
    const auto bytes =
        load<width>(array.bytes.data() + position * static_cast<int64_t>(width), array.big_endian);
    std::memcpy(out, bytes.data(), width);
    out += width;
  });
}

template <class Stored, class Held>
void convert_elements(const StoredArray& array, std::span<Held> out) {
  size_t i = 0;
  for_each_position(array, [&](int64_t position) {
    const std::byte* from = array.bytes.data() + position * static_cast<int64_t>(sizeof(Stored));
    out[i++] = static_cast<Held>(load_as<Stored>(from, array.big_endian));
  });
}

void fill(const StoredArray& array, Tensor& out) {
  switch (array.element) {
    case Element::boolean:
      convert_elements<uint8_t>(array, out.mutable_data<uint8_t>());
      for (uint8_t& value : out.mutable_data<uint8_t>()) value = value != 0;
      return;
    case Element::i16:
      return convert_elements<int16_t>(array, out.mutable_data<int32_t>());
    case Element::u16:
      return convert_elements<uint16_t>(array, out.mutable_data<int32_t>());
    case Element::u32:
      return convert_elements<uint32_t>(array, out.mutable_data<int64_t>());
    default:
      break;
  }
  std::byte* const bytes = out.mutable_raw().data();
  switch (size_of(out.dtype())) {
    case 1:
      return copy_elements<1>(array, bytes);
    case 2:
      return copy_elements<2>(array, bytes);
    case 4:
      return copy_elements<4>(array, bytes);
    default:
      return copy_elements<8>(array, bytes);
  }
}

}  // namespace

size_t bits_of(Element element) {
  switch (element) {
    case Element::c128:
      return 128;
    case Element::f64:
    case Element::i64:
    case Element::u64:
    case Element::c64:
      return 64;
    case Element::f32:
    case Element::i32:
    case Element::u32:
      return 32;
    case Element::f16:
    case Element::bf16:
    case Element::i16:
    case Element::u16:
      return 16;
    case Element::f6:
      return 6;
    case Element::f4:
      return 4;
    default:
      return 8;
  }
}

std::string_view name_of(Element element) {
  constexpr std::string_view names[] = {
      "f64", "f32", "f16", "bf16", "i64",       "i32",        "i16",          "i8",           "u64",
      "u32", "u16", "u8",  "bool", "complex64", "complex128", "8-bit floats", "6-bit floats", "4-bit floats"};
  return names[static_cast<size_t>(element)];
}

bool is_readable(Element element) { return element < Element::c64 && element != Element::u64; }

DType dtype_for(Element element) {
  switch (element) {
    case Element::f64:
      return DType::f64;
    case Element::f32:
      return DType::f32;
    case Element::f16:
      return DType::f16;
    case Element::bf16:
      return DType::bf16;
    case Element::i64:
    case Element::u32:
      return DType::i64;
    case Element::i32:
    case Element::i16:
    case Element::u16:
      return DType::i32;
    case Element::i8:
      return DType::i8;
    case Element::u8:
    case Element::boolean:
      return DType::u8;
    default:
      fail(Fault::input, "tensors cannot hold {}", name_of(element));
  }
}

std::vector<int64_t> dense_strides(std::span<const int64_t> extents, bool column_major,
                                   const std::string& where) {
  std::vector<int64_t> strides(extents.size());
  int64_t stride = 1;
  for (size_t i = 0; i < extents.size(); ++i) {
    const size_t d = column_major ? i : extents.size() - 1 - i;
    check(extents[d] >= 0, "{}: expected extents of 0 or more, got {}", where, extents[d]);
    strides[d] = stride;
    stride = checked_multiply(stride, std::max<int64_t>(extents[d], 1), where);
  }
  return strides;
}

bool is_row_major(std::span<const int64_t> extents, std::span<const int64_t> strides) {
  if (extents.size() != strides.size()) return false;
  if (std::ranges::find(extents, 0) != extents.end()) return true;
  int64_t expected = 1;
  for (size_t i = extents.size(); i-- > 0;) {
    if (extents[i] != 1 && strides[i] != expected) return false;
    // What overflows cannot be anybody's stride.
    if (__builtin_mul_overflow(expected, extents[i], &expected)) expected = -1;
  }
  return true;
}

bool lies_as_a_tensor(const StoredArray& array) {
  return is_readable(array.element) && array.element != Element::boolean && !array.big_endian &&
         size_of(dtype_for(array.element)) * 8 == bits_of(array.element) &&
         is_row_major(array.extents, array.strides);
}

Tensor make_tensor(const StoredArray& array, const std::shared_ptr<const void>& owner,
                   const SetAside& set_aside, Allowance& allowance, const std::string& where,
                   std::string& reason) {
  check(array.extents.size() == array.strides.size(),
        "{}: expected as many strides as extents, got {} and {}", where, array.strides.size(),
        array.extents.size());
  check(array.offset >= 0, "{}: expected an offset of 0 or more, got {}", where, array.offset);
  int64_t numel = 1, last = array.offset;  // of an empty array, both as if its extents of 0 were 1
  bool empty = false;
  for (size_t d = 0; d < array.extents.size(); ++d) {
    const int64_t extent = array.extents[d], stride = array.strides[d];
    check(extent >= 0 && stride >= 0, "{}: expected extents and strides of 0 or more, got {} and {}", where,
          extent, stride);
    empty = empty || extent == 0;
    if (extent == 0) continue;
    numel = checked_multiply(numel, extent, where);
    last = checked_add(last, checked_multiply(extent - 1, stride, where), where);
  }
  const size_t bits = bits_of(array.element);
  const auto available = static_cast<int64_t>(array.bytes.size() * 8 / bits);
  check(empty || last < available, "{}: its last element would be number {} of {}", where, last, available);

  if (!is_readable(array.element)) {
    reason = text("tensors cannot hold {}", name_of(array.element));
    return {};
  }
  if (array.extents.size() > Shape::max_rank) {
    reason = text("expected at most {} extents, got {}", Shape::max_rank, array.extents.size());
    return {};
  }
  const Shape shape(array.extents);
  const DType dtype = dtype_for(array.element);
  const bool as_it_is = lies_as_a_tensor(array);
  // An empty array may begin anywhere.
  const std::byte* first = array.bytes.data() + (empty ? 0 : static_cast<size_t>(array.offset) * (bits / 8));
  const bool aligned = reinterpret_cast<uintptr_t>(first) % size_of(dtype) == 0;
  if (as_it_is && owner && first && (aligned || empty)) {
    return Tensor::borrow(first, shape, dtype, owner, set_aside);
  }
  if (empty) return Tensor::empty(shape, dtype).seal();
  if constexpr (!parts::dialects)
    if (!as_it_is) {  // no file of Vitrine's own has such numbers
      reason = text("{} are other programs': this build was made without VITRINE_DIALECTS",
                    name_of(array.element));
      return {};
    }
  const int64_t bytes = checked_multiply(numel, static_cast<int64_t>(size_of(dtype)), where);
  if (!allowance.try_take(static_cast<size_t>(bytes))) {
    reason = text("a copy of {} bytes would need more memory than the file's size and {} MiB", bytes,
                  Allowance::beyond_file >> 20);
    return {};
  }
  if (as_it_is && owner)
    return Tensor::borrow(first, shape, dtype, owner, set_aside);  // copied when it is read
  Tensor copy = Tensor::empty(shape, dtype);
  if (!parts::dialects || as_it_is) {
    std::memcpy(copy.mutable_raw().data(), first, static_cast<size_t>(bytes));
  } else {
    fill(array, copy);
  }
  if (set_aside) set_aside(array.bytes);
  return copy.seal();
}

}  // namespace vitrine
