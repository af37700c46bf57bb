#include "engine/check.h"

#include <cstdio>

#include "engine/shape.h"

namespace vitrine {

namespace {

void append(std::string& out, SentenceValue::Kind kind, const SentenceValue& value) {
  switch (kind) {
    case SentenceValue::Kind::string:
      out += *value.string;
      break;
    case SentenceValue::Kind::view:
      out += *value.view;
      break;
    case SentenceValue::Kind::shape:
      out += value.shape->str();
      break;
    case SentenceValue::Kind::phrase:
      out += value.phrase->words();
      break;
    case SentenceValue::Kind::real: {
      std::array<char, 40> digits{};
      std::snprintf(digits.data(), digits.size(), "%.6g", value.real);
      out += digits.data();
      break;
    }
    case SentenceValue::Kind::whole:
      out += std::to_string(value.whole);
      break;
    case SentenceValue::Kind::count:
      out += std::to_string(static_cast<uint64_t>(value.whole));
      break;
    case SentenceValue::Kind::truth:
      out += value.whole != 0 ? "true" : "false";
      break;
    case SentenceValue::Kind::letter:
      out += static_cast<char>(value.whole);
      break;
    case SentenceValue::Kind::words:
      out += value.words != nullptr ? value.words : "(null)";
      break;
  }
}

}  // namespace

std::string joined(const char* words, uint64_t kinds, const SentenceValue* values) {
  std::string out;
  for (; *words != 0; ++words) {
    if (words[0] != '{' || words[1] != '}') {
      out += *words;
      continue;
    }
    append(out, static_cast<SentenceValue::Kind>(kinds & 15), *values++);
    kinds >>= 4;
    ++words;
  }
  return out;
}

void refuse_with(const char* words, uint64_t kinds, const SentenceValue* values) {
  fail_with(words, kinds, values, Fault::input);
}

void left_out(std::string_view what, std::string_view option) {
  fail(Fault::input, "{}: this build was made without {}", what, option);
}

int64_t checked_multiply(int64_t a, int64_t b, std::string_view what) {
  int64_t product = 0;
  check(!__builtin_mul_overflow(a, b, &product), "{}: {} times {} overflows 64 bits", what, a, b);
  return product;
}

int64_t checked_add(int64_t a, int64_t b, std::string_view what) {
  int64_t sum = 0;
  check(!__builtin_add_overflow(a, b, &sum), "{}: {} plus {} overflows 64 bits", what, a, b);
  return sum;
}

}  // namespace vitrine
