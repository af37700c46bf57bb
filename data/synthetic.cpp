// synthetic.cpp: small classification tasks made of random numbers, for tests and first steps. Sample i of a
// split is always the same picture.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

#include "data/formats.h"
#include "engine/check.h"
#include "engine/random.h"
#include "engine/text.h"

namespace vitrine {
namespace {

constexpr int side = 32;
constexpr int64_t class_count = 8;
using Color = std::array<double, 3>;  // 0 .. 255

enum class Kind : uint32_t { shapes, stripes, colors };

Color any_color(Random& random) {
  return {random.uniform(0, 255), random.uniform(0, 255), random.uniform(0, 255)};
}

// A color that is easy to tell from `other`.
Color contrasting(const Color& other, Random& random) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    const Color color = any_color(random);
    double distance = 0;
    for (size_t c = 0; c < 3; ++c) distance += std::fabs(color[c] - other[c]);
    if (distance > 200) return color;
  }
  return {255 - other[0], 255 - other[1], 255 - other[2]};
}

// A full hue circle is 1.
Color of_hue(double hue, double saturation, double value) {
  const auto channel = [&](double shift) {
    const double h = 6 * (hue + shift - std::floor(hue + shift));
    return 255 * value *
           (1 - saturation * std::clamp(std::fabs(h - 3) - 1 < 0 ? 1.0 : 3 - std::fabs(h - 3) - 1, 0.0, 1.0));
  };
  return {channel(0), channel(2.0 / 3), channel(1.0 / 3)};
}

// Whether (x, y) lies in the shape of "radius" 1 around 0.
bool inside(int64_t shape, double x, double y) {
  const double ax = std::fabs(x), ay = std::fabs(y), r = std::hypot(x, y), box = std::max(ax, ay);
  switch (shape) {
    case 0:
      return r < 1;  // circle
    case 1:
      return box < 0.9;  // square
    case 2:
      return y < 0.8 && y > -1 && ax < (y + 1) / 1.8;  // triangle
    case 3:
      return ax + ay < 1.1;  // diamond
    case 4:
      return box < 1 && std::min(ax, ay) < 0.3;  // plus
    case 5:
      return r < 1.2 && std::fabs(ax - ay) < 0.4;  // cross
    case 6:
      return r < 1 && r > 0.6;  // ring
    default:
      return box < 0.9 && box > 0.55;  // frame
  }
}

// How much of the foreground covers pixel (x, y), 0 .. 1, for each kind of picture.
template <class F>
Image paint(const Color& back, const Color& front, Random& random, F cover) {
  Image image = blank_image(side, side);
  uint8_t* out = image.rgb.data();
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const double share = cover(x + 0.5, y + 0.5);
      for (size_t c = 0; c < 3; ++c) {
        const double noise = random.uniform(-20, 20);
        *out++ = static_cast<uint8_t>(std::clamp(back[c] + (front[c] - back[c]) * share + noise, 0.0, 255.0));
      }
    }
  return image;
}

Image draw_shape(int64_t label, Random& random) {
  const Color back = any_color(random), front = contrasting(back, random);
  const double radius = random.uniform(7, 12);
  const double cx = random.uniform(radius + 1, side - radius - 1),
               cy = random.uniform(radius + 1, side - radius - 1);
  return paint(back, front, random, [&](double x, double y) {
    int hits = 0;  // of a 3 x 3 grid in the pixel
    for (const double dy : {-1.0 / 3, 0.0, 1.0 / 3})
      for (const double dx : {-1.0 / 3, 0.0, 1.0 / 3})
        hits += inside(label, (x + dx - cx) / radius, (y + dy - cy) / radius) ? 1 : 0;
    return hits / 9.0;
  });
}

