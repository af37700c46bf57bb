// torch_file.h: PyTorch's checkpoints (.pth, .pt, .bin), as torch.save and torch.jit.save write them.
//
// Both forms are read: the zip archive of torch 1.6 and newer, and the row of pickles before. No code in them runs
// (pickle.h); the tensors get flat names (state.h). Tensors may share a storage, be views of it with any strides, be
// big-endian, and be parameters; those of a TorchScript archive are found by the attributes of its module.
//
// Tensors of types that there are none of here, sparse and quantised ones, and all that only foreign code could
// make, are unreadable (TensorFile), by name. A tensor that points beyond its storage, or a storage that is not
// there or damaged, is an error of the whole file.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/containers/zip.h"
#include "engine/safetensors.h"

namespace vitrine {

// Only in builds with VITRINE_FILES, which have zlib.
TensorFile read_torch_zip(const SharedBytes& file, const ZipArchive& archive, const std::string& name,
                          Allowance& allowance);
// Whether an archive is one of torch's: it holds <folder>/data.pkl.
bool is_torch_zip(const ZipArchive& archive);

// Whether a file begins as those of torch before 1.6.
bool is_legacy_torch(std::span<const std::byte> bytes);
TensorFile read_legacy_torch(const SharedBytes& file, const std::string& name);

}  // namespace vitrine
