#include "models/training/tensorboard.h"

#ifdef VITRINE_FILES

#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr std::string_view stem = "events.out.tfevents.", ending = ".vitrine";

std::span<const std::byte> bytes_of(std::string_view words) { return std::as_bytes(std::span(words)); }

template <class T>
void put_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> 8 * i & 0xff));
}

// --- protocol buffers --------------------------------------------------------------------------------------

enum Wire { varint = 0, fixed64 = 1, delimited = 2, fixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_key(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire));
}
void put_double(std::string& out, int field, double value) {
  put_key(out, field, fixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(value));
}
void put_float(std::string& out, int field, float value) {
  put_key(out, field, fixed32);
  put_little_endian(out, std::bit_cast<uint32_t>(value));
}
void put_whole(std::string& out, int field, int64_t value) {
  put_key(out, field, varint);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_words(std::string& out, int field, std::string_view words) {  // or a message
  put_key(out, field, delimited);
  put_varint(out, words.size());
  out += words;
}

std::string record_of(std::string_view data) {
  std::string length, out;
  put_little_endian(length, uint64_t{data.size()});
  out = length;
  put_little_endian(out, masked(crc32c(bytes_of(length))));
  out += data;
  put_little_endian(out, masked(crc32c(bytes_of(data))));
  return out;
}

// --- files -------------------------------------------------------------------------------------------------

struct Found {
  std::string path;
  int64_t start;  // seconds since 1970, of its name
};

std::optional<Found> event_file_in(const std::string& folder) {
  std::error_code problem;
  std::optional<Found> newest;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(stem) || !name.ends_with(ending)) continue;
    int64_t start = 0;
    const char* end = name.data() + name.size() - ending.size();
    const auto [stop, wrong] = std::from_chars(name.data() + stem.size(), end, start);
    if (wrong != std::errc{} || stop != end || (newest && newest->start >= start)) continue;
    newest = {entry.path().string(), start};
  }
  if (problem) fail(Fault::output, "cannot read folder {}: {}", quote(folder), problem.message());
  return newest;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  static constexpr auto table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      out[byte] = byte;
      for (int bit = 0; bit < 8; ++bit) out[byte] = out[byte] >> 1 ^ (out[byte] & 1 ? 0x82f63b78u : 0);
    }
    return out;
  }();
  uint32_t sum = ~0u;
  for (const std::byte byte : bytes) sum = sum >> 8 ^ table[(sum ^ static_cast<uint32_t>(byte)) & 0xff];
  return ~sum;
}

uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

std::string first_event(double wall_time) {
  std::string event;
  put_double(event, 1, wall_time);
  put_words(event, 3, "brain.Event:2");
  return record_of(event);
}

std::string scalar_event(double wall_time, int64_t step,
                         std::span<const std::pair<std::string, double>> scalars) {
  std::string event, summary;
  put_double(event, 1, wall_time);
  put_whole(event, 2, step);
  for (const auto& [tag, number] : scalars) {
    std::string value;
    put_words(value, 1, tag);
    put_float(value, 2, static_cast<float>(number));
    put_words(summary, 1, value);
  }
  put_words(event, 5, summary);
  return record_of(event);
}

std::string event_file(double start, std::span<const EpochLine> epochs) {
  std::string out = first_event(start);
  double time = start;
  for (const EpochLine& line : epochs) {
    time += std::isfinite(line.seconds) ? line.seconds : 0;
    std::vector<std::pair<std::string, double>> scalars{
        {"loss", line.loss}, {"accuracy", line.accuracy}, {"learning_rate", line.learning_rate}};
    if (line.val_loss) scalars.emplace_back("val_loss", *line.val_loss);
    if (line.val_accuracy) scalars.emplace_back("val_accuracy", *line.val_accuracy);
    out += scalar_event(time, line.epoch, scalars);
  }
  return out;
}

std::string write_events(const std::string& folder) {
  const std::vector<EpochLine> epochs = read_metrics(folder);
  const std::optional<Found> found = event_file_in(folder);
  if (found) {
    const std::string content = event_file(static_cast<double>(found->start), epochs);
    const std::vector<std::byte> present = read_file(found->path);
    const std::string_view old(reinterpret_cast<const char*>(present.data()), present.size());
    if (old == content) return found->path;
    if (content.starts_with(old)) {
      // Whatever part of this comes to the disk before a crash, the next call finds it agree, or replaces it.
      std::ofstream file(found->path, std::ios::binary | std::ios::app);
      file << std::string_view(content).substr(old.size()) << std::flush;
      if (!file)
        fail(Fault::output, "cannot write {}: {}", quote(found->path),
             std::generic_category().message(errno));
    } else {
      write_file_atomically(found->path, bytes_of(content));
    }
    return found->path;
  }
  // The run began before its first epoch was done.
  double done = 0;
  for (const EpochLine& line : epochs) done += std::isfinite(line.seconds) ? line.seconds : 0;
  const auto start = static_cast<int64_t>(std::time(nullptr)) - static_cast<int64_t>(std::ceil(done));
  std::string path = (std::filesystem::path(folder) / text("{}{}{}", stem, start, ending)).string();
  write_file_atomically(path, bytes_of(event_file(static_cast<double>(start), epochs)));
  return path;
}

}  // namespace vitrine

#endif
