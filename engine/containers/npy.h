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

// A .npy file, versions 1 to 3, column-major and big-endian ones, too: one tensor, called "array". `|V2`, as ml_dtypes
// leaves it, is bf16. What is well-formed but no array of numbers (objects, structures, text, dates) is among the file's
// objects. Throws Fault::input if it is malformed.
TensorFile read_npy(const SharedBytes& file, const std::string& name);

// A .npz file: each member `<key>.npy` is a tensor `<key>`; other members are ignored. Deflated arrays are inflated if
// they are as large as their headers promise and all of them fit into four times the file's size and 16 MiB; those that
// do not fit are unreadable. Only in builds with VITRINE_FILES, which have zlib.
TensorFile read_npz(const SharedBytes& file, const ZipArchive& archive, const std::string& name,
                    Allowance& allowance);

}  // namespace vitrine
