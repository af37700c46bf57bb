// torch_tensors.h: the tensors that torch's pickles describe, given their storages. An inner matter of torch_file.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "engine/containers/array.h"
#include "engine/containers/pickle.h"
#include "engine/containers/zip.h"
#include "engine/safetensors.h"

namespace vitrine {

// What a pickle says of a storage: ('storage', torch.FloatStorage, '0', 'cpu', 12[, view]).
struct TorchStorage {
  Element element = Element::u8;
  bool untyped = false;  // bytes, whose type the tensor tells
  std::string key;
  int64_t numel = 0;
  int64_t view_offset = 0;           // of the part that is meant, in elements
  std::optional<int64_t> view_size;  // none: all of it
};

// Reads a persistent id. None, with a reason, if it is no storage or one of an unknown type; throws, beginning with
// `where`, if it is a malformed one.
std::optional<TorchStorage> storage_of(const PickleTree& tree, PickleRef persistent, const std::string& where,
                                       std::string& reason);

// How many bytes a storage of the file has. Throws if that overflows.
uint64_t bytes_of(const TorchStorage& storage, const std::string& where);

// The bytes of a whole storage; a reason in place of them if the allowance has not enough for them.
using FindStorage =
    std::function<std::optional<SharedBytes>(const TorchStorage& storage, std::string& reason)>;

// All tensors that the tree names.
TensorFile torch_tensors(const PickleTree& tree, const FindStorage& find, bool big_endian,
                         const std::string& name, const std::string& where, Allowance& allowance);

}  // namespace vitrine
