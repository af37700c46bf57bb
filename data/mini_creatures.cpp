// mini_creatures.cpp: animals made of ellipses, polygons and lines. Each looks to the right before it is posed. Proportions
// vary within a kind by about a fifth; a positive tone is the second colour, a negative one shadow.
#include <algorithm>
#include <array>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {
namespace {

// A number around `middle` by up to a fifth.
float about(Random& random, float middle) { return middle * between(random, 0.8f, 1.2f); }

void limb(Sketch& sketch, const Path& path, float thick, float thin, float tone = 0) {
  sketch.line(Ink::add, path, thick, thin, tone);
}

void eye(Sketch& sketch, Point at) { sketch.fill(Ink::mark, ellipse(at, 0.07f, 0.07f, 0, 8), -1); }

void beetle(Random& random, Sketch& sketch) {
  const float length = about(random, 0.62f), width = about(random, 0.42f), reach = about(random, 0.34f);
  for (const float side : {-1.0f, 1.0f})
    for (const float at : {-0.4f, 0.0f, 0.4f})
      limb(sketch,
           {{at * length, 0},
            {1.4f * at * length, side * (width + 0.5f * reach)},
            {2.0f * at * length - 0.05f, side * (width + reach)}},
           0.055f, 0.045f, -0.6f);
  sketch.fill(Ink::add, ellipse({length, 0}, 0.2f, 0.7f * width));
  sketch.fill(Ink::add, ellipse({0, 0}, length, width), 0.8f);
  sketch.line(Ink::mark, {{-length, 0}, {0.8f * length, 0}}, 0.04f, 0.04f, -0.9f);
  sketch.line(Ink::mark, {{0.55f * length, -width}, {0.55f * length, width}}, 0.04f, 0.04f, -0.9f);
}

void bird(Random& random, Sketch& sketch) {
  const float head = about(random, 0.22f), wing = about(random, 0.42f), tail = about(random, 0.35f);
  for (const float x : {-0.06f, 0.12f})
    limb(sketch, {{x, 0.3f}, {x + 0.03f, 0.78f}, {x + 0.14f, 0.78f}}, 0.04f, 0.04f, -0.5f);
  sketch.fill(Ink::add, {{-0.4f, 0}, {-0.6f - tail, -0.02f}, {-0.55f - tail, 0.2f}, {-0.35f, 0.25f}}, 0.6f);
  sketch.fill(Ink::add, ellipse({-0.02f, 0.1f}, 0.52f, about(random, 0.3f), -0.25f));
  sketch.fill(Ink::add, ellipse({0.48f, -0.28f}, head, head));
  sketch.fill(Ink::add,
              {{0.48f + 0.8f * head, -0.36f}, {0.56f + 1.9f * head, -0.24f}, {0.48f + 0.8f * head, -0.18f}},
              1);
  sketch.fill(Ink::mark, ellipse({-0.12f, 0.08f}, wing, 0.17f, -0.2f), 0.8f);
  eye(sketch, {0.52f, -0.32f});
}

void butterfly(Random& random, Sketch& sketch) {
  const float upper = about(random, 0.44f), lower = about(random, 0.32f),
              spread = between(random, 0.5f, 0.9f);
  for (const float side : {-1.0f, 1.0f}) {
    sketch.fill(Ink::add, ellipse({0.22f, side * 0.42f}, 0.62f * upper, upper, side * -spread * 0.8f), 0.3f);
    sketch.fill(Ink::add, ellipse({-0.34f, side * 0.34f}, 0.75f * lower, lower, side * spread * 0.8f));
    sketch.fill(Ink::mark, ellipse({0.26f, side * 0.52f}, 0.15f, 0.15f), 1);
    sketch.fill(Ink::mark, ellipse({-0.36f, side * 0.4f}, 0.11f, 0.11f), 1);
    limb(sketch, {{0.4f, 0}, {0.8f, side * 0.22f}}, 0.03f, 0.03f, -0.8f);
  }
  sketch.fill(Ink::add, ellipse({0, 0}, 0.5f, 0.09f), -0.8f);
}

void crab(Random& random, Sketch& sketch) {
  const float width = about(random, 0.5f), height = about(random, 0.3f), claw = about(random, 0.2f);
  for (const float side : {-1.0f, 1.0f}) {
    for (const float drop : {0.12f, 0.34f, 0.56f})
      limb(sketch,
           {{side * 0.7f * width, 0.1f},
            {side * (width + 0.3f), drop - 0.05f},
            {side * (width + 0.35f), drop + 0.25f}},
           0.05f, 0.03f, -0.3f);
    limb(sketch, {{side * 0.8f * width, 0}, {side * (width + 0.25f), -0.3f}, {side * (width + 0.1f), -0.55f}},
         0.07f, 0.07f);
    sketch.fill(Ink::add, ellipse({side * (width + 0.06f), -0.68f}, claw, 1.2f * claw));
    sketch.fill(Ink::cut, {{side * (width + 0.04f), -0.66f},
                           {side * (width - 0.1f), -1.05f},
                           {side * (width + 0.12f), -1.05f}});
    limb(sketch, {{side * 0.15f, -0.2f}, {side * 0.17f, -0.45f}}, 0.045f, 0.07f, -0.8f);
  }
  sketch.fill(Ink::add, ellipse({0, 0.1f}, width, height), 0.5f);
}

void fish(Random& random, Sketch& sketch) {
  const float length = about(random, 0.6f), height = about(random, 0.34f), tail = about(random, 0.34f);
  sketch.fill(Ink::add,
              {{-0.8f * length, 0}, {-length - 0.32f, -tail}, {-length - 0.18f, 0}, {-length - 0.32f, tail}},
              0.5f);
  sketch.fill(Ink::add, {{-0.35f, -0.7f * height}, {-0.25f, -height - 0.24f}, {0.25f, -0.85f * height}},
              0.5f);
  sketch.fill(Ink::add, {{-0.1f, 0.8f * height}, {-0.28f, height + 0.18f}, {0.12f, 0.85f * height}}, 0.5f);
  sketch.fill(Ink::add, ellipse({0, 0}, length, height));
  const int bands = below(random, 4);
  for (int i = 0; i < bands; ++i) {
    const float x = 0.2f - 0.26f * static_cast<float>(i);
    sketch.line(Ink::mark, {{x, -0.9f * height}, {x - 0.05f, 0.9f * height}}, 0.05f, 0.05f, 0.9f);
  }
  eye(sketch, {0.65f * length, -0.25f * height});
}

void horse(Random& random, Sketch& sketch) {
  const float leg = about(random, 0.5f), neck = about(random, 0.42f), step = between(random, -0.12f, 0.12f);
  for (const float x : {-0.45f, -0.3f, 0.28f, 0.42f})
    limb(sketch,
         {{x, 0.1f}, {x + (x < 0 ? step : -step) * (x == -0.3f || x == 0.42f ? 1.0f : -1.0f), 0.22f + leg}},
         0.085f, 0.05f, x == -0.3f || x == 0.28f ? -0.5f : 0.0f);
  limb(sketch, {{-0.5f, -0.02f}, {-0.72f, 0.05f}, {-0.76f, 0.45f}}, 0.06f, 0.04f, 0.9f);
  sketch.fill(Ink::add, box({0, 0.06f}, 0.54f, about(random, 0.2f)));
  limb(sketch, {{0.42f, 0}, {0.62f, -neck}}, 0.17f, 0.12f);
  limb(sketch, {{0.36f, -0.12f}, {0.54f, -neck - 0.08f}}, 0.05f, 0.05f, 0.9f);
  limb(sketch, {{0.6f, -neck - 0.05f}, {0.9f, -neck + 0.1f}}, 0.12f, 0.08f);
}

void jellyfish(Random& random, Sketch& sketch) {
  const float width = about(random, 0.55f), height = about(random, 0.5f),
              wave = between(random, 0.05f, 0.14f);
  const int arms = 4 + below(random, 3);
  for (int i = 0; i < arms; ++i) {
    const float x = width * 0.85f * (2 * static_cast<float>(i) / static_cast<float>(arms - 1) - 1);
    const float phase = between(random, 0, 2 * kPi), length = about(random, 0.75f);
    Path arm;
    for (int k = 0; k <= 6; ++k) {
      const float t = static_cast<float>(k) / 6;
      arm.push_back({x + wave * std::sin(phase + 7 * t), -0.1f + length * t});
    }
    limb(sketch, arm, 0.06f, 0.035f, 0.5f);
  }
  Path bell = ellipse({0, -0.1f}, width, height, 0, 28);
  for (Point& p : bell) p.y = std::min(p.y, -0.05f);
  sketch.fill(Ink::add, bell);
  sketch.fill(Ink::mark, ellipse({0, -0.2f - 0.4f * height}, 0.5f * width, 0.3f * height), 0.7f);
}

void snail(Random& random, Sketch& sketch) {
  const float shell = about(random, 0.45f), turns = between(random, 1.4f, 2.2f),
              start = between(random, 0, 2 * kPi);
  limb(sketch, {{0.55f, 0.35f}, {0.72f, -0.15f}}, 0.04f, 0.05f, -0.4f);
  limb(sketch, {{0.62f, 0.35f}, {0.9f, -0.05f}}, 0.04f, 0.05f, -0.4f);
  limb(sketch, spline({{-0.9f, 0.55f}, {-0.2f, 0.5f}, {0.45f, 0.5f}, {0.68f, 0.3f}}, false, 4), 0.06f, 0.14f);
  const Point middle{-0.12f, 0.42f - shell};
  sketch.fill(Ink::add, ellipse(middle, shell, shell), 0.9f);
  Path spiral;
  for (int k = 0; k <= 24; ++k) {
    const float t = static_cast<float>(k) / 24, angle = start + 2 * kPi * turns * t,
                radius = shell * (0.1f + 0.85f * t);
    spiral.push_back({middle.x + radius * std::cos(angle), middle.y + radius * std::sin(angle)});
  }
  sketch.line(Ink::mark, spiral, 0.05f, 0.06f, -0.8f);
}

void snake(Random& random, Sketch& sketch) {
  const float wave = about(random, 0.34f), bends = between(random, 1.1f, 1.9f),
              phase = between(random, 0, 2 * kPi);
  Path body;
  for (int k = 0; k <= 24; ++k) {
    const float t = static_cast<float>(k) / 24;
    body.push_back({-0.9f + 1.7f * t, wave * std::sin(phase + 2 * kPi * bends * t)});
  }
  limb(sketch, body, 0.05f, about(random, 0.13f));
  const Point head = body.back();
  sketch.fill(Ink::add, ellipse({head.x + 0.06f, head.y}, 0.2f, 0.15f), 0.3f);
  for (size_t k = 3; k < 23; k += 4) sketch.fill(Ink::mark, ellipse(body[k], 0.07f, 0.07f, 0, 8), 1);
  eye(sketch, {head.x + 0.1f, head.y - 0.06f});
}

void spider(Random& random, Sketch& sketch) {
  const float reach = about(random, 0.8f), body = about(random, 0.28f);
  for (const float side : {-1.0f, 1.0f})
    for (const float turn : {-0.95f, -0.35f, 0.3f, 0.9f}) {
      const float a = turn + between(random, -0.12f, 0.12f);
      const float x = std::sin(a), y = side * std::cos(a);
      limb(sketch,
           {{0.08f, 0}, {0.55f * reach * x, 0.75f * reach * y}, {reach * x * 1.1f, reach * y * 1.05f}}, 0.05f,
           0.03f, -0.5f);
    }
  sketch.fill(Ink::add, ellipse({-0.24f, 0}, 1.15f * body, body), 0.4f);
  sketch.fill(Ink::add, ellipse({0.16f, 0}, 0.6f * body, 0.55f * body));
}

constexpr std::array<void (*)(Random&, Sketch&), 10> kinds{beetle, bird,      butterfly, crab,  fish,
                                                           horse,  jellyfish, snail,     snake, spider};

}  // namespace

void draw_creature(Random& random, MiniPicture& picture) {
  Colour behind{};
  Canvas canvas = any_ground(random, 6, 0.7f, behind);
  const Colour base = apart_from(behind, random), mark = apart_from(base, random);
  Sketch sketch;
  Pose& pose = sketch.pose;
  pose.scale = between(random, 0.5f, 1);
  pose.angle = between(random, -0.7f, 0.7f);
  pose.mirrored = random.chance(0.5);
  pose.stretch = between(random, 0.85f, 1.15f);
  const float room = 0.1f + 0.6f * (1 - pose.scale);
  pose.x = between(random, -room, room);
  pose.y = between(random, -room, room);
  kinds[static_cast<size_t>(picture.label)](random, sketch);
  canvas.lay(sketch, base, mark);
  picture.parts = {{.kind = static_cast<int>(picture.label),
                    .x = kSide / 2.0f * (1 + pose.x),
                    .y = kSide / 2.0f * (1 + pose.y),
                    .size = kSide / 2.0f * pose.scale}};
  picture.image = canvas.developed(random);
}

}  // namespace vitrine::mini
