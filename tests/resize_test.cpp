// resize_test.cpp: resizing against Pillow's own vectors, the definition and (where it is) Pillow;
// crops; preprocessing.
#include "data/resize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>

#include "data/preprocess.h"
#include "engine/check.h"

using namespace vitrine;

namespace {

Image random_picture(int width, int height, uint32_t seed) {
  Image image = blank_image(width, height);
  Random random(1, Purpose::test, 1, seed);
  for (uint8_t& v : image.rgb)
    v = static_cast<uint8_t>(random.below(4) == 0 ? 255 * random.below(2) : random.bits());
  return image;
}

// Quadrants of a checkerboard, as in Pillow's tests: 0xE1 at top left and bottom right, else 0x1E.
Image checkerboard(int side) {
  Image image = blank_image(side, side);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (int c = 0; c < 3; ++c)
        image.rgb[static_cast<size_t>((y * side + x) * 3 + c)] =
            (x < side / 2) == (y < side / 2) ? 0xE1 : 0x1E;
  return image;
}

int at(const Image& image, int x, int y, int c = 0) {
  return image.rgb[static_cast<size_t>((y * image.width + x) * 3 + c)];
}

// The filter's definition, written from the formula of cubic convolution with a = -1/2 and of the triangle.
double kernel(Filter filter, double x) {
  x = std::fabs(x);
  if (filter == Filter::bilinear) return x < 1 ? 1 - x : 0;
  if (x <= 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
  if (x < 2) return -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2;
  return 0;
}

// Output pixel o of a line, in reals: the weighted mean of all inputs, the filter as wide
// as the larger pixel.
double textbook(const std::vector<int>& line, int outputs, int o, Filter filter) {
  const double scale = static_cast<double>(line.size()) / outputs, width = std::max(scale, 1.0);
  const double center = (o + 0.5) * scale;
  double sum = 0, weights = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const double w = kernel(filter, (static_cast<double>(i) + 0.5 - center) / width);
    sum += w * line[i];
    weights += w;
  }
  return std::clamp(sum / weights, 0.0, 255.0);
}

}  // namespace

TEST_CASE("resize: Pillow's own vectors") {
  struct Vector {
    int from, to;
    Filter filter;
    int columns;
    std::vector<int> expected;  // the top left part
  };
  const std::vector<Vector> vectors{
      {12, 6, Filter::bicubic, 3, {0xE1, 0xE3, 0xD4, 0xE3, 0xE5, 0xD6, 0xD4, 0xD6, 0xC9}},
      {4,
       8,
       Filter::bicubic,
       4,
       {0xE1, 0xE5, 0xEE, 0xB9, 0xE5, 0xE9, 0xF3, 0xBC, 0xEE, 0xF3, 0xFD, 0xC1, 0xB9, 0xBC, 0xC1, 0xA2}},
      {8, 4, Filter::bilinear, 2, {0xE1, 0xC9, 0xC9, 0xB7}},
      {2, 4, Filter::bilinear, 2, {0xE1, 0xB0, 0xB0, 0x98}}};
  for (const Vector& v : vectors) {
    const Image out = resize(checkerboard(v.from), v.to, v.to, v.filter);
    for (size_t i = 0; i < v.expected.size(); ++i)
      for (int c = 0; c < 3; ++c)
        CHECK(at(out, static_cast<int>(i) % v.columns, static_cast<int>(i) / v.columns, c) == v.expected[i]);
  }
}

