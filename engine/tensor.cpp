#include "engine/tensor.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "engine/check.h"
#include "engine/device.h"
#include "engine/form_budget.h"
#include "engine/gpu/run.h"
#include "engine/parallel.h"

namespace vitrine {

struct Tensor::Block {
  std::shared_ptr<const std::byte> bytes;
  size_t size = 0;
  Memory memory;
  bool sealed = false;
  Fetch fetch;           // if there are no `bytes`
  size_t elsewhere = 0;  // of memory, for what is fetched
  // Of bytes that lie where no such element may, or that are fetched: those bytes again, where they are wanted.
  bool misaligned = false;
  // No once_flag: glibc's, left by an exception, asks for memory that may not be there, and aborts.
  std::mutex copying;
  std::shared_ptr<const std::byte> copy;
  std::atomic<bool> copied = false;
  Precision precision = Precision::f32;
  bool one_form = false;
  SetAside set_aside;
  std::shared_ptr<FormBudget> budget;
  std::mutex mutex;                                       // guards `forms`
  using Key = std::tuple<int, size_t, int64_t, int64_t>;  // (kind, offset, rows, numel)
  std::map<Key, Tensor> forms;

  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    if (budget != nullptr)
      for (const auto& [key, form] : forms) budget->give_back(form.bytes());
  }
};

Tensor Tensor::empty(const Shape& shape, DType dtype, const Memory& memory) {
  Tensor out;
  out.shape_ = shape;
  out.dtype_ = dtype;
  const int64_t bytes = checked_multiply(shape.numel(), static_cast<int64_t>(size_of(dtype)), "tensor");
  if (!std::in_range<size_t>(bytes))  // where an address has 32 bits
    fail(Fault::resources, "tensor: {} bytes of {} are more than this build can address", bytes, shape);
  out.block_ = std::make_shared<Block>();
  out.block_->bytes = memory.allocate(static_cast<size_t>(bytes));
  out.block_->size = static_cast<size_t>(bytes);
  out.block_->memory = memory;
  return out;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, const Memory& memory) {
  Tensor out = empty(shape, dtype, memory);
  if (const Device* device = memory.device()) {
    device->clear(out.mutable_address(), out.bytes());
  } else {
    std::memset(out.mutable_raw().data(), 0, out.bytes());
  }
  return out;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, const Memory& memory) {
  Tensor out = empty(shape, dtype, memory);
  if (device_of(out, "full") != nullptr) {
    gpu::move({}, out, value);
    return out;
  }
  dispatch(dtype, "full", [&](auto zero) {
    using T = decltype(zero);
    std::ranges::fill(out.mutable_data<T>(), static_cast<T>(value));
  });
  return out;
}

template <class T>
Tensor Tensor::of(const Shape& shape, std::span<const T> values, const Memory& memory) {
  check(static_cast<int64_t>(values.size()) == shape.numel(), "tensor: shape {} needs {} values, got {}",
        shape, shape.numel(), values.size());
  Tensor out = empty(shape, dtype_of<T>(), memory);
  if (const Device* device = memory.device()) {
    device->upload(out.mutable_address(), values.data(), out.bytes());
  } else {
    std::ranges::copy(values, out.mutable_data<T>().begin());
  }
  return out;
}

Tensor Tensor::borrow(const std::byte* bytes, const Shape& shape, DType dtype,
                      std::shared_ptr<const void> owner, SetAside set_aside) {
  Tensor out;
  out.shape_ = shape;
  out.dtype_ = dtype;
  out.block_ = std::make_shared<Block>();
  out.block_->bytes = std::shared_ptr<const std::byte>(std::move(owner), bytes);
  out.block_->size = out.bytes();
  out.block_->sealed = true;
  out.block_->misaligned = reinterpret_cast<uintptr_t>(bytes) % size_of(dtype) != 0;
  out.block_->set_aside = std::move(set_aside);
  return out;
}

Tensor Tensor::fetched(const Shape& shape, DType dtype, Fetch fetch, const Memory& memory, size_t elsewhere) {
  Tensor out;
  out.shape_ = shape;
  out.dtype_ = dtype;
  out.block_ = std::make_shared<Block>();
  out.block_->size = out.bytes();
  out.block_->memory = memory;
  out.block_->sealed = true;
  out.block_->fetch = std::move(fetch);
  out.block_->elsewhere = elsewhere;
  return out;
}

Tensor Tensor::at_hand() const {
  if (!block_ || !block_->fetch || block_->copied) return *this;
  Tensor out = empty(shape_, dtype_, memory());
  block_->fetch(offset_, {const_cast<std::byte*>(out.block_->bytes.get()), out.bytes()});
  return out.seal();
}

