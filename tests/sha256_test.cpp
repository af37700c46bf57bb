// sha256_test.cpp: the published examples for SHA-256, and that pieces make no difference.
#include "engine/sha256.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "engine/cpu/sha256.h"

using namespace vitrine;

TEST_CASE("sha256: the examples of FIPS 180") {
  CHECK(Sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Sha256().update("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Sha256().update("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex() ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(Sha256().update(std::string(1'000'000, 'a')).hex() ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256: any cut into pieces gives the digest of the whole") {
  std::string message;
  for (int i = 0; i < 200; ++i) message += static_cast<char>(i * 7);
  for (size_t length = 0; length <= message.size(); ++length) {  // across the one and two block endings
    const std::string_view whole = std::string_view(message).substr(0, length);
    const std::string expected = sha256_hex(std::as_bytes(std::span(whole)));
    for (const size_t piece : {1, 3, 63, 64, 65}) {
      Sha256 digest;
      for (size_t at = 0; at < length; at += piece) digest.update(whole.substr(at, piece));
      REQUIRE(digest.hex() == expected);
    }
  }
}

TEST_CASE("sha256: asking for the digest does not end the message") {
  Sha256 digest;
  digest.update("a");
  CHECK(digest.hex() == Sha256().update("a").hex());
  CHECK(digest.update("bc").hex() == Sha256().update("abc").hex());
}

// On a processor without such instructions both are the same function, and the case says so.
TEST_CASE("sha256: the processor's instructions give the state that plain ones give") {
  const cpu::Sha256Kernels &plain = cpu::plain_sha256_kernels, &fast = cpu::sha256_kernels();
  if (plain.take_blocks == fast.take_blocks) MESSAGE("this processor has none");
  std::mt19937 random(1);  // its numbers are the same everywhere
  for (int64_t count = 0; count <= 5; ++count) {
    std::vector<unsigned char> blocks(static_cast<size_t>(64 * count));
    for (unsigned char& byte : blocks) byte = static_cast<unsigned char>(random());
    std::array<uint32_t, 8> expected{};
    for (uint32_t& word : expected) word = static_cast<uint32_t>(random());
    std::array<uint32_t, 8> found = expected;
    plain.take_blocks(expected.data(), blocks.data(), count);
    fast.take_blocks(found.data(), blocks.data(), count);
    CHECK(found == expected);
  }
}
