// preprocess.cpp: geometry and normalisation of training and evaluation, and their JSON form.
#include "data/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "engine/check.h"
#include "engine/json.h"
#include "engine/text.h"

namespace vitrine {
namespace {

// The fewest digits that read back as the same float.
std::string digits(float value) {
  char out[40];
  return {out, std::to_chars(out, out + sizeof out, value).ptr};
}

std::string list(const std::array<float, 3>& values) {
  return text("[{}, {}, {}]", digits(values[0]), digits(values[1]), digits(values[2]));
}

// A random part of the image: an area of a random share, a random aspect ratio (both sides'
// logarithms alike).
Image random_crop(const Image& image, double scale_min, Random& random) {
  constexpr double ratio_min = 3.0 / 4.0, ratio_max = 4.0 / 3.0;
  const double area = static_cast<double>(image.width) * image.height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * random.uniform(scale_min, 1.0);
    const double ratio = std::exp(random.uniform(std::log(ratio_min), std::log(ratio_max)));
    const double w = std::nearbyint(std::sqrt(target * ratio)), h = std::nearbyint(std::sqrt(target / ratio));
    if (w < 1 || h < 1 || w > image.width || h > image.height) continue;
    const int width = static_cast<int>(w), height = static_cast<int>(h);
    const auto top = random.below(static_cast<uint32_t>(image.height - height + 1));
    const auto left = random.below(static_cast<uint32_t>(image.width - width + 1));
    return crop(image, static_cast<int>(left), static_cast<int>(top), width, height);
  }
  int width = image.width, height = image.height;
  const double ratio = static_cast<double>(width) / height;
  if (ratio < ratio_min) height = static_cast<int>(std::nearbyint(width / ratio_min));
  if (ratio > ratio_max) width = static_cast<int>(std::nearbyint(height * ratio_max));
  return crop(image, (image.width - width) / 2, (image.height - height) / 2, width, height);
}

}  // namespace

Preprocess with_resize(Preprocess p, ResizeMode mode) {
  if (mode == ResizeMode::own) return p;
  p.squash = mode == ResizeMode::squash;
  p.crop_squashed = false;
  return p;
}

Preprocess at_size(Preprocess p, int64_t size) {
  check(size > 0 && size <= 1 << 14, "preprocess: pictures of {} pixels make no sense", size);
  p.resize = static_cast<int>(p.resize * size / (p.size + p.lost));
  p.size = static_cast<int>(size);
  p.lost = 0;
  return p;
}

Preprocess without_rest(Preprocess p, int64_t side, int64_t patch) {
  if (p.lost == 0 && p.size > side && p.size - side < patch) {
    p.lost = static_cast<int>(p.size - side);
    p.size = static_cast<int>(side);
  }
  return p;
}

void check_preprocess(const Preprocess& p) {
  check(p.size >= 1 && p.size <= 4096, "preprocess: expected a size of 1 to 4096, got {}", p.size);
  check(p.lost >= 0 && p.lost <= 4096 - p.size,
        "preprocess: expected 0 to {} pixels that no patch covers, got {}", 4096 - p.size, p.lost);
  const bool direct = p.squash && !p.crop_squashed;
  check(direct || (p.resize >= p.size + p.lost && p.resize <= 8192),
        "preprocess: expected resize of {} (the size) to 8192, got {}", p.size + p.lost, p.resize);
  check(p.squash || !p.crop_squashed, "preprocess: expected crop_squashed only with squash");
  for (size_t c = 0; c < 3; ++c)
    check(std::abs(p.mean[c]) <= 1e6f && std::isfinite(p.std[c]) && p.std[c] >= 1e-6f,
          "preprocess: expected means of -1e6 to 1e6 and finite deviations of at least 1e-6, got {} and {}",
          p.mean[c], p.std[c]);
}

void check_augment(const Augment& a) {
  check(a.crop_scale_min > 0 && a.crop_scale_min <= 1,
        "augment: expected a smallest crop above 0 and up to 1, got {}", a.crop_scale_min);
  check(!a.crop || !a.shift, "augment: expected random crops or shifts, got both");
}

void check_augment(const Augment& a, const Preprocess& p) {
  check_preprocess(p);
  check_augment(a);
  check(!a.shift || !p.squash || p.crop_squashed,
        "augment: a shift needs room around the square, but pictures are squashed to {} x {}; resize them "
        "to \"crop\", and there is",
        p.size, p.size);
}

namespace {

// What prepare cuts the square out of.
Image before_crop(const Image& image, const Preprocess& p) {
  return p.squash ? resize(image, p.resize, p.resize, p.filter) : resize_shorter(image, p.resize, p.filter);
}

Image cut_anywhere(const Image& image, int size, Random& random) {
  const auto top = static_cast<int>(random.below(static_cast<uint32_t>(image.height - size + 1)));
  const auto left = static_cast<int>(random.below(static_cast<uint32_t>(image.width - size + 1)));
  return crop(image, left, top, size, size);
}

// The square with what is lost of it.
Image square_of(const Image& image, const Preprocess& p) {
  const int side = p.size + p.lost;
  if (p.squash && !p.crop_squashed) return resize(image, side, side, p.filter);
  const Image whole = before_crop(image, p);
  if (p.floor_crop) return crop(whole, (whole.width - side) / 2, (whole.height - side) / 2, side, side);
  return center_crop(whole, side, side);
}

Image without_lost(Image square, const Preprocess& p) {
  return p.lost == 0 ? std::move(square) : crop(square, 0, 0, p.size, p.size);
}

}  // namespace

