// emulator_queue.h: an emulator opened by a test, with its environment. What a test does not set stays as it is outside.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "engine/gpu/entries.h"
#include "engine/gpu/port.h"

class EmulatorQueue {
 public:
  explicit EmulatorQueue(const std::string& order = "", const std::string& threads = "",
                         const std::string& skip = "", const std::string& sites = "",
                         const std::string& shared = "", const std::string& memory = "") {
    const std::string values[] = {order, threads, skip, sites, shared, memory};
    std::string before[6];
    for (int i = 0; i < 6; ++i) {
      if (const char* outside = std::getenv(names[i])) before[i] = outside;
      if (!values[i].empty()) set(names[i], values[i]);
    }
    const vitrine::gpu::Result error = vitrine::gpu::open_queue({}, &queue_);
    for (int i = 0; i < 6; ++i) set(names[i], before[i]);
    REQUIRE(error == nullptr);
  }
  ~EmulatorQueue() { vitrine::gpu::close_queue(queue_); }
  EmulatorQueue(const EmulatorQueue&) = delete;
  EmulatorQueue& operator=(const EmulatorQueue&) = delete;
  operator vitrine::gpu::Queue*() { return queue_; }

  static void set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
  static constexpr const char* names[] = {"VITRINE_EMULATOR_ORDER",  "VITRINE_EMULATOR_THREADS",
                                          "VITRINE_EMULATOR_SKIP",   "VITRINE_EMULATOR_SITES",
                                          "VITRINE_EMULATOR_SHARED", "VITRINE_EMULATOR_MEMORY"};

 private:
  vitrine::gpu::Queue* queue_ = nullptr;
};

// An empty string if nothing went wrong.
inline std::string sentence(vitrine::gpu::Result result) { return result ? result : ""; }
// The same of work that must be done, too: a queue does it when somebody waits.
inline std::string done(vitrine::gpu::Queue* queue, vitrine::gpu::Result asked) {
  return asked ? asked : sentence(vitrine::gpu::wait(queue));
}
