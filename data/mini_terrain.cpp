// mini_terrain.cpp: land seen from above. The class is its use; soils, seasons, haze, directions and sizes are not.
#include <algorithm>
#include <array>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {
namespace {

Colour green(Random& random) { return between(random, {0.18f, 0.2f, 0.25f}, {0.42f, 0.6f, 0.6f}); }
Colour soil(Random& random) { return between(random, {0.04f, 0.15f, 0.35f}, {0.14f, 0.5f, 0.8f}); }
Colour growth_or_soil(Random& random) { return random.chance(0.5) ? green(random) : soil(random); }
Colour water(Random& random) { return between(random, {0.45f, 0.2f, 0.2f}, {0.65f, 0.7f, 0.6f}); }
Colour asphalt(Random& random) { return between(random, {0, 0, 0.4f}, {1, 0.12f, 0.8f}); }
Colour roof(Random& random) {
  return random.chance(0.5) ? between(random, {0, 0.3f, 0.45f}, {0.08f, 0.6f, 0.85f})
                            : between(random, {0.5f, 0, 0.45f}, {0.7f, 0.2f, 0.95f});
}

// A frame turned and moved at random: what has a direction is drawn along it.
struct Lie {
  float angle;
  Point middle;
  explicit Lie(Random& random)
      : angle(between(random, 0, kPi)), middle{16 + between(random, -5, 5), 16 + between(random, -5, 5)} {}
  Point operator()(float along, float across) const {
    return {middle.x + along * std::cos(angle) - across * std::sin(angle),
            middle.y + along * std::sin(angle) + across * std::cos(angle)};
  }
  // The same place of a pixel in this frame.
  Point of(float x, float y) const {
    const float dx = x - middle.x, dy = y - middle.y;
    return {dx * std::cos(angle) + dy * std::sin(angle), dy * std::cos(angle) - dx * std::sin(angle)};
  }
};

// Mottles what is there with another colour.
void mottle(Canvas& canvas, Random& random, const Colour& other, float strength, float least_step,
            float most_step) {
  const float step = between(random, least_step, most_step);
  const uint32_t salt = random.bits();
  canvas.paint([&](float x, float y, const Colour& now) {
    const float noise = 0.6f * value_noise(x * step, y * step, salt) +
                        0.4f * value_noise(2 * x * step, 2 * y * step, salt + 1);
    return mix(now, other, strength * noise);
  });
}

// A line that winds across the picture.
Path winding(Random& random, const Lie& lie, float wave) {
  Path knots;
  for (int k = -3; k <= 3; ++k) knots.push_back(lie(static_cast<float>(k) * 9, between(random, -wave, wave)));
  return spline(knots, false, 6);
}

Canvas fields(Random& random) {
  const Lie lie(random);
  const float wide = between(random, 6, 14), high = between(random, 5, 11);
  const float offset = between(random, 0, 20);
  std::array<Colour, 64> colours{};
  for (Colour& colour : colours) colour = growth_or_soil(random);
  std::array<float, 64> furrows{};
  for (float& furrow : furrows) furrow = between(random, 0, 0.15f);
  Canvas canvas(soil(random));
  canvas.paint([&](float x, float y, const Colour&) {
    const Point p = lie.of(x, y);
    const int row = static_cast<int>(std::floor(p.y / high + 32));
    const int column = static_cast<int>(std::floor((p.x + offset * static_cast<float>(row % 3)) / wide + 32));
    const auto parcel = static_cast<size_t>((row * 5 + column * 13) % 64);
    return mix(colours[parcel], {0, 0, 0}, furrows[parcel] * (1 + std::sin(2.2f * (row % 2 ? p.x : p.y))));
  });
  return canvas;
}

void crown(Canvas& canvas, Point at, float radius, const Colour& colour) {
  canvas.fill(ellipse({at.x + 0.4f * radius, at.y + 0.5f * radius}, radius, radius, 0, 10), {0, 0, 0}, 0.3f);
  canvas.fill(ellipse(at, radius, radius, 0, 10), colour);
}

Canvas forest(Random& random) {
  const Colour leaf = green(random), other = mix(leaf, green(random), 0.5f);
  Canvas canvas(mix(leaf, {0, 0, 0}, 0.4f));
  const float size = between(random, 1.2f, 2.6f);
  const int trees = static_cast<int>(900 / (size * size));
  for (int i = 0; i < trees; ++i) {
    const Point at = anywhere(random);
    const float radius = size * between(random, 0.7f, 1.2f), share = between(random, 0, 1);
    crown(canvas, at, radius, mix(mix(leaf, other, share), {0, 0, 0}, between(random, 0, 0.3f)));
  }
  return canvas;
}

Canvas scrub(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.6f, 0.1f, 0.3f);
  const Colour bush = mix(green(random), {0, 0, 0}, 0.25f);
  for (int i = 14 + below(random, 16); i > 0; --i) {
    const Point at = anywhere(random);
    crown(canvas, at, between(random, 0.6f, 1.7f), bush);
  }
  return canvas;
}

Canvas meadow(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.8f, 0.06f, 0.25f);
  if (random.chance(0.3)) {  // a path
    const Lie lie(random);
    const Path path = winding(random, lie, 3);
    canvas.line(path, 0.4f, soil(random), 0.7f);
  }
  return canvas;
}

