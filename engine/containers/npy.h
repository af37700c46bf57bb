// npy.h: numpy's files: .npy, one array, and .npz, a zip archive of them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/containers/array.h"
#include "engine/containers/zip.h"
#include "engine/safetensors.h"

namespace vitrine {

// The array of a .npy file, versions 1 to 3, column-major and big-endian ones, too. `|V2`, as ml_dtypes leaves it, is
// bf16. Nothing is copied. Throws Fault::input, beginning with `where`, if the file is malformed; what is well-formed
// but no array of numbers (objects, structures, text, dates) has a `reason` in place of bytes.
StoredArray parse_npy(std::span<const std::byte> bytes, const std::string& where, std::string& reason);

// A .npy file: one tensor, called "array".
TensorFile read_npy(const SharedBytes& file, const std::string& name);

// A .npz file: each member `<key>.npy` is a tensor `<key>`; other members are ignored. Only in builds with
// VITRINE_FILES, which have zlib.
TensorFile read_npz(const SharedBytes& file, const ZipArchive& archive, const std::string& name,
                    Allowance& allowance);

}  // namespace vitrine
