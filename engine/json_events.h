// json_events.h: JSON as a row of events, for readers that must see what a tree hides: keys that come twice, how a number
// was written, values that are too many to keep.
//
// A parser of our own, because nlohmann's takes 14 KB inside a program that only predicts (docs/sizes.md), and its tree more;
// the tests compare the two. It knows RFC 8259 and nothing beyond: no comments, no commas too many, no NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vitrine {

struct JsonNumber {
  std::string_view words;  // as it is written
  bool whole = false;  // without a point or an exponent, and one of 64 bits with its sign, or of 64 without
  bool negative = false;
  uint64_t size = 0;  // of a whole one, without its sign
  double value = 0;
};

// What a reader hears, in the order of the text. It may move strings away.
class JsonEvents {
 public:
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void number(const JsonNumber& value) = 0;
  virtual void string(std::string& value) = 0;
  virtual void begin_object() = 0;
  virtual void key(std::string& value) = 0;
  virtual void end_object() = 0;
  virtual void begin_list() = 0;
  virtual void end_list() = 0;
  // What comes is no JSON in UTF-8, or a number beyond f64. `at`: the byte, counted from 1. `near`: what was being read.
  [[noreturn]] virtual void wrong(size_t at, std::string_view near) = 0;

 protected:
  ~JsonEvents() = default;
};

// A mark of the byte order in front is skipped. Takes memory for one string at a time and a bit for each list and object
// that is open; how deep they may lie is the reader's to bound.
void read_json(std::string_view words, JsonEvents& events);

}  // namespace vitrine
