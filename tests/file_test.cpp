// file_test.cpp: reading, mapping, and writing that keeps the old file when it fails.
#ifdef VITRINE_FILES

#include "engine/file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "engine/check.h"

using namespace vitrine;
namespace fs = std::filesystem;

namespace {

// A folder of its own, removed at the end.
struct Folder {
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "vitrine_file_test_XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  // Names in the folder: a forgotten temporary file shows here.
  size_t count() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path), {})); }

  fs::path path;
};

std::span<const std::byte> bytes_of(std::string_view words) { return std::as_bytes(std::span(words)); }

std::string content(const std::string& path) {
  const auto bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The message of the error that `action` must throw with Fault::output.
template <class F>
std::string refusal(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::output);
    return error.what();
  }
  return "no error";
}

// While it lives, no file of this process may grow beyond `limit` bytes: the portable
// stand-in for a full disk.
struct SizeLimit {
  explicit SizeLimit(rlim_t limit) {
    ::getrlimit(RLIMIT_FSIZE, &old);
    const rlimit changed{limit, old.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &changed);
    old_handler = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, old_handler);
  }
  rlimit old{};
  void (*old_handler)(int) = nullptr;
};

}  // namespace

TEST_CASE("file: what was set aside is read again, and its neighbours stay") {
  const Folder folder;
  const std::string path = folder / "file";
  std::vector<std::byte> bytes(5 * 65536);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761u >> 24);
  write_file_atomically(path, bytes);
  const auto mapped = map_file(path);
  const auto resident = [&] {
    long kilobytes = 0;  // of the mapping, as the system counts them
    std::ifstream maps("/proc/self/smaps");
    bool ours = false;
    for (std::string line; std::getline(maps, line);) {
      if (line.find(path) != std::string::npos) ours = true;
      if (ours && line.starts_with("Rss:")) {
        kilobytes = std::stol(line.substr(4));
        break;
      }
    }
    return kilobytes * 1024;
  };
  CHECK(std::ranges::equal(mapped->bytes(), bytes));
  const long before = resident();
  for (const auto& [begin, count] :
       {std::pair<size_t, size_t>{0, 0}, {1, 3}, {70000, 150001}, {0, bytes.size()}}) {
    mapped->set_aside(mapped->bytes().subspan(begin, count));
    if (before > 0 && count > 100000) CHECK(resident() < before);
    CHECK(std::ranges::equal(mapped->bytes(), bytes));
  }
}

TEST_CASE("file: what is written is read and mapped again") {
  const Folder folder;
  const std::string path = folder / "data";
  write_file_atomically(path, bytes_of("hello"));
  CHECK(content(path) == "hello");
  const auto mapped = map_file(path);
  CHECK(mapped->bytes().size() == 5);

  const std::vector<std::span<const std::byte>> parts = {bytes_of("one "), bytes_of(""), bytes_of("two")};
  write_file_atomically(path, parts);
  CHECK(content(path) == "one two");
  CHECK(folder.count() == 1);
  // The mapping still shows the file that was replaced.
  CHECK(std::string_view(reinterpret_cast<const char*>(mapped->bytes().data()), 5) == "hello");
}

TEST_CASE("file: an empty file has no bytes") {
  const Folder folder;
  write_file_atomically(folder / "empty", bytes_of(""));
  CHECK(read_file(folder / "empty").empty());
  CHECK(map_file(folder / "empty")->bytes().empty());
}

