// console.h: what the program says: lines for a reader, progress, and JSON for programs.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "options.h"

namespace vitrine::cli {

// Lines go to standard output, with --json to standard error. Progress and remarks always go to standard
// error: a bar on a terminal, now and then a plain line elsewhere. A standard output that takes no more
// (disk full, reader gone) never ends a run; finish() tells at the end.
class Console {
 public:
  explicit Console(const Common& common)
      : program_(common.program), command_(common.command), json_(common.json), quiet_(common.quiet) {}
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console() { clear(); }

  void line(std::string_view words);
  // "name      words", with long words wrapped at commas and spaces.
  void item(std::string_view name, std::string_view words);
  // "name      program words": a command to copy, on one line.
  void command(std::string_view name, std::string_view words);
  void note(std::string_view words);   // vitrine tune: note: ...
  void error(std::string_view words);  // vitrine tune: ...
  // `done` of `all` steps; `words` describe the state, e.g. "epoch 3/10, loss 1.2".
  void progress(int64_t done, int64_t all, double images_per_second, std::string_view words);
  // Takes the bar away and starts the next one's clock anew.
  void clear();
  // The one JSON object of --json; otherwise nothing happens.
  void result(const nlohmann::ordered_json& json);
  bool json() const { return json_; }

  // Flushes. Throws Error{Fault::output} if anything could not be written to standard output; without a
  // message if that was because nobody reads any more.
  void finish();

 private:
  void out(std::string_view words);
  void erase_bar();
  std::string program_, command_;
  bool json_, quiet_;
  bool bar_ = false;  // one stands on the terminal
  int failure_ = 0;   // errno of the first failed write
  bool running_ = false;
  int64_t first_done_ = 0;
  std::chrono::steady_clock::time_point started_, shown_;
};

// Numbers for people.
std::string count_text(int64_t value);    // 1,234,567
std::string million_text(int64_t value);  // 5.72 M, or as count_text below 100,000
std::string bytes_text(size_t bytes);     // 85.4 MiB
std::string time_text(double seconds);    // 3 min 20 s
std::string percent_text(double share);   // 84.2 %
// "1 image", "1,000 images"
std::string plural(int64_t value, std::string_view one, std::string_view many = {});
// Quoted where a shell would not take it as it is.
std::string shell_word(const std::string& word);

}  // namespace vitrine::cli
