// tensor.h: plain data. Shape, element type and a shared block of memory; always contiguous, row-major.
//
// Copying a Tensor copies a handle, not the data. A Tensor knows nothing of gradients (autograd.h does).
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "engine/check.h"
#include "engine/dtype.h"
#include "engine/function_ref.h"
#include "engine/memory.h"
#include "engine/precision.h"
#include "engine/shape.h"

namespace vitrine {

// Gives the memory of borrowed bytes back to the system, which can get them again (file.h: MappedFile).
using SetAside = std::function<void(std::span<const std::byte>)>;
// Puts the bytes of a tensor from `offset` on into `to`; called by whatever thread needs them.
using Fetch = std::function<void(size_t offset, std::span<std::byte> to)>;

class FormBudget;

class Tensor {
 public:
  Tensor() = default;  // undefined: no shape, no data

  // New tensors. The data of `empty` is not initialised.
  static Tensor empty(const Shape& shape, DType dtype, const Memory& memory = {});
  static Tensor zeros(const Shape& shape, DType dtype, const Memory& memory = {});
  static Tensor full(const Shape& shape, double value, DType dtype, const Memory& memory = {});
  // Copies `values`, whose count must equal the shape's. T is float, double, int64_t, int32_t,
  // int8_t or uint8_t.
  template <class T>
  static Tensor of(const Shape& shape, std::span<const T> values, const Memory& memory = {});
  template <class T>
  static Tensor of(const Shape& shape, std::initializer_list<T> values, const Memory& memory = {}) {
    return of(shape, std::span<const T>(values.begin(), values.size()), memory);
  }
  // Bytes that live elsewhere (a mapped file, a host's buffer) and stay there while `owner` lives. If they lie where no
  // such element may, data() gives a copy, made when it is first asked for; raw() gives them as they lie. The result is
  // sealed. `set_aside`, if any, is called with bytes that will hardly be read again: they must stay what they are, but
  // need no memory until then.
  static Tensor borrow(const std::byte* bytes, const Shape& shape, DType dtype,
                       std::shared_ptr<const void> owner, SetAside set_aside = {});

  // Bytes that are fetched whenever they are needed: from a host's storage, or from numbers of another type. Products
  // fetch them to pack them and keep the packed form alone; whoever asks for data() or raw() makes them stay. The result
  // is sealed; what fetching throws is passed on. `elsewhere` are the bytes of memory that are held for it all the same.
  static Tensor fetched(const Shape& shape, DType dtype, Fetch fetch, const Memory& memory = {},
                        size_t elsewhere = 0);
  // The same tensor with its bytes in memory: itself, or of a fetched one a copy that nobody else keeps.
  Tensor at_hand() const;

  bool defined() const { return block_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_.dim(i); }
  int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  Memory memory() const;  // where ops on this tensor allocate their results
  // The device whose memory holds the elements; null: main memory. Elements on a device cannot be read or written here
  // (data, raw: throw); `copied_to` brings them.
  const Device* device() const { return parts::device ? device_of_block() : nullptr; }
  Tensor copied_to(
      const Memory& memory) const;  // another block with the same elements, maybe on another device
  void assign(
      const Tensor& from);  // copies its elements, wherever they are; of this shape and type, else throws
  // Where the elements lie, on whatever device, for those who speak to it. Not sealed in the second.
  const void* address() const;
  void* mutable_address();
  // The same data in a block of its own, whose packed forms and results of ops are counted in `memory`.
  Tensor with_memory(const Memory& memory) const;
  // The same data in a block of its own, which products pack in this precision. For sealed tensors of f32; throws
  // for others.
  Tensor with_precision(Precision precision) const;
  Precision precision() const;
  // The same data in a block of its own, of which products keep one packed form in place of two (for forward and for
  // backward): half of the memory for some more work in backward. For sealed tensors; throws for others.
  Tensor with_one_form() const;
  bool keeps_one_form() const;
  // The same data in a block of its own, whose packed forms stay only within this budget (form_budget.h). For sealed
  // tensors; throws for others.
  Tensor with_budget(std::shared_ptr<FormBudget> budget) const;

  // The elements. Throws if T is not the tensor's type, and for `mutable_data` if the tensor is sealed.
  template <class T>
  std::span<const T> data() const;
  template <class T>
  std::span<T> mutable_data();
  std::span<const std::byte> raw() const;
  std::span<std::byte> mutable_raw();
  // The one value of a tensor with one element, as a double.
  double item() const;

  // Views of the same block: another shape with as many elements; rows [begin, end) along the first extent.
  Tensor reshape(const Shape& shape) const;
  Tensor rows(int64_t begin, int64_t end) const;
  // The matrix (R, K) of which this view (n, K) is rows [first, first + n): its whole block, if that is such rows, else
  // the view itself.
  std::pair<Tensor, int64_t> whole_rows() const;
  // Copies.
  Tensor clone() const;
  Tensor to(DType dtype) const;  // converts f32, f64, bf16, f16 among each other; the tensor itself if equal

  // A sealed block can never be written again: frozen weights. All views of the block are sealed with it.
  Tensor seal() const;
  bool sealed() const;
  // Tells the owner of borrowed bytes that they will hardly be read again.
  void set_aside() const;
  // Whether the owner of borrowed bytes wants to be told so.
  bool may_be_set_aside() const;
  // The bytes that stay in memory: none where they are borrowed, packed and set aside, or fetched and not held elsewhere.
  size_t resident_bytes() const;
  // True if no other Tensor shares the block, so that it may be reused in place.
  bool unique() const;
  bool shares_block_with(const Tensor& other) const { return block_ == other.block_ && block_ != nullptr; }

  // A form of this very view that is made once and kept in its block (packed weights), within its budget if it has one.
  // `make` runs on first need and under a lock. The numbers themselves will hardly be read after it: the owner of
  // borrowed ones is told (borrow). Only for sealed tensors; throws otherwise.
  Tensor kept_form(int kind, FunctionRef<Tensor()> make) const;

 private:
  struct Block;
  const Device* device_of_block() const;
  const std::byte* aligned_place() const;  // of the first element
  std::shared_ptr<Block> block_;
  size_t offset_ = 0;  // in bytes
  Shape shape_;
  DType dtype_ = DType::f32;
};

// x itself if it is there, else a copy.
Tensor in_main_memory(const Tensor& x);

// Calls f with a zero of the tensor's own type, float or double, so that one body serves both:
// dispatch(x.dtype(), "relu", [&](auto zero) { using T = decltype(zero); ... }). Throws for other
// types, naming the op.
template <class F>
auto dispatch(DType dtype, const char* op, F&& f) {
  if constexpr (parts::f64) {
    check(dtype == DType::f32 || dtype == DType::f64, "{}: expected f32 or f64, got {}", op, name_of(dtype));
    if (dtype == DType::f64) return f(double{});
  } else {
    check(dtype == DType::f32, "{}: expected f32 (this build was made without VITRINE_F64), got {}", op,
          name_of(dtype));
  }
  return f(float{});
}

}  // namespace vitrine
