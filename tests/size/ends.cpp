// ends.cpp: where failures end in a build without exceptions, those of the C++ library, too. The exit status is the number of
// those that ended otherwise.
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "engine/check.h"

using namespace vitrine;

namespace {

// What `body` said when it failed; "" if it did not.
template <class Body>
std::string words_of(Body body) {
  CallEnd end;
  CallEnd* const before = exchange_call_end(&end);
  if (setjmp(end.place) == 0) body();
  exchange_call_end(before);
  return end.words.data();
}

int wrong(const std::string& words, const char* expected) {
  const bool holds = words.find(expected) != std::string::npos;
  if (!holds) std::printf("expected '%s', got '%s'\n", expected, words.c_str());
  return holds ? 0 : 1;
}

}  // namespace

int main(int count, char**) {
  std::vector<int> numbers(3);
  const std::string word = "word";
  const size_t far = numbers.size() + static_cast<size_t>(count) * 7;
  const auto inner = [&] { words_of([] { fail(Fault::input, "the inner one"); }); };
  int failures = wrong(words_of([] { fail(Fault::input, "linear: expected {}, got {}", 3, 4.5); }),
                       "linear: expected 3, got 4.5");
  failures += wrong(words_of([&] { numbers.reserve(~size_t{0} / 2 - far); }), "vector::reserve");
  failures += wrong(words_of([&] { numbers.at(far) = 1; }), "is 10) >= this->size() (which is 3)");
  failures += wrong(words_of([&] { std::printf("%s", word.substr(far).c_str()); }), "basic_string::substr");
  failures += wrong(words_of([] { std::function<void()>()(); }), "a function that was not given");
  failures += wrong(words_of([&] { numbers.resize(size_t{1} << 60); }), "memory");
  failures += wrong(words_of([&] {
                      inner();
                      fail(Fault::input, "the outer one");
                    }),
                    "the outer one");
  failures += wrong(words_of([&] { numbers.at(1) = 1; }), "");
  return failures;
}
