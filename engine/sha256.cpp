#include "engine/sha256.h"

#include <algorithm>
#include <bit>
#ifdef VITRINE_SHA256_INSTRUCTIONS
#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif
#endif

#include "engine/cpu/sha256.h"

namespace vitrine {

namespace {

uint32_t big_endian(const unsigned char* bytes) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word = (word << 8) | bytes[i];
  return word;
}

void take_block(uint32_t* state, const unsigned char* block) {
  std::array<uint32_t, 64> w;
  for (size_t t = 0; t < 16; ++t) w[t] = big_endian(block + 4 * t);
  for (size_t t = 16; t < 64; ++t) {
    const uint32_t near = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ (w[t - 2] >> 10);
    const uint32_t far = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ (w[t - 15] >> 3);
    w[t] = near + w[t - 7] + far + w[t - 16];
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6],
           h = state[7];
  for (size_t t = 0; t < 64; ++t) {
    const uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t choice = (e & f) ^ (~e & g);
    const uint32_t first = h + sum1 + choice + cpu::sha256_constants[t] + w[t];
    const uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    h = g, g = f, f = e, e = d + first;
    d = c, c = b, b = a, a = first + sum0 + majority;
  }
  const std::array<uint32_t, 8> working = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) state[i] += working[i];
}

void take_blocks(uint32_t* state, const unsigned char* blocks, int64_t count) {
  for (; count > 0; --count, blocks += 64) take_block(state, blocks);
}

#ifdef VITRINE_SHA256_INSTRUCTIONS
// Whether this processor can what CMakeLists.txt lets the compiler use in sha256_x86.cpp or sha256_arm.cpp.
bool processor_has_sha256() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned leaf = 7, sha = 1u << 29;
  return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(leaf, 0, &a, &b, &c, &d) != 0 &&
         (b & sha) != 0;
#else
  return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0;
#endif
}
#endif

}  // namespace

namespace cpu {

constinit const Sha256Kernels plain_sha256_kernels{take_blocks};

const Sha256Kernels& sha256_kernels() {
#ifdef VITRINE_SHA256_INSTRUCTIONS
  static const bool has = processor_has_sha256();
  if (has) return processor_sha256_kernels;
#endif
  return plain_sha256_kernels;
}

}  // namespace cpu

void Sha256::take(const std::byte* blocks, size_t count) {
  cpu::sha256_kernels().take_blocks(state_.data(), reinterpret_cast<const unsigned char*>(blocks),
                                    static_cast<int64_t>(count));
}

Sha256& Sha256::update(std::span<const std::byte> bytes) {
  const size_t waiting = size_ % 64;
  size_ += bytes.size();
  if (waiting != 0) {
    const size_t taken = std::min(64 - waiting, bytes.size());
    std::copy_n(bytes.begin(), taken, pending_.begin() + static_cast<std::ptrdiff_t>(waiting));
    bytes = bytes.subspan(taken);
    if (waiting + taken < 64) return *this;
    take(pending_.data(), 1);
  }
  const size_t whole = bytes.size() / 64;
  if (whole > 0) take(bytes.data(), whole);
  bytes = bytes.subspan(64 * whole);
  std::ranges::copy(bytes, pending_.begin());
  return *this;
}

Sha256& Sha256::update(std::string_view characters) {
  return update(std::as_bytes(std::span<const char>(characters)));
}

std::string Sha256::hex() const {
  Sha256 last = *this;
  // A one bit, zeros up to 56 bytes past a whole block, and the length in bits.
  std::array<std::byte, 72> padding{};
  const size_t waiting = size_ % 64;
  const size_t zeros_end = (waiting < 56 ? 56 : 120) - waiting;
  padding[0] = std::byte{0x80};
  for (size_t i = 0; i < 8; ++i) padding[zeros_end + i] = static_cast<std::byte>((size_ * 8) >> (56 - 8 * i));
  last.update(std::span<const std::byte>(padding).first(zeros_end + 8));

  std::string digits;
  for (const uint32_t word : last.state_) {
    for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[(word >> shift) & 15];
  }
  return digits;
}

std::string sha256_hex(std::span<const std::byte> bytes) { return Sha256().update(bytes).hex(); }

}  // namespace vitrine
