// mini_textures.cpp: ways to fill a plane. Each gives a number for a place, about -1 to 1, in a plane whose cells have a
// width of 1; the picture is a piece of it, turned, stretched and bent, between two colours.
#include <algorithm>
#include <array>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {
namespace {

// What varies within a kind.
struct Fabric {
  float share = 0.5f;  // of one colour, 0.35 to 0.65
  uint32_t salt = 0;
};

float fraction(float x) { return x - std::floor(x); }
int whole(float x) { return static_cast<int>(std::floor(x)); }
// From -1 to 1 within about a tenth of a cell around 0.
float edge(float x) { return std::clamp(10 * x, -1.0f, 1.0f); }

float banded(Point p, const Fabric& f) { return edge(std::fabs(fraction(p.x) - 0.5f) - 0.5f * f.share); }

float wavy(Point p, const Fabric& f) {
  const float bend = 0.28f * std::sin(2 * kPi * 0.6f * p.y);
  return edge(std::fabs(fraction(p.x + bend) - 0.5f) - 0.5f * f.share);
}

float checked(Point p, const Fabric&) { return edge(std::sin(kPi * p.x) * std::sin(kPi * p.y)); }

float dotted(Point p, const Fabric& f) {
  const float x = fraction(p.x + (whole(p.y) % 2 ? 0.5f : 0.0f)) - 0.5f, y = fraction(p.y) - 0.5f;
  return edge(0.18f + 0.3f * f.share - std::hypot(x, y));
}

float bricked(Point p, const Fabric& f) {
  const int row = whole(p.y);
  const float x = fraction(0.5f * p.x + (row % 2 ? 0.5f : 0.0f)), y = fraction(p.y);
  const float tint = 0.5f * lattice(whole(0.5f * p.x + (row % 2 ? 0.5f : 0.0f)), row, f.salt);
  return x < 0.1f || y < 0.2f ? -1 : 0.5f + tint;
}

// Distances to the nearest and to the second nearest of points strewn one to a cell.
std::array<float, 2> strewn(Point p, uint32_t salt) {
  std::array<float, 2> nearest{9, 9};
  for (int y = whole(p.y) - 1; y <= whole(p.y) + 1; ++y)
    for (int x = whole(p.x) - 1; x <= whole(p.x) + 1; ++x) {
      const float dx = static_cast<float>(x) + 0.1f + 0.8f * lattice(x, y, salt) - p.x;
      const float dy = static_cast<float>(y) + 0.1f + 0.8f * lattice(x, y, salt + 1) - p.y;
      const float d = std::hypot(dx, dy);
      if (d < nearest[0])
        nearest = {d, nearest[0]};
      else
        nearest[1] = std::min(nearest[1], d);
    }
  return nearest;
}

float cracked(Point p, const Fabric& f) {
  const auto [first, second] = strewn(p, f.salt);
  return edge(second - first - 0.14f);
}

float pebbled(Point p, const Fabric& f) {
  const auto [first, second] = strewn(p, f.salt);
  return second - first < 0.16f ? -1 : 1 - 2.2f * first;
}

float marbled(Point p, const Fabric& f) {
  const float noise =
      value_noise(0.7f * p.x, 0.7f * p.y, f.salt) + 0.5f * value_noise(1.4f * p.x, 1.4f * p.y, f.salt + 1);
  return 1 - 4 * std::fabs(std::sin(kPi * (0.5f * p.x + 1.6f * noise))) * (0.4f + 0.4f * f.share);
}

float blotched(Point p, const Fabric& f) {
  const float noise = 0.7f * value_noise(1.2f * p.x, 1.2f * p.y, f.salt) +
                      0.3f * value_noise(2.5f * p.x, 2.5f * p.y, f.salt + 1);
  return edge(noise - 0.7f + 0.4f * f.share);
}

float woven(Point p, const Fabric&) {
  const bool over = (whole(p.x) + whole(p.y)) % 2 == 0;
  const float across = fraction(over ? p.y : p.x) - 0.5f, along = fraction(over ? p.x : p.y) - 0.5f;
  if (std::fabs(across) > 0.4f) return -1;
  return (over ? 0.6f : 0.0f) + 0.4f * std::cos(2 * kPi * across) - 0.8f * along * along;
}

constexpr std::array<float (*)(Point, const Fabric&), 10> kinds{banded, blotched, bricked, checked, cracked,
                                                                dotted, marbled,  pebbled, wavy,    woven};

}  // namespace

void draw_texture(Random& random, MiniPicture& picture) {
  const Fabric fabric{between(random, 0.35f, 0.65f), random.bits()};
  const float cells = std::exp(between(random, std::log(3.2f), std::log(6.5f))), step = cells / kSide;
  const float angle = between(random, 0, 2 * kPi), stretch = between(random, 0.8f, 1.25f);
  const float bend = between(random, 0, 0.35f), slant = between(random, -0.25f, 0.25f);
  const Point from{between(random, 16, 32), between(random, 16, 32)};
  const uint32_t salt = random.bits();
  const Colour low = any_colour(random), high = apart_from(low, random);
  const float contrast = between(random, 0.45f, 1), light = between(random, -0.15f, 0.15f);
  const float turn = between(random, 0, 2 * kPi);
  Canvas canvas(low);
  canvas.paint([&](float x, float y, const Colour&) {
    float sum = 0;  // of 2 x 2 places in the pixel
    for (const float dy : {-0.25f, 0.25f})
      for (const float dx : {-0.25f, 0.25f}) {
        const float u = step * (x + dx - 16), v = step * (y + dy - 16);
        Point p{stretch * (std::cos(angle) * u + std::sin(angle) * v),
                std::cos(angle) * v - std::sin(angle) * u};
        p.x += slant * p.y + bend * (2 * value_noise(0.5f * u + 9, 0.5f * v, salt) - 1) + from.x;
        p.y += bend * (2 * value_noise(0.5f * u, 0.5f * v + 9, salt) - 1) + from.y;
        sum += kinds[static_cast<size_t>(picture.label)](p, fabric);
      }
    const float slope = light * ((x - 16) * std::cos(turn) + (y - 16) * std::sin(turn)) / 16;
    return mix(low, high, std::clamp(0.5f + 0.5f * contrast * sum / 4, 0.0f, 1.0f) + slope);
  });
  picture.parts = {{.kind = static_cast<int>(picture.label), .size = kSide / cells, .angle = angle}};
  picture.image = canvas.developed(random);
}

}  // namespace vitrine::mini
