// tensorboard_test.cpp: event files, and that a run which is cut off anywhere has each epoch once. What the records hold is
// read by another implementation in tests/report_test.sh.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "engine/file.h"
#include "models/training/tensorboard.h"
#include "tests/tune_runs.h"

using namespace vitrine;

namespace {

std::string content(const std::string& path) {
  const auto bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write(const std::string& path, const std::string& words) {
  write_file_atomically(path, std::as_bytes(std::span(words)));
}

uint32_t sum_of(std::string_view words) { return crc32c(std::as_bytes(std::span(words))); }

std::string metrics(int64_t epochs) {
  std::string out;
  for (int64_t e = 1; e <= epochs; ++e)
    out += text("{}{}{}{}{}{}{}\n", R"({"epoch":)", e, R"(,"step":)", 4 * e, R"(,"loss":)",
                1.0 / static_cast<double>(e), R"(,"accuracy":0.5,"learning_rate":0.001,"seconds":2.5})");
  return out;
}

}  // namespace

TEST_CASE("tensorboard: CRC-32C, its mask, and the frame of a record") {
  CHECK(sum_of("") == 0);
  CHECK(sum_of("123456789") == 0xe3069283);            // the catalogue's check value
  CHECK(sum_of(std::string(32, '\0')) == 0x8a9136aa);  // RFC 3720, B.4
  CHECK(sum_of(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(masked(0) == 0xa282ead8);
  CHECK(masked(0x00008000) == 0xa282ead9);
  const std::string record = first_event(12.5);
  uint64_t length = 0;
  std::memcpy(&length, record.data(), 8);
  REQUIRE(record.size() == 16 + length);
  uint32_t sums[2] = {};
  std::memcpy(&sums[0], record.data() + 8, 4);
  std::memcpy(&sums[1], record.data() + 12 + length, 4);
  CHECK(sums[0] == masked(sum_of(record.substr(0, 8))));
  CHECK(sums[1] == masked(sum_of(record.substr(12, length))));
  double time = 0;
  std::memcpy(&time, record.data() + 13, 8);
  CHECK(record[12] == (1 << 3 | 1));  // field 1, eight bytes
  CHECK(time == 12.5);
}

TEST_CASE("tensorboard: a file is gone on with where it agrees, and made anew where it does not") {
  const testing::Folder folder("tensorboard");
  const std::string lines = folder.path + "/metrics.jsonl";
  write(lines, metrics(1));
  const std::string path = write_events(folder.path);
  const std::string one = content(path);
  write(lines, metrics(3));
  CHECK(write_events(folder.path) == path);
  const std::string three = content(path);
  CHECK(three.size() > one.size());
  CHECK(three.starts_with(one));
  CHECK(write_events(folder.path) == path);
  CHECK(content(path) == three);
  // Killed at any byte of an appended record: the rest is added.
  for (const size_t cut :
       {size_t{0}, size_t{5}, one.size() - 1, one.size(), one.size() + 9, three.size() - 1}) {
    CAPTURE(cut);
    write(path, three.substr(0, cut));
    write_events(folder.path);
    CHECK(content(path) == three);
  }
  // An epoch that was made again took another time; a disk that lost power left zeros.
  std::string other = three;
  other[one.size() + 15] ^= 1;
  for (const std::string& wrong :
       {other, three + "more", one + std::string(40, '\0'), std::string("rubbish")}) {
    write(path, wrong);
    write_events(folder.path);
    CHECK(content(path) == three);
  }
  // Fewer epochs, too: a run that goes on from an earlier checkpoint.
  write(lines, metrics(2));
  write_events(folder.path);
  CHECK(three.starts_with(content(path)));
  CHECK(content(path).size() < three.size());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 2);
  write(lines, "rubbish\n");
  CHECK_THROWS_AS(write_events(folder.path), Error);
}

TEST_CASE(
    "tensorboard: a run that is stopped after each step and resumed has the epochs of its metrics, once") {
  const testing::Folder folder("tensorboard-run");
  const Backbone backbone = testing::small_backbone();
  const TuneData data = testing::small_data(backbone);
  const TuneConfig config = testing::small_config();
  TuneHooks hooks;
  hooks.epoch = [&](const EpochReport&) { write_events(folder.path); };
  hooks.stop = [] { return true; };
  bool resume = false;
  for (int i = 0; i < 100 && tune(backbone, data, config, folder.path, resume, hooks).stopped; ++i)
    resume = true;
  const auto epochs = read_metrics(folder.path);
  REQUIRE(epochs.size() == 3);
  const std::string path = write_events(folder.path);
  const std::string file = content(path);
  const std::string start = path.substr(path.rfind("tfevents.") + 9);
  CHECK(file == event_file(std::stod(start), epochs));
}
