// timing.h: how long a device takes for one call, without what it costs to hand the call over.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/device.h"

namespace vitrine::bench {

// Hands one piece of work to the device, on operands of its own.
using Call = std::function<void()>;

struct Pace {
  double batch_seconds;  // a batch of calls, waited for once, takes about so long
  int repeats;           // batches that are timed
  int64_t most_calls;    // of a batch
};

struct Timing {
  double median, least, most;  // seconds of a call
  int64_t calls;               // in a batch
  int repeats;
  bool recorded;  // the batch was recorded once and replayed; else each call was handed over in its turn
};

// The calls take turns, so that no cache holds what the next of them reads. Throws what they throw.
Timing time_calls(const Device& device, const Pace& pace, const std::vector<Call>& calls);

}  // namespace vitrine::bench
