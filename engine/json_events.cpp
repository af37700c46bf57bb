#include "engine/json_events.h"

#include <algorithm>
#include <clocale>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "engine/text.h"

namespace vitrine {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class JsonParser {
 public:
  JsonParser(std::string_view words, JsonEvents& events) : words_(words), events_(events) {}

  void run() {
    if (words_.starts_with("\xef\xbb\xbf")) at_ = 3;
    value();
    while (!open_.empty()) {
      const bool object = open_.back();
      if (take(object ? '}' : ']')) {
        open_.pop_back();
        fresh_ = false;
        if (object)
          events_.end_object();
        else
          events_.end_list();
        continue;
      }
      if (!fresh_) expect(',');
      if (object) {
        expect('"');
        string();
        events_.key(string_);
        expect(':');
      }
      value();
    }
    if (next() != 0 || at_ != words_.size()) wrong();
  }

 private:
  [[noreturn]] void wrong() {
    constexpr size_t most_shown = 40;
    const size_t begin = std::max(begin_, at_ < most_shown ? 0 : at_ - most_shown);
    events_.wrong(at_ + 1, words_.substr(begin, at_ + 1 - begin));
    __builtin_unreachable();
  }

  [[noreturn]] void wrong_behind() {  // what was read
    --at_;
    wrong();
  }

  // The next byte; NUL, which JSON cannot hold, behind the last one.
  char peek() const { return at_ < words_.size() ? words_[at_] : '\0'; }
  // The same behind what may lie between words; a word begins there.
  char next() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
    begin_ = at_;
    return peek();
  }
  bool take(char c) {
    if (next() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) wrong();
  }

  void value() {
    fresh_ = false;
    switch (next()) {
      case '{':
      case '[':
        fresh_ = true;
        open_.push_back(words_[at_++] == '{');
        if (open_.back())
          events_.begin_object();
        else
          events_.begin_list();
        break;
      case '"':
        ++at_;
        string();
        events_.string(string_);
        break;
      case 'n':
        word("null");
        events_.null();
        break;
      case 't':
        word("true");
        events_.boolean(true);
        break;
      case 'f':
        word("false");
        events_.boolean(false);
        break;
      default:
        number();
    }
  }

  void word(std::string_view expected) {
    for (const char c : expected) {
      if (peek() != c) wrong();
      ++at_;
    }
  }

  void digits() {
    if (!is_digit(peek())) wrong();
    while (is_digit(peek())) ++at_;
  }

  void number() {
    JsonNumber number;
    number.negative = peek() == '-';
    if (number.negative) ++at_;
    const size_t first = at_;
    digits();
    if (words_[first] == '0' && at_ > first + 1) {
      at_ = first + 1;  // 01 is no number
      wrong();
    }
    number.whole = true;
    for (size_t i = first; i < at_; ++i) {
      const auto digit = static_cast<uint64_t>(words_[i] - '0');
      number.whole = number.whole && !__builtin_mul_overflow(number.size, 10, &number.size) &&
                     !__builtin_add_overflow(number.size, digit, &number.size);
    }
    if (number.negative && number.size > uint64_t{1} << 63) number.whole = false;
    if (peek() == '.') {
      number.whole = false;
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      number.whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    number.words = words_.substr(begin_, at_ - begin_);
    number.value = real(number.words);
    if (!std::isfinite(number.value)) wrong_behind();
    events_.number(number);
  }

  // strtod takes the point of the program's language.
  static double real(std::string_view words) {
    std::string copy(words);
    if (const size_t point = copy.find('.'); point != std::string::npos)
      copy.replace(point, 1, std::localeconv()->decimal_point);
    return std::strtod(copy.c_str(), nullptr);
  }

  // Behind the first quotation mark.
  void string() {
    string_.clear();
    while (peek() != '"') {
      if (static_cast<unsigned char>(peek()) < ' ') wrong();
      if (peek() == '\\') {
        escaped();
        continue;
      }
      const size_t size = character_length(words_.substr(at_));
      if (size == 0) wrong();
      string_ += words_.substr(at_, size);
      at_ += size;
    }
    ++at_;
  }

  void escaped() {
    ++at_;
    constexpr std::string_view letters = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (const size_t at = letters.find(c); at != std::string_view::npos) {
      ++at_;
      string_ += meant[at];
      return;
    }
    unsigned code = four_digits();
    if (code >= 0xd800 && code < 0xdc00) {  // the first half of a character beyond U+FFFF
      if (peek() != '\\') wrong();
      ++at_;
      const unsigned second = four_digits();
      if (second < 0xdc00 || second > 0xdfff) wrong_behind();
      code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
      wrong_behind();
    }
    // As UTF-8: the first byte has as many leading ones as there are bytes.
    if (code < 0x80) {
      string_ += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    string_ += static_cast<char>((0xffu << (7 - more) & 0xff) | code >> (6 * more));
    for (int i = more - 1; i >= 0; --i) string_ += static_cast<char>(0x80 | (code >> (6 * i) & 0x3f));
  }

  // Behind the backslash.
  unsigned four_digits() {
    word("u");
    unsigned code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek(), small = static_cast<char>(c | 0x20);
      if (!is_digit(c) && (small < 'a' || small > 'f')) wrong();
      code = code << 4 | static_cast<unsigned>(is_digit(c) ? c - '0' : small - 'a' + 10);
    }
    return code;
  }

  std::string_view words_;
  JsonEvents& events_;
  size_t at_ = 0, begin_ = 0;
  std::vector<bool> open_;  // whether it is an object
  bool fresh_ = false;      // nothing was read of the innermost one
  std::string string_;
};

}  // namespace

void read_json(std::string_view words, JsonEvents& events) { JsonParser(words, events).run(); }

}  // namespace vitrine
