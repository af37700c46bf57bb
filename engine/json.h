// json.h: JSON that comes from outside, as a tree, and values as JSON.
//
// It bounds how deep the tree is, for a deep one would exhaust the stack of whoever walks it, and refuses a key that is there
// twice. A value knows where it stands, so that what is wrong with it is told with its name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vitrine {

class Json {
 public:
  enum class Kind : uint8_t { null, boolean, whole, real, text, list, object };

  // Throws Fault::input, beginning with `who`, for what is no JSON in UTF-8, lies in more than `deepest` lists and objects,
  // has more than `most` values, or names a key twice. What it takes is bounded by `most` and the words.
  static Json parse(std::string_view words, int deepest, const std::string& who, int64_t most = 10'000);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  // The value; each throws if it is of another kind. Reals may be written as whole numbers; a whole number is one of 64
  // bits, with its sign.
  bool boolean() const;
  int64_t whole() const;
  double real() const;
  const std::string& text() const;
  const std::vector<Json>& list() const&;
  const std::map<std::string, Json>& object() const&;
  void list() const&& = delete;  // of a tree that is gone before its parts are looked at
  void object() const&& = delete;
  // The whole number, which has to be among these.
  int64_t whole(int64_t least, int64_t most) const;
  // Of an object.
  bool has(const std::string& key) const;
  const Json& at(const std::string& key) const;  // throws if it is not there

  // "config: depths"; what errors begin with.
  const std::string& name() const { return *name_; }

 private:
  friend class JsonReader;
  [[noreturn]] void refuse(std::string_view expected) const;

  struct Branches {
    std::vector<Json> list;
    std::map<std::string, Json> object;
  };
  std::shared_ptr<const std::string> name_;  // of a list all values have one
  Kind kind_ = Kind::null;
  bool boolean_ = false;
  int64_t whole_ = 0;
  double real_ = 0;
  std::string text_;
  std::unique_ptr<Branches> branches_;  // of lists and objects
};

// Values as JSON. Texts must be UTF-8 (throws), reals finite; they read back as the same.
std::string json_text(std::string_view words);
std::string json_number(double value);
std::string json_list(std::span<const int64_t> values);
std::string json_list(std::span<const std::string> texts);
inline std::string json_boolean(bool value) { return value ? "true" : "false"; }
// {"key":value,...} in the order of the keys' bytes; values are JSON already.
std::string json_object(const std::map<std::string, std::string>& values);

}  // namespace vitrine
