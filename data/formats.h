// formats.h: one function per data-set format, for open_dataset alone. `where` is what follows
// the scheme's colon.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"

namespace vitrine {

using DatasetPointer = std::shared_ptr<const Dataset>;

// "0", "1", ...: for labels up to `greatest`, which must be below 2^20.
std::vector<std::string> numbered_classes(int64_t greatest, const std::string& who);

// Whether `part`, which is train, val or test, belongs to `whole`.
bool includes(Split whole, Split part);

DatasetPointer open_synthetic(const std::string& name, Split split);
DatasetPointer open_mini(const std::string& where, Split split);

// Only in builds with VITRINE_FILES.
DatasetPointer open_folder(const std::string& where, Split split, const OpenOptions& options);
bool folder_has_split(const std::string& where, Split split);
DatasetPointer open_fashion_mnist(const std::string& where, Split split);
DatasetPointer open_cifar10(const std::string& where, Split split);
DatasetPointer open_cifar100(const std::string& where, Split split);
DatasetPointer open_tensors(const std::string& where);
DatasetPointer open_vtab(const std::string& where, Split split, const OpenOptions& options);
bool vtab_has_split(const std::string& where, Split split);
DatasetPointer open_fgvc(const std::string& where, Split split, const OpenOptions& options);
bool fgvc_has_split(const std::string& where, Split split);

}  // namespace vitrine
