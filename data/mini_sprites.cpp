// mini_sprites.cpp: one sprite on a ground, as in dSprites; the label is where it lies or which way it points.
#include <array>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {
namespace {

// Where the middle of the sprite lies on an axis that `steps` classes divide: within the middle four fifths of the class's
// part, so that no label hangs on a fraction of a pixel.
float within(Random& random, int64_t label, int steps) {
  return (static_cast<float>(label) + between(random, 0.1f, 0.9f)) / static_cast<float>(steps);
}

Path turned(Path path, Point middle, float size, float angle) {
  const float c = size * std::cos(angle), s = size * std::sin(angle);
  for (Point& p : path) p = {middle.x + c * p.x - s * p.y, middle.y + s * p.x + c * p.y};
  return path;
}

// Shapes of radius 1 around their middle, which point to the right.
Path square() { return box({0, 0}, 0.75f, 0.75f); }
Path long_ellipse() { return ellipse({0, 0}, 1, 0.55f, 0, 24); }
Path heart() {
  Path path;
  for (int i = 0; i < 32; ++i) {
    const float t = 2 * kPi * static_cast<float>(i) / 32, s = std::sin(t);
    // The well-known curve, lying on its side: the tip is at the right.
    path.push_back(
        {-(13 * std::cos(t) - 5 * std::cos(2 * t) - 2 * std::cos(3 * t) - std::cos(4 * t) + 2.5f) / 15,
         16 * s * s * s / 17});
  }
  return path;
}
Path arrow() {
  return {{1, 0},         {0.1f, -0.75f}, {0.1f, -0.3f}, {-0.95f, -0.3f},
          {-0.95f, 0.3f}, {0.1f, 0.3f},   {0.1f, 0.75f}};
}
Path drop() {
  Path path{{1.1f, 0}};
  for (int i = 0; i <= 18; ++i) {
    const float t = 0.28f * kPi + 1.44f * kPi * static_cast<float>(i) / 18;
    path.push_back({-0.3f + 0.68f * std::cos(t), 0.68f * std::sin(t)});
  }
  return path;
}
Path wedge() { return {{1, 0}, {-0.8f, -0.75f}, {-0.4f, 0}, {-0.8f, 0.75f}}; }

// A ground, and a sprite of `path` on it.
void draw(Random& random, MiniPicture& picture, const Path& path, const MiniPart& part) {
  Colour behind{};
  Canvas canvas = any_ground(random, 4, 0.4f, behind);
  const Colour colour = apart_from(behind, random);
  canvas.fill(turned(path, {part.x, part.y}, part.size, part.angle), colour);
  picture.parts = {part};
  picture.image = canvas.developed(random);
}

}  // namespace

void draw_position(Random& random, MiniPicture& picture) {
  constexpr std::array<Path (*)(), 3> shapes{square, long_ellipse, heart};
  const int kind = below(random, 3);
  constexpr float margin = 4;  // the middle of the sprite lies that far from the sides at least
  const MiniPart part{.kind = kind,
                      .x = margin + (kSide - 2 * margin) * within(random, picture.label, 8),
                      .y = between(random, margin, kSide - margin),
                      .size = between(random, 3, 5.5f),
                      .angle = between(random, 0, 2 * kPi)};
  draw(random, picture, shapes[static_cast<size_t>(kind)](), part);
}

void draw_orientation(Random& random, MiniPicture& picture) {
  constexpr std::array<Path (*)(), 4> shapes{heart, arrow, drop, wedge};
  const int kind = below(random, 4);
  const float size = between(random, 5, 10);
  // The first class lies around the right, half of it above.
  const float turn = within(random, picture.label, 8) - 1.0f / 16;
  const MiniPart part{.kind = kind,
                      .x = between(random, size, kSide - size),
                      .y = between(random, size, kSide - size),
                      .size = size,
                      .angle = 2 * kPi * (turn < 0 ? turn + 1 : turn)};
  draw(random, picture, shapes[static_cast<size_t>(kind)](), part);
}

}  // namespace vitrine::mini
