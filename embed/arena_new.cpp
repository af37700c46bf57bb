// arena_new.cpp: a library that takes everything from a host's arena. Every host that links the static library
// links this file, and with it an operator new that knows of arenas; the other forms of new and delete are made of these.
#include <cstdint>
#include <cstdlib>
#include <new>

#include "embed/handles.h"

using namespace vitrine::embed;

// An operator new is where memory is managed by hand.
// NOLINTBEGIN(cppcoreguidelines-no-malloc, cppcoreguidelines-owning-memory)
namespace {

void* take(size_t bytes, size_t alignment) {
  if (Arena* arena = current_arena()) return arena->take(bytes, alignment);
  if (bytes > static_cast<size_t>(PTRDIFF_MAX)) return nullptr;  // which rounding up could make small
  if (bytes == 0) bytes = 1;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

// What was taken before the call that now gives it back, or outside of any, is the heap's.
void give_back(void* block) {
  Arena* arena = current_arena();
  if (arena != nullptr && arena->holds(block)) {
    arena->give_back(block);
  } else {
    std::free(block);
  }
}

void* given(void* block) {
#ifdef VITRINE_WITHOUT_EXCEPTIONS
  if (block == nullptr) vitrine::end_call(vitrine::Fault::resources, "memory: the system has no more");
#else
  if (block == nullptr) throw std::bad_alloc();
#endif
  return block;
}

}  // namespace

void* operator new(size_t bytes) { return given(take(bytes, alignof(std::max_align_t))); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return given(take(bytes, static_cast<size_t>(alignment)));
}
// Those of the C++ library catch what the others throw, which may be nothing.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return take(bytes, alignof(std::max_align_t));
}
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return take(bytes, static_cast<size_t>(alignment));
}

void operator delete(void* block) noexcept { give_back(block); }
void operator delete(void* block, std::align_val_t) noexcept { give_back(block); }
// Compilers warn where only the forms without a size are replaced.
void operator delete(void* block, size_t) noexcept { give_back(block); }
void operator delete(void* block, size_t, std::align_val_t) noexcept { give_back(block); }
// NOLINTEND(cppcoreguidelines-no-malloc, cppcoreguidelines-owning-memory)

int vitrine_open_in_arena(unsigned abi, const vitrine_settings* settings, void* arena, size_t bytes,
                          vitrine_library** library) {
  if (library == nullptr) return VITRINE_INPUT;
  *library = nullptr;
  if (arena == nullptr || reinterpret_cast<uintptr_t>(arena) % 64 != 0) return VITRINE_INPUT;
  Arena* made = Arena::create({static_cast<std::byte*>(arena), bytes});
  return made == nullptr ? int{VITRINE_RESOURCES} : open_library(abi, settings, made, library);
}
