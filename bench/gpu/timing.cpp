#include "timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/check.h"
#include "engine/recording.h"

namespace vitrine::bench {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class F>
double seconds_of(const Device& device, const F& work) {
  const double begin = now();
  work();
  device.wait();
  return now() - begin;
}

// A batch as one recorded piece of work; null where the device cannot record it.
template <class F>
std::unique_ptr<Recording> recorded(const Device& device, const F& work) {
  try {
    return std::make_unique<Recording>(device.shared_from_this(), work);
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

Timing time_calls(const Device& device, const Pace& pace, const std::vector<Call>& calls) {
  const auto sets = static_cast<int64_t>(calls.size());
  const auto run = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) calls[static_cast<size_t>(i % sets)]();
  };
  seconds_of(device, [&] { run(sets); });  // settles how products are made, and wakes the device
  const double one = seconds_of(device, [&] { run(sets); }) / static_cast<double>(sets);

  int64_t count = static_cast<int64_t>(std::ceil(pace.batch_seconds / one));
  count = std::max(std::min(count, pace.most_calls), sets);
  count = (count + sets - 1) / sets * sets;
  const std::unique_ptr<Recording> recording = recorded(device, [&] { run(count); });
  const auto batch = [&] { recording != nullptr ? recording->replay() : run(count); };
  seconds_of(device, batch);
  std::vector<double> seconds;
  for (int i = 0; i < pace.repeats; ++i)
    seconds.push_back(seconds_of(device, batch) / static_cast<double>(count));
  std::ranges::sort(seconds);
  const size_t half = seconds.size() / 2;
  return {.median = seconds.size() % 2 == 1 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2,
          .least = seconds.front(),
          .most = seconds.back(),
          .calls = count,
          .repeats = pace.repeats,
          .recorded = recording != nullptr};
}

}  // namespace vitrine::bench
