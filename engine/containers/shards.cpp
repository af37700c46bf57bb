#include "engine/containers/shards.h"

#include <set>
#include <string_view>
#include <utility>

#include "engine/check.h"
#include "engine/containers/allowance.h"
#include "engine/json_events.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr size_t longest_index = size_t{16} << 20, most_shards = 1000, most_depth = 16, most_names = 100'000;

std::string_view characters(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Follows nlohmann's SAX events; only the map is kept, and nothing nests.
class IndexReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  IndexReader(std::string where, Allowance& allowance) : where_(std::move(where)), allowance_(allowance) {}

  std::map<std::string, std::vector<std::string>> shards;
  bool has_map = false;

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("binary data"); }
  bool string(string_t& value) override {
    if (!in_map_) return other("a string");
    // Windows' separator and drives, too: a name is good on all machines or on none.
    check(!value.empty() && value.find_first_of("/\\:") == std::string::npos &&
              value.find('\0') == std::string::npos && value != "." && value != "..",
          where_, ": tensor ", quote(key_), ": expected the name of a file in the index's folder, got ",
          quote(value));
    allowance_.take(name_cost + 2 * key_.size() + 2 * value.size(), "its names");
    check(names_.size() < most_names && names_.insert(key_).second, where_, ": tensor ", quote(key_),
          names_.size() < most_names ? " appears twice" : " is one too many");
    shards[value].push_back(key_);
    check(shards.size() <= most_shards, where_, ": expected at most ", most_shards, " files, got more");
    return true;
  }
  bool start_object(std::size_t) override {
    other("an object");
    if (depth_ == 1 && key_ == "weight_map") {
      check(!has_map, where_, ": weight_map appears twice");
      has_map = in_map_ = true;
    }
    return enter();
  }
  bool key(string_t& value) override {
    if (depth_ == 1 || in_map_) key_ = std::move(value);
    return true;
  }
  bool end_object() override {
    in_map_ = false;
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    other("an array");
    return enter();
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception&) override {
    fail(Fault::input, where_, ": is not valid JSON in UTF-8 at its byte ", position, ", near ",
         quote(token));
  }

 private:
  bool enter() {
    check(++depth_ <= most_depth, where_, ": expected JSON at most ", most_depth, " deep, got deeper");
    return true;
  }
  // Something that is no name of a file.
  bool other(std::string_view what) const {
    check(!in_map_, where_, ": tensor ", quote(key_), ": expected the name of a file, got ", what);
    check(depth_ != 1 || key_ != "weight_map" || what == "an object", where_,
          ": expected an object as weight_map, got ", what);
    return true;
  }

  // A tensor in a set and in a list that grows.
  static constexpr size_t name_cost = 256;
  std::string where_;
  Allowance& allowance_;
  std::string key_;
  std::set<std::string> names_;
  size_t depth_ = 0;
  bool in_map_ = false;
};

}  // namespace

bool is_shard_index(std::span<const std::byte> bytes) {
  const std::string_view words = characters(bytes);
  const size_t first = words.find_first_not_of(" \t\r\n");
  // A header's length of more than five bytes would be beyond any file.
  return first != std::string_view::npos && words[first] == '{' && words.size() > 8 &&
         words.substr(0, 8).find('\0') == std::string_view::npos;
}

std::map<std::string, std::vector<std::string>> read_shard_index(std::span<const std::byte> bytes,
                                                                 const std::string& name) {
  const std::string where = text("index of shards '", name, "'");
  check(bytes.size() <= longest_index, where, ": expected at most ", longest_index >> 20, " MiB, got ",
        bytes.size(), " bytes");
  const std::string_view words = characters(bytes);
  check(words.find('\0') == std::string_view::npos, where, ": holds a NUL");  // nlohmann would end there
  Allowance allowance(bytes.size(), where);
  take_for_json(words, allowance);
  IndexReader reader(where, allowance);
  read_json(words, reader);
  check(reader.has_map, where,
        ": is JSON, but not the index of a checkpoint in several files, which has an object weight_map");
  return std::move(reader.shards);
}

}  // namespace vitrine
