#include "console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <system_error>

namespace vitrine::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t item_column = 11;  // where an item's words begin

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool terminal() { return isatty(STDERR_FILENO) == 1; }

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

void put_error(std::string_view words) {
  std::fwrite(words.data(), 1, words.size(), stderr);  // nobody can be told if this fails
  std::fflush(stderr);
}

// An error is one line, whatever came in with it.
std::string one_line(std::string_view words) {
  std::string line(words);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return line;
}

}  // namespace

void Console::erase_bar() {
  if (bar_) put_error("\r\x1b[K");
  bar_ = false;
}

void Console::out(std::string_view words) {
  if (failure_ != 0) return;
  if (std::fwrite(words.data(), 1, words.size(), stdout) != words.size() || std::fflush(stdout) != 0)
    failure_ = errno;
}

void Console::line(std::string_view words) {
  if (quiet_) return;
  erase_bar();
  std::string whole(words);
  // Names come from files: what would steer a terminal is not passed on.
  std::replace_if(
      whole.begin(), whole.end(), [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; }, '?');
  whole += "\n";
  if (json_)
    put_error(whole);
  else
    out(whole);
}

void Console::item(std::string_view name, std::string_view words) {
  constexpr size_t width = 110;
  std::string left(name);
  while (left.size() + words.size() > width && words.size() > width - item_column) {
    const size_t space = words.rfind(' ', width - item_column);
    if (space == std::string_view::npos || space == 0) break;
    line(fmt::format("{:<{}}{}", left, item_column, words.substr(0, space)));
    words.remove_prefix(space + 1);
    left.clear();
  }
  line(fmt::format("{:<{}}{}", left, item_column, words));
}

void Console::command(std::string_view name, std::string_view words) {
  line(fmt::format("{:<{}}{} {}", name, item_column, program_, words));
}

void Console::note(std::string_view words) {
  if (quiet_) return;
  erase_bar();
  put_error(fmt::format("vitrine {}: note: {}\n", command_, one_line(words)));
}

void Console::error(std::string_view words) {
  if (quiet_) return;
  erase_bar();
  put_error(fmt::format("vitrine{}{}: {}\n", command_.empty() ? "" : " ", command_, one_line(words)));
}

void Console::progress(int64_t done, int64_t all, double images_per_second, std::string_view words) {
  if (quiet_) return;
  const bool bar = terminal();
  const auto now = Clock::now();
  if (!running_) {
    running_ = true;
    first_done_ = done;
    started_ = shown_ = now;
    if (!bar) return;  // a plain line has something to tell only later
  } else if (done < all || !bar) {
    if (seconds_between(shown_, now) < (bar ? 0.1 : 15)) return;
  }
  shown_ = now;
  std::string state = fmt::format("{}/{}", done, all);
  if (!words.empty()) state += fmt::format("  {}", words);
  if (images_per_second > 0)
    state += fmt::format("  {:.{}f} images/s", images_per_second, images_per_second < 10 ? 2 : 0);
  if (done > first_done_ && done < all) {
    const double each = seconds_between(started_, now) / static_cast<double>(done - first_done_);
    state += fmt::format("  {} left", time_text(each * static_cast<double>(all - done)));
  }
  if (!bar) {
    put_error(state + "\n");
    return;
  }
  constexpr size_t cells = 20;
  const auto full = static_cast<size_t>(
      all > 0 ? static_cast<double>(cells) * static_cast<double>(done) / static_cast<double>(all) : 0);
  std::string drawn = fmt::format("[{:#<{}}{:.<{}}] {}", "", full, "", cells - std::min(full, cells), state);
  drawn.resize(std::min(drawn.size(), terminal_width() - 1));
  put_error("\r\x1b[K" + drawn);
  bar_ = true;
}

void Console::clear() {
  erase_bar();
  running_ = false;
}

void Console::result(const nlohmann::ordered_json& json) {
  if (quiet_) return;
  erase_bar();
  // File names may hold anything; what is no UTF-8 is replaced.
  if (json_) out(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void Console::finish() {
  clear();
  if (failure_ == 0 && std::fflush(stdout) != 0) failure_ = errno;
  if (failure_ == EPIPE) throw Error(Fault::output, "");
  if (failure_ != 0)
    fail(Fault::output, "cannot write to standard output: {}", std::generic_category().message(failure_));
}

std::string count_text(int64_t value) {
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > (value < 0 ? size_t{4} : size_t{3}); i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string million_text(int64_t value) {
  if (value < 100000) return count_text(value);
  const double millions = static_cast<double>(value) / 1e6;
  return fmt::format("{:.{}f} M", millions, millions < 10 ? 2 : millions < 100 ? 1 : 0);
}

std::string bytes_text(size_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, units[unit]);
}

std::string time_text(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", std::max(seconds, 0.0));
  const auto whole = static_cast<int64_t>(std::min(std::round(seconds), 1e15));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string percent_text(double share) {
  const double percent = 100 * share;
  return fmt::format("{:.{}f} %", percent, percent != 0 && percent < 1 ? 3 : percent < 10 ? 2 : 1);
}

std::string plural(int64_t value, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count_text(value),
                     value == 1     ? std::string(one)
                     : many.empty() ? std::string(one) + "s"
                                    : std::string(many));
}

std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char ch) {
    return std::isalnum(ch) ||
           std::string_view("-_./:,+=@%").find(static_cast<char>(ch)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char ch : word) ch == '\'' ? quoted += "'\\''" : quoted += ch;
  return quoted + "'";
}

}  // namespace vitrine::cli
