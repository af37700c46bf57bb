// memory.h: where the bytes of tensors come from, how many there are, and how many there may be.
//
// Nothing is global: whoever creates the first tensors passes a Memory, and each op allocates its results
// where its first input lives. A default Memory is the plain heap, uncounted and unlimited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "engine/parts.h"

namespace vitrine {

class Device;

// What an embedding program gives to keep all bytes in its own hands. `allocate` returns 64-byte aligned
// memory or nullptr; `release` gets the same pointer and size back.
struct HostAllocator {
  std::function<void*(size_t bytes)> allocate;
  std::function<void(void* pointer, size_t bytes)> release;
};

struct MemoryStatistics {
  size_t current = 0;  // bytes alive now
  size_t idle = 0;     // bytes given back and kept for the next block of their size; current + idle <= peak
  size_t peak = 0;     // most bytes ever alive at once since the last reset_peak
  size_t total = 0;    // bytes handed out in all
  size_t allocations = 0;  // blocks handed out in all
};

// A handle to one pool; copies share it. Thread-safe.
//
// A training step asks for the same sizes again and again, and fresh pages from the system cost more than
// most ops. So a counting pool without a host's allocator keeps blocks that were given back, but never more
// than fits under its peak.
class Memory {
 public:
  Memory() = default;  // the plain heap
  // A counting pool with a limit in bytes (0: none) on top of the heap or of the host's allocator.
  static Memory counted(size_t limit = 0, HostAllocator host = {});
  // The same on top of a device's memory (device.h). It keeps the device open.
  static Memory of_device(std::shared_ptr<const Device> device, size_t limit = 0);

  // Throws Error{Fault::resources} if the limit would be passed or the allocator has no more. What else a
  // host's allocator throws is passed on.
  std::shared_ptr<std::byte> allocate(size_t bytes) const;

  MemoryStatistics statistics() const;  // all zero for the plain heap
  void reset_peak() const;              // peak = current; idle blocks go back to the system
  // Null: main memory.
  const Device* device() const { return parts::device ? device_of_pool() : nullptr; }

 private:
  struct Pool;
  const Device* device_of_pool() const;
  std::shared_ptr<Pool> pool_;
};

}  // namespace vitrine
