// sha256.h: the SHA-256 digest of FIPS 180-4, to give files and weights an identity.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vitrine {

// Takes its message in pieces of any size: the digest depends on the joined bytes only.
class Sha256 {
 public:
  Sha256& update(std::span<const std::byte> bytes);
  Sha256& update(std::string_view characters);

  // The digest of everything taken so far, as 64 lower-case hexadecimal digits. More may be taken afterwards.
  std::string hex() const;

 private:
  void take(const std::byte* blocks, size_t count);  // of 64 bytes each

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> pending_{};  // the first size_ % 64 bytes wait for a full block
  uint64_t size_ = 0;                    // bytes taken so far
};

// The digest of one message.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace vitrine
