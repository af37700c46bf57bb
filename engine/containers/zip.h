// zip.h: the members of a zip archive, the outer form of .npz files and of torch's since its version 1.6.
//
// Only the central directory is believed. Read are members that are stored or deflated, with or without zip64; refused
// are encryption, several disks, repeated names, members that overlap, and whatever lies outside of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/containers/allowance.h"
#include "engine/tensor.h"

namespace vitrine {

struct ZipMember {
  std::string_view name;             // points into the archive
  std::span<const std::byte> bytes;  // as they lie in the archive: stored or deflated
  uint64_t size = 0;                 // of the content
  uint32_t crc = 0;
  bool deflated = false;
  uint64_t begin = 0, end = 0;  // of its local header, of its data
};

// Bytes, who keeps them alive (null: the caller), and who can give their memory back (tensor.h).
struct SharedBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  SetAside set_aside;
};

class ZipArchive {
 public:
  static constexpr size_t most_members = 65536;

  // Reads the directory of an archive in memory, which must outlive this object. `where` opens the sentences of
  // errors, e.g. "npz: 'vit.npz'". Throws Fault::input if anything is not as it must be.
  ZipArchive(std::span<const std::byte> bytes, std::string where, Allowance& allowance);

  // In the order of the directory.
  const std::vector<ZipMember>& members() const { return members_; }
  const ZipMember* find(std::string_view name) const;  // null if there is none

  // The member's content, of the CRC-32 that the directory tells, else throws. What is stored stays in `archive`, the
  // whole file; what is deflated is inflated into new memory, taken from the allowance.
  SharedBytes content(const ZipMember& member, const SharedBytes& archive, Allowance& allowance) const;
  // The same of a deflated member, for which the memory has been taken. Its byte `first` comes to lie where any element may.
  SharedBytes inflated(const ZipMember& member, const SharedBytes& archive, size_t first = 0) const;
  // The first bytes of a deflated member, as many as there are room and content for: how many. The CRC-32 is not looked at.
  size_t inflate_beginning(const ZipMember& member, std::span<std::byte> room) const;

 private:
  void read_directory(std::span<const std::byte> bytes, uint64_t begin, uint64_t end, uint64_t count);
  void check_names_and_places();
  void check_crc(const ZipMember& member, std::span<const std::byte> content) const;
  void inflate(const ZipMember& member, std::span<std::byte> out) const;

  std::string where_;
  std::vector<ZipMember> members_;
  std::vector<uint32_t> by_name_;
};

}  // namespace vitrine
