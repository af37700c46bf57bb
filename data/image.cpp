// image.cpp: what needs no decoder: limits, EXIF orientation, turning.
#include "data/image.h"

#include <cstring>
#include <optional>

#include "engine/check.h"

namespace vitrine {
namespace {

constexpr int rgb_bytes = 3;

void check_extents(int width, int height, const std::string& who) {
  check(width >= 1 && height >= 1 && width <= max_image_side && height <= max_image_side,
        "{}: expected sides of 1 to {} pixels, got {} x {}", who, max_image_side, width, height);
  check(int64_t{width} * height <= max_image_pixels, "{}: {} x {} are more than {} pixels", who, width,
        height, max_image_pixels);
}

// Numbers at any place of a byte string, in either byte order; nothing if they would end outside.
struct Reader {
  std::span<const std::byte> bytes;
  bool big_endian = true;

  std::optional<uint32_t> number(size_t at, size_t width) const {
    if (at > bytes.size() || bytes.size() - at < width) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < width; ++i)
      value = value << 8 | std::to_integer<uint32_t>(bytes[at + (big_endian ? i : width - 1 - i)]);
    return value;
  }
};

// The orientation in a TIFF structure's first directory.
int tiff_orientation(std::span<const std::byte> tiff) {
  constexpr uint32_t intel = 0x4949, motorola = 0x4D4D, orientation_tag = 0x0112, type_short = 3;
  Reader in{tiff};
  const auto order = in.number(0, 2);
  if (order != intel && order != motorola) return 1;
  in.big_endian = order == motorola;
  if (in.number(2, 2) != 42u) return 1;
  const auto directory = in.number(4, 4);
  if (!directory) return 1;
  const auto entries = in.number(*directory, 2);
  for (uint32_t i = 0; entries && i < *entries; ++i) {
    const size_t entry = size_t{*directory} + 2 + size_t{12} * i;
    const auto tag = in.number(entry, 2);
    if (!tag) return 1;
    if (*tag != orientation_tag) continue;
    const auto value = in.number(entry + 8, 2);
    const bool valid =
        in.number(entry + 2, 2) == type_short && in.number(entry + 4, 4) == 1u && value >= 1u && value <= 8u;
    return valid ? static_cast<int>(*value) : 1;
  }
  return 1;
}

constexpr uint32_t png_mark = 0x89504E47;

// Of a PNG's chunk eXIf, which holds the TIFF structure alone.
int png_orientation(std::span<const std::byte> file) {
  const Reader in{file};
  constexpr uint32_t exif = 0x65584966, end = 0x49454E44;
  for (size_t at = 8;;) {
    const auto length = in.number(at, 4), type = in.number(at + 4, 4);
    if (!length || !type || *type == end || file.size() - at - 8 < *length) return 1;
    if (*type == exif) return tiff_orientation(file.subspan(at + 8, *length));
    at += size_t{12} + *length;
  }
}

}  // namespace

Image blank_image(int width, int height) {
  check_extents(width, height, "image");
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(int64_t{width} * height * rgb_bytes))};
}

void check_image(const Image& image, const std::string& who) {
  check_extents(image.width, image.height, who);
  const int64_t bytes = int64_t{image.width} * image.height * rgb_bytes;
  check(static_cast<int64_t>(image.rgb.size()) == bytes,
        "{}: expected {} bytes for {} x {} RGB pixels, got {}", who, bytes, image.width, image.height,
        image.rgb.size());
}

int exif_orientation(std::span<const std::byte> file) {
  const Reader in{file};
  if (in.number(0, 4) == png_mark) return png_orientation(file);
  constexpr uint32_t start_of_image = 0xFFD8, app1 = 0xE1, start_of_scan = 0xDA, end_of_image = 0xD9;
  if (in.number(0, 2) != start_of_image) return 1;
  for (size_t at = 2;;) {
    if (in.number(at, 1) != 0xFFu) return 1;
    while (in.number(at + 1, 1) == 0xFFu) ++at;  // fill bytes
    const auto marker = in.number(at + 1, 1), length = in.number(at + 2, 2);
    if (!marker || !length || *marker == start_of_scan || *marker == end_of_image || *length < 2) return 1;
    const size_t content = at + 4, size = *length - 2;
    if (content > file.size() || file.size() - content < size) return 1;
    constexpr char signature[] = {'E', 'x', 'i', 'f', 0, 0};
    if (*marker == app1 && size >= sizeof signature &&
        std::memcmp(file.data() + content, signature, sizeof signature) == 0)
      return tiff_orientation(file.subspan(content + sizeof signature, size - sizeof signature));
    at = content + size;
  }
}

Image apply_orientation(const Image& image, int orientation) {
  check(orientation >= 1 && orientation <= 8, "image: expected an orientation of 1 to 8, got {}",
        orientation);
  check_image(image, "image");
  // The stored rows run along the seen columns from 5 on. The seen pixel (x, y) is stored at (u, v).
  const bool transposed = orientation >= 5;
  const int w = image.width, h = image.height;
  Image seen = blank_image(transposed ? h : w, transposed ? w : h);
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  uint8_t* out = seen.rgb.data();
  for (int y = 0; y < seen.height; ++y)
    for (int x = 0; x < seen.width; ++x, out += rgb_bytes) {
      const int along = transposed ? y : x, down = transposed ? x : y;
      const int u = from_right ? w - 1 - along : along, v = from_below ? h - 1 - down : down;
      std::memcpy(out,
                  image.rgb.data() + (size_t{3} * static_cast<size_t>(w) * static_cast<size_t>(v)) + 3 * u,
                  rgb_bytes);
    }
  return seen;
}

}  // namespace vitrine
