// no_exceptions.cpp: failures in a build without VITRINE_EXCEPTIONS. They jump to where the call of the C interface began.
//
// What lies between is left as it is, without destructors. That is sound because nothing of it is used again: the guard
// (embed/guard.h) calls no function of that library any more. The standard leaves such a jump undefined; GCC and Clang on
// Linux do what the machine does.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "engine/check.h"

namespace vitrine {

namespace {
thread_local CallEnd* current = nullptr;
}

CallEnd* exchange_call_end(CallEnd* end) noexcept { return std::exchange(current, end); }

void end_call(Fault fault, std::string_view words) noexcept {
  if (current == nullptr) {  // a host in C++ that calls what is behind the C interface
    std::fprintf(stderr, "vitrine: %.*s\n", static_cast<int>(words.size()), words.data());
    std::abort();
  }
  current->fault = fault;
  const size_t size = std::min(words.size(), current->words.size() - 1);
  std::memcpy(current->words.data(), words.data(), size);
  current->words[size] = 0;
  std::longjmp(current->place, 1);  // NOLINT(cert-err52-cpp): what this file is for
}

void fail_with(const char* words, uint64_t kinds, const SentenceValue* values, Fault fault) {
  end_call(fault, joined(words, kinds, values));
}

}  // namespace vitrine

// Where GCC's library fails, of a length that no vector has for example, it calls one of these. A program that has its own
// takes them in place of the library's, which throw.
#ifdef __GLIBCXX__
namespace std {

namespace {
[[noreturn]] void end(const char* words) { vitrine::end_call(vitrine::Fault::input, words); }
}  // namespace

void __throw_bad_exception() { end("bad exception"); }
void __throw_bad_alloc() { vitrine::end_call(vitrine::Fault::resources, "memory: the system has no more"); }
void __throw_bad_array_new_length() { end("a length that no array has"); }
void __throw_bad_cast() { end("bad cast"); }
void __throw_bad_typeid() { end("bad typeid"); }
void __throw_logic_error(const char* words) { end(words); }
void __throw_domain_error(const char* words) { end(words); }
void __throw_invalid_argument(const char* words) { end(words); }
void __throw_length_error(const char* words) { end(words); }
void __throw_out_of_range(const char* words) { end(words); }
void __throw_out_of_range_fmt(const char* format, ...) {
  std::array<char, 256> words;
  va_list values;
  va_start(values, format);
  // Of printf's letters it uses %zu and %s alone.
  std::vsnprintf(words.data(), words.size(), format, values);
  va_end(values);
  end(words.data());
}
void __throw_runtime_error(const char* words) { end(words); }
void __throw_range_error(const char* words) { end(words); }
void __throw_overflow_error(const char* words) { end(words); }
void __throw_underflow_error(const char* words) { end(words); }
void __throw_system_error(int) { vitrine::end_call(vitrine::Fault::resources, "the system refused"); }
void __throw_bad_function_call() { end("a function that was not given"); }

}  // namespace std
#endif
