// random.h: random numbers without a hidden state.
//
// Philox4x32-10 (Salmon et al., SC 2011) turns a key and a counter into four random words. What a number is
// for, the epoch, the data-set sample and the element's index make up the counter, so the same number comes
// out whatever the batch, the thread or the device.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace vitrine {

// What a number is for. Two purposes never share numbers.
enum class Purpose : uint32_t {
  init = 1,        // fresh weights
  order,           // shuffling of samples
  subset,          // which samples a limit or a split takes
  augment,         // flips and crops
  dropout,         // dropout masks
  drop_path,       // which residual branches are skipped
  prompt_dropout,  // dropout of prompt tokens
  synthetic,       // made-up data sets
  formula,         // formula-driven pictures
  test,            // test inputs
  pretrain         // fresh prompts of pretraining
};

// The four random words of one counter.
std::array<uint32_t, 4> philox(uint64_t key, std::array<uint32_t, 4> counter);

// A stream of numbers for one (seed, purpose, epoch, sample). `lane` tells several users of one purpose
// apart, e.g. the layers of a network; it is below 2^24. A copy continues from the same place.
class Random {
 public:
  Random(uint64_t seed, Purpose purpose, uint32_t epoch = 0, uint32_t sample = 0, uint32_t lane = 0)
      : seed_(seed), fixed_{sample, epoch, static_cast<uint32_t>(purpose) | lane << 8} {}

  uint32_t bits();
  double uniform();                         // [0, 1), multiples of 2^-32
  double uniform(double low, double high);  // [low, high)
  double normal();                          // mean 0, variance 1 (Box and Muller)
  uint32_t below(uint32_t n);               // 0 .. n-1; n > 0
  bool chance(double probability) { return uniform() < probability; }
  void shuffle(std::span<int64_t> items);  // Fisher and Yates

  // Goes to element `index` of the stream: the next number is the one that index earlier calls
  // of bits() would reach.
  void seek(uint32_t index) { next_ = index; }

 private:
  uint64_t seed_;
  std::array<uint32_t, 3> fixed_;  // sample, epoch, purpose and lane
  uint32_t next_ = 0;
  std::array<uint32_t, 4> words_{};
  uint32_t words_of_ = UINT32_MAX;  // which group of four `words_` holds
};

}  // namespace vitrine
