// container_files.h: makes zip archives, pickles and .npy files of any kind, wrong ones above all.
#pragma once

#include <zlib.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data_files.h"

namespace files {

inline void put_little64(std::string& out, uint64_t value, int width = 8) {
  for (int i = 0; i < width; ++i) out += i < 8 ? static_cast<char>(value >> (8 * i)) : 0;
}

struct Member {
  std::string name, content;
  bool deflated = false;
};

// An archive, and where the parts of its directory lie, for those who damage it.
struct Archive {
  std::string bytes;
  std::vector<size_t> local, central;  // headers
  size_t end = 0, end64 = 0;
};

// With little memory: tests call it ten thousands of times.
inline std::string deflate_raw(const std::string& content) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, -10, 1, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline Archive zip(const std::vector<Member>& members, bool zip64 = false) {
  Archive out;
  std::string& bytes = out.bytes;
  std::string directory;
  std::vector<size_t> central;
  for (const Member& member : members) {
    const std::string packed = member.deflated ? deflate_raw(member.content) : member.content;
    const auto crc = static_cast<uint32_t>(
        crc32_z(0, reinterpret_cast<const Bytef*>(member.content.data()), member.content.size()));
    const auto common = [&](std::string& to, bool with64) {
      put_little64(to, 45, 2);
      put_little64(to, 0, 2);
      put_little64(to, member.deflated ? 8 : 0, 2);
      put_little64(to, 0, 4);
      put_little64(to, crc, 4);
      put_little64(to, with64 ? 0xffffffff : packed.size(), 4);
      put_little64(to, with64 ? 0xffffffff : member.content.size(), 4);
      put_little64(to, member.name.size(), 2);
    };
    out.local.push_back(bytes.size());
    const size_t begin = bytes.size();
    bytes += "PK\3\4";
    common(bytes, false);
    put_little64(bytes, 0, 2);
    bytes += member.name + packed;

    central.push_back(directory.size());
    directory += "PK\1\2";
    put_little64(directory, 45, 2);
    common(directory, zip64);
    put_little64(directory, zip64 ? 28 : 0, 2);
    put_little64(directory, 0, 2 + 2 + 2 + 4);
    put_little64(directory, zip64 ? 0xffffffff : begin, 4);
    directory += member.name;
    if (zip64) {
      put_little64(directory, 1, 2);
      put_little64(directory, 24, 2);
      put_little64(directory, member.content.size());
      put_little64(directory, packed.size());
      put_little64(directory, begin);
    }
  }
  const size_t begin = bytes.size();
  for (const size_t place : central) out.central.push_back(begin + place);
  bytes += directory;
  if (zip64) {
    out.end64 = bytes.size();
    bytes += "PK\6\6";
    put_little64(bytes, 44);
    put_little64(bytes, 45, 2);
    put_little64(bytes, 45, 2);
    put_little64(bytes, 0);
    put_little64(bytes, members.size());
    put_little64(bytes, members.size());
    put_little64(bytes, directory.size());
    put_little64(bytes, begin);
    bytes += "PK\6\7";
    put_little64(bytes, 0, 4);
    put_little64(bytes, out.end64);
    put_little64(bytes, 1, 4);
  }
  out.end = bytes.size();
  bytes += "PK\5\6";
  put_little64(bytes, 0, 4);
  put_little64(bytes, zip64 ? 0xffff : members.size(), 2);
  put_little64(bytes, zip64 ? 0xffff : members.size(), 2);
  put_little64(bytes, zip64 ? 0xffffffff : directory.size(), 4);
  put_little64(bytes, zip64 ? 0xffffffff : begin, 4);
  put_little64(bytes, 0, 2);
  return out;
}

// A .npy file of a header as it stands, and data.
inline std::string npy(const std::string& header, const std::string& data, int major = 1) {
  std::string out = std::string("\x93NUMPY") + static_cast<char>(major) + '\0';
  put_little64(out, header.size(), major == 1 ? 2 : 4);
  return out + header + data;
}
inline std::string npy_header(const std::string& descr, const std::string& shape,
                              const std::string& order = "False") {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

// Pieces of pickles.
inline std::string words(const std::string& text) {
  std::string out = "X";
  put_little64(out, text.size(), 4);
  return out + text;
}
inline std::string integer(int64_t value) {
  std::string out("\x8a\x08", 2);
  put_little64(out, static_cast<uint64_t>(value));
  return out;
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::string& items) { return "(" + items + "t"; }
inline std::string integers(const std::vector<int64_t>& values) {
  std::string items;
  for (const int64_t value : values) items += integer(value);
  return tuple(items);
}
inline std::string storage(const std::string& key, int64_t numel, const std::string& type = "FloatStorage",
                           const std::string& more = "") {
  return tuple(words("storage") + global("torch", type) + words(key) + words("cpu") + integer(numel) + more) +
         "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& sizes,
                          const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(storage + integer(offset) + integers(sizes) + integers(strides) + "\x89N") + "R";
}
// A dictionary of keys and values, pickled one after the other.
inline std::string dict(const std::string& items) { return "}(" + items + "u"; }
inline std::string pickle(const std::string& value) { return "\x80\2" + value + "."; }

inline std::string torch_zip(const std::string& value, std::vector<Member> more = {}) {
  more.insert(more.begin(), {"x/data.pkl", pickle(value)});
  return zip(more).bytes;
}
inline std::string floats(size_t count) { return std::string(count * sizeof(float), '\1'); }

inline std::string legacy_beginning() {
  return std::string("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15) + pickle(integer(1001)) +
         pickle("}");
}
inline std::string legacy(const std::string& value,
                          const std::vector<std::pair<std::string, std::string>>& storages,
                          size_t width = 4) {
  std::string keys = "](", data;
  for (const auto& [key, content] : storages) {
    keys += words(key);
    put_little64(data, content.size() / width);
    data += content;
  }
  return legacy_beginning() + pickle(value) + pickle(keys + "e") + data;
}

inline Bytes as_bytes(std::string_view words) {
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}

}  // namespace files
