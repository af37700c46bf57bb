#include "engine/json.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "engine/check.h"
#include "engine/json_events.h"
#include "engine/text.h"

namespace vitrine {

// Builds the tree from the parser's events.
class JsonReader final : public JsonEvents {
 public:
  JsonReader(Json& root, int deepest, const std::string& who, int64_t most)
      : root_(root), deepest_(deepest), who_(who), most_(most), left_(most) {
    root_.name_ = std::make_shared<const std::string>(who);
  }

  void null() override { next(Json::Kind::null); }
  void boolean(bool value) override { next(Json::Kind::boolean).boolean_ = value; }
  void number(const JsonNumber& number) override {
    const uint64_t most = std::numeric_limits<int64_t>::max();
    if (number.whole && number.size <= most + (number.negative ? 1 : 0))
      next(Json::Kind::whole).whole_ = static_cast<int64_t>(number.negative ? 0 - number.size : number.size);
    else
      next(Json::Kind::real).real_ = number.value;
  }
  void string(std::string& value) override { next(Json::Kind::text).text_ = std::move(value); }
  void begin_object() override { begin(Json::Kind::object); }
  void begin_list() override { begin(Json::Kind::list); }
  void end_object() override { open_.pop_back(); }
  void end_list() override { open_.pop_back(); }
  void key(std::string& value) override {
    check(!open_.back()->branches_->object.contains(value), "{}: key {} appears twice", who_, quote(value));
    key_ = std::move(value);
  }
  void wrong(size_t at, std::string_view) override {
    fail(Fault::input, "{}: is no JSON in UTF-8, by its byte {}", who_, at);
  }

 private:
  // The place of the value that begins.
  Json& next(Json::Kind kind) {
    check(--left_ >= 0, "{}: has more than {} values", who_, most_);
    Json* json = &root_;
    if (!open_.empty()) {
      Json& outside = *open_.back();
      const bool in_object = outside.kind_ == Json::Kind::object;
      json = in_object ? &outside.branches_->object[key_] : &outside.branches_->list.emplace_back();
      json->name_ = in_object ? std::make_shared<const std::string>(vitrine::text("{}: {}", who_, key_))
                              : outside.name_;
    }
    json->kind_ = kind;
    return *json;
  }
  void begin(Json::Kind kind) {
    check(static_cast<int>(open_.size()) < deepest_, "{}: is nested too deeply", who_);
    open_.push_back(&next(kind));  // it stays where it is until it is closed
    open_.back()->branches_ = std::make_unique<Json::Branches>();
  }

  Json& root_;
  int deepest_;
  const std::string& who_;
  int64_t most_, left_;  // values
  std::vector<Json*> open_;
  std::string key_;
};

Json Json::parse(std::string_view words, int deepest, const std::string& who, int64_t most) {
  Json root;
  JsonReader reader(root, deepest, who, most);
  read_json(words, reader);
  return root;
}

namespace {

// What stands there, for who expected something else.
std::string shown(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::null:
      return "null";
    case Json::Kind::boolean:
      return json_boolean(json.boolean());
    case Json::Kind::whole:
      return text("{}", json.whole());
    case Json::Kind::real:
      return text("{}", json.real());
    case Json::Kind::text:
      return quote(json.text());
    case Json::Kind::list:
      return "a list";
    default:
      return "an object";
  }
}

}  // namespace

void Json::refuse(std::string_view expected) const {
  fail(Fault::input, "{}: expected {}, got {}", name(), expected, shown(*this));
}

bool Json::boolean() const {
  if (kind_ != Kind::boolean) refuse("true or false");
  return boolean_;
}

int64_t Json::whole() const {
  if (kind_ != Kind::whole) refuse("a whole number");
  return whole_;
}

int64_t Json::whole(int64_t least, int64_t most) const {
  if (kind_ != Kind::whole || whole_ < least || whole_ > most)
    refuse(vitrine::text("a whole number of {} to {}", least, most));
  return whole_;
}

double Json::real() const {
  if (kind_ == Kind::whole) return static_cast<double>(whole_);
  if (kind_ != Kind::real) refuse("a number");
  return real_;
}

const std::string& Json::text() const {
  if (kind_ != Kind::text) refuse("a text");
  return text_;
}

const std::vector<Json>& Json::list() const& {
  if (kind_ != Kind::list) refuse("a list");
  return branches_->list;
}

const std::map<std::string, Json>& Json::object() const& {
  if (kind_ != Kind::object) refuse("a JSON object");
  return branches_->object;
}

bool Json::has(const std::string& key) const { return object().contains(key); }

const Json& Json::at(const std::string& key) const {
  const auto found = object().find(key);
  check(found != object().end(), "{}: missing key {}", name(), quote(key));
  return found->second;
}

std::string json_text(std::string_view words) {
  check(is_utf8(words), "json: expected UTF-8, got {}", quote(words));
  std::string out = "\"";
  for (const char c : words) {
    constexpr std::string_view special = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
    if (const size_t at = special.find(c); at != std::string_view::npos) {
      out += '\\';
      out += letters[at];
    } else if (static_cast<unsigned char>(c) < ' ') {
      constexpr std::string_view digits = "0123456789abcdef";
      out += "\\u00";
      out += digits[static_cast<size_t>(c) >> 4];
      out += digits[static_cast<size_t>(c) & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

// Rounded to as few digits as read back as the same number; laid out as nlohmann's dump() does, whose digits they are for
// numbers that people choose: identities of backbones hash such text. (At a power of two the nearest number of so many
// digits may lie outside, and another one inside: then one digit more is written than it takes.)
std::string json_number(double value) {
  check(std::isfinite(value), "json: expected a finite number, got {}", value);
  std::array<char, 40> words{};
  for (int more = 0; more < 17; ++more) {
    std::snprintf(words.data(), words.size(), "%.*e", more, value);
    if (std::strtod(words.data(), nullptr) == value) break;
  }
  // -d.ddde-xx, the point in the program's language.
  const std::string_view all(words.data());
  const size_t end = all.find('e');
  std::string digits;
  for (const char c : all.substr(0, end))
    if (c >= '0' && c <= '9') digits += c;
  const int exponent = std::atoi(words.data() + end + 1);
  const auto count = static_cast<int>(digits.size());
  std::string out;
  if (exponent >= -4 && exponent < 0) {
    out = "0." + std::string(static_cast<size_t>(-1 - exponent), '0') + digits;
  } else if (exponent >= 0 && exponent < 15) {
    if (count < exponent + 2) digits.append(static_cast<size_t>(exponent + 2 - count), '0');
    out = digits.insert(static_cast<size_t>(exponent + 1), 1, '.');
  } else {
    if (count > 1) digits.insert(1, 1, '.');
    out = text("{}{}{}{}", digits, exponent < 0 ? "e-" : "e+", std::abs(exponent) < 10 ? "0" : "",
               std::abs(exponent));
  }
  return (std::signbit(value) ? "-" : "") + out;
}

std::string json_list(std::span<const int64_t> values) {
  std::string out = "[";
  for (const int64_t value : values) out += text("{}{}", out.size() > 1 ? "," : "", value);
  return out + "]";
}

std::string json_list(std::span<const std::string> texts) {
  std::string out = "[";
  for (const std::string& words : texts) out += text("{}{}", out.size() > 1 ? "," : "", json_text(words));
  return out + "]";
}

std::string json_object(const std::map<std::string, std::string>& values) {
  std::string out = "{";
  for (const auto& [key, value] : values)
    out += text("{}{}:{}", out.size() > 1 ? "," : "", json_text(key), value);
  return out + "}";
}

}  // namespace vitrine
