// shards.h: the index of a model that lies in several files, as Hugging Face's libraries write it.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace vitrine {

// Whether a file may be such an index: JSON, and no safetensors file.
bool is_shard_index(std::span<const std::byte> bytes);

// The names of the tensors in each file, from {"metadata": ..., "weight_map": {tensor: file, ...}}. Throws Fault::input,
// naming the index, if it is malformed, if a tensor appears twice, or if a file is not in the index's own folder.
std::map<std::string, std::vector<std::string>> read_shard_index(std::span<const std::byte> bytes,
                                                                 const std::string& name);

}  // namespace vitrine