TEST_CASE("file: a missing file, a folder, a device and a pipe are refused") {
  const Folder folder;
  const std::string missing = folder / "missing", there = folder.path.string(), pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refusal([&] { read_file(missing); }) == "cannot open '" + missing + "': No such file or directory");
  CHECK(refusal([&] { map_file(missing); }) == "cannot open '" + missing + "': No such file or directory");
  CHECK(refusal([&] { read_file(there); }) == "cannot open '" + there + "': Is a directory");
  CHECK(refusal([&] { map_file(there); }) == "cannot open '" + there + "': Is a directory");
  CHECK(refusal([&] { read_file("/dev/zero"); }) == "cannot open '/dev/zero': not a regular file");
  CHECK(refusal([&] { map_file("/dev/zero"); }) == "cannot open '/dev/zero': not a regular file");
  CHECK(refusal([&] { map_file(pipe); }) == "cannot open '" + pipe + "': not a regular file");
  CHECK(refusal([&] { write_file_atomically(there, bytes_of("x")); }) ==
        "cannot write '" + there + "': Is a directory");
  CHECK(refusal([&] { write_file_atomically(there + "/", bytes_of("x")); }) ==
        "cannot write '" + there + "/': Is a directory");
  CHECK(refusal([&] { write_file_atomically("", bytes_of("x")); }) ==
        "cannot write '': No such file or directory");
}

TEST_CASE("file: a failed write keeps the old file and leaves nothing behind") {
  const Folder folder;
  const std::string path = folder / "data";
  write_file_atomically(path, bytes_of("the old content"));
  const std::string large(100'000, 'x');

  SUBCASE("no room, in the middle of the data") {
    std::string message;
    {
      const SizeLimit limit(50'000);
      message = refusal([&] { write_file_atomically(path, bytes_of(large)); });
    }
    CHECK(message == "cannot write '" + path + "': File too large");
  }
  SUBCASE("below a regular file") {
    const std::string below = path + "/more";
    CHECK(refusal([&] { write_file_atomically(below, bytes_of(large)); }) ==
          "cannot write '" + below + "': Not a directory");
  }
  SUBCASE("a missing folder") {
    const std::string elsewhere = folder / "none" + "/data";
    CHECK(refusal([&] { write_file_atomically(elsewhere, bytes_of(large)); }) ==
          "cannot write '" + elsewhere + "': No such file or directory");
  }
  SUBCASE("a folder without permission") {
    if (::geteuid() == 0) return;  // nothing is forbidden to root
    fs::permissions(folder.path, fs::perms::owner_read | fs::perms::owner_exec);
    const std::string message = refusal([&] { write_file_atomically(path, bytes_of(large)); });
    fs::permissions(folder.path, fs::perms::owner_all);
    CHECK(message == "cannot write '" + path + "': Permission denied");
  }
  SUBCASE("a name that is too long") {
    const std::string longest = folder / std::string(300, 'n');
    CHECK(refusal([&] { write_file_atomically(longest, bytes_of(large)); }) ==
          "cannot write '" + longest + "': File name too long");
  }
  CHECK(content(path) == "the old content");
  CHECK(folder.count() == 1);
}

TEST_CASE("file: a device is written directly, never replaced") {
  if (!fs::is_character_file("/dev/full") || !fs::is_character_file("/dev/null")) return;
  CHECK(refusal([] { write_file_atomically("/dev/full", bytes_of("x")); }) ==
        "cannot write '/dev/full': No space left on device");
  write_file_atomically("/dev/null", bytes_of("x"));
  CHECK(fs::is_character_file("/dev/full"));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("file: permissions stay, links are followed, long names and foreign temporaries do not disturb") {
  const Folder folder;
  const std::string path = folder / "data";
  write_file_atomically(path, bytes_of("old"));
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("data", folder / "link");
  write_file_atomically(folder / "link", bytes_of("new"));
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(content(path) == "new");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));

  const std::string longest = folder / std::string(255, 'n');
  write_file_atomically(longest, bytes_of("long"));
  CHECK(content(longest) == "long");

  // What a killed program of the same number left behind.
  const std::string leftover = folder / text(".vitrine-{}-0.tmp", static_cast<long>(::getpid()));
  write_file_atomically(leftover, bytes_of("left"));
  write_file_atomically(path, bytes_of("newer"));
  CHECK(content(path) == "newer");
  CHECK(content(leftover) == "left");

  const fs::path before = fs::current_path();
  fs::current_path(folder.path);  // a path without a folder
  write_file_atomically("relative", bytes_of("here"));
  CHECK(content("relative") == "here");
  fs::current_path(before);
}

#endif