TEST_CASE("resize: each axis is the textbook's weighted mean, rounded") {
  uint32_t seed = 0;
  for (const Filter filter : {Filter::bilinear, Filter::bicubic})
    for (const int from : {1, 2, 3, 5, 16, 37, 100, 331})
      for (const int to : {1, 2, 3, 7, 16, 50, 224}) {
        CAPTURE(from);
        CAPTURE(to);
        const Image wide = random_picture(from, 2, ++seed), tall = random_picture(2, from, ++seed);
        const Image wide_out = resize(wide, to, 2, filter), tall_out = resize(tall, 2, to, filter);
        double most = 0;
        for (int o = 0; o < to; ++o)
          for (int other = 0; other < 2; ++other)
            for (int c = 0; c < 3; ++c) {
              std::vector<int> row, column;
              for (int i = 0; i < from; ++i) {
                row.push_back(at(wide, i, other, c));
                column.push_back(at(tall, other, i, c));
              }
              most = std::max(most, std::fabs(at(wide_out, o, other, c) - textbook(row, to, o, filter)));
              most = std::max(most, std::fabs(at(tall_out, other, o, c) - textbook(column, to, o, filter)));
            }
        CHECK(most <= 0.5 + 1e-3);  // the rounding, and that of weights to 2^-22
      }
}

TEST_CASE("resize: rows first, then columns") {
  const Image image = random_picture(41, 29, 7);
  for (const Filter filter : {Filter::bilinear, Filter::bicubic})
    for (const auto& [w, h] : {std::pair{17, 13}, {80, 5}, {3, 90}, {1, 1}, {64, 64}}) {
      const Image both = resize(image, w, h, filter);
      CHECK(both.rgb == resize(resize(image, w, image.height, filter), w, h, filter).rgb);
    }
  CHECK(resize(image, 41, 29, Filter::bicubic).rgb == image.rgb);
  CHECK_THROWS_AS(resize(image, 0, 5, Filter::bicubic), Error);
  CHECK_THROWS_AS(resize(image, 5, 1 << 20, Filter::bicubic), Error);
}

TEST_CASE("resize_shorter keeps the aspect ratio, rounding down") {
  for (const auto& [w, h] : {std::pair{500, 375}, {375, 500}, {333, 334}, {17, 90}, {64, 64}, {7, 5}})
    for (const int size : {1, 8, 32, 99}) {
      const Image out = resize_shorter(random_picture(w, h, 9), size, Filter::bilinear);
      CHECK(out.width == (w <= h ? size : static_cast<int>(std::floor(static_cast<double>(size * w) / h))));
      CHECK(out.height == (w > h ? size : static_cast<int>(std::floor(static_cast<double>(size * h) / w))));
    }
  CHECK_THROWS_AS(resize_shorter(random_picture(300, 1, 1), 224, Filter::bilinear), Error);  // 67200 wide
}

TEST_CASE("center_crop rounds halves to even and frames what is too small") {
  for (int extra = 0; extra < 12; ++extra) {
    const Image image = random_picture(10 + extra, 11, 3);
    const int left = static_cast<int>(std::nearbyint(extra / 2.0));  // half to even
    CHECK(center_crop(image, 10, 11).rgb == crop(image, left, 0, 10, 11).rgb);
  }
  const Image small = random_picture(3, 9, 4);
  const Image framed = center_crop(small, 6, 5);
  REQUIRE(framed.width == 6);
  REQUIRE(framed.height == 5);
  for (int y = 0; y < 5; ++y)
    for (int x = 0; x < 6; ++x) CHECK(at(framed, x, y) == (x >= 1 && x < 4 ? at(small, x - 1, y + 2) : 0));
  CHECK_THROWS_AS(crop(small, 1, 0, 3, 1), Error);
  CHECK_THROWS_AS(crop(small, -1, 0, 1, 1), Error);
  CHECK_THROWS_AS(crop(small, 0, 0, std::numeric_limits<int>::max(), 1), Error);
}

TEST_CASE("flip mirrors") {
  const Image image = random_picture(5, 3, 5), mirrored = flip(image);
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 5; ++x)
      for (int c = 0; c < 3; ++c) CHECK(at(mirrored, x, y, c) == at(image, 4 - x, y, c));
}

