// queue.h: the emulator as a device: work is done at once, or recorded.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/gpu/emulator/simt.h"
#include "engine/gpu/kernels.h"

namespace vitrine::gpu {

using Work = std::function<Result()>;

struct Queue {
  explicit Queue(const emulator::Settings& settings) : machine(settings) {}
  emulator::Machine machine;
  bool recording = false;
  std::vector<Work> recorded;
  std::string message;  // of the last error
  std::string description;
};

struct Graph {
  std::vector<Work> work;
};

namespace emulator {

// Does the work, or records it. It is called again by each replay.
Result submit(Queue* queue, Work work);
// The sentence lives until the next error of the queue.
Result failed(Queue* queue, std::string sentence);
Result launch(Queue* queue, Launch launch);

}  // namespace emulator
}  // namespace vitrine::gpu
