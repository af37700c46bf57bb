// lines.h: small text files that hold one thing a line; private to data/. read_text only in builds with VITRINE_FILES.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrine {

struct Line {
  int64_t number;          // in the file, from 1
  std::string_view words;  // without blanks at either side and the line's end, \n or \r\n
};

// The lines that are not blank. A byte order mark before the first is passed over. They point into `words`.
std::vector<Line> lines_of(std::string_view words);

// A file as text. Throws if it has more than `most` bytes; `who` opens the sentence.
std::string read_text(const std::string& path, int64_t most, const std::string& who);

}  // namespace vitrine
