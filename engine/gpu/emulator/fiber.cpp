#include "engine/gpu/emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define VITRINE_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VITRINE_ADDRESS_SANITIZER 1
#endif
#endif
#ifdef VITRINE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
extern "C" void vitrine_emulator_switch(void** from, void* to);
#endif

namespace vitrine::gpu::emulator {
namespace {

constexpr size_t guard = 4096;
#ifdef VITRINE_ADDRESS_SANITIZER
constexpr size_t stack_size = 256 << 10;  // its frames are larger
#else
constexpr size_t stack_size = 128 << 10;
#endif

}  // namespace

size_t Stack::size() { return stack_size; }

Stack::Stack() {
  void* at = mmap(nullptr, guard + stack_size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  mprotect(at, guard, PROT_NONE);
  low_ = static_cast<unsigned char*>(at) + guard;
}

Stack::~Stack() {
  if (low_) munmap(low_ - guard, guard + stack_size);
}

Stack::Stack(Stack&& other) noexcept : low_(std::exchange(other.low_, nullptr)) {}

void prepare(Context& context, const Stack& stack, size_t offset, void (*entry)()) {
  context.low = stack.low();
  context.size = stack_size;
  context.fake = nullptr;
#ifdef VITRINE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(stack.low(),
                                stack_size);  // a fiber that was abandoned left its frames' marks
#endif
#ifdef __x86_64__
  // As vitrine_emulator_switch left it: six registers, then where to return; the entry sees a return address of null.
  constexpr int registers = 6;
  void** top = reinterpret_cast<void**>(stack.low() + stack_size - offset);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < registers; ++i) *--top = nullptr;
  context.pointer = top;
#else
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = stack.low();
  context.machine.uc_stack.ss_size = stack_size - offset;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, entry, 0);
#endif
}

void entered([[maybe_unused]] Context& from) {
#ifdef VITRINE_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(nullptr, &from.low, &from.size);
#endif
}

void switch_to(Context& from, Context& to, [[maybe_unused]] bool last) {
#ifdef VITRINE_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake, to.low, to.size);
#endif
#ifdef __x86_64__
  vitrine_emulator_switch(&from.pointer, to.pointer);
#else
  swapcontext(&from.machine, &to.machine);
#endif
#ifdef VITRINE_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

}  // namespace vitrine::gpu::emulator
