// message.h: values as the bytes that processes exchange (processes.h). The same program reads them that wrote them.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "engine/check.h"

namespace vitrine {

class MessageWriter {
 public:
  template <class T>
  requires std::is_trivially_copyable_v<T> MessageWriter& put(const T& value) {
    return append(&value, sizeof value);
  }
  template <class T>
  requires std::is_trivially_copyable_v<T> MessageWriter& put_all(std::span<const T> values) {
    put(values.size());
    return append(values.data(), values.size_bytes());
  }
  MessageWriter& put_text(std::string_view text) { return put_all(std::span<const char>(text)); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  MessageWriter& append(const void* from, size_t size) {
    const size_t before = bytes_.size();
    bytes_.resize(before + size);
    if (size > 0) std::memcpy(bytes_.data() + before, from, size);
    return *this;
  }
  std::vector<std::byte> bytes_;
};

// Of bytes that outlive it.
class MessageReader {
 public:
  explicit MessageReader(std::span<const std::byte> bytes) : left_(bytes) {}
  bool at_end() const { return left_.empty(); }

  template <class T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> get_all() {
    const auto count = get<size_t>();
    check(count <= left_.size() / sizeof(T), "message: {} values do not fit into it", count);
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), take(count * sizeof(T)).data(), count * sizeof(T));
    return values;
  }
  std::string get_text() {
    const std::vector<char> text = get_all<char>();
    return {text.begin(), text.end()};
  }

 private:
  std::span<const std::byte> take(size_t bytes) {
    check(bytes <= left_.size(), "message: ends {} bytes too early", bytes - left_.size());
    const auto taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }
  std::span<const std::byte> left_;
};

}  // namespace vitrine
