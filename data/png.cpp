// png.cpp: PNG files (W3C, 3rd edition) to pixels: chunks, zlib's stream, row filters, interlacing.
#ifdef VITRINE_FILES

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "data/decoders.h"
#include "engine/check.h"

namespace vitrine {
namespace {

using Bytes = std::span<const std::byte>;

const unsigned char* chars(Bytes bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

uint32_t number(Bytes b, size_t at) {
  return static_cast<uint32_t>(b[at]) << 24 | static_cast<uint32_t>(b[at + 1]) << 16 |
         static_cast<uint32_t>(b[at + 2]) << 8 | static_cast<uint32_t>(b[at + 3]);
}

enum Color { grey = 0, rgb = 2, indexed = 3, grey_alpha = 4, rgb_alpha = 6 };

struct Png {
  int width = 0, height = 0, depth = 0, color = 0;
  bool interlaced = false;
  std::array<uint8_t, 768> palette{};
  std::vector<Bytes> data;  // of the IDAT chunks

  int channels() const { return color == rgb ? 3 : color == grey_alpha ? 2 : color == rgb_alpha ? 4 : 1; }
  size_t row_bytes(int pixels) const {
    return (static_cast<size_t>(pixels) * static_cast<size_t>(channels() * depth) + 7) / 8;
  }
};

void read_header(Bytes data, Png& png, const std::string& name) {
  constexpr const char* unreadable = ": damaged PNG: its header cannot be read";
  check(data.size() == 13, "{}{}", name, unreadable);
  const auto byte = [&](size_t i) { return std::to_integer<int>(data[i]); };
  png.depth = byte(8);
  png.color = byte(9);
  const int d = png.depth;
  const bool whole = d == 8 || d == 16, fine = d == 1 || d == 2 || d == 4;
  const bool allowed = png.color == grey ? whole || fine
                       : png.color == indexed
                           ? fine || d == 8
                           : whole && (png.color == rgb || png.color == grey_alpha || png.color == rgb_alpha);
  check(allowed && byte(10) == 0 && byte(11) == 0 && byte(12) <= 1, "{}{}", name, unreadable);
  png.interlaced = byte(12) == 1;
  check_decoded_size(number(data, 0), number(data, 4), name);
  png.width = static_cast<int>(number(data, 0));
  png.height = static_cast<int>(number(data, 4));
}

// All chunks, each whole and of the right check sum.
Png read_chunks(Bytes file, const std::string& name) {
  Png png;
  for (size_t i = 0; i < png.palette.size(); ++i) png.palette[i] = static_cast<uint8_t>(i / 3);
  bool palette = false;
  for (size_t at = 8;;) {
    check(file.size() - at >= 12, "{}: truncated PNG", name);
    const size_t length = number(file, at);
    check(length <= file.size() - at - 12, "{}: truncated PNG", name);
    const Bytes type_and_data = file.subspan(at + 4, length + 4), data = type_and_data.subspan(4);
    const std::string_view type(reinterpret_cast<const char*>(type_and_data.data()), 4);
    const auto sum = crc32(0, chars(type_and_data), static_cast<uInt>(type_and_data.size()));
    check(sum == number(file, at + 8 + length), "{}: damaged PNG: a chunk's check sum is wrong", name);
    check((type == "IHDR") == (at == 8), "{}: damaged PNG: expected one header, at the start", name);
    if (type == "IHDR") {
      read_header(data, png, name);
    } else if (type == "PLTE") {
      check(!data.empty() && length <= png.palette.size() && length % 3 == 0,
            "{}: damaged PNG: expected a palette of 1 to 256 colors", name);
      std::memcpy(png.palette.data(), data.data(), length);
      palette = true;
    } else if (type == "IDAT") {
      png.data.push_back(data);
    } else if (type == "IEND") {
      break;
    } else {
      const bool must_be_known = (type_and_data[0] & std::byte{0x20}) == std::byte{0};
      check(!must_be_known, "{}: damaged PNG: a chunk of a kind that is not known", name);
    }
    at += 12 + length;
  }
  check(png.color != indexed || palette, "{}: damaged PNG: its palette is missing", name);
  return png;
}

// The rows of a PNG as they come out of its compressed data, one after the other.
class Rows {
 public:
  Rows(const Png& png, const std::string& name) : png_(png), name_(name) {
    if (inflateInit(&stream_) != Z_OK) fail(Fault::resources, "{}: no memory to unpack a PNG", name);
  }
  ~Rows() { inflateEnd(&stream_); }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  void read(std::span<uint8_t> out) {
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out > 0) check(step(), "{}: damaged PNG: its pixels end too early", name_);
  }

  // What follows the last row is no pixels, but may tell that they are damaged.
  void finish() {
    std::array<uint8_t, 64> surplus;
    stream_.next_out = surplus.data();
    stream_.avail_out = static_cast<uInt>(surplus.size());
    while (stream_.avail_out == surplus.size() && step()) {
    }
  }

 private:
  // False if there is nothing left.
  bool step() {
    if (ended_) return false;
    while (stream_.avail_in == 0 && next_ < png_.data.size()) {
      const Bytes part = png_.data[next_++];
      stream_.next_in = const_cast<Bytef*>(chars(part));
      stream_.avail_in = static_cast<uInt>(part.size());
    }
    const bool dry = stream_.avail_in == 0;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    if (status == Z_MEM_ERROR) fail(Fault::resources, "{}: no memory to unpack a PNG", name_);
    check(status == Z_OK || status == Z_STREAM_END || (dry && status == Z_BUF_ERROR),
          "{}: damaged PNG: its pixels cannot be unpacked", name_);
    ended_ = status != Z_OK;
    return true;
  }

  const Png& png_;
  const std::string& name_;
  z_stream stream_{};
  size_t next_ = 0;
  bool ended_ = false;
};

// Undoes a row's filter; `pixel` is the distance to the byte of the same channel on the left.
void unfilter(int how, std::span<uint8_t> row, std::span<const uint8_t> above, size_t pixel,
              const std::string& name) {
  check(how <= 4, "{}: damaged PNG: a row is filtered in no known way", name);
  const size_t n = row.size(), head = std::min(pixel, n);
  const auto add = [](uint8_t& to, int value) { to = static_cast<uint8_t>(to + value); };
  if (how == 1)
    for (size_t i = head; i < n; ++i) add(row[i], row[i - pixel]);
  if (how == 2)
    for (size_t i = 0; i < n; ++i) add(row[i], above[i]);
  if (how == 3) {
    for (size_t i = 0; i < head; ++i) add(row[i], above[i] / 2);
    for (size_t i = head; i < n; ++i) add(row[i], (row[i - pixel] + above[i]) / 2);
  }
  if (how == 4) {
    for (size_t i = 0; i < head; ++i) add(row[i], above[i]);
    for (size_t i = head; i < n; ++i) {
      // Paeth's predictor: whichever of left, above, above left is nearest to left + above - above left
      const int a = row[i - pixel], b = above[i], c = above[i - pixel];
      const int to_a = std::abs(b - c), to_b = std::abs(a - c), to_c = std::abs(a + b - 2 * c);
      add(row[i], to_a <= to_b && to_a <= to_c ? a : to_b <= to_c ? b : c);
    }
  }
}

// A row of `pixels` as RGB.
void to_rgb(const Png& png, std::span<const uint8_t> row, int pixels, uint8_t* out) {
  const auto count = static_cast<size_t>(pixels);
  const size_t depth = static_cast<size_t>(png.depth), bytes = depth / 8;
  if (png.color == rgb || png.color == rgb_alpha) {
    const size_t step = static_cast<size_t>(png.channels()) * bytes;
    for (size_t i = 0; i < count; ++i)
      for (size_t c = 0; c < 3; ++c) out[3 * i + c] = row[i * step + c * bytes];
    return;
  }
  const size_t step = static_cast<size_t>(png.channels()) * depth;
  const int most = (1 << std::min<size_t>(depth, 8)) - 1;
  for (size_t i = 0; i < count; ++i) {
    const size_t bit = i * step;  // samples lie from the upper bits to the lower
    const int value = depth >= 8 ? row[bit / 8] : row[bit / 8] >> (8 - depth - bit % 8) & most;
    if (png.color == indexed)
      std::memcpy(out + 3 * i, &png.palette[static_cast<size_t>(3 * value)], 3);
    else
      std::memset(out + 3 * i, value * 255 / most, 3);
  }
}

// Every which pixel a pass holds, from where on.
struct Pass {
  int x, y, dx, dy;
};
constexpr std::array<Pass, 1> plain{{{0, 0, 1, 1}}};
constexpr std::array<Pass, 7> adam7{
    {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}};

int part_of(int extent, int from, int step) { return from >= extent ? 0 : (extent - from - 1) / step + 1; }

}  // namespace

Image decode_png(Bytes file, const std::string& name) {
  const Png png = read_chunks(file, name);
  // No compressed byte stands for more than 1032: do not take memory for pixels that cannot be there.
  size_t packed = 0;
  for (const Bytes part : png.data) packed += part.size();
  check(png.row_bytes(png.width) * static_cast<size_t>(png.height) / 1032 <= packed,
        "{}: damaged PNG: its pixels end too early", name);

  Image image = blank_image(png.width, png.height);
  const size_t pixel = std::max<size_t>(1, static_cast<size_t>(png.channels() * png.depth) / 8);
  Rows rows(png, name);
  std::vector<uint8_t> row, above, line;
  for (const Pass& pass : png.interlaced ? std::span<const Pass>(adam7) : std::span<const Pass>(plain)) {
    const int width = part_of(png.width, pass.x, pass.dx), height = part_of(png.height, pass.y, pass.dy);
    if (width == 0) continue;
    const size_t bytes = png.row_bytes(width);
    row.assign(bytes + 1, 0);  // the way it is filtered, then its bytes
    above.assign(bytes + 1, 0);
    line.resize(static_cast<size_t>(width) * 3);
    for (int r = 0; r < height; ++r) {
      rows.read(row);
      unfilter(row[0], std::span(row).subspan(1), std::span(above).subspan(1), pixel, name);
      to_rgb(png, std::span(row).subspan(1), width, line.data());
      uint8_t* out =
          image.rgb.data() + (size_t(pass.y + r * pass.dy) * size_t(png.width) + size_t(pass.x)) * 3;
      if (pass.dx == 1)
        std::memcpy(out, line.data(), line.size());
      else
        for (size_t i = 0; i < static_cast<size_t>(width); ++i)
          std::memcpy(out + i * static_cast<size_t>(pass.dx) * 3, &line[3 * i], 3);
      row.swap(above);
    }
  }
  rows.finish();
  return image;
}

}  // namespace vitrine

#endif
