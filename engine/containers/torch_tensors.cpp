#include "engine/containers/torch_tensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/check.h"
#include "engine/containers/state.h"
#include "engine/text.h"

namespace vitrine {

using Kind = PickleValue::Kind;

namespace {

struct TypeName {
  std::string_view storage, dtype;  // torch.FloatStorage, torch.float32
  Element element;
};
constexpr TypeName type_names[] = {
    {"FloatStorage", "float32", Element::f32},
    {"DoubleStorage", "float64", Element::f64},
    {"HalfStorage", "float16", Element::f16},
    {"BFloat16Storage", "bfloat16", Element::bf16},
    {"LongStorage", "int64", Element::i64},
    {"IntStorage", "int32", Element::i32},
    {"ShortStorage", "int16", Element::i16},
    {"CharStorage", "int8", Element::i8},
    {"ByteStorage", "uint8", Element::u8},
    {"BoolStorage", "bool", Element::boolean},
    {"ComplexFloatStorage", "complex64", Element::c64},
    {"ComplexDoubleStorage", "complex128", Element::c128},
    // The numbers of quantised tensors, which need more to be values; their makers are not among those below.
    {"QInt8Storage", "qint8", Element::i8},
    {"QUInt8Storage", "quint8", Element::u8},
    {"QInt32Storage", "qint32", Element::i32},
    // Types whose storages have no class.
    {"", "uint16", Element::u16},
    {"", "uint32", Element::u32},
    {"", "uint64", Element::u64},
    {"", "float8_e4m3fn", Element::f8},
    {"", "float8_e5m2", Element::f8},
};

// Reads the tensors of one tree.
class Tensors {
 public:
  Tensors(const PickleTree& tree, const FindStorage& find, bool big_endian, Allowance& allowance)
      : tree_(tree), find_(find), big_endian_(big_endian), allowance_(allowance) {}

  // Undefined, with a reason, if no tensor can hold it.
  Tensor read(PickleRef ref, const std::string& where, std::string& reason) {
    // Parameters are a call with the tensor, torch.nn.Parameter(tensor) as it were.
    for (int depth = 0; depth < 8 && maker_is(ref, {"_rebuild_parameter", "_rebuild_parameter_with_state"});
         ++depth) {
      const auto& arguments = tree_[tree_[ref].arguments].items;
      check(!arguments.empty(), "{}: a parameter without its tensor", where);
      ref = arguments[0];
    }
    const bool third = maker_is(ref, {"_rebuild_tensor_v3"});
    if (!third && !maker_is(ref, {"_rebuild_tensor", "_rebuild_tensor_v2"})) {
      reason = text("it is {}", tree_.describe(ref));
      return {};
    }
    const auto& arguments = tree_[tree_[ref].arguments].items;
    check(arguments.size() >= (third ? 7U : 4U),
          "{}: expected a storage, an offset, sizes and strides, got {} arguments", where, arguments.size());
    if (!tree_[arguments[0]].is(Kind::persistent)) {
      reason = text("its storage is {}", tree_.describe(arguments[0]));
      return {};
    }
    std::optional<TorchStorage> storage = storage_of(tree_, arguments[0], where, reason);
    if (!storage) return {};

    StoredArray array;
    array.element = storage->element;
    array.big_endian = big_endian_;
    const std::optional<Element> type = third ? element_of(arguments[6]) : std::nullopt;
    if (third && !type) {
      reason = text("its type is {}", tree_.describe(arguments[6]));
      return {};
    }
    check(third || !storage->untyped, "{}: expected a storage with a type, got one without", where);
    if (type) array.element = *type;
    const auto offset = integer_of(arguments[1]);
    auto extents = integers_of(arguments[2]), strides = integers_of(arguments[3]);
    if (!offset || !extents || !strides) {
      reason = text("expected whole numbers as its offset, sizes and strides, got {}, {} and {}",
                    tree_.describe(arguments[1]), tree_.describe(arguments[2]), tree_.describe(arguments[3]));
      return {};
    }
    array.offset = *offset;
    array.extents = *std::move(extents);
    array.strides = *std::move(strides);
    return read_from(*storage, array, where, reason);
  }

 private:
  // Whether a value is what one of these functions of torch._utils makes.
  bool maker_is(PickleRef ref, std::initializer_list<std::string_view> names) const {
    const PickleValue& value = tree_[ref];
    return value.is(Kind::object) && value.called && std::ranges::any_of(names, [&](std::string_view name) {
             return tree_.is_global(value.callee, "torch._utils", name);
           });
  }

  std::optional<Element> element_of(PickleRef dtype) const {
    for (const TypeName& type : type_names) {
      if (tree_.is_global(dtype, "torch", type.dtype)) return type.element;
    }
    return std::nullopt;
  }

  std::optional<int64_t> integer_of(PickleRef ref) const {
    if (!tree_[ref].is(Kind::integer)) return std::nullopt;
    return tree_[ref].integer;
  }

  // A tuple or a list of integers, or torch.Size of one.
  std::optional<std::vector<int64_t>> integers_of(PickleRef ref) const {
    const PickleValue* value = &tree_[ref];
    if (value->is(Kind::object) && tree_.is_global(value->callee, "torch", "Size") &&
        tree_[value->arguments].items.size() == 1) {
      value = &tree_[tree_[value->arguments].items[0]];
    }
    constexpr size_t most = 64;  // torch's own limit
    if (!(value->is(Kind::tuple) || value->is(Kind::list)) || value->items.size() > most) return std::nullopt;
    std::vector<int64_t> out;
    for (const PickleRef item : value->items) {
      const auto integer = integer_of(item);
      if (!integer) return std::nullopt;
      out.push_back(*integer);
    }
    return out;
  }

