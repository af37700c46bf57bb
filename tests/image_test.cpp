// image_test.cpp: decoding, hostile files, orientation.
#include "data/image.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <thread>

#include "tests/data_files.h"

using namespace vitrine;

namespace {

// Where a stored pixel is seen, straight from the TIFF definition: which side of the seen picture the stored
// row 0 and the stored column 0 lie on.
struct Sides {
  const char* row0;
  const char* column0;
};
constexpr std::array<Sides, 9> sides{{{"", ""},
                                      {"top", "left"},
                                      {"top", "right"},
                                      {"bottom", "right"},
                                      {"bottom", "left"},
                                      {"left", "top"},
                                      {"right", "top"},
                                      {"right", "bottom"},
                                      {"left", "bottom"}}};

void place(const std::string& side, int index, int count, int& x, int& y) {
  if (side == "top") y = index;
  if (side == "bottom") y = count - 1 - index;
  if (side == "left") x = index;
  if (side == "right") x = count - 1 - index;
}

}  // namespace

TEST_CASE("orientation follows the TIFF definition") {
  Image stored = blank_image(3, 2);
  for (size_t i = 0; i < stored.rgb.size(); ++i) stored.rgb[i] = static_cast<uint8_t>(i);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    CAPTURE(orientation);
    const Image seen = apply_orientation(stored, orientation);
    REQUIRE(seen.width == (orientation < 5 ? 3 : 2));
    REQUIRE(seen.height == (orientation < 5 ? 2 : 3));
    const Sides s = sides[static_cast<size_t>(orientation)];
    for (int row = 0; row < stored.height; ++row)
      for (int column = 0; column < stored.width; ++column) {
        int x = 0, y = 0;
        place(s.row0, row, stored.height, x, y);
        place(s.column0, column, stored.width, x, y);
        for (int c = 0; c < 3; ++c)
          CHECK(seen.rgb[static_cast<size_t>((y * seen.width + x) * 3 + c)] ==
                stored.rgb[static_cast<size_t>((row * stored.width + column) * 3 + c)]);
      }
  }
  CHECK_THROWS_AS(apply_orientation(stored, 0), Error);
  CHECK_THROWS_AS(apply_orientation(stored, 9), Error);
}

TEST_CASE("images have limits") {
  CHECK_THROWS_AS(blank_image(0, 1), Error);
  CHECK_THROWS_AS(blank_image(1, -1), Error);
  CHECK_THROWS_AS(blank_image(max_image_side + 1, 1), Error);
  CHECK_THROWS_AS(blank_image(max_image_side, max_image_side), Error);
  CHECK_THROWS_AS(check_image({2, 2, std::vector<uint8_t>(11)}, "x"), Error);
}

#ifdef VITRINE_FILES
using namespace files;

namespace {

// A JPEG's start with an EXIF block that holds one other entry and the orientation.
Bytes exif_start(bool big, uint32_t orientation, uint32_t entries = 2) {
  Bytes tiff = bytes_of(big ? "MM" : "II");
  const auto number = [&](uint32_t value, int width) {
    big ? put_big(tiff, value, width) : put_little(tiff, value, width);
  };
  number(42, 2);
  number(8, 4);
  number(entries, 2);
  for (const uint32_t tag : {0x010Fu, 0x0112u}) {
    number(tag, 2);
    number(3, 2);
    number(1, 4);
    number(tag == 0x0112 ? orientation : 7, 2);
    number(0, 2);
  }
  number(0, 4);
  Bytes out = bytes_of("\xFF\xD8\xFF\xE1");
  put_big(out, static_cast<uint32_t>(tiff.size()) + 8, 2);
  put(out, bytes_of(std::string("Exif\0\0", 6)));
  put(out, tiff);
  return out;
}

// A smooth picture, which JPEG keeps almost unchanged.
Image smooth(int width, int height) {
  Image image = blank_image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      uint8_t* p = &image.rgb[static_cast<size_t>((y * width + x) * 3)];
      p[0] = static_cast<uint8_t>(40 + 4 * x);
      p[1] = static_cast<uint8_t>(200 - 5 * y);
      p[2] = static_cast<uint8_t>(90 + 2 * x + 2 * y);
    }
  return image;
}

int most_difference(const Image& a, const Image& b) {
  REQUIRE(a.width == b.width);
  REQUIRE(a.height == b.height);
  int most = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) most = std::max(most, std::abs(a.rgb[i] - b.rgb[i]));
  return most;
}

