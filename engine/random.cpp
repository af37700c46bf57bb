#include "engine/random.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "engine/check.h"

namespace vitrine {

std::array<uint32_t, 4> philox(uint64_t key, std::array<uint32_t, 4> counter) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

uint32_t Random::bits() {
  const uint32_t group = next_ / 4;
  if (group != words_of_) {
    words_ = philox(seed_, {group, fixed_[0], fixed_[1], fixed_[2]});
    words_of_ = group;
  }
  return words_[next_++ % 4];
}

double Random::uniform() { return bits() * 0x1p-32; }

double Random::uniform(double low, double high) { return low + (high - low) * uniform(); }

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint32_t Random::below(uint32_t n) {
  check(n > 0, "random: below(0)");
  return static_cast<uint32_t>((uint64_t{bits()} * n) >> 32);
}

void Random::shuffle(std::span<int64_t> items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(static_cast<uint32_t>(i))]);
}

}  // namespace vitrine
