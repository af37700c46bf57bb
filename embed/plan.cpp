// plan.cpp: the size of the arena that a host's calls need.
//
// The calls are made, in an arena that is large enough, and its highest mark is the answer (arena.h): nothing about them has
// to be known beforehand, and nothing is estimated.
#include <optional>

#include "embed/handles.h"
#include "engine/text.h"

using namespace vitrine;
using namespace vitrine::embed;

namespace {

// The bytes that the calls need; none if the arena was too small.
std::optional<size_t> bytes_needed(const vitrine_settings& settings,
                                   int (*calls)(void* host, vitrine_library* library), void* host,
                                   size_t size) {
  const std::shared_ptr<std::byte> memory = Memory().allocate(size);
  vitrine_library* library = nullptr;
  const int opened = vitrine_open_in_arena(VITRINE_ABI, &settings, memory.get(), size, &library);
  const auto close = [](vitrine_library* l) { vitrine_close(l); };
  const std::unique_ptr<vitrine_library, decltype(close)> closed(library, close);
  if (opened != VITRINE_DONE) fail(static_cast<Fault>(opened), "{}", vitrine_message(library));
  const Arena& arena = *library->in;
  const size_t before = arena.use().now;
  const int status = [&] {
    const InArena outside(nullptr);  // what the host takes itself is no part of it
    return calls(host, library);
  }();
  const ArenaUse use = arena.use();
  if (use.refusals > 0) return std::nullopt;
  check(status == VITRINE_DONE,
        "vitrine_plan: the host's calls ended with status {}; the library's message: {}", status,
        quote(vitrine_message(library)));
  check(use.now == before, "vitrine_plan: the host's calls left handles open");
  return use.most;
}

}  // namespace

int vitrine_plan(vitrine_library* library, int (*calls)(void* host, vitrine_library* library), void* host,
                 size_t* bytes) {
  return guarded(library, [&] {
    check(calls != nullptr && bytes != nullptr,
          "vitrine_plan: expected calls and a place for the size, got NULL");
    check(library->library != nullptr, "vitrine_plan: the library was not opened");
    check(library->in == nullptr, "vitrine_plan: expected a library that is in no arena");
    vitrine_settings settings = library->library->settings;
    settings.allocate = nullptr;
    settings.release = nullptr;
    settings.threads = 1;
    constexpr size_t first = size_t{1} << 20;
    std::optional<size_t> needed;
    for (size_t size = first; !needed; size *= 2) needed = bytes_needed(settings, calls, host, size);
    *bytes = *needed;
  });
}
