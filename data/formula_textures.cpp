// formula_textures.cpp: pictures without an object: textures, fallen leaves, scenery.
#include <algorithm>
#include <cmath>

#include "data/formula_paint.h"

namespace vitrine::formula {
namespace {

float sharpen(float value, float gain) { return std::clamp(value * gain, -1.0f, 1.0f); }

// Distances to the nearest and second nearest of one feature point per cell.
void worley(float x, float y, float looseness, uint32_t salt, float& nearest, float& second) {
  const int ix = static_cast<int>(std::floor(x)), iy = static_cast<int>(std::floor(y));
  nearest = second = 4;
  for (int cy = iy - 1; cy <= iy + 1; ++cy)
    for (int cx = ix - 1; cx <= ix + 1; ++cx) {
      const float dx = static_cast<float>(cx) + 0.5f + looseness * (lattice(cx, cy, salt) - 0.5f) - x;
      const float dy = static_cast<float>(cy) + 0.5f + looseness * (lattice(cx, cy, salt + 77) - 0.5f) - y;
      const float d = dx * dx + dy * dy;
      if (d < nearest)
        second = nearest, nearest = d;
      else
        second = std::min(second, d);
    }
  nearest = std::sqrt(nearest);
  second = std::sqrt(second);
}

// The common frame of all kinds: direction, cell size and place.
struct Frame {
  float c, s, x, y;
  Point operator()(int i) const {
    const float px = static_cast<float>(i % kSide) - 15.5f, py = static_cast<float>(i / kSide) - 15.5f;
    return {c * px + s * py + x, c * py - s * px + y};
  }
};

}  // namespace

void texture(Genes& genes, Plane& out) {
  const int kind = genes.kind(12);
  const float angle = genes.around(0, kPi, 0.02f);
  const float cells = std::exp(genes.around(std::log(3.0f), std::log(9.0f), 0.06f));  // across the picture
  const float gain = std::exp(genes.trait(0, 2.2f)), ratio = genes.around(0.25f, 1, 0.03f);
  const float p = genes.trait(0, 1), q = genes.trait(0, 1);
  const float bend = genes.has(0.3f) ? genes.around(0.2f, 0.7f) : 0.0f;
  const uint32_t salt = genes.own_bits();
  const float step = cells / kSide;
  const Frame frame{step * std::cos(angle), step * std::sin(angle), genes.free(0, 8), genes.free(0, 8)};
  for (int i = 0; i < kSide * kSide; ++i) {
    Point at = frame(i);
    if (bend > 0) {
      const float shift = bend * (2 * value_noise(at.x * 0.6f, at.y * 0.6f, salt + 9) - 1);
      at.x += shift, at.y += 0.7f * shift;
    }
    const float x = at.x, y = at.y;
    const float fx = x - std::floor(x), fy = y - std::floor(y);
    const int iy = static_cast<int>(std::floor(y));
    float value = 0, near = 0, far = 0;
    switch (kind) {
      case 0:  // stripes of a given duty
        value = sharpen(std::sin(2 * kPi * x) + (p - 0.5f), gain);
        break;
      case 1:  // plaid
        value =
            sharpen(0.6f * std::sin(2 * kPi * x) + (0.3f + 0.4f * p) * std::sin(2 * kPi * y * ratio), gain);
        break;
      case 2:  // checks
        value = sharpen(3 * std::sin(kPi * x) * std::sin(kPi * y * (0.5f + 0.5f * ratio)), gain);
        break;
      case 3: {  // dots, in rows or staggered
        const float u = fx + (p < 0.5f && iy % 2 ? 0.5f : 0.0f), du = u - std::floor(u) - 0.5f,
                    dv = fy - 0.5f;
        value = sharpen((0.15f + 0.25f * q - std::sqrt(du * du + dv * dv)) * 4, gain);
        break;
      }
      case 4:  // cells with walls, or pebbles
        worley(x, y, ratio, salt, near, far);
        value = p < 0.5f ? sharpen((far - near) * 3 - 0.7f, gain) : 1 - 2 * std::min(1.0f, near * (1 + q));
        break;
      case 5: {  // clouds: octaves of value noise
        float weight = 0.6f, scale = 0.7f;
        for (int k = 0; k < 3; ++k) {
          value += weight * (2 * value_noise(x * scale, y * scale, salt + static_cast<uint32_t>(k)) - 1);
          weight *= 0.3f + 0.6f * q, scale *= 2;
        }
        value = sharpen(value * 1.5f, 1 + p * gain);
        break;
      }
      case 6: {  // bricks
        const float u = 0.5f * x + (iy % 2 ? 0.5f * p : 0.0f), du = u - std::floor(u);
        const float wall = 0.06f + 0.1f * q;
        value = du < wall || fy < 2 * wall
                    ? -1
                    : 0.4f + 0.6f * (2 * lattice(static_cast<int>(std::floor(u)), iy, salt) - 1) * p;
        break;
      }
      case 7: {  // zigzag
        const float z = std::fabs(fy - 0.5f) * (0.6f + 2 * ratio);
        value = sharpen(std::sin(2 * kPi * (x + z)), gain);
        break;
      }
      case 8: {  // veins of marble
        const float n =
            value_noise(x * 0.7f, y * 0.7f, salt) + 0.5f * value_noise(x * 1.4f, y * 1.4f, salt + 1);
        value = sharpen(std::sin(2 * kPi * (x * ratio + (0.4f + p) * n)), gain);
        break;
      }
      case 9: {  // brushed: noise drawn out along one direction
        value = 2 * value_noise(x * (1.5f + p), y * 0.3f * ratio, salt) - 1;
        value = sharpen(value * 1.4f, 0.8f + 0.5f * gain);
        break;
      }
      case 10:  // tiles of random tone, square or long
        value = 2 * lattice(static_cast<int>(std::floor(x * (0.6f + p))),
                            static_cast<int>(std::floor(y * ratio)), salt) -
                1;
        break;
      default: {  // scales: arcs in staggered rows
        const float u = fx + (iy % 2 ? 0.5f : 0.0f), du = u - std::floor(u) - 0.5f;
        const float d = std::sqrt(du * du + (fy + 0.1f) * (fy + 0.1f));
        value = p < 0.5f ? sharpen(std::sin(2 * kPi * d * (1 + q)), gain) : 1 - 2 * std::min(1.0f, d);
        break;
      }
    }
    out[static_cast<size_t>(i)] = value;
  }
}

void draw_texture(Genes& genes, Sketch& sketch) {
  sketch.whole = true;
  texture(genes, sketch.tone);
  if (!genes.has(0.35f)) return;
  Plane other;  // a second one modulates the first
  texture(genes, other);
  const bool product = genes.has(0.5f);
  const float share = genes.around(0.3f, 0.6f);
  for (size_t i = 0; i < other.size(); ++i) {
    float& t = sketch.tone[i];
    t = product ? t * (0.5f + 0.5f * other[i]) : t + share * (other[i] - t);
  }
}

void draw_dead_leaves(Genes& genes, Sketch& sketch) {
  sketch.whole = true;
  const int kind = genes.kind(7), corners = 3 + genes.kind(4), tones = genes.kind(3);
  const float small = genes.around(0.08f, 0.25f), spread = genes.around(1.2f, 4),
              flat = genes.around(0.25f, 1);
  const float angle = genes.trait(0, kPi), freedom = genes.has(0.5f) ? kPi : 0.15f;
  const bool rim = genes.has(0.35f), ring = genes.has(0.2f);
  const float tilt = genes.trait(-1, 1);
  const int count = static_cast<int>(genes.around(14, 36));
  sketch.fill(Ink::add, box({0, 0}, 1.1f, 1.1f), genes.free(-1, 1));
  for (int i = 0; i < count; ++i) {
    const float r = small * std::pow(spread, genes.free(0, 1)) * (i < count / 3 ? 1.5f : 1.0f);
    const float turn = angle + freedom * genes.free(-1, 1);
    const Point at{genes.free(-1.1f, 1.1f), genes.free(-1.1f, 1.1f)};
    Path leaf;
    if (kind == 0)
      leaf = ellipse(at, r, r, 0, 14);
    else if (kind == 1)
      leaf = ellipse(at, r, r * flat * 0.7f, turn, 14);
    else if (kind == 2)
      leaf = regular(at, r, corners, turn);
    else if (kind == 3)
      leaf = regular(at, r * 1.2f, corners, turn, 0.45f);
    else if (kind == 4)
      leaf = box(at, 1.8f * r, r * flat * 0.5f, turn);
    else if (kind == 5)
      leaf = box(at, r, r * flat, turn);
    else
      leaf = spline({{at.x - r, at.y}, {at.x, at.y - r * flat}, {at.x + r, at.y}, {at.x, at.y + 0.4f * r}},
                    true, 4);
    float tone = genes.free(-1, 1);
    if (tones == 0) tone = tone < 0 ? -0.9f : 0.9f;
    if (tones == 1) tone = std::clamp(0.35f * tone + 0.9f * (tilt > 0 ? at.y : at.x), -1.0f, 1.0f);
    sketch.fill(Ink::add, leaf, tone);
    if (rim) sketch.outline(Ink::add, leaf, 0.035f, -1);
    if (ring) sketch.fill(Ink::add, ellipse(at, 0.4f * r, 0.4f * r, 0, 10), -tone);
  }
}

void draw_scenery(Genes& genes, Sketch& sketch) {
  sketch.whole = true;
  const int ridges = 1 + genes.kind(4);
  const float horizon = genes.around(-0.2f, 0.5f), rough = genes.around(0.6f, 4),
              height = genes.around(0.1f, 0.7f);
  const bool jagged = genes.has(0.4f), disc = genes.has(0.5f), waves = genes.has(0.5f),
             blocks = genes.has(0.35f);
  const float sky_low = genes.trait(-0.2f, 1), sky_high = genes.trait(-1, 1);
  const float sun_x = genes.around(-0.7f, 0.7f), sun_y = genes.around(-0.8f, -0.2f),
              sun_r = genes.around(0.1f, 0.3f);
  const float near_tone = genes.trait(-1, -0.2f), far_tone = genes.trait(-0.4f, 0.7f);
  const float period = genes.around(3, 8), edge = genes.around(0.4f, 0.9f);
  const uint32_t salt = genes.own_bits();
  const float shift = genes.free(0, 50), lift = 0.1f * genes.sway();
  for (int i = 0; i < kSide * kSide; ++i) {
    const float y = (static_cast<float>(i / kSide) - 15.5f) / 16;
    sketch.tone[static_cast<size_t>(i)] =
        sky_high + (sky_low - sky_high) * std::clamp((y + 1) / (horizon + 1.2f), 0.0f, 1.0f);
  }
  if (disc)
    sketch.fill(Ink::add, ellipse({sun_x, sun_y + lift}, sun_r, sun_r), sky_low > 0.3f ? -0.8f : 1.0f);
  for (int k = 0; k < ridges; ++k) {
    const float depth = static_cast<float>(k + 1) / static_cast<float>(ridges);
    const float level = horizon + lift + (edge - horizon) * (depth - 1.0f / static_cast<float>(ridges));
    const float tone = far_tone + (near_tone - far_tone) * depth;
    Path ridge{{-1.1f, 1.2f}};
    float last = 0;
    for (int x = 0; x <= 16; ++x) {
      const float px = -1.1f + 2.2f * static_cast<float>(x) / 16;
      const float u = px * rough + shift + 13 * static_cast<float>(k);
      float h = jagged ? 1 - std::fabs(2 * value_noise(u, 0.5f, salt) - 1) : value_noise(u, 0.5f, salt);
      if (blocks) {
        h = lattice(static_cast<int>(std::floor(u * 1.5f)), k, salt);
        ridge.push_back({px, level - height * last * (1.2f - 0.6f * depth)});
        last = h;
      }
      ridge.push_back({px, level - height * h * (1.2f - 0.6f * depth)});
    }
    ridge.push_back({1.1f, 1.2f});
    sketch.fill(Ink::add, ridge, tone);
  }
  if (!waves) return;
  for (int i = 0; i < kSide * kSide; ++i) {
    const float x = static_cast<float>(i % kSide), y = (static_cast<float>(i / kSide) - 15.5f) / 16;
    if (y < edge) continue;
    const float depth = (y - edge) / (1.05f - edge);
    sketch.tone[static_cast<size_t>(i)] += 0.7f * std::sin(period * 6 * std::sqrt(std::max(0.0f, depth)) +
                                                           0.4f * value_noise(x * 0.3f, y * 8, salt) * 6);
  }
}

}  // namespace vitrine::formula