TEST_CASE("resize equals Pillow bit by bit") {
  const char* path = std::getenv("VITRINE_RESIZE_ORACLE");
  if (path == nullptr) {
    MESSAGE("skipped: set VITRINE_RESIZE_ORACLE to a file made by tests/oracle/resize_oracle.py");
    return;
  }
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  size_t next = 0;
  const auto number = [&] {
    REQUIRE(bytes.size() - next >= 4);
    int value = 0;
    for (int i = 0; i < 4; ++i) value |= static_cast<unsigned char>(bytes[next++]) << (8 * i);
    return value;
  };
  const auto picture = [&](int width, int height) {
    Image image = blank_image(width, height);
    REQUIRE(bytes.size() - next >= image.rgb.size());
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(next), image.rgb.size(), image.rgb.begin());
    next += image.rgb.size();
    return image;
  };
  int cases = 0;
  for (; next < bytes.size(); ++cases) {
    const int w = number(), h = number(), to_w = number(), to_h = number(), bicubic = number();
    CAPTURE(w);
    CAPTURE(h);
    CAPTURE(to_w);
    CAPTURE(to_h);
    const Image from = picture(w, h), expected = picture(to_w, to_h);
    CHECK(resize(from, to_w, to_h, bicubic ? Filter::bicubic : Filter::bilinear).rgb == expected.rgb);
  }
  CHECK(cases >= 500);
  MESSAGE(cases << " pictures compared with Pillow");
}

TEST_CASE("normalise: planes of (value / 255 - mean) / std") {
  const Image image = random_picture(4, 3, 6);
  const Preprocess p;
  std::vector<float> chw(36);
  normalise(image, p, chw);
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 4; ++x) {
        const double exact =
            (at(image, x, y, c) / 255.0 - p.mean[static_cast<size_t>(c)]) / p.std[static_cast<size_t>(c)];
        CHECK(chw[static_cast<size_t>((c * 3 + y) * 4 + x)] == doctest::Approx(exact).epsilon(1e-6));
      }
  std::vector<float> wrong(35);
  CHECK_THROWS_AS(normalise(image, p, wrong), Error);
}

TEST_CASE("prepare: crop or squash") {
  const Image image = random_picture(50, 31, 8);
  Preprocess p{.size = 16, .resize = 20};
  CHECK(prepare(image, p).rgb == center_crop(resize(image, 20 * 50 / 31, 20, p.filter), 16, 16).rgb);
  p.squash = true;
  CHECK(prepare(image, p).rgb == resize(image, 16, 16, p.filter).rgb);
}

TEST_CASE("augment: random crops keep to their area and shape, flips come half of the time") {
  // Red grows with x, green with y, so that the crop's sides can be read off the result's slopes.
  const int w = 240, h = 200;
  Image ramp = blank_image(w, h);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      ramp.rgb[static_cast<size_t>((y * w + x) * 3)] = static_cast<uint8_t>(x);
      ramp.rgb[static_cast<size_t>((y * w + x) * 3 + 1)] = static_cast<uint8_t>(y);
    }
  const Preprocess p{.size = 32, .resize = 32, .filter = Filter::bilinear};
  const Augment a{.flip = true, .crop = true, .crop_scale_min = 0.25};
  int flips = 0;
  double least = 1, most = 0;
  const int trials = 400;
  for (uint32_t trial = 0; trial < trials; ++trial) {
    Random random(5, Purpose::augment, 0, trial);
    const Image out = augment(ramp, p, a, random);
    REQUIRE(out.width == 32);
    const double slope_x = (at(out, 24, 16, 0) - at(out, 8, 16, 0)) / 16.0;
    const double slope_y = (at(out, 16, 24, 1) - at(out, 16, 8, 1)) / 16.0;
    flips += slope_x < 0;
    const double cw = std::fabs(slope_x) * 32, ch = slope_y * 32, area = cw * ch / (w * h);
    CHECK(cw / ch > 0.75 * 0.95);
    CHECK(cw / ch < 4 / 3.0 * 1.05);
    least = std::min(least, area);
    most = std::max(most, area);
  }
  CHECK(least > 0.23);
  CHECK(least < 0.30);
  CHECK(most > 0.85);
  CHECK(most < 1.05);
  CHECK(flips > trials * 0.4);
  CHECK(flips < trials * 0.6);

  // A strip admits no crop of allowed shape in ten tries: the central part of the widest
  // allowed shape is taken.
  const Image strip = random_picture(300, 6, 10);
  Random random(6, Purpose::augment);
  CHECK(augment(strip, p, {.crop = true, .crop_scale_min = 1.0}, random).rgb ==
        resize(crop(strip, 146, 0, 8, 6), 32, 32, p.filter).rgb);

  // Without a crop it is prepare, mirrored or not.
  Random again(7, Purpose::augment);
  CHECK(augment(ramp, p, {}, again).rgb == prepare(ramp, p).rgb);
}

