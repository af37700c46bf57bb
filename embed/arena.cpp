#include "embed/arena.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <new>

namespace vitrine::embed {

namespace {
constexpr size_t widest = 64;  // of alignments: a cache line, an AVX-512 register

size_t rounded_up(size_t value, size_t to) { return (value + to - 1) / to * to; }
size_t address(const void* place) { return reinterpret_cast<uintptr_t>(place); }

// Of a thread, not of the program: which library's call it is inside of.
thread_local Arena* current = nullptr;
}  // namespace

Arena* current_arena() noexcept { return current; }
InArena::InArena(Arena* arena) noexcept : before_(current) { current = arena; }
InArena::~InArena() { current = before_; }

Arena* Arena::create(std::span<std::byte> memory) {
  if (memory.data() == nullptr || address(memory.data()) % widest != 0) return nullptr;
  if (memory.size() < rounded_up(sizeof(Arena), unit) + unit) return nullptr;
  return new (memory.data()) Arena(memory);  // NOLINT(cppcoreguidelines-owning-memory): the host owns it
}

Arena::Arena(std::span<std::byte> memory) : end_(memory.data() + memory.size() / unit * unit) {
  const size_t own = rounded_up(sizeof(Arena), unit);
  now_ = most_ = own;
  free_ = std::construct_at(reinterpret_cast<Place*>(begin() + own),
                            Place{static_cast<size_t>(end_ - begin()) - own, nullptr});
}

void* Arena::take(size_t bytes, size_t alignment) noexcept {
  const std::lock_guard lock(mutex_);
  const size_t room = static_cast<size_t>(end_ - begin());
  if (bytes < room) {
    const size_t whole = rounded_up(bytes, unit) + unit;
    Place** before = &free_;
    for (Place* place = free_; place != nullptr; before = &place->next, place = place->next) {
      // What lies before the block's own alignment stays free.
      const size_t skipped =
          rounded_up(address(place) + unit, std::max(alignment, unit)) - unit - address(place);
      if (place->bytes < skipped + whole) continue;
      std::byte* block = reinterpret_cast<std::byte*>(place) + skipped;
      const size_t left = place->bytes - skipped - whole;
      Place* after = place->next;
      if (left > 0) after = std::construct_at(reinterpret_cast<Place*>(block + whole), Place{left, after});
      if (skipped > 0) {
        place->bytes = skipped;
        place->next = after;
      } else {
        *before = after;
      }
      std::construct_at(reinterpret_cast<Place*>(block), Place{whole, nullptr});
      now_ += whole;
      most_ = std::max(most_, static_cast<size_t>(block + whole - begin()));
      return block + unit;
    }
  }
  ++refusals_;
  refused_ = bytes;
  return nullptr;
}

void Arena::give_back(void* block) noexcept {
  const std::lock_guard lock(mutex_);
  auto* place = reinterpret_cast<Place*>(static_cast<std::byte*>(block) - unit);
  now_ -= place->bytes;
  Place* before = nullptr;
  Place* after = free_;
  while (after != nullptr && std::less<>()(after, place)) {
    before = after;
    after = after->next;
  }
  const auto touch = [](Place* low, Place* high) {
    return reinterpret_cast<std::byte*>(low) + low->bytes == reinterpret_cast<std::byte*>(high);
  };
  place->next = after;
  if (after != nullptr && touch(place, after)) {
    place->bytes += after->bytes;
    place->next = after->next;
  }
  if (before == nullptr) {
    free_ = place;
  } else if (touch(before, place)) {
    before->bytes += place->bytes;
    before->next = place->next;
  } else {
    before->next = place;
  }
}

ArenaUse Arena::use() const noexcept {
  const std::lock_guard lock(mutex_);
  return {.size = static_cast<size_t>(end_ - reinterpret_cast<const std::byte*>(this)),
          .now = now_,
          .most = most_,
          .refusals = refusals_,
          .refused = refused_};
}

}  // namespace vitrine::embed