const std::byte* Tensor::aligned_place() const {
  Block& block = *block_;
  if (!block.misaligned && !block.fetch) return block.bytes.get() + offset_;
  if (!block.copied) {
    const std::lock_guard lock(block.copying);
    if (!block.copied) {  // still
      const std::shared_ptr<std::byte> copy = block.memory.allocate(block.size);
      if (block.fetch) {
        block.fetch(0, {copy.get(), block.size});
      } else {
        std::memcpy(copy.get(), block.bytes.get(), block.size);
        if (block.set_aside) block.set_aside({block.bytes.get(), block.size});
      }
      block.copy = copy;
      block.copied = true;
    }
  }
  return block.copy.get() + offset_;
}

Memory Tensor::memory() const { return block_ ? block_->memory : Memory{}; }

const Device* Tensor::device_of_block() const { return block_ ? block_->memory.device() : nullptr; }

const void* Tensor::address() const {
  check(defined(), "tensor: undefined");
  return aligned_place();
}

void* Tensor::mutable_address() {
  check(!sealed(), "tensor: a sealed (frozen) tensor cannot be written");
  return const_cast<void*>(address());
}

Tensor Tensor::copied_to(const Memory& memory) const {
  check(defined(), "tensor: undefined");
  Tensor out = empty(shape_, dtype_, memory);
  out.assign(*this);
  return out;
}

void Tensor::assign(const Tensor& from) {
  check(shape_ == from.shape_ && dtype_ == from.dtype_, "tensor: expected {} {}, got {} {}", shape_,
        name_of(dtype_), from.shape_, name_of(from.dtype_));
  const Device *source = from.device(), *target = device();
  if (source == nullptr && target == nullptr) {
    std::ranges::copy(from.at_hand().raw(), mutable_raw().begin());
  } else if (source == nullptr) {
    target->upload(mutable_address(), from.at_hand().address(), bytes());
  } else if (target == nullptr) {
    source->download(mutable_address(), from.address(), bytes());
  } else if (source == target) {
    source->copy(mutable_address(), from.address(), bytes());
  } else {
    assign(from.copied_to({}));
  }
}

Tensor in_main_memory(const Tensor& x) { return x.device() == nullptr ? x : x.copied_to({}); }

Tensor Tensor::with_memory(const Memory& memory) const {
  check(sealed(), "tensor: only a sealed tensor may be counted elsewhere");
  check(memory.device() == device(), "tensor: its bytes can be counted only where they are");
  Tensor out = *this;
  out.block_ = std::make_shared<Block>();
  out.block_->bytes = block_->bytes;
  out.block_->size = block_->size;
  out.block_->memory = memory;
  out.block_->sealed = true;
  out.block_->precision = block_->precision;
  out.block_->one_form = block_->one_form;
  out.block_->budget = block_->budget;
  if (block_->copied) {  // one such copy is enough
    out.block_->bytes = block_->copy;
  } else {
    out.block_->misaligned = block_->misaligned;
    out.block_->set_aside = block_->set_aside;
    out.block_->fetch = block_->fetch;
    out.block_->elsewhere = block_->elsewhere;
  }
  return out;
}

Tensor Tensor::with_precision(Precision precision) const {
  check(sealed() && dtype_ == DType::f32,
        "tensor: only a sealed tensor of f32 is packed in another precision");
  Tensor out = with_memory(memory());
  out.block_->precision = precision;
  return out;
}

Precision Tensor::precision() const { return block_ ? block_->precision : Precision::f32; }

Tensor Tensor::with_one_form() const {
  check(sealed(), "tensor: only a sealed tensor keeps packed forms");
  Tensor out = with_memory(memory());
  out.block_->one_form = true;
  return out;
}

bool Tensor::keeps_one_form() const { return block_ && block_->one_form; }

Tensor Tensor::with_budget(std::shared_ptr<FormBudget> budget) const {
  check(sealed(), "tensor: only a sealed tensor keeps packed forms");
  Tensor out = with_memory(memory());
  out.block_->budget = std::move(budget);
  return out;
}

std::span<const std::byte> Tensor::raw() const {
  check(defined(), "tensor: undefined");
  check(device() == nullptr, "tensor: {} is on a device, expected in main memory", shape_);
  return {block_->fetch ? aligned_place() : block_->bytes.get() + offset_, bytes()};
}

std::span<std::byte> Tensor::mutable_raw() {
  check(defined(), "tensor: undefined");
  check(device() == nullptr, "tensor: {} is on a device, expected in main memory", shape_);
  check(!block_->sealed, "tensor: a sealed (frozen) tensor cannot be written");
  // Unsealed blocks are always made by `empty` from writable memory.
  return {const_cast<std::byte*>(block_->bytes.get()) + offset_, bytes()};
}

template <class T>
std::span<const T> Tensor::data() const {
  check(dtype_of<T>() == dtype_, "tensor: holds {}, asked for {}", name_of(dtype_), name_of(dtype_of<T>()));
  check(defined(), "tensor: undefined");
  check(device() == nullptr, "tensor: {} is on a device, expected in main memory", shape_);
  return {reinterpret_cast<const T*>(aligned_place()), static_cast<size_t>(numel())};
}

