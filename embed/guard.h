// guard.h: the border of the C interface: what is thrown inside becomes a status and a message outside.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string_view>

#include "embed/arena.h"
#include "embed/vitrine.h"
#include "engine/check.h"
#include "engine/parallel.h"
#include "engine/parts.h"

namespace vitrine::embed {

// The last sentence that a handle has to say, without asking anybody for memory.
class Message {
 public:
  void clear() { words_[0] = 0; }
  void say(std::string_view words) {
    size_t size = std::min(words.size(), words_.size() - 1);
    while (size < words.size() && size > 0 && (static_cast<unsigned char>(words[size]) & 0xc0) == 0x80)
      --size;
    std::memcpy(words_.data(), words.data(), size);
    words_[size] = 0;
  }
  const char* text() const { return words_.data(); }

 private:
  std::array<char, 1024> words_{};
};

// So many threads, until it goes: what the host has set for loops of its own is as it was.
class Threads {
 public:
  explicit Threads(int count) : before_(thread_count()) { set_thread_count(count); }
  ~Threads() { set_thread_count(std::min(before_, 1024)); }  // its most: nothing is thrown
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

#ifdef VITRINE_WITHOUT_EXCEPTIONS
// Calls `body`. A failure inside of it jumps back to here, past all destructors, so what the library has is not to be trusted
// any more: it is broken, and no call changes it.
template <class Handle, class Body>
int caught(Handle& handle, Body body) noexcept {
  CallEnd end;
  CallEnd* const before = exchange_call_end(&end);
  if (setjmp(end.place) == 0) {  // NOLINT(cert-err52-cpp): engine/no_exceptions.cpp
    body();
    exchange_call_end(before);
    return VITRINE_DONE;
  }
  exchange_call_end(before);
  handle.message.say(end.words.data());
  return static_cast<int>(end.fault);
}
#else
// Calls `body`: what it throws becomes a status, and what the message says.
template <class Handle, class Body>
int caught(Handle& handle, Body body) noexcept {
  Message& message = handle.message;
  try {
    body();
    return VITRINE_DONE;
  } catch (const Error& e) {
    message.say(e.what());
    return static_cast<int>(e.fault());
  } catch (const std::bad_alloc&) {
    message.say("memory: the system has no more");
    return VITRINE_RESOURCES;
  } catch (const std::exception& e) {
    message.say(e.what());
    return VITRINE_INPUT;
  } catch (...) {
    message.say("something was thrown that is no error of Vitrine's, by the host's own functions perhaps");
    return VITRINE_INPUT;
  }
}
#endif

// An arena's reason goes before what came of it, and asks nobody for memory.
inline int say_refused(Message& message, const ArenaUse& arena) {
  std::array<char, 160> words;
  std::snprintf(words.data(), words.size(),
                "memory: the arena of %zu bytes, of which %zu are in use, has no place for %zu more",
                arena.size, arena.now, arena.refused);
  message.say(words.data());
  return VITRINE_RESOURCES;
}

// Whether a call on a handle of this library may still do anything.
template <class Library>
int broken(const Library* library) {
  return parts::exceptions || library == nullptr ? int{VITRINE_DONE} : library->broken;
}

// Calls `body` with the handle's arena and number of threads. A handle that is none has nobody to say so.
template <class Handle, class Body>
int guarded(Handle* handle, Body body) noexcept {
  if (handle == nullptr) return VITRINE_INPUT;
  if (const int status = broken(handle->whose()); status != VITRINE_DONE) {
    handle->message.say(
        "a call failed before, which breaks the library in this build; close it and open it anew");
    return status;
  }
  Arena* const arena = handle->arena();
  const InArena inside(arena);
  const size_t refusals = arena == nullptr ? 0 : arena->use().refusals;
  handle->message.clear();
  int status = caught(*handle, [&] {
    const Threads threads(handle->whose() == nullptr ? 1 : handle->whose()->threads());
    body();
  });
  if (status != VITRINE_DONE && arena != nullptr && arena->use().refusals != refusals)
    status = say_refused(handle->message, arena->use());
  if (!parts::exceptions && status != VITRINE_DONE && handle->whose() != nullptr)
    handle->whose()->broken = status;
  return status;
}

template <class Handle>
void close_handle(Handle* handle) {
  if (handle == nullptr || broken(handle->whose()) != VITRINE_DONE) return;
  const InArena inside(handle->arena());
  const std::unique_ptr<Handle> closed(handle);
}

// All calls that open a handle: `make` gives it. Whatever fails, NULL is what the host finds.
template <class Handle, class Opened, class Make>
int opens(Handle* from, Opened** out, const char* call, Make make) noexcept {
  if (out != nullptr) *out = nullptr;
  return guarded(from, [&] {
    check(out != nullptr, "{}: expected a place for the handle, got NULL", call);
    *out = make().release();
  });
}

// A host's struct of an older or equal size as one of today's: what it does not have is zero. NULL is all zero.
template <class Struct>
Struct struct_of(const Struct* given, std::string_view name) {
  Struct own{};
  own.size = sizeof(Struct);
  if (given == nullptr) return own;
  check(given->size >= sizeof(size_t) && given->size <= sizeof(Struct),
        "{}: its size is {}, but this library knows it with {} bytes; set it to sizeof", name, given->size,
        sizeof(Struct));
  std::memcpy(&own, given, given->size);
  return own;
}

// The same way back: as much as the host's struct has room for.
template <class Struct>
void give_struct(Struct own, Struct* to, std::string_view name) {
  check(to != nullptr && to->size >= sizeof(size_t) && to->size <= sizeof(Struct),
        "{}: expected one whose size is set to sizeof, at most {}", name, sizeof(Struct));
  own.size = to->size;
  std::memcpy(to, &own, to->size);
}

}  // namespace vitrine::embed
