#include "engine/memory.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "engine/check.h"

namespace vitrine {

namespace {
constexpr std::align_val_t alignment{64};  // one cache line, one AVX-512 register
}

struct Memory::Pool {
  size_t limit = 0;
  HostAllocator host;
  std::mutex mutex;
  MemoryStatistics statistics;

  void reserve(size_t bytes) {
    const std::lock_guard lock(mutex);
    if (limit != 0 && (bytes > limit || statistics.current > limit - bytes)) {
      fail(Fault::resources, "memory: ", bytes, " more bytes would pass the limit of ", limit,
           " (in use: ", statistics.current, ")");
    }
    statistics.current += bytes;
    statistics.peak = std::max(statistics.peak, statistics.current);
    statistics.total += bytes;
    ++statistics.allocations;
  }

  void give_back(size_t bytes) {
    const std::lock_guard lock(mutex);
    statistics.current -= bytes;
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

std::shared_ptr<std::byte> Memory::allocate(size_t bytes) const {
  const std::shared_ptr<Pool> pool = pool_;
  if (pool) pool->reserve(bytes);
  void* pointer = nullptr;
  if (pool && pool->host.allocate) {
    pointer = pool->host.allocate(std::max<size_t>(bytes, 1));
  } else {
    pointer = ::operator new(std::max<size_t>(bytes, 1), alignment, std::nothrow);
  }
  if (pointer == nullptr) {
    if (pool) pool->give_back(bytes);
    fail(Fault::resources, "memory: the system has no ", bytes, " bytes left");
  }
  return {static_cast<std::byte*>(pointer), [pool, bytes](std::byte* p) {
            if (pool && pool->host.release) {
              pool->host.release(p, std::max<size_t>(bytes, 1));
            } else {
              ::operator delete(p, alignment);
            }
            if (pool) pool->give_back(bytes);
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
  pool_->statistics.peak = pool_->statistics.current;
}

}  // namespace vitrine
