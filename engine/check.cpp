#include "engine/check.h"

#include <cstdio>

namespace vitrine {

void append(std::string& out, double piece) {
  char digits[40];
  std::snprintf(digits, sizeof digits, "%.6g", piece);
  out += digits;
}

std::string joined(Phrases pieces) {
  std::string out;
  for (const Phrase& piece : pieces) piece.append_to(out);
  return out;
}

void left_out(std::string_view what, std::string_view option) {
  fail(Fault::input, what, ": this build was made without ", option);
}

int64_t checked_multiply(int64_t a, int64_t b, std::string_view what) {
  int64_t product = 0;
  check(!__builtin_mul_overflow(a, b, &product), what, ": ", a, " times ", b, " overflows 64 bits");
  return product;
}

int64_t checked_add(int64_t a, int64_t b, std::string_view what) {
  int64_t sum = 0;
  check(!__builtin_add_overflow(a, b, &sum), what, ": ", a, " plus ", b, " overflows 64 bits");
  return sum;
}

}  // namespace vitrine
