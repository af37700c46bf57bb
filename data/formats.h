// formats.h: one function per data-set format, for open_dataset alone. `where` is what follows
// the scheme's colon.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"

namespace vitrine {

using DatasetPointer = std::shared_ptr<const Dataset>;

DatasetPointer open_synthetic(const std::string& name, Split split);

// Only in builds with VITRINE_FILES.
DatasetPointer open_folder(const std::string& where, Split split, const OpenOptions& options);
bool folder_has_split(const std::string& where, Split split);
DatasetPointer open_fashion_mnist(const std::string& where, Split split);
DatasetPointer open_cifar10(const std::string& where, Split split);
DatasetPointer open_cifar100(const std::string& where, Split split);
DatasetPointer open_tensors(const std::string& where);

}  // namespace vitrine
