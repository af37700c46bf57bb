// picture_golden_test.cpp: pixels and prepared numbers against those of Pillow and torchvision, kept as hashes in
// golden/pixels.h, which golden/make_pixels.py made.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "data/preprocess.h"
#include "engine/check.h"
#include "engine/sha256.h"
#include "tests/golden/pixels.h"

using namespace vitrine;

namespace {

uint32_t hash(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(std::stoul(sha256_hex(bytes).substr(0, 8), nullptr, 16));
}

// Noise by make_pixels.py's formula.
Image drawn(int width, int height, uint32_t seed) {
  Image image = blank_image(width, height);
  uint8_t* out = image.rgb.data();
  for (uint32_t y = 0; y < static_cast<uint32_t>(height); ++y)
    for (uint32_t x = 0; x < static_cast<uint32_t>(width); ++x)
      for (uint32_t c = 0; c < 3; ++c) {
        uint32_t v = x * 374761393u + y * 668265263u + c * 2246822519u + seed * 3266489917u;
        v = (v ^ (v >> 15)) * 2654435761u;
        v = (v ^ (v >> 13)) * 2246822519u;
        v >>= 24;
        *out++ = static_cast<uint8_t>(seed % 3 != 0 ? v : v < 128 ? 0 : 255);
      }
  return image;
}

// Little-endian, as this processor must be for the hash.
uint32_t hash_of_prepared(const Image& image, const Preprocess& preprocess) {
  const Image square = prepare(image, preprocess);
  std::vector<float> numbers(square.rgb.size());
  normalise(square, preprocess, numbers);
  return hash(std::as_bytes(std::span(numbers)));
}

}  // namespace

TEST_CASE("resize equals Pillow's six filters: hashes of drawn pictures") {
  for (const golden::Resized& r : golden::resized) {
    CAPTURE(r.width);
    CAPTURE(r.height);
    CAPTURE(r.to_width);
    CAPTURE(r.to_height);
    CAPTURE(name_of(r.filter));
    const Image out = resize(drawn(r.width, r.height, r.seed), r.to_width, r.to_height, r.filter);
    CHECK(hash(std::as_bytes(std::span(out.rgb))) == r.hash);
  }
}

#ifdef VITRINE_FILES

TEST_CASE("PNG, JPEG and BMP of every kind decode to Pillow's pixels") {
  for (const golden::Decoded& d : golden::decoded) {
    CAPTURE(d.file);
    const std::string path = std::string(VITRINE_GOLDEN "/pictures/") + d.file;
    const Image image = load_image(path);
    CHECK(image.width == d.width);
    CHECK(image.height == d.height);
    CHECK(hash(std::as_bytes(std::span(image.rgb))) == d.hash);
    const Image turned = load_image(path, true);
    CHECK(hash(std::as_bytes(std::span(turned.rgb))) == d.turned);
  }
}

TEST_CASE("files become torchvision's numbers, bit by bit") {
  for (const golden::Prepared& p : golden::prepared) {
    CAPTURE(p.file);
    CAPTURE(p.preset);
    const Image image = load_image(std::string(VITRINE_GOLDEN "/pictures/") + p.file);
    CHECK(hash_of_prepared(image, preprocess_preset(p.preset)) == p.hash);
  }
}

TEST_CASE("photographs become torchvision's numbers, bit by bit") {
  const char* given = std::getenv("VITRINE_ASSETS");
  const std::string assets = given ? given : VITRINE_GOLDEN "/../../../shared/assets";
  if (!std::filesystem::exists(assets)) {
    MESSAGE("skipped: no photographs in " << assets << " (set VITRINE_ASSETS)");
    return;
  }
  int compared = 0;
  for (const golden::Prepared& p : golden::photographs) {
    CAPTURE(p.file);
    CAPTURE(p.preset);
    const std::string path = assets + "/" + p.file;
    if (!std::filesystem::exists(path)) continue;
    CHECK(hash_of_prepared(load_image(path), preprocess_preset(p.preset)) == p.hash);
    ++compared;
  }
  CHECK(compared > 0);
  MESSAGE(compared << " of " << std::size(golden::photographs) << " comparisons with torchvision");
}

#endif
