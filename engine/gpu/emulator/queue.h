// queue.h: the emulator as a device: work is done at once, or recorded.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/gpu/emulator/simt.h"
#include "engine/gpu/kernels.h"
#include "engine/gpu/notes.h"

namespace vitrine::gpu {

using Work = std::function<Result()>;

struct Queue {
  explicit Queue(const emulator::Settings& settings) : memory(settings.memory), machine(settings) {}
  size_t memory;  // bytes in all
  size_t in_use = 0;
  std::map<void*, size_t> blocks;
  emulator::Machine machine;
  bool recording = false;
  std::vector<Work> recorded;
  std::string message;  // of the last error
  std::string description;
  Notes notes;
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
