// data_files.h: makes the files that tests of the data folder read: a folder that goes away,
// and small encoders.
#pragma once

#ifdef VITRINE_FILES

#include <doctest/doctest.h>
#include <turbojpeg.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/image.h"
#include "engine/check.h"
#include "engine/random.h"

namespace files {

using Bytes = std::vector<std::byte>;

// A new folder under the system's place for such things, removed with all that is in it at
// the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vitrine-test-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string str() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  // Writes a file, making its folders.
  void write(const std::string& name, const Bytes& bytes) const {
    const std::filesystem::path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    REQUIRE(out.good());
  }

 private:
  std::filesystem::path path_;
};

inline Bytes bytes_of(const std::string& words) {
  Bytes out(words.size());
  for (size_t i = 0; i < words.size(); ++i) out[i] = static_cast<std::byte>(words[i]);
  return out;
}
inline void put(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
inline void put_big(Bytes& out, uint32_t value, int width = 4) {
  for (int i = width - 1; i >= 0; --i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}
inline void put_little(Bytes& out, uint32_t value, int width = 4) {
  for (int i = 0; i < width; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}
inline const unsigned char* chars(const Bytes& bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

// The message of the Error that `f` throws; fails the test if it throws none.
template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const vitrine::Error& error) {
    return error.what();
  }
  FAIL("no error was thrown");
  return {};
}
inline bool says(const std::string& message, const std::string& part) {
  const bool found = message.find(part) != std::string::npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << message);
  return found;
}

inline vitrine::Image random_image(int width, int height, uint32_t seed) {
  vitrine::Image image = vitrine::blank_image(width, height);
  vitrine::Random random(1, vitrine::Purpose::test, 0, seed);
  for (uint8_t& v : image.rgb) v = static_cast<uint8_t>(random.bits());
  return image;
}

inline Bytes png_chunk(const char* type, const Bytes& data) {
  Bytes body = bytes_of(std::string(type, 4)), out;
  put(body, data);
  put_big(out, static_cast<uint32_t>(data.size()));
  put(out, body);
  put_big(out, static_cast<uint32_t>(crc32(0, chars(body), static_cast<uInt>(body.size()))));
  return out;
}

// A PNG of any kind. `rows` are the packed scan lines, without filter bytes, one after the other.
inline Bytes encode_png(uint32_t width, uint32_t height, int depth, int color_type, const Bytes& rows,
                        const Bytes& palette = {}, const Bytes& transparency = {}) {
  Bytes out = bytes_of("\x89PNG\r\n\x1A\n"), header, lines;
  put_big(header, width);
  put_big(header, height);
  for (const int b : {depth, color_type, 0, 0, 0}) header.push_back(static_cast<std::byte>(b));
  put(out, png_chunk("IHDR", header));
  if (!palette.empty()) put(out, png_chunk("PLTE", palette));
  if (!transparency.empty()) put(out, png_chunk("tRNS", transparency));
  const size_t row = height == 0 ? 0 : rows.size() / height;
  for (size_t y = 0; row > 0 && y < height; ++y) {
    lines.push_back(std::byte{0});
    lines.insert(lines.end(), rows.begin() + static_cast<std::ptrdiff_t>(y * row),
                 rows.begin() + static_cast<std::ptrdiff_t>((y + 1) * row));
  }
  uLongf size = compressBound(lines.size());
  Bytes data(size);
  REQUIRE(compress(reinterpret_cast<Bytef*>(data.data()), &size, chars(lines), lines.size()) == Z_OK);
  data.resize(size);
  put(out, png_chunk("IDAT", data));
  put(out, png_chunk("IEND", {}));
  return out;
}
inline Bytes encode_png(const vitrine::Image& image) {
  Bytes rows(image.rgb.size());
  std::memcpy(rows.data(), image.rgb.data(), rows.size());
  return encode_png(static_cast<uint32_t>(image.width), static_cast<uint32_t>(image.height), 8, 2, rows);
}

// A JPEG by libjpeg-turbo from pixels of `format` (TJPF_RGB, TJPF_GRAY, TJPF_CMYK).
inline Bytes encode_jpeg(const uint8_t* pixels, int width, int height, int format = TJPF_RGB,
                         int quality = 100) {
  const tjhandle handle = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int sampling = format == TJPF_GRAY ? TJSAMP_GRAY : TJSAMP_444;
  REQUIRE(tjCompress2(handle, pixels, width, 0, height, format, &data, &size, sampling, quality, 0) == 0);
  Bytes out(size);
  std::memcpy(out.data(), data, size);
  tjFree(data);
  tjDestroy(handle);
  return out;
}
inline Bytes encode_jpeg(const vitrine::Image& image) {
  return encode_jpeg(image.rgb.data(), image.width, image.height);
}

// A BMP with a 40-byte header; negative heights are stored from the top. `rows` are padded
// to 4 bytes already.
inline Bytes encode_bmp(int width, int height, int bits, const Bytes& rows, const Bytes& palette = {}) {
  Bytes out = bytes_of("BM");
  const auto start = static_cast<uint32_t>(54 + palette.size());
  put_little(out, start + static_cast<uint32_t>(rows.size()));
  put_little(out, 0);
  put_little(out, start);
  put_little(out, 40);
  put_little(out, static_cast<uint32_t>(width));
  put_little(out, static_cast<uint32_t>(height));
  put_little(out, 1, 2);
  put_little(out, static_cast<uint32_t>(bits), 2);
  for (const uint32_t v :
       {0u, static_cast<uint32_t>(rows.size()), 0u, 0u, static_cast<uint32_t>(palette.size() / 4), 0u})
    put_little(out, v);
  put(out, palette);
  put(out, rows);
  return out;
}

inline Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes out(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = const_cast<Bytef*>(chars(bytes));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace files

#endif
