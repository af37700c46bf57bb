// device.h: a GPU that tensors may live on, opened by name when the program runs.
//
// Neither the library nor a program is linked with CUDA: a device's code is a shared library of its own
// (libvitrine_cuda.so, libvitrine_emulator.so), which is looked for beside the program, in ../lib from there, and
// wherever the system looks; first of all in the folder that the environment names in VITRINE_LIBRARIES.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "engine/memory.h"

namespace vitrine {

namespace gpu {
struct Kernels;
struct Queue;
struct Graph;
}  // namespace gpu

// Blocks that belong to a recording (recording.h): handed out again within it, to nobody else while it lives.
class Device;
class Arena {
 public:
  explicit Arena(const Device& device) : device_(device) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* take(size_t bytes);  // null if none of that size is idle
  void give_back(void* block, size_t bytes);

 private:
  const Device& device_;
  std::mutex mutex_;
  std::multimap<size_t, void*> idle_;
};

struct DeviceOptions {
  bool tf32 = false;  // products of f32 may round their factors to 10 bits: faster, and exact to about 1e-3
};

// One GPU with its stream of work. Thread-safe; what several threads ask for is done in the order in which they come.
class Device : public std::enable_shared_from_this<Device> {
 public:
  // "cuda", "cuda:1" (the second one), or "emulator", which runs the same kernels on the CPU to prove them. Throws
  // Error{Fault::resources} that says what is missing: the library, a driver, a device; Fault::input for another name.
  static std::shared_ptr<const Device> open(const std::string& name, const DeviceOptions& options = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }
  std::string kind() const;  // "cuda" or "emulator", whichever of them it is
  const DeviceOptions& options() const { return options_; }
  std::string description() const;  // the GPU, its memory, versions
  // A counted pool of the device's memory with a limit in bytes (0: none). Ops on tensors from it run on the device.
  Memory memory(size_t limit = 0) const;
  // What should be known of how its work was done so far, such as products that its library leaves to a slow kernel.
  // Each sentence is told once.
  std::vector<std::string> notes() const;
  // Returns when all that was asked for is done.
  void wait() const;
  size_t free_memory() const;  // bytes that nobody has taken; what lies idle in a pool is taken

  // For the engine itself: calls an entry of the device's table (gpu/kernels.h), throws what it says.
  template <class Arguments>
  void run(const char* (*gpu::Kernels::*entry)(gpu::Queue*, const Arguments&),
           const std::type_identity_t<Arguments>& arguments) const {
    const auto lock = enter();
    check_result((table_->*entry)(queue_, arguments));
  }
  const gpu::Kernels& table() const { return *table_; }
  gpu::Queue* queue() const { return queue_; }

  void* allocate(size_t bytes) const;  // null if there is no more
  void release(void* block) const;
  void hand_out_again(void* block, size_t bytes) const;
  void upload(void* to, const void* from, size_t bytes) const;
  void upload_ahead(void* to, const void* from, size_t bytes) const;  // beside the work asked for before
  void download(void* to, const void* from, size_t bytes) const;
  void copy(void* to, const void* from, size_t bytes) const;
  void clear(void* to, size_t bytes) const;

  // For recordings: one at a time, and no other thread may ask for anything but release() meanwhile: that throws. The
  // arena is that of the present one, or null.
  void begin_recording() const;
  std::shared_ptr<Arena> end_recording(gpu::Graph** graph) const;
  void replay(gpu::Graph* graph) const;
  void drop(gpu::Graph* graph) const;
  std::shared_ptr<Arena> arena() const;

 private:
  Device() = default;
  void check_result(const char* result) const;
  std::unique_lock<std::mutex> enter() const;  // throws while another thread records

  std::string name_;
  DeviceOptions options_;
  std::shared_ptr<void> library_;
  const gpu::Kernels* table_ = nullptr;
  gpu::Queue* queue_ = nullptr;
  mutable std::mutex mutex_;  // the queue is one
  mutable std::shared_ptr<Arena> arena_;
  mutable std::thread::id recorder_;  // whose work is recorded, while there is an arena
};

}  // namespace vitrine