Bytes raw(std::initializer_list<int> values) {
  Bytes out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

std::vector<uint8_t> pixels(const Bytes& file) { return decode_image(file, "test").rgb; }

Bytes bmp_of(const Image& image) {
  Bytes rows;
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x)
      for (int c = 2; c >= 0; --c)
        rows.push_back(static_cast<std::byte>(image.rgb[static_cast<size_t>((y * image.width + x) * 3 + c)]));
    while (rows.size() % 4 != 0) rows.push_back(std::byte{0});
  }
  return encode_bmp(image.width, image.height, 24, rows);
}

}  // namespace

TEST_CASE("PNG of every kind") {
  const Image image = random_image(7, 5, 1);
  CHECK(decode_image(encode_png(image), "wrong-ending.jpg").rgb == image.rgb);
  using V = std::vector<uint8_t>;
  // One row of two pixels each.
  CHECK(pixels(encode_png(2, 1, 8, 0, raw({9, 200}))) == V{9, 9, 9, 200, 200, 200});          // grey
  CHECK(pixels(encode_png(2, 1, 8, 4, raw({9, 0, 200, 128}))) == V{9, 9, 9, 200, 200, 200});  // grey, alpha
  CHECK(pixels(encode_png(2, 1, 8, 6, raw({1, 2, 3, 0, 4, 5, 6, 77}))) == V{1, 2, 3, 4, 5, 6});  // RGB, alpha
  CHECK(pixels(encode_png(2, 1, 8, 3, raw({1, 0}), raw({1, 2, 3, 4, 5, 6}))) == V{4, 5, 6, 1, 2, 3});
  CHECK(pixels(encode_png(2, 1, 8, 3, raw({1, 0}), raw({1, 2, 3, 4, 5, 6}), raw({0, 9}))) ==
        V{4, 5, 6, 1, 2, 3});
  CHECK(pixels(encode_png(2, 1, 1, 0, raw({0x40}))) == V{0, 0, 0, 255, 255, 255});     // one bit
  CHECK(pixels(encode_png(2, 1, 4, 0, raw({0x3F}))) == V{51, 51, 51, 255, 255, 255});  // four bits
  CHECK(pixels(encode_png(1, 1, 16, 2, raw({7, 255, 8, 0, 9, 128}))) == V{7, 8, 9});   // 16 bits
  CHECK(pixels(encode_png(1, 1, 16, 0, raw({7, 255}))) == V{7, 7, 7});
}

TEST_CASE("JPEG: color, grey, inks") {
  const Image image = smooth(24, 17);
  CHECK(most_difference(decode_image(encode_jpeg(image), "a"), image) <= 3);

  std::vector<uint8_t> grey;
  for (int i = 0; i < 16 * 16; ++i) grey.push_back(static_cast<uint8_t>(i / 2 + 20));
  const Image from_grey = decode_image(encode_jpeg(grey.data(), 16, 16, TJPF_GRAY), "grey");
  for (size_t i = 0; i < from_grey.rgb.size(); ++i) CHECK(std::abs(from_grey.rgb[i] - grey[i / 3]) <= 2);

  // Inverted inks: stored is the light that passes, so the color is its product with that of black.
  std::vector<uint8_t> inks;
  for (int i = 0; i < 16 * 16; ++i)
    for (const int v : {250, 128, 30, 200}) inks.push_back(static_cast<uint8_t>(v));
  const Image mixed = decode_image(encode_jpeg(inks.data(), 16, 16, TJPF_CMYK), "inks");
  for (size_t i = 0; i < mixed.rgb.size(); ++i) {
    constexpr std::array<double, 3> light{250, 128, 30};
    CHECK(std::fabs(mixed.rgb[i] - light[i % 3] * 200 / 255) <= 4);
  }
}

TEST_CASE("BMP of every kind") {
  const Image image = random_image(5, 3, 2);
  CHECK(decode_image(bmp_of(image), "x").rgb == image.rgb);
  using V = std::vector<uint8_t>;
  CHECK(pixels(encode_bmp(1, -2, 24, raw({3, 2, 1, 0, 6, 5, 4, 0}))) == V{1, 2, 3, 4, 5, 6});  // from the top
  CHECK(pixels(encode_bmp(1, 2, 24, raw({3, 2, 1, 0, 6, 5, 4, 0}))) == V{4, 5, 6, 1, 2, 3});
  CHECK(pixels(encode_bmp(1, 1, 32, raw({3, 2, 1, 0}))) == V{1, 2, 3});
  CHECK(pixels(encode_bmp(2, 1, 8, raw({1, 0, 0, 0}), raw({3, 2, 1, 0, 6, 5, 4, 0}))) == V{4, 5, 6, 1, 2, 3});
}

