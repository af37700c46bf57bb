// fiber.h: stacks, and switching from one to another within one thread of the system.
#pragma once

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace vitrine::gpu::emulator {

// Memory for one stack, with a page below it that faults.
class Stack {
 public:
  Stack();  // throws std::bad_alloc
  ~Stack();
  Stack(Stack&& other) noexcept;
  Stack(const Stack&) = delete;
  Stack& operator=(Stack) = delete;

  unsigned char* low() const { return low_; }
  static size_t size();

 private:
  unsigned char* low_;
};

// Where a fiber stopped.
struct Context {
#ifdef __x86_64__
  void* pointer = nullptr;
#else
  ucontext_t machine;
#endif
  const void* low = nullptr;  // its stack and the sanitizer's second one
  size_t size = 0;
  void* fake = nullptr;
};

// The next switch to `context` calls `entry` on an empty stack. `entry` must not return, and begins with entered().
// `offset` (below 4096, a multiple of 16) moves its first frame, so that not all stacks share the same cache lines.
void prepare(Context& context, const Stack& stack, size_t offset, void (*entry)());
void entered(Context& from);
// `last`: nobody will switch back to `from`.
void switch_to(Context& from, Context& to, bool last = false);

}  // namespace vitrine::gpu::emulator
