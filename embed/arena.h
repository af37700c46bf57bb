// arena.h: a host's fixed piece of memory, from which everything is taken.
//
// Blocks are given by first fit: the first free place, in the order of addresses, that is large enough. What is given back
// joins the free places beside it. So the places that a sequence of calls gets depend on nothing but the calls, and an arena
// that is larger does not change them: the highest address that was ever in use (`most`) is the size of the smallest arena
// in which the same calls succeed, and one byte less is too little. embed/plan.cpp rests on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace vitrine::embed {

struct ArenaUse {
  size_t size = 0;      // bytes that the host gave
  size_t now = 0;       // in use, with what is put before each block
  size_t most = 0;      // the smallest arena in which all of it would have gone the same way
  size_t refusals = 0;  // blocks for which there was no place
  size_t refused = 0;   // bytes of the last of them
};

// It lies at the beginning of its own memory and needs nobody to destroy it. Thread-safe.
class Arena {
 public:
  // Puts one into memory that is aligned to 64 bytes. Null if there is too little for it, or if it is not aligned.
  static Arena* create(std::span<std::byte> memory);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A block that is aligned to 16 bytes or to 64; null if there is no place.
  void* take(size_t bytes, size_t alignment) noexcept;
  void give_back(void* block) noexcept;
  bool holds(const void* block) const noexcept { return block > this && block < end_; }
  ArenaUse use() const noexcept;

 private:
  // A free place begins with this; so does the room before a block, where `next` is not used.
  struct Place {
    size_t bytes;  // with itself
    Place* next;   // the next free one, at a higher address
  };
  static constexpr size_t unit = sizeof(Place);  // every place is a multiple of it

  explicit Arena(std::span<std::byte> memory);
  std::byte* begin() { return reinterpret_cast<std::byte*>(this); }

  mutable std::mutex mutex_;
  std::byte* end_;
  Place* free_ = nullptr;
  size_t now_, most_, refusals_ = 0, refused_ = 0;
};

// The arena of the call that this thread is inside of, from which `operator new` takes (embed/arena_new.cpp); null: none.
Arena* current_arena() noexcept;

// Makes it the current one of this thread, as long as this lives.
class InArena {
 public:
  explicit InArena(Arena* arena) noexcept;
  ~InArena();
  InArena(const InArena&) = delete;
  InArena& operator=(const InArena&) = delete;

 private:
  Arena* before_;
};

}  // namespace vitrine::embed
