#include "engine/memory.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

#include "engine/check.h"
#include "engine/device.h"
#include "engine/parts.h"

namespace vitrine {

namespace {
constexpr std::align_val_t alignment{64};  // one cache line, one AVX-512 register
}

struct Memory::Pool {
  size_t limit = 0;
  HostAllocator host;
  std::shared_ptr<const Device> device;  // null: main memory
  std::mutex mutex;
  MemoryStatistics statistics;
  std::multimap<size_t, void*> idle;  // by size

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { release_idle(0); }

  bool on_device() const { return parts::device && device; }

  void give_to_system(void* block) const {
    if (on_device()) {
      device->release(block);
    } else {
      ::operator delete(block, alignment);
    }
  }

  // Gives idle blocks back to the system, largest first, until no more than `keep` bytes of them are left.
  void release_idle(size_t keep) {
    while (statistics.idle > keep) {
      const auto largest = std::prev(idle.end());
      statistics.idle -= largest->first;
      give_to_system(largest->second);
      idle.erase(largest);
    }
  }

  // Counts a block, and returns an idle one of its size if there is one, else nullptr. Those of a recording come from its
  // arena.
  void* reserve(size_t bytes, Arena* arena) {
    const std::lock_guard lock(mutex);
    if (limit != 0 && (bytes > limit || statistics.current > limit - bytes)) {
      fail(Fault::resources, "memory: {} more bytes would pass the limit of {} (in use: {})", bytes, limit,
           statistics.current);
    }
    statistics.current += bytes;
    statistics.peak = std::max(statistics.peak, statistics.current);
    statistics.total += bytes;
    ++statistics.allocations;
    void* block = arena != nullptr ? arena->take(bytes) : nullptr;
    if (block != nullptr) return block;
    if (const auto found = idle.find(bytes); found != idle.end()) {
      block = found->second;
      statistics.idle -= bytes;
      idle.erase(found);
    }
    if (arena == nullptr) release_idle(statistics.peak - statistics.current);  // which waits for the device
    return block;
  }

  // A fresh block; null if there is none. If a device has no more, it gets the idle ones back first.
  void* fresh(size_t bytes) {
    const size_t asked = std::max<size_t>(bytes, 1);
    if (!on_device())
      return host.allocate ? host.allocate(asked) : ::operator new(asked, alignment, std::nothrow);
    if (void* block = device->allocate(asked)) return block;
    {
      const std::lock_guard lock(mutex);
      if (idle.empty()) return nullptr;
      release_idle(0);
    }
    return device->allocate(asked);
  }

  // The block was not to be had after all.
  void cancel(size_t bytes) {
    const std::lock_guard lock(mutex);
    statistics.current -= bytes;
  }

  void give_back(void* block, size_t bytes, Arena* arena) {
    if (arena != nullptr) {
      arena->give_back(block, bytes);
      const std::lock_guard lock(mutex);
      statistics.current -= bytes;
      return;
    }
    if (host.release) host.release(block, std::max<size_t>(bytes, 1));
    const std::lock_guard lock(mutex);
    statistics.current -= bytes;
    if (host.release) return;
    // Which no count of idle bytes would ever give back; and where a list that finds no memory could not be left.
    if (bytes == 0 || !parts::exceptions) return give_to_system(block);
    if (found_memory([&] { idle.emplace(bytes, block); })) {
      statistics.idle += bytes;
    } else {
      give_to_system(block);
    }
  }
};

Memory Memory::counted(size_t limit, HostAllocator host) {
  check(static_cast<bool>(host.allocate) == static_cast<bool>(host.release),
        "memory: a host allocator needs both allocate and release");
  Memory memory;
  memory.pool_ = std::make_shared<Pool>();
  memory.pool_->limit = limit;
  memory.pool_->host = std::move(host);
  return memory;
}

Memory Memory::of_device(std::shared_ptr<const Device> device, size_t limit) {
  Memory memory = counted(limit);
  memory.pool_->device = std::move(device);
  return memory;
}

const Device* Memory::device_of_pool() const { return pool_ ? pool_->device.get() : nullptr; }

std::shared_ptr<std::byte> Memory::allocate(size_t bytes) const {
  // More than any system has; rounded up to whole lines it would be little.
  if (bytes > static_cast<size_t>(PTRDIFF_MAX))
    fail(Fault::resources, "memory: no system has {} bytes", bytes);
  const std::shared_ptr<Pool> pool = pool_;
  const std::shared_ptr<Arena> arena = pool && pool->on_device() ? pool->device->arena() : nullptr;
  void* pointer = pool ? pool->reserve(bytes, arena.get()) : nullptr;
  if (pointer != nullptr) {
    if (pool->on_device()) pool->device->hand_out_again(pointer, bytes);
  } else if (pool) {
    // Where a host's allocator throws std::bad_alloc, it is the same as nullptr.
    const auto take = [&] { pointer = pool->fresh(bytes); };
    on_failure([&] { found_memory(take); }, [&] { pool->cancel(bytes); });
  } else {
    pointer = ::operator new(std::max<size_t>(bytes, 1), alignment, std::nothrow);
  }
  if (pointer == nullptr) {
    if (pool) pool->cancel(bytes);
    fail(Fault::resources, "memory: {} has no {} bytes left",
         pool && pool->on_device() ? pool->device->name() : "the system", bytes);
  }
  return {static_cast<std::byte*>(pointer), [pool, arena, bytes](std::byte* p) {
            if (pool) {
              pool->give_back(p, bytes, arena.get());
            } else {
              ::operator delete(p, alignment);
            }
          }};
}

MemoryStatistics Memory::statistics() const {
  if (!pool_) return {};
  const std::lock_guard lock(pool_->mutex);
  return pool_->statistics;
}

void Memory::reset_peak() const {
  if (!pool_) return;
  const std::lock_guard lock(pool_->mutex);
  pool_->release_idle(0);
  pool_->statistics.peak = pool_->statistics.current;
}

}  // namespace vitrine