template <class T>
std::span<T> Tensor::mutable_data() {
  check(dtype_of<T>() == dtype_, "tensor: holds {}, asked for {}", name_of(dtype_), name_of(dtype_of<T>()));
  return {reinterpret_cast<T*>(mutable_raw().data()), static_cast<size_t>(numel())};
}

double Tensor::item() const {
  check(defined() && numel() == 1, "item: expected one element, got {}", shape_);
  if (device() != nullptr) return copied_to({}).item();
  if (dtype_ == DType::i64) return static_cast<double>(data<int64_t>()[0]);
  return to(DType::f64).data<double>()[0];
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(shape.numel() == numel(), "reshape: {} does not fit {}", shape_, shape);
  Tensor out = *this;
  out.shape_ = shape;
  return out;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  check(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= dim(0), "rows: [{}, {}) is not inside {}",
        begin, end, shape_);
  Tensor out = *this;
  out.offset_ += static_cast<size_t>(begin * shape_.columns_from(1)) * size_of(dtype_);
  out.shape_ = shape_.with(0, end - begin);
  return out;
}

std::pair<Tensor, int64_t> Tensor::whole_rows() const {
  check(shape_.rank() == 2, "whole_rows: expected (N, K), got {}", shape_);
  const size_t row = static_cast<size_t>(dim(1)) * size_of(dtype_);
  if (row == 0 || offset_ % row != 0 || block_->size % row != 0) return {*this, 0};
  Tensor out = *this;
  out.offset_ = 0;
  out.shape_ = shape_.with(0, static_cast<int64_t>(block_->size / row));
  return {out, static_cast<int64_t>(offset_ / row)};
}

Tensor Tensor::clone() const { return copied_to(memory()); }

namespace {

template <class From>
double widen(From value) {
  if constexpr (std::is_same_v<From, bf16> || std::is_same_v<From, f16>) {
    return to_float(value);
  } else {
    return static_cast<double>(value);
  }
}

template <class To>
To narrow(double value) {
  if constexpr (std::is_same_v<To, bf16>) {
    return to_bf16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, f16>) {
    return to_f16(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <class F>
void with_float_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    default:
      fail(Fault::input, "to: cannot convert {}", name_of(dtype));
  }
}

}  // namespace

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor out = empty(shape_, dtype, memory());
  if (device_of(*this, "to") != nullptr) {
    gpu::move(*this, out);
    return out;
  }
  const Tensor here = at_hand();
  with_float_type(dtype_, [&](auto from) {
    with_float_type(dtype, [&](auto target) {
      const auto source = here.data<decltype(from)>();
      const auto result = out.mutable_data<decltype(target)>();
      parallel_for(numel(), 1 << 16, [&](int64_t begin, int64_t end) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
          result[i] = narrow<decltype(target)>(widen(source[i]));
      });
    });
  });
  return out;
}

Tensor Tensor::seal() const {
  check(defined(), "tensor: undefined");
  block_->sealed = true;
  return *this;
}

bool Tensor::sealed() const { return block_ && block_->sealed; }

bool Tensor::unique() const { return block_ && !block_->sealed && block_.use_count() == 1; }

Tensor Tensor::kept_form(int kind, FunctionRef<Tensor()> make) const {
  check(sealed(), "tensor: only a sealed tensor keeps packed forms");
  const std::lock_guard lock(block_->mutex);
  const Block::Key key{kind, offset_, shape_.rank() ? dim(0) : 1, numel()};
  if (const auto found = block_->forms.find(key); found != block_->forms.end()) return found->second;
  Tensor form = make();
  set_aside();
  if (block_->budget == nullptr || block_->budget->take(form.bytes())) block_->forms.emplace(key, form);
  return form;
}

void Tensor::set_aside() const {
  if (block_ && block_->set_aside) block_->set_aside(raw());
}

bool Tensor::may_be_set_aside() const { return block_ && block_->set_aside; }

size_t Tensor::resident_bytes() const {
  if (!block_) return 0;
  const std::lock_guard lock(block_->mutex);
  if (block_->copied) return bytes();
  if (block_->fetch) return block_->elsewhere;
  return block_->set_aside && !block_->forms.empty() ? 0 : bytes();
}

// Every element type that a tensor can hold.
#define VITRINE_FOR_TYPE(T)                                                       \
  template Tensor Tensor::of<T>(const Shape&, std::span<const T>, const Memory&); \
  template std::span<const T> Tensor::data<T>() const;                            \
  template std::span<T> Tensor::mutable_data<T>();
VITRINE_FOR_TYPE(float)
VITRINE_FOR_TYPE(double)
VITRINE_FOR_TYPE(bf16)
VITRINE_FOR_TYPE(f16)
VITRINE_FOR_TYPE(int64_t)
VITRINE_FOR_TYPE(int32_t)
VITRINE_FOR_TYPE(int8_t)
VITRINE_FOR_TYPE(uint8_t)
#undef VITRINE_FOR_TYPE

}  // namespace vitrine
