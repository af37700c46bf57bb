// arena_test.cpp: the arena of the C interface (embed/arena.h) under random sequences of calls.
#include "embed/arena.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/memory.h"
#include "engine/random.h"

using namespace vitrine;
using namespace vitrine::embed;

namespace {

constexpr size_t large = size_t{1} << 22;

// Takes and gives back at random, but the same for the same seed; every block keeps a pattern of its own. Returns whether
// all blocks that were asked for were had, and leaves the arena as it was.
bool play(Arena& arena, uint64_t seed) {
  struct Block {
    unsigned char* place;
    size_t bytes;
    unsigned char pattern;
  };
  std::vector<Block> blocks;
  Random random(seed, Purpose::test);
  bool all = true;
  for (int call = 0; call < 600; ++call) {
    if (!blocks.empty() && random.chance(0.4)) {
      const size_t which = random.below(static_cast<uint32_t>(blocks.size()));
      const Block block = blocks[which];
      CHECK(std::count(block.place, block.place + block.bytes, block.pattern) ==
            static_cast<std::ptrdiff_t>(block.bytes));
      arena.give_back(block.place);
      blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(which));
      continue;
    }
    const size_t alignment = random.chance(0.3) ? 64 : 16,
                 bytes = random.below(random.chance(0.1) ? 40000 : 300);
    auto* place = static_cast<unsigned char*>(arena.take(bytes, alignment));
    if (place == nullptr) {
      all = false;
      break;
    }
    CHECK(arena.holds(place));
    CHECK(reinterpret_cast<uintptr_t>(place) % alignment == 0);
    const auto pattern = static_cast<unsigned char>(call);
    std::memset(place, pattern, bytes);
    blocks.push_back({place, bytes, pattern});
  }
  for (const Block& block : blocks) arena.give_back(block.place);
  return all;
}

}  // namespace

TEST_CASE("an arena of the size that was needed is enough, and one byte less is not") {
  const std::shared_ptr<std::byte> memory = Memory().allocate(large);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Arena& planned = *Arena::create({memory.get(), large});
    const size_t empty = planned.use().now;
    CHECK(play(planned, seed));
    const size_t needed = planned.use().most;
    CHECK(needed < large);
    CHECK(planned.use().now == empty);

    Arena& exact = *Arena::create({memory.get(), needed});
    CHECK(play(exact, seed));
    CHECK(exact.use().most == needed);
    CHECK(exact.use().refusals == 0);

    Arena& small = *Arena::create({memory.get(), needed - 1});
    CHECK_FALSE(play(small, seed));
    CHECK(small.use().refusals == 1);
    CHECK(small.use().now == empty);
  }
}

TEST_CASE("what was given back is one free place again") {
  const std::shared_ptr<std::byte> memory = Memory().allocate(large);
  Arena& arena = *Arena::create({memory.get(), large});
  const size_t all = large - arena.use().now;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    play(arena, seed);
    void* whole = arena.take(all - 16, 16);  // but for what is put before a block
    CHECK(whole != nullptr);
    CHECK(arena.take(0, 16) == nullptr);
    arena.give_back(whole);
  }
  CHECK(arena.take(all - 15, 16) == nullptr);
  CHECK(arena.take(SIZE_MAX, 64) == nullptr);
}

TEST_CASE("a thread is inside of one arena at a time, and then of the one before") {
  const std::shared_ptr<std::byte> memory = Memory().allocate(4096);
  Arena* arena = Arena::create({memory.get(), 4096});
  CHECK(current_arena() == nullptr);
  {
    const InArena inside(arena);
    CHECK(current_arena() == arena);
    {
      const InArena outside(nullptr);
      CHECK(current_arena() == nullptr);
    }
    CHECK(current_arena() == arena);
  }
  CHECK(current_arena() == nullptr);
  CHECK(Arena::create({memory.get() + 16, 2048}) == nullptr);
  CHECK(Arena::create({memory.get(), 32}) == nullptr);
  CHECK(Arena::create({}) == nullptr);
}
