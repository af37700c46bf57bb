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
  check(try_take(bytes), where_, ": ", what, " would need more memory than the file's size and ",
        beyond_file >> 20, " MiB");
}

std::string Allowance::try_take_inflated(uint64_t bytes) {
  const uint64_t inflated = std::min<uint64_t>(bytes, inflated_left_);
  if (bytes - inflated > left_) {
    return text("its ", bytes, " bytes would need more memory than four times the file's size and ",
                beyond_file >> 20, " MiB");
  }
  inflated_left_ -= inflated;
  left_ -= bytes - inflated;
  return {};
}

void take_for_json(std::string_view json, Allowance& allowance) {
  // nlohmann's lexer keeps a word twice, in arrays that double, and puts it into what it says of an error.
  constexpr size_t copies = 8;
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
