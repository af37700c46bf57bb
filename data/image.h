// image.h: pictures as bytes, and the decoders that make them.
//
// A file's format is told by its first bytes, never by its name. JPEG is read by libjpeg-turbo, PNG with
// zlib, BMP by stb_image behind checks of our own; whatever is damaged or cut short is an Error that names the image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vitrine {

// Red, green, blue; row-major (height, width, 3). Both extents are at least 1 in a valid image.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;
};

constexpr int max_image_side = 16384;
constexpr int64_t max_image_pixels = int64_t{64} << 20;

// A black image. Throws unless 1 <= width, height <= max_image_side and width * height <= max_image_pixels.
Image blank_image(int width, int height);
// Throws unless the extents are as above and rgb holds width * height * 3 bytes; `who` opens the sentence.
void check_image(const Image& image, const std::string& who);

// A JPEG, PNG or BMP file's bytes as RGB, byte for byte as Pillow's convert("RGB") has them: grey is replicated,
// alpha and transparent colors dropped, palettes looked up, CMYK turned into RGB. 16-bit channels keep their upper byte,
// grey ones, too, which Pillow cuts off at 255 instead. JPEGs equal Pillow's where both have the same libjpeg-turbo:
// the accurate inverse transform and smooth upsampling, as both are set, may change between its versions. Throws Error{Fault::input} naming `name` for anything else,
// for damaged or truncated data and for images beyond the limits above. Only in builds with VITRINE_FILES
// (which have the decoders).
Image decode_image(std::span<const std::byte> file, const std::string& name);

// The orientation 1..8 that the EXIF block of a JPEG or PNG asks for; 1 if there is none or it is malformed.
int exif_orientation(std::span<const std::byte> file);
// The image as it is meant to be seen: 1 as stored, 2 mirrored, 3 turned by 180 degrees, 4 upside down,
// 5 transposed, 6 turned clockwise by 90, 7 transposed across the other diagonal,
// 8 turned counter-clockwise by 90.
Image apply_orientation(const Image& image, int orientation);

// Reads and decodes a file; `exif` applies its orientation. Only in builds with VITRINE_FILES.
Image load_image(const std::string& path, bool exif = false);

}  // namespace vitrine