TEST_CASE("preprocessing: means and deviations that would make infinities are refused") {
  const auto with = [](float mean, float std) {
    Preprocess p{.size = 8, .resize = 8};
    p.mean[1] = mean;
    p.std[2] = std;
    return p;
  };
  for (const float std : {1e-45f, 1e-38f, 9e-7f, 0.0f, -1.0f, HUGE_VALF, std::nanf("")})
    CHECK_THROWS_AS(check_preprocess(with(0.5f, std)), Error);
  for (const float mean : {1.1e6f, -1.1e6f, 3e38f, HUGE_VALF, std::nanf("")})
    CHECK_THROWS_AS(check_preprocess(with(mean, 0.5f)), Error);
  for (const float mean : {-1e6f, 0.0f, 1e6f})
    for (const float std : {1e-6f, 1.0f, 3e38f}) {
      Preprocess p{.size = 8, .resize = 8, .mean = {mean, mean, mean}, .std = {std, std, std}};
      check_preprocess(p);
      std::vector<float> out(3 * 64);
      normalise(random_picture(8, 8, 3), p, out);
      for (const float v : out) CHECK(std::fabs(v) <= 1.1e12f);
    }
}

TEST_CASE("preprocessing survives its metadata form, and nothing else is taken for it") {
  const Preprocess p{.size = 384,
                     .resize = 438,
                     .squash = true,
                     .filter = Filter::bilinear,
                     .mean = {0.48145466f, 0.4578275f, 1.0f / 3},
                     .std = {0.26862954f, 2e-6f, 3e8f}};
  const Preprocess back = preprocess_from_json(to_json(p));
  CHECK(back.size == p.size);
  CHECK(back.resize == p.resize);
  CHECK(back.squash == p.squash);
  CHECK(back.filter == p.filter);
  CHECK(back.mean == p.mean);
  CHECK(back.std == p.std);

  const std::string good = to_json(p);
  for (size_t length = 0; length < good.size(); ++length)
    CHECK_THROWS_AS(preprocess_from_json(std::string_view(good).substr(0, length)), Error);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string words = good;
    REQUIRE(words.find(from) != std::string::npos);
    return words.replace(words.find(from), from.size(), to);
  };
  for (const std::string& bad :
       {replaced("384", "0"), replaced("384", "-5"), replaced("384", "1e99"), replaced("384", "\"384\""),
        replaced("384", "99999999999"), replaced("true", "1"), replaced("bilinear", "lanczos3"),
        replaced("\"mean\": [", "\"mean\": [1, "), replaced("\"size\": 384", "\"size\": 384, \"size\": 384"),
        replaced("\"size\"", "\"sise\""), replaced("3e+08", "0"), replaced("3e+08", "-1"),
        replaced("3e+08", "1e99"), std::string("[]"), std::string("3"), std::string("null")})
    CHECK_THROWS_AS(preprocess_from_json(bad), Error);
  CHECK_THROWS_AS(check_preprocess({.size = 224, .resize = 200}), Error);
}
