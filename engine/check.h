// check.h: the one place where errors are born.
//
// Every error is a sentence such as `linear: expected weight (out, 768), got (10, 192)`: who speaks, what was
// expected, what came. `check` builds the sentence only when the condition fails.
#pragma once

#include <cstdint>
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

// Joins the pieces into one string.
// Other types join in by an `append(std::string&, const Type&)` of their own.
template <class... Pieces>
std::string text(const Pieces&... pieces) {
  std::string out;
  (append(out, pieces), ...);
  return out;
}

template <class... Pieces>
[[noreturn]] void fail(Fault fault, const Pieces&... pieces) {
  throw Error(fault, text(pieces...));
}

// Throws for what this build was made without: "<what>: this build was made without <option>" (engine/parts.h).
[[noreturn]] void left_out(std::string_view what, std::string_view option);

// Throws Error{Fault::input} with the joined pieces unless `condition` holds.
template <class... Pieces>
void check(bool condition, const Pieces&... pieces) {
  if (!condition) [[unlikely]]
    fail(Fault::input, pieces...);
}

// Products and sums of sizes that come from outside: an overflow is an Error, never a wrapped number.
int64_t checked_multiply(int64_t a, int64_t b, std::string_view what);
int64_t checked_add(int64_t a, int64_t b, std::string_view what);

}  // namespace vitrine
