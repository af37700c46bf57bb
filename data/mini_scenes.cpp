// mini_scenes.cpp: scenes of several objects, after CLEVR: how many there are, and how far the nearest one is.
#include <algorithm>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {
namespace {

constexpr int shapes = 3;

// A ball, a box or a cone, lit from the upper left: x, y its middle, `size` its radius.
void draw_solid(Canvas& canvas, const MiniPart& part, const Colour& colour) {
  const float x = part.x, y = part.y, r = part.size;
  const Colour light = mix(colour, {1, 1, 1}, 0.35f), dark = mix(colour, {0, 0, 0}, 0.35f);
  if (part.kind == 0) {
    canvas.fill(ellipse({x, y}, r, r, 0, 24), colour);
    canvas.fill(ellipse({x - 0.3f * r, y - 0.3f * r}, 0.45f * r, 0.45f * r, 0, 14), light, 0.8f);
  } else if (part.kind == 1) {
    const float a = 0.95f * r, lid = 0.4f * r;
    canvas.fill({{x - a, y - a + lid}, {x + a, y - a + lid}, {x + a, y + a}, {x - a, y + a}}, colour);
    canvas.fill({{x - a, y - a + lid}, {x - a + lid, y - a}, {x + a, y - a}, {x + a, y - a + lid}}, light);
    canvas.fill({{x + 0.45f * r, y - a + lid}, {x + a, y - a + lid}, {x + a, y + a}, {x + 0.45f * r, y + a}},
                dark);
  } else {
    canvas.fill({{x, y - 1.1f * r}, {x + r, y + 0.9f * r}, {x - r, y + 0.9f * r}}, colour);
    canvas.fill({{x, y - 1.1f * r}, {x + r, y + 0.9f * r}, {x + 0.25f * r, y + 0.9f * r}}, dark);
  }
}

}  // namespace

// Objects lie on a floor seen from above, at least a pixel apart, none larger where they are more.
void draw_count(Random& random, MiniPicture& picture) {
  Colour floor{};
  Canvas canvas = any_ground(random, 0, 0.4f, floor);
  const float scale = between(random, 0.75f, 1.1f);
  const auto count = static_cast<size_t>(picture.label + 1);
  const auto fits = [&](const MiniPart& part) {
    return std::none_of(picture.parts.begin(), picture.parts.end(), [&](const MiniPart& other) {
      // Of a box the corners are 1.4 radii away from its middle.
      return std::hypot(part.x - other.x, part.y - other.y) < 1.25f * (part.size + other.size) + 1;
    });
  };
  std::vector<float> sizes(count);
  for (float& size : sizes) size = scale * between(random, 1.7f, 3.2f);
  while (picture.parts.size() < count) {
    MiniPart part{.kind = below(random, shapes), .size = sizes[picture.parts.size()]};
    int attempt = 0;
    do {
      const float room = part.size + 1;
      part.x = between(random, room, kSide - room);
      part.y = between(random, room, kSide - room);
    } while (!fits(part) && ++attempt < 100);
    if (attempt < 100)
      picture.parts.push_back(part);
    else
      picture.parts.clear();  // those before it left no room: all are placed anew
  }
  for (const MiniPart& part : picture.parts) draw_solid(canvas, part, apart_from(floor, random));
  picture.image = canvas.developed(random);
}

// The eye is 1 above the floor and looks ahead, so that what stands on it at depth z meets it 26 / z pixels below the
// horizon and is 26 / z pixels wide for each unit of width. The nearest object is drawn last: none hides it.
void draw_distance(Random& random, MiniPicture& picture) {
  constexpr float horizon = 6, focus = 26, first = 1.1f, last = 4, beyond = 6;
  constexpr int steps = 6;
  // The steps are equal in the logarithm, and nothing lies within a twentieth of their limits.
  const auto depth_at = [&](float step) { return first * std::pow(last / first, step / steps); };
  const float nearest = depth_at(static_cast<float>(picture.label) + between(random, 0.05f, 0.95f));

  const Colour floor = any_colour(random), sky = apart_from(floor, random);
  const Colour any = any_colour(random), other_floor = mix(floor, any, between(random, 0, 0.35f));
  const Colour haze = mix(floor, sky, 0.5f);
  const bool tiled = random.chance(0.5);
  const float tile = between(random, 0.3f, 0.8f), shift_x = between(random, 0, 2),
              shift_z = between(random, 0, 2);
  Canvas canvas(sky);
  canvas.paint([&](float x, float y, const Colour& now) {
    if (y <= horizon) return mix(now, haze, 0.4f * y / horizon);
    const float z = focus / (y - horizon), wide = (x - 16) * z / focus;
    const float odd = std::floor(wide / tile + shift_x) + std::floor(z / tile + shift_z);
    const Colour own = tiled && static_cast<int>(odd) % 2 != 0 ? other_floor : floor;
    return mix(own, haze, std::clamp(z / 12, 0.0f, 1.0f));
  });

  const int others = below(random, 4);
  for (int i = 0; i <= others; ++i) {
    const float z = i == others ? nearest : nearest * std::pow(beyond / nearest, between(random, 0.08f, 1));
    const float size = between(random, 0.11f, 0.22f) * focus / z;
    picture.parts.push_back({.kind = below(random, shapes),
                             .x = between(random, 3, kSide - 3),
                             .y = horizon + focus / z - size,
                             .size = size,
                             .depth = z});
  }
  std::sort(picture.parts.begin(), picture.parts.end(),
            [](const MiniPart& a, const MiniPart& b) { return a.depth > b.depth; });
  for (const MiniPart& part : picture.parts) {
    canvas.fill(
        ellipse({part.x + 0.3f * part.size, part.y + part.size}, 1.1f * part.size, 0.35f * part.size, 0, 16),
        {0, 0, 0}, 0.4f);
    draw_solid(canvas, part, apart_from(floor, random));
  }
  picture.image = canvas.developed(random);
}

}  // namespace vitrine::mini
