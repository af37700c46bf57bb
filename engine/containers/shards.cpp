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

// Follows the events; only the map is kept, and nothing nests.
class IndexReader final : public JsonEvents {
 public:
  IndexReader(std::string where, Allowance& allowance) : where_(std::move(where)), allowance_(allowance) {}

  std::map<std::string, std::vector<std::string>> shards;
  bool has_map = false;

  void null() override { other("null"); }
  void boolean(bool) override { other("a boolean"); }
  void number(const JsonNumber&) override { other("a number"); }
  void string(std::string& value) override {
    if (!in_map_) return;
    // Windows' separator and drives, too: a name is good on all machines or on none.
    check(!value.empty() && value.find_first_of("/\\:") == std::string::npos &&
              value.find('\0') == std::string::npos && value != "." && value != "..",
          "{}: tensor {}: expected the name of a file in the index's folder, got {}", where_, quote(key_),
          quote(value));
    allowance_.take(name_cost + 2 * key_.size() + 2 * value.size(), "its names");
    check(names_.size() < most_names && names_.insert(key_).second, "{}: tensor {}{}", where_, quote(key_),
          names_.size() < most_names ? " appears twice" : " is one too many");
    shards[value].push_back(key_);
    check(shards.size() <= most_shards, "{}: expected at most {} files, got more", where_, most_shards);
  }
  void begin_object() override {
    other("an object");
    if (depth_ == 1 && key_ == "weight_map") {
      check(!has_map, "{}: weight_map appears twice", where_);
      has_map = in_map_ = true;
    }
    enter();
  }
  void key(std::string& value) override {
    if (depth_ == 1 || in_map_) key_ = std::move(value);
  }
  void end_object() override {
    in_map_ = false;
    --depth_;
  }
  void begin_list() override {
    other("an array");
    enter();
  }
  void end_list() override { --depth_; }
  void wrong(size_t at, std::string_view near) override {
    fail(Fault::input, "{}: is not valid JSON in UTF-8 at its byte {}, near {}", where_, at, quote(near));
  }

 private:
  void enter() {
    check(++depth_ <= most_depth, "{}: expected JSON at most {} deep, got deeper", where_, most_depth);
  }
  // Something that is no name of a file.
  void other(std::string_view what) const {
    check(!in_map_, "{}: tensor {}: expected the name of a file, got {}", where_, quote(key_), what);
    check(depth_ != 1 || key_ != "weight_map" || what == "an object",
          "{}: expected an object as weight_map, got {}", where_, what);
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
  const std::string where = text("index of shards '{}'", name);
  check(bytes.size() <= longest_index, "{}: expected at most {} MiB, got {} bytes", where,
        longest_index >> 20, bytes.size());
  const std::string_view words = characters(bytes);
  Allowance allowance(bytes.size(), where);
  take_for_json(words, allowance);
  IndexReader reader(where, allowance);
  read_json(words, reader);
  check(reader.has_map,
        "{}: is JSON, but not the index of a checkpoint in several files, which has an object weight_map",
        where);
  return std::move(reader.shards);
}

}  // namespace vitrine