  Tensor read_from(const TorchStorage& storage, StoredArray& array, const std::string& where,
                   std::string& reason) {
    const auto known = storages_.find(storage.key);
    if (known == storages_.end()) {
      std::optional<SharedBytes> found = find_(storage, reason);
      if (!found) return {};
      storages_.emplace(storage.key, *std::move(found));
    }
    SharedBytes& whole = storages_.at(storage.key);
    check(whole.bytes.size() == bytes_of(storage, where), "{}: expected a storage {} of {} bytes, got {}",
          where, quote(storage.key), bytes_of(storage, where), whole.bytes.size());
    const size_t width = bits_of(storage.element) / 8;
    const bool aligned = reinterpret_cast<uintptr_t>(whole.bytes.data()) % (bits_of(array.element) / 8) == 0;
    if (whole.owner && !aligned && !big_endian_ && is_row_major(array.extents, array.strides)) align(whole);

    array.bytes = whole.bytes.subspan(static_cast<size_t>(storage.view_offset) * width);
    if (storage.view_size) array.bytes = array.bytes.first(static_cast<size_t>(*storage.view_size) * width);
    return make_tensor(array, whole.owner, whole.set_aside, allowance_, where, reason);
  }

  // Copies a storage to where tensors can borrow from it, so that those who share it still do.
  void align(SharedBytes& storage) {
    if (!allowance_.try_take(storage.bytes.size())) return;
    const auto copy = std::make_shared<std::vector<std::byte>>(storage.bytes.begin(), storage.bytes.end());
    if (storage.set_aside) storage.set_aside(storage.bytes);
    storage = {*copy, copy, {}};
  }

  const PickleTree& tree_;
  const FindStorage& find_;
  bool big_endian_;
  Allowance& allowance_;
  std::map<std::string, SharedBytes> storages_;  // by key
};

}  // namespace

std::optional<TorchStorage> storage_of(const PickleTree& tree, PickleRef persistent, const std::string& where,
                                       std::string& reason) {
  const PickleValue& id = tree[tree[persistent].callee];
  const auto refuse = [&](const std::string& what) {
    reason = what;
    return std::nullopt;
  };
  if (!id.is(Kind::tuple) || id.items.empty() || !tree[id.items[0]].is(Kind::text) ||
      tree[id.items[0]].words != "storage") {
    return refuse("it refers to something out of the pickle that is no storage");
  }
  check(id.items.size() == 5 || id.items.size() == 6, "{}: expected 5 or 6 entries for a storage, got {}",
        where, id.items.size());
  const PickleValue &type = tree[id.items[1]], &key = tree[id.items[2]], &numel = tree[id.items[4]];
  constexpr size_t longest_key = 256;
  check(
      key.is(Kind::text) && key.words.size() <= longest_key && numel.is(Kind::integer) && numel.integer >= 0,
      "{}: expected a storage's key of at most {} bytes and its number of elements", where, longest_key);
  TorchStorage storage;
  storage.key = key.words;
  storage.numel = numel.integer;
  const bool from_torch = type.is(Kind::global) && (type.module == "torch" || type.module == "torch.storage");
  if (from_torch &&
      (type.words == "UntypedStorage" || type.words == "_UntypedStorage" || type.words == "TypedStorage")) {
    storage.untyped = true;
  } else {
    const auto named = std::ranges::find(type_names, type.words, &TypeName::storage);
    if (!from_torch || type.words.empty() || named == std::end(type_names)) {
      return refuse(text("its storage is of type {}", tree.describe(id.items[1])));
    }
    storage.element = named->element;
  }
  if (id.items.size() == 6 && !tree[id.items[5]].is(Kind::none)) {
    const PickleValue& view = tree[id.items[5]];
    check(view.is(Kind::tuple) && view.items.size() == 3 && tree[view.items[1]].is(Kind::integer) &&
              tree[view.items[2]].is(Kind::integer),
          "{}: expected a view's key, offset and size", where);
    const int64_t offset = tree[view.items[1]].integer, size = tree[view.items[2]].integer;
    check(offset >= 0 && size >= 0 && offset <= storage.numel && size <= storage.numel - offset,
          "{}: a view of {} elements from {} goes beyond the {} of its storage", where, size, offset,
          storage.numel);
    storage.view_offset = offset;
    storage.view_size = size;
  }
  return storage;
}

uint64_t bytes_of(const TorchStorage& storage, const std::string& where) {
  return static_cast<uint64_t>(
      checked_multiply(storage.numel, static_cast<int64_t>(bits_of(storage.element) / 8), where));
}

TensorFile torch_tensors(const PickleTree& tree, const FindStorage& find, bool big_endian,
                         const std::string& name, const std::string& where, Allowance& allowance) {
  TensorFile out;
  out.name = name;
  StateDict state = state_of(tree, where, allowance);
  out.part = std::move(state.part);
  Tensors tensors(tree, find, big_endian, allowance);
  for (const auto& [key, ref] : state.tensors) {
    std::string reason;
    Tensor tensor = tensors.read(ref, text("{}: tensor {}", where, quote(key)), reason);
    if (tensor.defined()) {
      out.tensors.emplace(key, std::move(tensor));
    } else {
      out.unreadable.emplace(key, std::move(reason));
    }
  }
  for (const auto& [key, ref] : state.opaque) out.objects.emplace(key, text("it is {}", tree.describe(ref)));
  for (const std::string& key : state.beside)
    if (!out.tensors.contains(key) && !out.unreadable.contains(key))
      out.objects.emplace(key, text("it lies beside the part {}", quote(out.part)));
  return out;
}

}  // namespace vitrine