TEST_CASE("files cut short at every length are errors that name the image") {
  const Image image = random_image(6, 5, 3);
  for (const Bytes& file : {encode_png(image), encode_jpeg(image), bmp_of(image)})
    for (size_t length = 0; length < file.size(); ++length) {
      CAPTURE(length);
      const std::span<const std::byte> part = std::span(file).first(length);
      CHECK(says(message_of([&] { decode_image(part, "photo 7"); }), "photo 7"));
    }
}

TEST_CASE("a PNG with any byte changed is an error") {
  const Bytes file = encode_png(random_image(4, 4, 4));
  for (size_t i = 0; i < file.size(); ++i)
    for (const int change : {1, 0x80, 0xFF}) {
      Bytes damaged = file;
      damaged[i] ^= static_cast<std::byte>(change);
      CAPTURE(i);
      CHECK_THROWS_AS(decode_image(damaged, "x"), Error);
    }
}

TEST_CASE("damaged JPEG and BMP files give an image or an error, never a crash") {
  for (const Bytes& file : {encode_jpeg(random_image(12, 9, 5)), bmp_of(random_image(6, 5, 6))})
    for (uint32_t trial = 0; trial < 1500; ++trial) {
      Random random(2, Purpose::test, 0, trial);
      Bytes damaged = file;
      for (uint32_t n = random.below(3) + 1; n > 0; --n)
        damaged[random.below(static_cast<uint32_t>(std::min<size_t>(
            damaged.size(), trial % 2 ? 64 : damaged.size())))] = static_cast<std::byte>(random.bits());
      try {
        check_image(decode_image(damaged, "x"), "x");
      } catch (const Error&) {
      }
    }
}

TEST_CASE("sizes beyond the limits are refused before any memory is taken") {
  for (const auto& [w, h] : {std::pair{20000u, 1u}, {16384u, 16384u}, {0u, 5u}, {0xFFFFFFFFu, 0xFFFFFFFFu}}) {
    CHECK_THROWS_AS(decode_image(encode_png(w, h, 8, 2, {}), "x"), Error);
    CHECK_THROWS_AS(decode_image(encode_bmp(static_cast<int>(w), static_cast<int>(h), 24, {}), "x"), Error);
  }
  CHECK_THROWS_AS(decode_image(encode_bmp(1, INT32_MIN, 24, {}), "x"), Error);
  Bytes jpeg = encode_jpeg(random_image(8, 8, 7));
  for (size_t i = 0; i + 8 < jpeg.size(); ++i)
    if (jpeg[i] == std::byte{0xFF} && jpeg[i + 1] == std::byte{0xC0})  // the frame header: height, width
      for (size_t k = 5; k < 9; ++k) jpeg[i + k] = std::byte{0x7F};
  CHECK(says(message_of([&] { decode_image(jpeg, "x"); }), "32639 x 32639"));
}

TEST_CASE("a decoder's reason is that of this very image") {
  const auto refusal = [](const Bytes& file) { return message_of([&] { decode_image(file, "x"); }); };
  // Each first in a thread of its own, for which stb_image has no reason yet.
  const auto fresh = [&](const Bytes& file) {
    std::string message;
    std::thread([&] { message = refusal(file); }).join();
    return message;
  };
  const Bytes no_such_color = encode_png(1, 1, 8, 5, raw({1}));
  Bytes no_such_packing = bmp_of(random_image(4, 4, 9));
  no_such_packing[30] = std::byte{7};
  Bytes silent = bytes_of("\x89PNG\r\n\x1A\n"), header;  // stb_image gives no reason for a block of type 3
  put_big(header, 4);
  put_big(header, 4);
  put(header, raw({8, 2, 0, 0, 0}));
  for (const auto& [type, data] :
       {std::pair{"IHDR", header}, std::pair{"IDAT", raw({0x78, 0x9c, 0x07})}, std::pair{"IEND", Bytes{}}})
    put(silent, png_chunk(type, data));

  const Bytes no_pixels = encode_png(4, 4, 8, 2, {});

  CHECK(fresh(no_such_color) == "image 'x': damaged PNG: its header cannot be read");
  CHECK(fresh(no_such_packing) == "image 'x': damaged BMP: its header cannot be read");
  const std::string reasoned = fresh(no_pixels), none = fresh(silent);
  CHECK(says(reasoned, "image 'x': damaged PNG: "));
  CHECK(says(none, "image 'x': damaged PNG: its pixels cannot be unpacked"));
  CHECK(reasoned != none);
  // After others it is the same, and that of the one before never is.
  for (int round = 0; round < 2; ++round) {
    CHECK(refusal(no_pixels) == reasoned);
    CHECK(refusal(silent) == none);
    CHECK(says(refusal(no_such_color), "header"));
    CHECK(says(refusal(no_such_packing), "header"));
  }
}

