// older_library.h: what Vitrine uses of C++20's standard library and Debian's Emscripten lacks (libc++ 13: no algorithms on
// ranges, no bit_cast, no characters from and to floating point). cmake/wasm.cmake puts it before every source, where the
// library is that old; with a younger one it is empty. Only what is used is here, as the standard defines it.
#pragma once

#include <version>

#if defined(_LIBCPP_VERSION) && _LIBCPP_VERSION < 15000

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <string>
#include <type_traits>

// NOLINTBEGIN(cert-dcl58-cpp): that it adds to std is what it is for.
namespace std {

template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From) && is_trivially_copyable_v<To> && is_trivially_copyable_v<From>);
  return __builtin_bit_cast(To, from);
}

// The number that begins the range, in its decimal form; as strtod rounds, which is to nearest.
inline from_chars_result from_chars(const char* first, const char* last, double& value) {
  const auto of_number = [](char c) { return (c >= '0' && c <= '9') || strchr("+-.eE", c) != nullptr; };
  const string words(first, find_if_not(first, last, [&](char c) { return c != 0 && of_number(c); }));
  char* end = nullptr;
  const double found = words.empty() || words[0] == '+' ? 0 : strtod(words.c_str(), &end);
  if (end == nullptr || end == words.c_str()) return {first, errc::invalid_argument};
  const char* const stop = first + (end - words.c_str());
  if (isinf(found)) return {stop, errc::result_out_of_range};
  value = found;
  return {stop, errc{}};
}

// In `digits` places after the point (fixed) or behind the first digit (scientific).
inline to_chars_result to_chars(char* first, char* last, double value, chars_format format, int digits) {
  const char* form = format == chars_format::fixed        ? "%.*f"
                     : format == chars_format::scientific ? "%.*e"
                                                          : "%.*g";
  string words(static_cast<size_t>(snprintf(nullptr, 0, form, digits, value)) + 1, '\0');
  snprintf(words.data(), words.size(), form, digits, value);
  words.pop_back();
  if (words.size() > static_cast<size_t>(last - first)) return {last, errc::value_too_large};
  return {copy(words.begin(), words.end(), first), errc{}};
}
// The fewest digits that read back as the same number.
inline to_chars_result to_chars(char* first, char* last, float value) {
  for (int digits = 1;; ++digits) {
    char words[40];
    const int size = snprintf(words, sizeof words, "%.*g", digits, static_cast<double>(value));
    if (digits < 9 && strtof(words, nullptr) != value) continue;
    if (size > last - first) return {last, errc::value_too_large};
    return {copy(words, words + size, first), errc{}};
  }
}

namespace ranges {

struct AsItIs {
  template <class T>
  constexpr T&& operator()(T&& x) const {
    return static_cast<T&&>(x);
  }
};

template <class Less, class Projection>
auto projected(Less& less, Projection& of) {
  return
      [&](auto&& x, auto&& y) -> bool { return std::invoke(less, std::invoke(of, x), std::invoke(of, y)); };
}
template <class Predicate, class Projection>
auto projected_one(Predicate& holds, Projection& of) {
  return [&](auto&& x) -> bool { return std::invoke(holds, std::invoke(of, x)); };
}

template <class R, class P, class Projection = AsItIs>
constexpr bool all_of(R&& range, P holds, Projection of = {}) {
  return std::all_of(std::begin(range), std::end(range), projected_one(holds, of));
}
template <class R, class P, class Projection = AsItIs>
constexpr bool any_of(R&& range, P holds, Projection of = {}) {
  return std::any_of(std::begin(range), std::end(range), projected_one(holds, of));
}
template <class R, class P, class Projection = AsItIs>
constexpr auto count_if(R&& range, P holds, Projection of = {}) {
  return std::count_if(std::begin(range), std::end(range), projected_one(holds, of));
}
template <class R, class T, class Projection = AsItIs>
constexpr auto find(R&& range, const T& value, Projection of = {}) {
  return std::find_if(std::begin(range), std::end(range),
                      [&](auto&& x) -> bool { return std::invoke(of, x) == value; });
}
template <class R, class Equal = std::equal_to<>, class Projection = AsItIs>
constexpr auto adjacent_find(R&& range, Equal equal = {}, Projection of = {}) {
  return std::adjacent_find(std::begin(range), std::end(range), projected(equal, of));
}
template <class R, class S>
constexpr bool equal(R&& x, S&& y) {
  return std::equal(std::begin(x), std::end(x), std::begin(y), std::end(y));
}
template <class R, class Less = std::less<>, class Projection = AsItIs>
constexpr auto max_element(R&& range, Less less = {}, Projection of = {}) {
  return std::max_element(std::begin(range), std::end(range), projected(less, of));
}
template <class R, class Less = std::less<>, class Projection = AsItIs>
constexpr auto min_element(R&& range, Less less = {}, Projection of = {}) {
  return std::min_element(std::begin(range), std::end(range), projected(less, of));
}
template <class R, class T, class Less = std::less<>, class Projection = AsItIs>
constexpr auto lower_bound(R&& range, const T& value, Less less = {}, Projection of = {}) {
  return std::lower_bound(std::begin(range), std::end(range), value, [&](auto&& x, const T& y) -> bool {
    return std::invoke(less, std::invoke(of, x), y);
  });
}
// Those that are algorithms of copying give the end of what was written as `out` in the standard, which nobody reads here.
template <class R, class Out>
constexpr void copy(R&& range, Out to) {
  std::copy(std::begin(range), std::end(range), to);
}
template <class R, class Out, class P>
constexpr void copy_if(R&& range, Out to, P holds) {
  std::copy_if(std::begin(range), std::end(range), to,
               [&](auto&& x) -> bool { return std::invoke(holds, x); });
}
template <class R, class Out>
constexpr void move(R&& range, Out to) {
  std::move(std::begin(range), std::end(range), to);
}
template <class R, class T>
constexpr void fill(R&& range, const T& value) {
  std::fill(std::begin(range), std::end(range), value);
}
template <class R, class T, class U>
constexpr void replace(R&& range, const T& old, const U& young) {
  for (auto& x : range)
    if (x == old) x = young;
}
template <class R>
constexpr void reverse(R&& range) {
  std::reverse(std::begin(range), std::end(range));
}
template <class R, class Less = std::less<>, class Projection = AsItIs>
constexpr void sort(R&& range, Less less = {}, Projection of = {}) {
  std::sort(std::begin(range), std::end(range), projected(less, of));
}
template <class R, class Less = std::less<>, class Projection = AsItIs>
constexpr void stable_sort(R&& range, Less less = {}, Projection of = {}) {
  std::stable_sort(std::begin(range), std::end(range), projected(less, of));
}

}  // namespace ranges
}  // namespace std
// NOLINTEND(cert-dcl58-cpp)

#endif
