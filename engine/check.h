// check.h: the one place where errors are born.
//
// Every error is a sentence such as `linear: expected weight (out, 768), got (10, 192)`: who speaks, what was
// expected, what came. `check` builds the sentence only when the condition fails.
#pragma once

#include <array>
#include <concepts>
#include <csetjmp>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

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

// The values in a sentence: text, whole numbers, reals with six digits, shapes, and what is put into words when a sentence
// is needed.
class Shape;
class Phrase {
 public:
  virtual std::string words() const = 0;

 protected:
  ~Phrase() = default;
};

// A call of `check` hands over one of these for each value, and four bits each that tell which member it is: sentences are put
// together in one place, not once for each list of types, and a check that holds has little code beside it (docs/sizes.md).
// It refers to strings: for arguments of a call.
union SentenceValue {
  enum class Kind : uint8_t { words = 1, string, view, shape, phrase, real, whole, count, truth, letter };

  SentenceValue(const char* value)
      : words(value) {}  // a library that was asked for its reason may answer with a null pointer
  SentenceValue(const std::string& value) : string(&value) {}
  SentenceValue(const std::string_view& value) : view(&value) {}
  SentenceValue(const Shape& value) : shape(&value) {}
  SentenceValue(const Phrase& value) : phrase(&value) {}
  SentenceValue(double value) : real(value) {}
  template <std::integral T>
  SentenceValue(T value) : whole(static_cast<int64_t>(value)) {}

  const char* words;
  const std::string* string;
  const std::string_view* view;
  const Shape* shape;
  const Phrase* phrase;
  double real;
  int64_t whole;
};

template <class T>
constexpr SentenceValue::Kind kind_of() {
  using enum SentenceValue::Kind;
  if constexpr (std::is_same_v<T, bool>)
    return truth;
  else if constexpr (std::is_same_v<T, char>)
    return letter;
  else if constexpr (std::is_floating_point_v<T>)
    return real;
  else if constexpr (std::is_integral_v<T>)
    return std::is_signed_v<T> ? whole : count;
  else if constexpr (std::is_same_v<T, std::string>)
    return string;
  else if constexpr (std::is_same_v<T, std::string_view>)
    return view;
  else if constexpr (std::is_same_v<T, Shape>)
    return shape;
  else if constexpr (std::is_base_of_v<Phrase, T>)
    return phrase;
  else {
    static_assert(std::is_convertible_v<T, const char*>, "a sentence has no words for this type");
    return words;  // characters that end with a NUL
  }
}
template <class... Types>
constexpr uint64_t kinds_of() {
  static_assert(sizeof...(Types) <= 16, "a sentence has at most 16 values");
  uint64_t all = 0;
  int bits = 0;
  ((all |= static_cast<uint64_t>(kind_of<Types>()) << bits, bits += 4), ...);
  return all;
}

void sentence_without_a_place_for_each_value();  // there is none: a compiler stops where it would be called

// A sentence with {} in the place of each value, of which there must be as many: `linear: expected weight (out, {}), got {}`.
template <class... Types>
struct Sentence {
  consteval Sentence(const char* of) : words(of) {
    size_t holes = 0;
    for (const char* c = of; *c != 0; ++c)
      if (c[0] == '{' && c[1] == '}') ++holes;
    if (holes != sizeof...(Types)) sentence_without_a_place_for_each_value();
  }
  const char* words;
};
template <class... Types>
using SentenceOf = Sentence<std::type_identity_t<Types>...>;

std::string joined(const char* words, uint64_t kinds, const SentenceValue* values);
[[noreturn]] void fail_with(const char* words, uint64_t kinds, const SentenceValue* values, Fault fault);
[[noreturn]] void refuse_with(const char* words, uint64_t kinds,
                              const SentenceValue* values);  // of Fault::input

// The sentence with its values.
template <class... Types>
[[gnu::always_inline]] inline std::string text(SentenceOf<Types...> sentence, const Types&... values) {
  const std::array<SentenceValue, sizeof...(Types)> list{values...};
  return joined(sentence.words, kinds_of<Types...>(), list.data());
}

template <class... Types>
[[noreturn, gnu::always_inline]] inline void fail(Fault fault, SentenceOf<Types...> sentence,
                                                  const Types&... values) {
  const std::array<SentenceValue, sizeof...(Types)> list{values...};
  fail_with(sentence.words, kinds_of<Types...>(), list.data(), fault);
}

// Throws for what this build was made without: "<what>: this build was made without <option>" (engine/parts.h).
[[noreturn]] void left_out(std::string_view what, std::string_view option);

// Throws Error{Fault::input} with the sentence unless `condition` holds.
template <class... Types>
[[gnu::always_inline]] inline void check(bool condition, SentenceOf<Types...> sentence,
                                         const Types&... values) {
  if (!condition) [[unlikely]] {
    const std::array<SentenceValue, sizeof...(Types)> list{values...};
    refuse_with(sentence.words, kinds_of<Types...>(), list.data());
  }
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
    fail(Fault::input, "{}: {}", who, e.what());
  }
}
#endif

// Products and sums of sizes that come from outside: an overflow is an Error, never a wrapped number.
int64_t checked_multiply(int64_t a, int64_t b, std::string_view what);
int64_t checked_add(int64_t a, int64_t b, std::string_view what);

}  // namespace vitrine
