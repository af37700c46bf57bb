// safetensors.h: named tensors in one file, the format of all weights and checkpoints here.
//
// A file is the length of the header (8 bytes, little-endian), the header (JSON: per tensor its dtype, shape
// and range of bytes), and the data (row-major, little-endian). The reader trusts nothing: the tensors must
// cover the data exactly, without holes or overlaps, and what it cannot read it refuses with the file, the
// tensor, what was expected and what came. It allocates no more than a small multiple of the file's size.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace vitrine {

struct TensorFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
  std::string name = {};  // what error messages call it, usually its path
  std::string part =
      {};  // of a checkpoint that holds more than weights: what was taken ("model_ema"), else ""
  // Under other names, the arrays of numbers that no tensor here can hold (a type that tensors lack, no memory left), and
  // why, as the end of a sentence: whoever builds something of the tensors asks whether one of these belongs to it.
  std::map<std::string, std::string> unreadable = {};
  // What is no array of numbers (text, an object of a foreign program), and what it is, told likewise.
  std::map<std::string, std::string> objects = {};

  // The tensor of that name; if there is none, throws and says why it is unreadable or suggests the nearest name.
  const Tensor& at(const std::string& tensor) const;
};

// Longest header that is read or written, as in the format's definition.
constexpr size_t safetensors_header_limit = 100'000'000;

// Reads a file from memory; `name` stands for it in error messages. The tensors are sealed and borrow
// `bytes`, which `owner` keeps alive; data not aligned to its element size is copied, and without an owner
// all of it. `set_aside` is for the borrowed ones (tensor.h). Reads F64, F32, F16, BF16, I64, I32, I8 and U8 as they
// are, BOOL, I16, U16 and U32 as containers/array.h says, up to eight extents; tensors of the format's other types
// are unreadable, which stops nobody who does not ask for them. Throws Fault::input if anything is not as it must be.
TensorFile read_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                            const std::string& name, size_t header_limit = safetensors_header_limit,
                            const SetAside& set_aside = {});

// The same of a file that is read piece by piece and stays where it is: `read` puts bytes from `offset` on into `to`. The
// header is read at once, a tensor's data whenever it is needed (Tensor::fetched, in `memory`). Tensors of BOOL, I16, U16 and
// U32 are unreadable here. What `read` throws is passed on.
using ReadStorage = std::function<void(uint64_t offset, std::span<std::byte> to)>;
TensorFile read_safetensors(uint64_t size, const ReadStorage& read, const std::string& name,
                            const Memory& memory = {});

// The file's bytes. Equal content gives equal bytes: tensors stand by element size, largest first, then by
// name; metadata by key; the header is padded with spaces so that all data is aligned. Throws Fault::input
// for undefined tensors, for names that are not UTF-8 and for the reserved name "__metadata__".
std::vector<std::byte> write_safetensors(const TensorFile& file);

#ifdef VITRINE_FILES
// The same with a file. Loading maps the file, so that data is read when first touched; saving replaces it
// whole or not at all (file.h). Throws Fault::output if reading or writing fails.
TensorFile load_safetensors(const std::string& path);
void save_safetensors(const std::string& path, const TensorFile& file);
#endif

}  // namespace vitrine
