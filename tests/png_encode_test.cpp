// png_encode_test.cpp: what is encoded is decoded to the same pixels, and is small where pixels are alike.
#include <doctest/doctest.h>
#include <zlib.h>

#include "data/png_encode.h"
#include "engine/check.h"
#include "engine/random.h"

using namespace vitrine;

namespace {

// Smooth in some rows, noise in others, so that each of the filters is the best one somewhere.
Image mixed_image(int width, int height) {
  Image image = blank_image(width, height);
  Random random(7, Purpose::test);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const int smooth[] = {x * 5 + c, y * 9, x * 3 + y * 4, (x * y) / 3 + 20 * c};
        const bool noisy = y % 11 == 10;
        image.rgb[(static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3 +
                  static_cast<size_t>(c)] =
            static_cast<uint8_t>(noisy ? random.below(256)
                                       : static_cast<uint32_t>(smooth[(y / 3) % 4]) & 255);
      }
  return image;
}

}  // namespace

TEST_CASE("png: what is encoded is decoded to the same pixels") {
  for (const auto& [width, height] : {std::pair{1, 1}, {3, 1}, {1, 5}, {17, 44}, {64, 64}, {255, 90}}) {
    CAPTURE(width);
    CAPTURE(height);
    const Image image = mixed_image(width, height), back = decode_image(png_encode(image), "here");
    CHECK(back.width == width);
    CHECK(back.height == height);
    CHECK(back.rgb == image.rgb);
  }
}

TEST_CASE("png: grey and alpha") {
  const std::vector<uint8_t> grey{0, 10, 200, 255, 7, 90};
  const Image back = decode_image(png_encode(3, 2, 1, grey), "grey");
  for (size_t i = 0; i < grey.size(); ++i)
    for (size_t c = 0; c < 3; ++c) CHECK(back.rgb[3 * i + c] == grey[i]);
  // The decoder drops alpha: one row of one pixel, filtered in whatever way, is its four bytes behind one.
  const std::vector<uint8_t> rgba{1, 2, 3, 77};
  const auto file = png_encode(1, 1, 4, rgba);
  CHECK(decode_image(file, "alpha").rgb == std::vector<uint8_t>{1, 2, 3});
  const size_t data =
      8 + 25 + 8;  // behind the signature, the header, and the length and type of the next chunk
  std::vector<uint8_t> unpacked(5);
  uLongf size = unpacked.size();
  REQUIRE(uncompress(unpacked.data(), &size, reinterpret_cast<const Bytef*>(file.data()) + data,
                     static_cast<uLong>(file.size() - data)) == Z_OK);
  CHECK(unpacked == std::vector<uint8_t>{0, 1, 2, 3, 77});
}

TEST_CASE("png: rows that are alike cost little, and senseless pictures are refused") {
  Image ramp = blank_image(256, 256);
  for (size_t i = 0; i < ramp.rgb.size(); ++i) ramp.rgb[i] = static_cast<uint8_t>(i / 3);
  CHECK(png_encode(ramp).size() < 2000);
  const std::vector<uint8_t> six(6);
  CHECK_THROWS_WITH(png_encode(0, 2, 3, {}), "png: 0 x 2 pixels make no picture");
  CHECK_THROWS_WITH(png_encode(2, 1, 2, six), "png: expected 1, 3 or 4 channels, got 2");
  CHECK_THROWS_WITH(png_encode(2, 2, 3, six), "png: expected 12 bytes, got 6");
  CHECK_THROWS_AS(png_encode(Image{}), Error);
}
