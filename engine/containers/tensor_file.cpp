#include "engine/containers/tensor_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/check.h"
#include "engine/containers/npy.h"
#include "engine/containers/shards.h"
#include "engine/containers/torch_file.h"
#include "engine/containers/zip.h"
#include "engine/file.h"
#include "engine/parts.h"
#include "engine/text.h"

namespace vitrine {

namespace {

namespace fs = std::filesystem;

bool begins(std::span<const std::byte> bytes, std::string_view with) {
  return bytes.size() >= with.size() && std::memcmp(bytes.data(), with.data(), with.size()) == 0;
}

// A length of the header that is not beyond the file, and JSON's first character.
bool is_safetensors(std::span<const std::byte> bytes) {
  uint64_t header = 0;
  if (bytes.size() <= sizeof header) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  const char first = static_cast<char>(bytes[sizeof header]);
  return header <= bytes.size() - sizeof header &&
         std::string_view("{ \t\r\n").find(first) != std::string_view::npos;
}

bool is_tar(std::span<const std::byte> bytes) {
  constexpr size_t place = 257;
  return bytes.size() > place && begins(bytes.subspan(place), "ustar");
}

// "<!doctype html>", "<?xml ...": an angle bracket behind spaces and a byte order mark.
bool is_markup(std::span<const std::byte> bytes) {
  if (begins(bytes, "\xef\xbb\xbf")) bytes = bytes.subspan(3);
  while (!bytes.empty() &&
         std::string_view(" \t\r\n").find(static_cast<char>(bytes[0])) != std::string_view::npos)
    bytes = bytes.subspan(1);
  return begins(bytes, "<");
}

[[maybe_unused]] TensorFile read_zip(const SharedBytes& file, const std::string& name) {
#ifdef VITRINE_FILES
  Allowance allowance(file.bytes.size(), text("zip: '{}'", name));
  const ZipArchive archive(file.bytes, text("zip: '{}'", name), allowance);
  if (is_torch_zip(archive)) return read_torch_zip(file, archive, name, allowance);
  for (const ZipMember& member : archive.members()) {
    if (member.name.ends_with(".npy")) return read_npz(file, archive, name, allowance);
  }
  fail(Fault::input,
       "zip: '{}': expected the archive of a PyTorch checkpoint (with data.pkl) or of numpy (with .npy), got "
       "neither",
       name);
#else
  static_cast<void>(file);
  fail(Fault::input, "'{}': is a zip archive, which this build without VITRINE_FILES cannot read", name);
#endif
}

}  // namespace

TensorFile read_tensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                        const std::string& name, const SetAside& set_aside) {
  const SharedBytes file{bytes, std::move(owner), set_aside};
  const bool zip = begins(bytes, "PK\x03\x04") || begins(bytes, "PK\x05\x06");
  const bool numpy = begins(bytes, "\x93NUMPY");
  if constexpr (parts::containers) {
    if (zip) return read_zip(file, name);
    if (is_legacy_torch(bytes)) return read_legacy_torch(file, name);
    if (numpy) return read_npy(file, name);
  } else if (zip || numpy || begins(bytes, "\x80")) {
    left_out(text("'{}': is a file of PyTorch's or numpy's", name), "VITRINE_CONTAINERS");
  }
  check(!begins(bytes, "GGUF"), "'{}': is a GGUF file, which cannot be read: convert it to safetensors",
        name);
  // What people have when a download gave them something else.
  check(!begins(bytes, "version https://git-lfs"),
        "'{}': is Git LFS's pointer to a file, not the file; `git lfs pull` fetches it", name);
  check(!begins(bytes, "\x89HDF"), "'{}': is an HDF5 file, as Keras writes, which cannot be read", name);
  check(!is_markup(bytes), "'{}': is a web page (or an answer of a web server), not a checkpoint", name);
  check(!is_tar(bytes),
        "'{}': is a tar archive, as PyTorch wrote before its version 0.4, which cannot be read: load and "
        "save it again with a newer PyTorch",
        name);
  if (is_safetensors(bytes)) {
    return read_safetensors(bytes, file.owner, name, safetensors_header_limit, set_aside);
  }
  const auto first = bytes.first(std::min<size_t>(bytes.size(), 8));
  fail(Fault::input, "'{}': expected a safetensors, .npy, .npz or PyTorch file, got {}{}", name,
       bytes.empty() ? "an empty one" : "one that begins with ",
       bytes.empty() ? "" : quote({reinterpret_cast<const char*>(first.data()), first.size()}));
}

