// recording.h: work of a device that is recorded once and done again and again, as a CUDA graph.
//
// A training step starts some hundred kernels, and where they are short, starting them one by one takes longer than the
// work. A recording starts all of them at once. It repeats the very calls: the same kernels on the same addresses.
#pragma once

#include <functional>
#include <memory>

#include "engine/device.h"

namespace vitrine {

class Recording {
 public:
  // Calls `body`, whose work is recorded and not done. Nothing may be uploaded to the device or downloaded from it
  // meanwhile, nor may another thread use the device: both throw. What differs from one time to the next (images, labels,
  // learning rates, random numbers' keys) must lie in tensors that exist before, and be assigned to them between
  // replays, and what the work reads must live as long as the recording: the memory of a tensor that dies goes to others.
  // Blocks that tensors made by `body` had, living or not, belong to the recording while it lives.
  Recording(std::shared_ptr<const Device> device, const std::function<void()>& body);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // Does the work. Tensors that `body` made and that still live hold the new results.
  void replay() const;

 private:
  std::shared_ptr<const Device> device_;
  gpu::Graph* graph_ = nullptr;
  std::shared_ptr<Arena> arena_;
};

}  // namespace vitrine
