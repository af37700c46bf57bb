#include "engine/containers/allowance.h"

#include <algorithm>

#include "engine/check.h"

namespace vitrine {

bool Allowance::try_take(size_t bytes) {
  if (bytes > left_) return false;
  left_ -= bytes;
  return true;
}

void Allowance::take(size_t bytes, std::string_view what) {
  check(try_take(bytes), "{}: {} would need more memory than the file's size and {} MiB", where_, what,
        beyond_file >> 20);
}

std::string Allowance::try_take_inflated(uint64_t bytes) {
  const uint64_t inflated = std::min<uint64_t>(bytes, inflated_left_);
  if (bytes - inflated > left_) {
    return text("its {} bytes would need more memory than four times the file's size and {} MiB", bytes,
                beyond_file >> 20);
  }
  inflated_left_ -= inflated;
  left_ -= bytes - inflated;
  return {};
}

void take_for_json(std::string_view json, Allowance& allowance) {
  // The parser's word doubles as it grows, the old one beside the new; a reader may copy it.
  constexpr size_t copies = 4;
  size_t longest = 0, begin = 0;
  bool in_string = false;
  const auto end_word = [&](size_t end) {
    longest = std::max(longest, end - begin);
    begin = end + 1;
  };
  for (size_t i = 0; i < json.size(); ++i) {
    if (in_string && json[i] == '\\') {
      ++i;
    } else if (json[i] == '"') {
      in_string = !in_string;
      end_word(i);
    } else if (!in_string && std::string_view("{}[]:,").find(json[i]) != std::string_view::npos) {
      end_word(i);
    }
  }
  if (begin < json.size()) end_word(json.size());
  allowance.take(copies * longest, "a word of " + std::to_string(longest) + " bytes");
}

}  // namespace vitrine