Image draw_stripes(int64_t label, Random& random) {
  const Color back = any_color(random), front = contrasting(back, random);
  const double angle =
      std::numbers::pi * (static_cast<double>(label) + random.uniform(-0.3, 0.3)) / class_count;
  const double wave = 2 * std::numbers::pi / random.uniform(5, 10),
               phase = random.uniform(0, 2 * std::numbers::pi);
  const double ux = std::cos(angle) * wave, uy = std::sin(angle) * wave;
  return paint(back, front, random,
               [&](double x, double y) { return 0.5 + 0.5 * std::sin(ux * x + uy * y + phase); });
}

Image draw_color(int64_t label, Random& random) {
  const double hue = (static_cast<double>(label) + random.uniform(-0.3, 0.3)) / class_count;
  const double saturation = random.uniform(0.6, 1), value = random.uniform(0.6, 1);
  const double angle = random.uniform(0, 2 * std::numbers::pi);
  const double ux = std::cos(angle) / side, uy = std::sin(angle) / side;
  return paint(of_hue(hue, saturation, value), of_hue(hue, saturation, 0.5 * value), random,
               [&](double x, double y) {
                 return std::clamp(0.5 + ux * (x - side / 2) + uy * (y - side / 2), 0.0, 1.0);
               });
}

std::vector<std::string> class_names(Kind kind) {
  switch (kind) {
    case Kind::shapes:
      return {"circle", "square", "triangle", "diamond", "plus", "cross", "ring", "frame"};
    case Kind::stripes:
      return {"0", "22", "45", "67", "90", "112", "135", "157"};  // degrees
    case Kind::colors:
      return {"red", "orange", "lime", "green", "cyan", "azure", "violet", "rose"};
  }
  return {};
}

int64_t count_of(Split split) { return split == Split::train ? 1000 : split == Split::val ? 200 : 500; }

class SyntheticDataset : public Dataset {
 public:
  SyntheticDataset(Kind kind, const std::string& who, std::vector<Split> splits)
      : Dataset(who, labels_of(splits), vitrine::class_names(kind)),
        kind_(kind),
        who_(who),
        splits_(std::move(splits)) {}

  Image image(int64_t i) const override {
    const auto [split, k] = place(i);
    Random random(0, Purpose::synthetic, static_cast<uint32_t>(split), static_cast<uint32_t>(k),
                  static_cast<uint32_t>(kind_));
    switch (kind_) {
      case Kind::shapes:
        return draw_shape(label(i), random);
      case Kind::stripes:
        return draw_stripes(label(i), random);
      case Kind::colors:
        return draw_color(label(i), random);
    }
    return {};
  }
  std::string name(int64_t i) const override {
    const auto [split, k] = place(i);
    return text("{} {} image {}", who_, name_of(split), k);
  }

 private:
  static std::vector<int64_t> labels_of(const std::vector<Split>& splits) {
    std::vector<int64_t> labels;
    for (const Split split : splits)
      for (int64_t k = 0; k < count_of(split); ++k) labels.push_back(k % class_count);
    return labels;
  }
  std::pair<Split, int64_t> place(int64_t i) const {
    auto k = static_cast<int64_t>(checked(i));
    size_t s = 0;
    for (; k >= count_of(splits_[s]); ++s) k -= count_of(splits_[s]);
    return {splits_[s], k};
  }

  Kind kind_;
  std::string who_;
  std::vector<Split> splits_;
};

}  // namespace

DatasetPointer open_synthetic(const std::string& name, Split split) {
  constexpr std::array<std::string_view, 3> names{"shapes", "stripes", "colors"};
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    const std::string meant = nearest(name, names);
    fail(Fault::input, "synthetic: unknown data set {}; known are shapes, stripes and colors{}", quote(name),
         meant.empty() ? "" : text("; did you mean '{}'?", meant));
  }
  std::vector<Split> splits;
  for (const Split part : {Split::train, Split::val, Split::test})
    if (includes(split, part)) splits.push_back(part);
  return std::make_shared<SyntheticDataset>(static_cast<Kind>(found - names.begin()),
                                            text("synthetic:{}", name), splits);
}

}  // namespace vitrine