Canvas orchard(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.4f, 0.15f, 0.25f);
  const Lie lie(random);
  const float row = between(random, 3.4f, 5.5f), tree = between(random, 2.6f, 4.2f),
              size = between(random, 0.9f, 1.4f);
  const Colour leaf = mix(green(random), {0, 0, 0}, 0.25f);
  for (int r = -9; r <= 9; ++r)
    for (int t = -11; t <= 11; ++t) {
      const Point at = lie(static_cast<float>(t) * tree, static_cast<float>(r) * row);
      if (at.x < -2 || at.y < -2 || at.x > kSide + 2 || at.y > kSide + 2 || random.chance(0.05)) continue;
      crown(canvas, {at.x + between(random, -0.3f, 0.3f), at.y + between(random, -0.3f, 0.3f)}, size, leaf);
    }
  return canvas;
}

void building(Canvas& canvas, Random& random, const Lie& lie, Point at, float half_wide, float half_high) {
  const auto corners = [&](float dx, float dy) {
    Path path;
    for (const auto& [x, y] : {Point{-1, -1}, Point{1, -1}, Point{1, 1}, Point{-1, 1}}) {
      const Point corner = lie(at.x + x * half_wide, at.y + y * half_high);
      path.push_back({corner.x + dx, corner.y + dy});
    }
    return path;
  };
  const Colour colour = roof(random);
  canvas.fill(corners(0.7f, 0.8f), {0, 0, 0}, 0.4f);
  canvas.fill(corners(0, 0), colour);
  canvas.fill({lie(at.x - half_wide, at.y), lie(at.x + half_wide, at.y),
               lie(at.x + half_wide, at.y + half_high), lie(at.x - half_wide, at.y + half_high)},
              mix(colour, {0, 0, 0}, 0.25f));
}

Canvas houses(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.6f, 0.2f, 0.3f);
  const Lie lie(random);
  const float block = between(random, 9, 12), plot = between(random, 4.4f, 6);
  const Colour street = asphalt(random);
  for (int r = -3; r <= 3; ++r) {
    const float across = static_cast<float>(r) * block;
    canvas.line({lie(-40, across), lie(40, across)}, 0.7f, street);
    for (int p = -8; p <= 8; ++p)
      for (const float side : {-1.0f, 1.0f}) {
        if (random.chance(0.15)) continue;
        const Point at{static_cast<float>(p) * plot + between(random, -0.5f, 0.5f),
                       across + side * between(random, 2.6f, 3.2f)};
        const float half = between(random, 1.1f, 1.7f);
        building(canvas, random, lie, at, half, between(random, 0.9f, 1.3f));
      }
  }
  return canvas;
}

Canvas industry(Random& random) {
  Canvas canvas(random.chance(0.6) ? asphalt(random) : soil(random));
  mottle(canvas, random, asphalt(random), 0.5f, 0.15f, 0.25f);
  const Lie lie(random);
  const float wide = between(random, 9, 13), high = between(random, 8, 12);
  for (int column = -2; column <= 2; ++column)
    for (int row = -2; row <= 2; ++row) {
      if (random.chance(0.15)) continue;
      const Point at{wide * static_cast<float>(column), high * static_cast<float>(row)};
      const float half = between(random, 3, 4.6f);
      building(canvas, random, lie, at, half, between(random, 2.4f, 4));
    }
  return canvas;
}

Canvas river(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.7f, 0.08f, 0.3f);
  const Lie lie(random);
  const Path bed = winding(random, lie, 7);
  const float half = between(random, 1.5f, 3.5f);
  canvas.line(bed, half + 0.6f, soil(random), 0.7f);
  canvas.line(bed, half, water(random));
  return canvas;
}

Canvas road(Random& random) {
  Canvas canvas = random.chance(0.5) ? fields(random) : meadow(random);
  const Lie lie(random);
  const float half = between(random, 0.9f, 1.8f), bow = between(random, -4, 4);
  const Colour surface = asphalt(random);
  const Path lane = spline({lie(-30, 0), lie(-12, bow), lie(12, bow), lie(30, 0)}, false, 8);
  canvas.line(lane, half, surface);
  if (random.chance(0.4)) {
    const Lie other(random);
    canvas.line({other(-40, 0), other(40, 0)}, 0.8f * half, surface);
  }
  if (half > 1.3f) canvas.line(lane, 0.25f, {1, 1, 1}, 0.7f);
  return canvas;
}

Canvas shore(Random& random) {
  Canvas canvas(growth_or_soil(random));
  mottle(canvas, random, growth_or_soil(random), 0.7f, 0.15f, 0.25f);
  const Lie lie(random);
  const float turn = random.chance(0.5) ? 1.0f : -1.0f, beach = between(random, 0, 2.5f),
              step = between(random, 0.1f, 0.25f);
  const Colour deep = water(random), shallow = mix(deep, {0.8f, 0.9f, 0.8f}, 0.3f), sand = soil(random);
  const uint32_t salt = random.bits();
  canvas.paint([&](float x, float y, const Colour& now) {
    const Point p = lie.of(x, y);
    const float far =
        turn * p.y + 6 * (value_noise((p.x + 64) * step, 0.5f, salt) - 0.5f);  // from the water's edge
    if (far < 0) return mix(shallow, deep, std::clamp(-far / 5, 0.0f, 1.0f));
    return far < beach ? sand : now;
  });
  return canvas;
}

constexpr std::array<Canvas (*)(Random&), 10> kinds{fields,  forest, houses, industry, meadow,
                                                    orchard, river,  road,   scrub,    shore};

}  // namespace

void draw_terrain(Random& random, MiniPicture& picture) {
  Canvas canvas = kinds[static_cast<size_t>(picture.label)](random);
  const Colour haze = between(random, {0.5f, 0, 0.5f}, {0.7f, 0.2f, 0.9f});
  const float strength = between(random, 0, 0.35f);
  canvas.paint([&](float, float, const Colour& now) { return mix(now, haze, strength); });
  picture.parts = {{.kind = static_cast<int>(picture.label)}};
  picture.image = canvas.developed(random);
}

}  // namespace vitrine::mini