Image prepare(const Image& image, const Preprocess& p) { return without_lost(square_of(image, p), p); }

Image augment(const Image& image, const Preprocess& p, const Augment& a, Random& random) {
  const bool mirrored = a.flip && random.chance(0.5);
  const int side = p.size + p.lost;
  Image square = a.crop    ? resize(random_crop(image, a.crop_scale_min, random), side, side, p.filter)
                 : a.shift ? cut_anywhere(before_crop(image, p), side, random)
                           : square_of(image, p);
  return without_lost(mirrored ? flip(square) : std::move(square), p);
}

Tensor values_of_bytes(const Preprocess& p) {
  Tensor values = Tensor::empty({3, 256}, DType::f32);
  const auto to = values.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) {
    const size_t c = i / 256, byte = i % 256;
    to[i] = (static_cast<float>(byte) / 255.0f - p.mean[c]) / p.std[c];
  }
  return values;
}

void normalise(const Image& image, const Preprocess& p, std::span<float> chw) {
  const size_t pixels = image.rgb.size() / 3;
  check(chw.size() == pixels * 3, "normalise: expected room for {} numbers, got {}", pixels * 3, chw.size());
  const Tensor values = values_of_bytes(p);
  for (size_t c = 0; c < 3; ++c) {
    const auto value = values.data<float>().subspan(c * 256, 256);
    float* plane = chw.data() + c * pixels;
    for (size_t i = 0; i < pixels; ++i) plane[i] = value[image.rgb[3 * i + c]];
  }
}

std::string describe(const Preprocess& p) {
  const auto three = [](const std::array<float, 3>& x) { return text("{} {} {}", x[0], x[1], x[2]); };
  const std::string geometry =
      p.crop_squashed      ? text("squashed to {} x {}, central square {}", p.resize, p.resize, p.size)
      : p.squash           ? text("squashed to {} x {}", p.size, p.size)
      : p.resize == p.size ? text("shorter side and central square {}", p.size)
                           : text("shorter side {}, central square {}", p.resize, p.size);
  return text("{}{}, {}; mean {}, deviation {}{}", geometry,
              p.lost == 0 ? "" : text(" of {} without the last {}", p.size + p.lost, p.lost),
              name_of(p.filter), three(p.mean), three(p.std),
              p.exif ? "; photos are turned as their EXIF block asks" : "");
}

std::string to_json(const Preprocess& p) {
  return text(
      "{\"size\": {}, \"resize\": {}, \"squash\": {}{}{}{}, \"filter\": \"{}\", \"mean\": {}, \"std\": {}{}",
      p.size, p.resize, p.squash, p.crop_squashed ? ", \"crop_squashed\": true" : "",
      p.lost > 0 ? text(", \"lost\": {}", p.lost) : "", p.floor_crop ? ", \"floor_crop\": true" : "",
      name_of(p.filter), list(p.mean), list(p.std), p.exif ? ", \"exif\": true}" : "}");
}

Preprocess preprocess_from_json(std::string_view words) {
  const Json all = Json::parse(words, 2, "preprocess");
  const std::set<std::string> known{"size", "resize", "squash", "filter", "mean", "std"};
  for (const auto& [key, value] : all.object())
    check(known.contains(key) || key == "crop_squashed" || key == "floor_crop" || key == "lost" ||
              key == "exif",
          "preprocess: unknown key {}", quote(key));
  const auto whole = [&](const char* key) { return static_cast<int>(all.at(key).whole(1, 65536)); };
  const auto three = [&](const char* key) {
    const std::vector<Json>& values = all.at(key).list();
    check(values.size() == 3, "preprocess: expected '{}' to be a list of three numbers", key);
    return std::array{static_cast<float>(values[0].real()), static_cast<float>(values[1].real()),
                      static_cast<float>(values[2].real())};
  };
  // Files from before there was such a key lack it.
  const auto flag = [&](const char* key) { return all.has(key) && all.at(key).boolean(); };
  Preprocess p;
  p.size = whole("size");
  p.resize = whole("resize");
  p.squash = all.at("squash").boolean();
  p.crop_squashed = flag("crop_squashed");
  if (all.has("lost")) p.lost = whole("lost");
  p.floor_crop = flag("floor_crop");
  p.exif = flag("exif");
  const auto filter = filter_named(all.at("filter").text());
  check(filter.has_value(),
        "preprocess: expected 'filter' to be nearest, box, bilinear, hamming, bicubic or lanczos");
  p.filter = *filter;
  p.mean = three("mean");
  p.std = three("std");
  check_preprocess(p);
  return p;
}

}  // namespace vitrine
