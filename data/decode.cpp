// decode.cpp: image files to pixels. Nothing reaches stb_image before its frame was checked here.

#ifdef VITRINE_FILES

#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#include <stb/stb_image.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "data/decoders.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"

namespace vitrine {

void forget_stb_reason();  // in stb.cpp

namespace {

using Bytes = std::span<const std::byte>;

const unsigned char* chars(Bytes bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

bool starts_with(Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// Adobe programs store the inks inverted, and so do all others that make CMYK JPEGs. What is stored is then
// the share of light that each ink lets through; the mixture is Pillow's, rounded product and all.
void mix_inks(const std::vector<uint8_t>& stored, std::vector<uint8_t>& rgb) {
  const auto product = [](int a, int b) {
    const int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
  };
  for (size_t i = 0; i < stored.size() / 4; ++i) {
    const uint8_t* ink = &stored[4 * i];
    for (size_t c = 0; c < 3; ++c)
      rgb[3 * i + c] = static_cast<uint8_t>(std::max(0, ink[3] - product(255 - ink[c], ink[3])));
  }
}

// libjpeg goes on after damage with a warning. One is harmless, bytes that belong to no marker, as long as
// the file has its end: many cameras and old programs leave such bytes.
bool harmless_warning(tjhandle handle, Bytes file) {
  if (tjGetErrorCode(handle) != TJERR_WARNING) return false;
  if (std::string_view(tjGetErrorStr2(handle)).find("extraneous bytes before marker") ==
      std::string_view::npos)
    return false;
  size_t end = file.size();
  while (end > 2 && file[end - 1] == std::byte{0}) --end;
  return end >= 2 && file[end - 2] == std::byte{0xFF} && file[end - 1] == std::byte{0xD9};
}

Image decode_jpeg(Bytes file, const std::string& name) {
  const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitDecompress(), tjDestroy);
  if (!handle) fail(Fault::resources, "{}: cannot start the JPEG decoder: {}", name, tjGetErrorStr2(nullptr));
  int width = 0, height = 0, sampling = 0, space = 0;
  const auto size = static_cast<unsigned long>(file.size());
  const int header = tjDecompressHeader3(handle.get(), chars(file), size, &width, &height, &sampling, &space);
  // Where the header ends before the size is told, libjpeg-turbo calls it a success without one.
  if (header != 0 || width == 0 || height == 0)
    fail(Fault::input, "{}: damaged JPEG: its header cannot be read: {}", name,
         tjGetErrorCode(handle.get()) == TJERR_WARNING || header != 0 ? tjGetErrorStr2(handle.get())
                                                                      : "it tells no size");
  check_decoded_size(width, height, name);
  Image image = blank_image(width, height);
  const bool inks = space == TJCS_CMYK || space == TJCS_YCCK;
  std::vector<uint8_t> stored(inks ? image.rgb.size() / 3 * 4 : 0);
  const int status =
      tjDecompress2(handle.get(), chars(file), size, inks ? stored.data() : image.rgb.data(), width, 0,
                    height, inks ? TJPF_CMYK : TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
  check(status == 0 || harmless_warning(handle.get(), file), "{}: damaged JPEG: {}", name,
        tjGetErrorStr2(handle.get()));
  if (inks) mix_inks(stored, image.rgb);
  return image;
}

uint32_t little_endian(Bytes b, size_t at, size_t width) {
  uint32_t value = 0;
  for (size_t i = width; i > 0; --i) value = value << 8 | static_cast<uint32_t>(b[at + i - 1]);
  return value;
}

// Where a BMP's parts lie.
struct BmpFrame {
  int64_t width, rows, bits;
  int64_t palette, entry,
      colors;           // of up to 8 bits a pixel: where it begins, bytes of a color, how many there are
  int64_t pixels, row;  // where they begin, bytes of a row
  bool from_top;
};

// stb_image takes missing pixels for black: see that the file holds as many as its header says.
BmpFrame check_bmp(Bytes file, const std::string& name) {
  check(file.size() >= 18, "{}: truncated BMP", name);
  const uint32_t pixels = little_endian(file, 10, 4), header = little_endian(file, 14, 4);
  const bool old = header == 12;
  check(old || (header >= 40 && header <= 256), "{}: expected a BMP header of 12 or 40 to 256 bytes, got {}",
        name, header);
  check(file.size() >= size_t{14} + header, "{}: truncated BMP", name);
  int64_t width = little_endian(file, 18, 2), height = little_endian(file, 20, 2);
  if (!old) {
    width = static_cast<int32_t>(little_endian(file, 18, 4));
    height = static_cast<int32_t>(little_endian(file, 22, 4));
  }
  const int64_t rows = height < 0 ? -height : height;  // negative: stored from the top
  const int64_t bits = little_endian(file, old ? 24 : 28, 2);
  check_decoded_size(width, rows, name);
  check(bits >= 1 && bits <= 32, "{}: expected a BMP of 1 to 32 bits a pixel, got {}", name, bits);
  const int64_t row = (width * bits + 31) / 32 * 4;
  check(static_cast<int64_t>(file.size()) >= pixels + row * rows,
        "{}: truncated BMP: expected {} bytes, got {}", name, pixels + row * rows, file.size());
  const int64_t palette = int64_t{14} + header, entry = old ? 3 : 4;
  int64_t colors = 0;
  if (bits <= 8) {
    check(bits == 1 || bits == 4 || bits == 8,
          "{}: expected a BMP of 1, 4, 8, 16, 24 or 32 bits a pixel, got {}", name, bits);
    check(old || little_endian(file, 30, 4) == 0, "{}: a BMP whose rows are compressed is not read here",
          name);
    colors = std::min((int64_t{pixels} - palette) / entry, int64_t{1} << bits);
    if (!old && little_endian(file, 46, 4) != 0)
      colors = std::min<int64_t>(colors, little_endian(file, 46, 4));
  }
  return {width, rows, bits, palette, entry, colors, pixels, row, height < 0};
}

// A BMP with a palette. stb_image would take colors that it lacks from wherever in memory, and it looks for those
// behind a short header in the wrong place.
Image decode_indexed_bmp(Bytes file, const BmpFrame& frame, const std::string& name) {
  Image image = blank_image(static_cast<int>(frame.width), static_cast<int>(frame.rows));
  uint8_t* out = image.rgb.data();
  const int64_t per_byte = 8 / frame.bits, mask = (1 << frame.bits) - 1;
  for (int64_t y = 0; y < frame.rows; ++y) {
    const int64_t row = frame.pixels + frame.row * (frame.from_top ? y : frame.rows - 1 - y);
    for (int64_t x = 0; x < frame.width; ++x, out += 3) {
      const auto byte = std::to_integer<int64_t>(file[static_cast<size_t>(row + x / per_byte)]);
      const int64_t index = byte >> (8 - frame.bits - x % per_byte * frame.bits) & mask;
      check(index < frame.colors, "{}: damaged BMP: expected a palette of more than {} colors, got {}", name,
            index, frame.colors);
      for (int64_t c = 0; c < 3; ++c)  // blue comes first
        out[c] =
            std::to_integer<uint8_t>(file[static_cast<size_t>(frame.palette + index * frame.entry + 2 - c)]);
    }
  }
  return image;
}

Image decode_bmp(Bytes file, const std::string& name) {
  const BmpFrame frame = check_bmp(file, name);
  if (frame.bits <= 8) return decode_indexed_bmp(file, frame, name);
  check(file.size() <= size_t{INT32_MAX}, "{}: a BMP file beyond 2 GiB", name);
  const auto size = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  // Of a header stb_image only ever says that it is of no format that it knows.
  check(stbi_info_from_memory(chars(file), size, &width, &height, &channels) == 1,
        "{}: damaged BMP: its header cannot be read", name);
  check_decoded_size(width, std::abs(height), name);  // it may be negative still
  forget_stb_reason();
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(chars(file), size, &width, &height, &channels, 3), stbi_image_free);
  // Asked only now: in one expression with the call, the reason may be read before there is one.
  const char* reason = stbi_failure_reason();
  check(pixels != nullptr, "{}: damaged BMP: {}", name, reason ? reason : "its pixels cannot be unpacked");
  Image image = blank_image(width, height);
  std::memcpy(image.rgb.data(), pixels.get(), image.rgb.size());
  return image;
}

}  // namespace

void check_decoded_size(int64_t width, int64_t height, const std::string& name) {
  check(width >= 1 && height >= 1 && width <= max_image_side && height <= max_image_side &&
            width * height <= max_image_pixels,
        "{}: expected an image of 1 to {} pixels a side and {} in all, got {} x {}", name, max_image_side,
        max_image_pixels, width, height);
}

Image decode_image(Bytes file, const std::string& name) {
  const std::string who = text("image {}", quote(name));
  if (starts_with(file, "\xFF\xD8\xFF")) return decode_jpeg(file, who);
  if (starts_with(file, "\x89PNG\r\n\x1A\n")) return decode_png(file, who);
  if (starts_with(file, "BM")) return decode_bmp(file, who);
  fail(Fault::input, "{}: expected a JPEG, PNG or BMP file, got {}", who,
       file.empty() ? "an empty file" : "something else by its first bytes");
}

Image load_image(const std::string& path, bool exif) {
  const std::vector<std::byte> file = read_file(path);
  Image image = decode_image(file, path);
  return exif ? apply_orientation(image, exif_orientation(file)) : image;
}

}  // namespace vitrine

#endif