TEST_CASE("a JPEG cut short in its header says so") {
  const Bytes file = encode_jpeg(random_image(6, 5, 3));
  size_t frame = 2;  // the frame header, which holds the size
  while (!(file[frame] == std::byte{0xFF} && file[frame + 1] == std::byte{0xC0})) ++frame;
  for (size_t length = 3; length < frame; ++length) {
    CAPTURE(length);
    const std::string message = message_of([&] { decode_image(std::span(file).first(length), "x"); });
    CHECK(says(message, "image 'x': damaged JPEG: its header cannot be read: "));
    CHECK(message.find("0 x 0") == std::string::npos);
    CHECK(message.find("No error") == std::string::npos);
  }
}

TEST_CASE("other formats are refused by their first bytes") {
  for (const char* file : {"", "P6\n1 1\n255\nabc", "GIF89a......", "RIFF....WEBPVP8 ", "hello"})
    CHECK(says(message_of([&] { decode_image(bytes_of(file), "picture.png"); }), "picture.png"));
}

TEST_CASE("JPEG: stray bytes before the end are forgiven, but not without the end") {
  const Image image = smooth(16, 16);
  Bytes file = encode_jpeg(image);
  for (int i = 0; i < 40; ++i) file.insert(file.end() - 2, std::byte{0x11});
  CHECK(most_difference(decode_image(file, "x"), image) <= 3);
  CHECK_THROWS_AS(decode_image(std::span(file).first(file.size() - 2), "x"), Error);
}

TEST_CASE("EXIF orientation, in both byte orders and in damaged blocks") {
  const Bytes jpeg = encode_jpeg(random_image(8, 8, 8));
  CHECK(exif_orientation(jpeg) == 1);
  for (const bool big : {false, true}) {
    for (uint32_t orientation = 0; orientation <= 9; ++orientation) {
      Bytes file = exif_start(big, orientation);
      put(file, {jpeg.begin() + 2, jpeg.end()});
      CHECK(exif_orientation(file) ==
            (orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1));
      CHECK(decode_image(file, "x").width == 8);
    }
    const Bytes start = exif_start(big, 6);
    for (size_t length = 0; length < start.size(); ++length)
      CHECK(exif_orientation(std::span(start).first(length)) == 1);
    CHECK(exif_orientation(exif_start(big, 6, 65535)) == 6);
    for (uint32_t trial = 0; trial < 3000; ++trial) {
      Random random(3, Purpose::test, 0, trial);
      Bytes damaged = start;
      damaged[random.below(static_cast<uint32_t>(damaged.size()))] = static_cast<std::byte>(random.bits());
      const int orientation = exif_orientation(damaged);
      CHECK(orientation >= 1);
      CHECK(orientation <= 8);
    }
  }
}

TEST_CASE("load_image reads files and turns them on request") {
  const TemporaryFolder folder;
  const Image image = smooth(16, 8);
  const Bytes jpeg = encode_jpeg(image);
  Bytes turned = exif_start(false, 6);
  put(turned, {jpeg.begin() + 2, jpeg.end()});
  folder.write("a.jpg", turned);
  CHECK(most_difference(load_image(folder / "a.jpg"), image) <= 3);
  CHECK(most_difference(load_image(folder / "a.jpg", true), apply_orientation(image, 6)) <= 3);
  CHECK(says(message_of([&] { load_image(folder / "missing.jpg"); }), "missing.jpg"));
}

#endif