#ifdef VITRINE_FILES

namespace {

// With its slash; empty for the one where we are.
std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

TensorFile read_mapped(const std::shared_ptr<const MappedFile>& file, const std::string& path) {
  return read_tensors(file->bytes(), file, path,
                      [file = file.get()](std::span<const std::byte> part) { file->set_aside(part); });
}

}  // namespace

TensorFile load_tensors(const std::string& path) {
  const auto file = map_file(path);
  if (!is_shard_index(file->bytes())) return read_mapped(file, path);
  TensorFile out;
  out.name = path;
  for (const auto& [shard, names] : read_shard_index(file->bytes(), path)) {
    const std::string shard_path = folder_of(path) + shard;
    TensorFile part = read_mapped(map_file(shard_path), shard_path);
    for (const std::string& name : names) {
      if (const auto unreadable = part.unreadable.find(name); unreadable != part.unreadable.end()) {
        out.unreadable.insert(*unreadable);
      } else if (const auto object = part.objects.find(name); object != part.objects.end()) {
        out.objects.insert(*object);
      } else {
        out.tensors.emplace(name, part.at(name));
      }
    }
  }
  return out;
}

std::vector<std::string> files_of(const std::string& path) {
  std::vector<std::string> files{path};
  const auto file = map_file(path);
  if (is_shard_index(file->bytes()))
    for (const auto& [shard, names] : read_shard_index(file->bytes(), path))
      files.push_back(folder_of(path) + shard);
  return files;
}

namespace {

// "model.safetensors.index.json" for "model-00001-of-00002.safetensors"; empty for what is no part of several.
std::string index_of(const std::string& name) {
  constexpr std::string_view digits = "0123456789", between = "-of-";
  const size_t of = name.rfind(between);
  if (of == std::string::npos) return {};
  const size_t after = of + between.size(), ending = name.find_first_not_of(digits, after);
  const size_t before = name.find_last_not_of(digits, of - 1);
  const bool numbered = of > 0 && before != std::string::npos && before + 1 < of && name[before] == '-';
  if (!numbered || ending == std::string::npos || ending == after || name[ending] != '.') return {};
  const std::string count = name.substr(after, ending - after);
  if (count.find_first_not_of("01") == std::string::npos && count.back() == '1') return {};  // one of one
  return text("{}{}.index.json", name.substr(0, before), name.substr(ending));
}

bool is_weights_name(const fs::path& name) {
  constexpr std::array<std::string_view, 6> endings{".safetensors", ".bin", ".pth", ".pt", ".npz", ".ckpt"};
  return std::find(endings.begin(), endings.end(), name.extension().string()) != endings.end();
}

}  // namespace

std::string weights_file(const std::string& path) {
  std::error_code problem;
  const fs::path place(path);
  if (!fs::is_directory(place, problem)) {
    const std::string index = index_of(place.filename().string());
    check(index.empty(), "{}: is one file of a model that lies in several: name their index, {}", quote(path),
          quote((place.parent_path() / index).string()));
    return path;
  }
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json"})
    if (const fs::path file = place / name; fs::is_regular_file(file, problem)) return file.string();
  std::vector<std::string> there;
  for (fs::directory_iterator entry(place, problem), end; !problem && entry != end; entry.increment(problem))
    if (is_weights_name(entry->path())) there.push_back(quote(entry->path().string()));
  std::sort(there.begin(), there.end());
  constexpr size_t most = 5;
  std::string names;
  for (size_t i = 0; i < std::min(there.size(), most); ++i)
    names += text("{}{}", i > 0 ? ", " : "", there[i]);
  fail(Fault::input,
       "{}: is a folder without model.safetensors, pytorch_model.bin or the index of either; name the file "
       "of weights{}",
       quote(path), names.empty() ? "" : text(", of {}{}", names, there.size() > most ? ", ..." : ""));
}

#endif

}  // namespace vitrine
