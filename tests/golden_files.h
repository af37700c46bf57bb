// golden_files.h: the files of tests/golden, which other programs wrote (tests/golden/make.py).
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "data_files.h"
#include "engine/containers/tensor_file.h"
#include "engine/file.h"

namespace golden {

inline std::string path(const std::string& name) { return std::string(VITRINE_GOLDEN) + "/" + name; }
inline files::Bytes bytes(const std::string& name) { return vitrine::read_file(path(name)); }

// The names of all checkpoints, without those of what they hold.
inline std::vector<std::string> checkpoints() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path("containers"))) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".expected")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

// Reads from a heap block of just that size, so that sanitizers see any step beyond it.
inline vitrine::TensorFile read(const files::Bytes& bytes, const std::string& name = "x") {
  const auto owner = std::make_shared<const files::Bytes>(bytes);
  return vitrine::read_tensors(*owner, owner, name);
}

inline std::string refusal(const files::Bytes& bytes) {
  return files::message_of([&] { read(bytes); });
}

}  // namespace golden
