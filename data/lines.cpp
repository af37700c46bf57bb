#include "data/lines.h"

#include <algorithm>
#include <filesystem>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"

namespace vitrine {

std::vector<Line> lines_of(std::string_view words) {
  constexpr std::string_view mark = "\xEF\xBB\xBF", blanks = " \t\r";
  if (words.starts_with(mark)) words.remove_prefix(mark.size());
  std::vector<Line> lines;
  for (int64_t number = 1; !words.empty(); ++number) {
    const size_t end = std::min(words.find('\n'), words.size());
    std::string_view line = words.substr(0, end);
    words.remove_prefix(std::min(end + 1, words.size()));
    const size_t first = line.find_first_not_of(blanks);
    if (first == std::string_view::npos) continue;
    line = line.substr(first, line.find_last_not_of(blanks) - first + 1);
    lines.push_back({number, line});
  }
  return lines;
}

#ifdef VITRINE_FILES
std::string read_text(const std::string& path, int64_t most, const std::string& who) {
  std::error_code ignored;  // what is wrong with a file, read_file says
  const auto size = std::filesystem::file_size(path, ignored);
  check(ignored || size <= static_cast<uint64_t>(most), "{}: expected at most {} bytes in {}, got {}", who,
        most, quote(path), size);
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
#endif

}  // namespace vitrine
