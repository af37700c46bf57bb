// check.h: the one place where errors are born.
//
// Every error is a sentence such as `linear: expected weight (out, 768), got (10, 192)`: who speaks, what was
// expected, what came. `check` builds the sentence only when the condition fails.
#pragma once

#include <array>
#include <csetjmp>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace vitrine {

// What kind of thing went wrong; the command line turns it into its exit code.
enum class Fault {
  input = 1,     // a wrong option, a malformed file, a shape that does not fit
  output = 2,    // reading or writing failed: no such file, disk full, unwritable folder
  diverged = 3,  // the loss became NaN or infinite
  resources = 4  // not enough memory, or no such device
};

class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

// The pieces of a sentence: text, whole numbers, and reals with six digits.
inline void append(std::string& out, std::string_view piece) { out += piece; }
// A library that was asked for its reason may answer with a null pointer.
inline void append(std::string& out, const char* piece) { out += piece ? piece : "(null)"; }
inline void append(std::string& out, char piece) { out += piece; }
inline void append(std::string& out, bool piece) { out += piece ? "true" : "false"; }
void append(std::string& out, double piece);
inline void append(std::string& out, float piece) { append(out, static_cast<double>(piece)); }
inline void append(std::string& out, int piece) { out += std::to_string(piece); }
inline void append(std::string& out, unsigned piece) { out += std::to_string(piece); }
inline void append(std::string& out, long piece) { out += std::to_string(piece); }
inline void append(std::string& out, unsigned long piece) { out += std::to_string(piece); }
inline void append(std::string& out, long long piece) { out += std::to_string(piece); }
inline void append(std::string& out, unsigned long long piece) { out += std::to_string(piece); }

// One phrase, whatever its type, so that sentences are put together in one place and not once for each list of types. Other
// types join in by an `append(std::string&, const Type&)` of their own. It refers to the value: for arguments of a call.
class Phrase {
 public:
  Phrase(const char* words)
      : value_(words),
        append_([](std::string& out, const void* value) { append(out, static_cast<const char*>(value)); }) {}
  template <class T>
  Phrase(const T& value)
      : value_(&value),
        append_([](std::string& out, const void* of) { append(out, *static_cast<const T*>(of)); }) {}
  void append_to(std::string& out) const { append_(out, value_); }

 private:
  const void* value_;
  void (*append_)(std::string& out, const void* value);
};
using Phrases = std::initializer_list<Phrase>;

std::string joined(Phrases pieces);
[[noreturn]] void fail_with(Fault fault, Phrases pieces);

// Joins the pieces into one string.
template <class... Types>
std::string text(const Types&... pieces) {
  return joined({pieces...});
}

template <class... Types>
[[noreturn]] void fail(Fault fault, const Types&... pieces) {
  fail_with(fault, {pieces...});
}

// Throws for what this build was made without: "<what>: this build was made without <option>" (engine/parts.h).
[[noreturn]] void left_out(std::string_view what, std::string_view option);

// Throws Error{Fault::input} with the joined pieces unless `condition` holds.
template <class... Types>
inline void check(bool condition, const Types&... pieces) {
  if (!condition) [[unlikely]]
    fail_with(Fault::input, {pieces...});
}

// Failures on the way. `on_failure` calls `body`; if it fails, `clean_up` and on with the failure. `found_memory`: false if
// the system had none for `body`. `told_by`: what `body` says is wrong with its input, with `who` in front.
//
// A build without exceptions (VITRINE_EXCEPTIONS=OFF, docs/embedding.md) has nothing to do there: a failure ends the call of
// the C interface, and with it the library of that call.
#ifdef VITRINE_WITHOUT_EXCEPTIONS
template <class Body, class CleanUp>
auto on_failure(Body body, CleanUp) {
  return body();
}
template <class Body>
bool found_memory(Body body) {
  body();
  return true;
}
template <class Body>
auto told_by(const std::string&, Body body) {
  return body();
}

// The call that this thread is inside of, where its failures end (embed/guard.h).
struct CallEnd {
  std::jmp_buf place;
  Fault fault = Fault::input;
  std::array<char, 1024> words{};
};
// Makes it the current one of this thread; returns the one before.
CallEnd* exchange_call_end(CallEnd* end) noexcept;
// Leaves the current call, without destructors on the way; outside of any the program ends.
[[noreturn]] void end_call(Fault fault, std::string_view words) noexcept;
#else
template <class Body, class CleanUp>
auto on_failure(Body body, CleanUp clean_up) {
  try {
    return body();
  } catch (...) {
    clean_up();
    throw;
  }
}
template <class Body>
bool found_memory(Body body) {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}
template <class Body>
auto told_by(const std::string& who, Body body) {
  try {
    return body();
  } catch (const Error& e) {
    if (e.fault() != Fault::input) throw;
    fail(Fault::input, who, ": ", e.what());
  }
}
#endif

// Products and sums of sizes that come from outside: an overflow is an Error, never a wrapped number.
int64_t checked_multiply(int64_t a, int64_t b, std::string_view what);
int64_t checked_add(int64_t a, int64_t b, std::string_view what);

}  // namespace vitrine
