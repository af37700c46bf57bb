#include "data/mini_paint.h"

#include <algorithm>
#include <cmath>

namespace vitrine::mini {
namespace {

Point to_model(Point pixel) { return {2 * pixel.x / kSide - 1, 2 * pixel.y / kSide - 1}; }

Path to_model(Path path) {
  for (Point& p : path) p = to_model(p);
  return path;
}

}  // namespace

Colour colour_of(const Hsv& hsv) {
  const auto channel = [&](float shift) {
    const float h = 6 * (hsv.hue + shift - std::floor(hsv.hue + shift));
    return hsv.value * (1 - hsv.saturation * std::clamp(2 - std::fabs(h - 3), 0.0f, 1.0f));
  };
  return {channel(0), channel(2.0f / 3), channel(1.0f / 3)};
}

Colour between(Random& random, const Hsv& low, const Hsv& high) {
  return colour_of({between(random, low.hue, high.hue), between(random, low.saturation, high.saturation),
                    between(random, low.value, high.value)});
}

Colour mix(const Colour& a, const Colour& b, float share_of_b) {
  Colour out{};
  for (size_t c = 0; c < 3; ++c) out[c] = a[c] + share_of_b * (b[c] - a[c]);
  return out;
}

Colour any_colour(Random& random) {
  const float hue = between(random, 0, 1), saturation = between(random, 0, 1);
  return colour_of({hue, saturation * saturation, between(random, 0.1f, 1)});
}

Colour apart_from(const Colour& other, Random& random) {
  constexpr float least = 0.8f;
  const auto distance = [&](const Colour& colour) {
    float sum = 0;
    for (size_t c = 0; c < 3; ++c) sum += std::fabs(colour[c] - other[c]);
    return sum;
  };
  for (int attempt = 0; attempt < 50; ++attempt)
    if (const Colour colour = any_colour(random); distance(colour) >= least) return colour;
  Colour far{};  // the farthest corner of the cube, which is at least 1.5 away
  for (size_t c = 0; c < 3; ++c) far[c] = other[c] < 0.5f ? 1.0f : 0.0f;
  return far;
}

Canvas::Canvas(const Colour& colour) {
  for (size_t c = 0; c < 3; ++c) rgb_[c].fill(colour[c]);
}

void Canvas::lay(const Sketch& sketch, const Colour& base, const Colour& mark) {
  for (size_t i = 0; i < sketch.alpha.size(); ++i) {
    const float alpha = sketch.alpha[i], tone = sketch.tone[i];
    if (alpha <= 0) continue;
    for (size_t c = 0; c < 3; ++c) {
      const float own = tone > 0 ? base[c] + tone * (mark[c] - base[c]) : base[c] * (1 + 0.7f * tone);
      rgb_[c][i] += alpha * (own - rgb_[c][i]);
    }
  }
}

void Canvas::fill(const Path& polygon, const Colour& colour, float opacity) {
  Sketch sketch;
  sketch.fill(Ink::add, to_model(polygon));
  for (float& a : sketch.alpha) a *= opacity;
  lay(sketch, colour, colour);
}

void Canvas::line(const Path& path, float radius, const Colour& colour, float opacity) {
  Sketch sketch;
  sketch.line(Ink::add, to_model(path), 2 * radius / kSide, 2 * radius / kSide);
  for (float& a : sketch.alpha) a *= opacity;
  lay(sketch, colour, colour);
}

Image Canvas::developed(Random& random) const {
  const float blur = between(random, 0, 0.5f), noise = between(random, 0, 0.05f);
  const float gain = between(random, 0.85f, 1.1f);
  const uint32_t salt = random.bits();
  Image image = blank_image(kSide, kSide);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (size_t c = 0; c < 3; ++c) {
        float mean = 0;  // of the 3 x 3 pixels around
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx)
            mean += rgb_[c][static_cast<size_t>(std::clamp(y + dy, 0, kSide - 1) * kSide +
                                                std::clamp(x + dx, 0, kSide - 1))] /
                    9;
        const auto i = static_cast<size_t>(y * kSide + x);
        const auto channel = static_cast<uint32_t>(c);
        // The sum of two uniform numbers: a triangle in place of a bell.
        const float grain = lattice(x, y, salt + channel) + lattice(x + kSide, y, salt + channel) - 1;
        const float value = gain * (rgb_[c][i] + blur * (mean - rgb_[c][i])) + 2 * noise * grain;
        image.rgb[3 * i + c] = static_cast<uint8_t>(255 * std::clamp(value, 0.0f, 1.0f) + 0.5f);
      }
  return image;
}

Canvas any_ground(Random& random, int clutter, float strangeness, Colour& mean) {
  const Colour first = any_colour(random);
  const Colour other = any_colour(random), second = mix(first, other, between(random, 0.1f, 0.5f));
  mean = mix(first, second, 0.5f);
  Canvas canvas(mean);
  const int kind = below(random, 3);
  const float angle = between(random, 0, 2 * kPi), step = between(random, 0.08f, 0.4f);
  const uint32_t salt = random.bits();
  if (kind > 0)
    canvas.paint([&](float x, float y, const Colour&) {
      const float along = 0.5f + ((x - 16) * std::cos(angle) + (y - 16) * std::sin(angle)) / 40;
      return mix(first, second,
                 std::clamp(kind == 1 ? along : value_noise(x * step, y * step, salt), 0.0f, 1.0f));
    });
  for (int i = below(random, clutter + 1); i > 0; --i) {
    const Point at = anywhere(random);
    const float radius = between(random, 1.5f, 7), flat = between(random, 0.2f, 1),
                turn = between(random, 0, kPi);
    const Colour any = any_colour(random), colour = mix(mean, any, between(random, 0.15f, strangeness));
    const int corners = 2 + below(random, 5);
    canvas.fill(
        corners == 2 ? ellipse(at, radius, radius * flat, turn, 14) : regular(at, radius, corners, turn),
        colour, between(random, 0.4f, 1));
  }
  return canvas;
}

}  // namespace vitrine::mini
