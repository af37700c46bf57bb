// queue.h: the emulator as a device. Work is done as late as a GPU may do it: not before somebody waits for it. What goes
// wrong in a kernel is therefore told by that wait, as on a GPU.
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
  std::vector<Work> waiting;  // asked for and not yet done
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

// Puts the work behind all that waits, or records it. It is called again by each replay.
Result submit(Queue* queue, Work work);
// Does all that waits, in its order. What comes after a failure is left out.
Result finish(Queue* queue);
// The sentence lives until the next error of the queue.
Result failed(Queue* queue, std::string sentence);
Result launch(Queue* queue, Launch launch);

}  // namespace emulator
}  // namespace vitrine::gpu
