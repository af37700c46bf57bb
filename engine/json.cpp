#include "engine/json.h"

#include <array>
#include <cmath>
#include <limits>

#include "engine/check.h"
#include "engine/json_events.h"
#include "engine/text.h"

namespace vitrine {

// Builds the tree from the parser's events.
class JsonReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonReader(Json& root, int deepest, const std::string& who) : root_(root), deepest_(deepest), who_(who) {
    root_.name_ = who;
  }

  bool null() override {
    next().kind_ = Json::Kind::null;
    return true;
  }
  bool boolean(bool value) override {
    Json& json = next();
    json.kind_ = Json::Kind::boolean;
    json.boolean_ = value;
    return true;
  }
  bool number_integer(number_integer_t value) override { return whole(value); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return whole(static_cast<int64_t>(value));
    return number_float(static_cast<double>(value), {});
  }
  bool number_float(number_float_t value, const string_t&) override {
    Json& json = next();
    json.kind_ = Json::Kind::real;
    json.real_ = value;
    return true;
  }
  bool string(string_t& value) override {
    Json& json = next();
    json.kind_ = Json::Kind::text;
    json.text_ = std::move(value);
    return true;
  }
  bool binary(binary_t&) override { return false; }  // no JSON has it
  bool start_object(std::size_t) override { return start(Json::Kind::object); }
  bool start_array(std::size_t) override { return start(Json::Kind::list); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(string_t& value) override {
    check(!open_.back()->object_.contains(value), who_, ": key ", quote(value), " appears twice");
    key_ = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    fail(Fault::input, who_, ": is no JSON in UTF-8, by its byte ", position);
  }

 private:
  // The place of the value that begins.
  Json& next() {
    if (open_.empty()) return root_;
    Json& outside = *open_.back();
    Json& json = outside.kind_ == Json::Kind::object ? outside.object_[key_] : outside.list_.emplace_back();
    json.name_ = outside.kind_ == Json::Kind::object ? vitrine::text(who_, ": ", key_) : outside.name_;
    return json;
  }
  bool whole(int64_t value) {
    Json& json = next();
    json.kind_ = Json::Kind::whole;
    json.whole_ = value;
    return true;
  }
  bool start(Json::Kind kind) {
    check(static_cast<int>(open_.size()) < deepest_, who_, ": is nested too deeply");
    Json& json = next();
    json.kind_ = kind;
    open_.push_back(&json);  // it stays where it is until it is closed
    return true;
  }
  bool end() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  int deepest_;
  const std::string& who_;
  std::vector<Json*> open_;
  std::string key_;
};

void read_json(std::string_view words, nlohmann::json_sax<nlohmann::json>& reader) {
  // What json::sax_parse does for text; it would bring readers of four binary formats with it.
  const auto input = [&] {
    return nlohmann::detail::input_adapter(words.data(), words.data() + words.size());
  };
  nlohmann::detail::parser<nlohmann::json, decltype(input())>(input(), nullptr, true)
      .sax_parse(&reader, true);
}

Json Json::parse(std::string_view words, int deepest, const std::string& who) {
  check(words.find('\0') == std::string_view::npos, who, ": holds a NUL");
  Json root;
  JsonReader reader(root, deepest, who);
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
      return text(json.whole());
    case Json::Kind::real:
      return text(json.real());
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
  fail(Fault::input, name_, ": expected ", expected, ", got ", shown(*this));
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
    refuse(vitrine::text("a whole number of ", least, " to ", most));
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
  return list_;
}

const std::map<std::string, Json>& Json::object() const& {
  if (kind_ != Kind::object) refuse("a JSON object");
  return object_;
}

bool Json::has(const std::string& key) const { return object().contains(key); }

const Json& Json::at(const std::string& key) const {
  const auto found = object().find(key);
  check(found != object_.end(), name_, ": missing key ", quote(key));
  return found->second;
}

std::string json_text(std::string_view words) {
  check(is_utf8(words), "json: expected UTF-8, got ", quote(words));
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

// By the function behind nlohmann's dump(), for identities of backbones hash such text; dump() itself would bring the whole
// document with it. It now and then takes a digit more than the fewest.
std::string json_number(double value) {
  check(std::isfinite(value), "json: expected a finite number, got ", value);
  std::array<char, 64> room;
  char* const begin = room.data();
  return {begin, nlohmann::detail::to_chars(begin, begin + room.size(), value)};
}

std::string json_list(std::span<const int64_t> values) {
  std::string out = "[";
  for (const int64_t value : values) out += text(out.size() > 1 ? "," : "", value);
  return out + "]";
}

std::string json_list(std::span<const std::string> texts) {
  std::string out = "[";
  for (const std::string& words : texts) out += text(out.size() > 1 ? "," : "", json_text(words));
  return out + "]";
}

std::string json_object(const std::map<std::string, std::string>& values) {
  std::string out = "{";
  for (const auto& [key, value] : values) out += text(out.size() > 1 ? "," : "", json_text(key), ":", value);
  return out + "}";
}

}  // namespace vitrine
