#include "data/formula_paint.h"

#include <algorithm>
#include <cmath>

namespace vitrine::formula {
namespace {

struct Rows {
  int first = 0, last = 0;  // rows first .. last-1 may be covered
};

// Exact area coverage of a closed polygon in pixels: each edge adds its signed area to the cells it crosses,
// and a running sum along the row spreads it to the right.
Rows cover(const Path& path, Plane& coverage) {
  constexpr int stride = kSide + 2;
  std::array<float, stride * kSide> cells;
  float top = kSide, bottom = 0;
  for (const Point& p : path) top = std::min(top, p.y), bottom = std::max(bottom, p.y);
  const Rows rows{std::clamp(static_cast<int>(std::floor(top)), 0, kSide),
                  std::clamp(static_cast<int>(std::ceil(bottom)), 0, kSide)};
  if (rows.first >= rows.last) return {};
  std::fill(cells.begin() + rows.first * stride, cells.begin() + rows.last * stride, 0.0f);
  for (size_t i = 0; i < path.size(); ++i) {
    Point a = path[i], b = path[i + 1 < path.size() ? i + 1 : 0];
    if (a.y == b.y) continue;
    const float sign = a.y < b.y ? 1.0f : -1.0f;
    if (a.y > b.y) std::swap(a, b);
    const float slope = (b.x - a.x) / (b.y - a.y);
    const int last = std::min(kSide, static_cast<int>(std::ceil(b.y)));
    for (int y = std::max(0, static_cast<int>(std::floor(a.y))); y < last; ++y) {
      const auto row = static_cast<float>(y);
      const float y0 = std::max(row, a.y), y1 = std::min(row + 1, b.y);
      if (y1 <= y0) continue;
      const float d = sign * (y1 - y0);
      float x0 = std::clamp(a.x + slope * (y0 - a.y), 0.0f, static_cast<float>(kSide));
      float x1 = std::clamp(a.x + slope * (y1 - a.y), 0.0f, static_cast<float>(kSide));
      if (x0 > x1) std::swap(x0, x1);
      float* cell = &cells[static_cast<size_t>(y * stride)];
      const int c0 = static_cast<int>(x0), c1 = static_cast<int>(x1);
      for (int c = c0; c <= c1 && c < kSide; ++c) {
        const float left = std::max(x0, static_cast<float>(c)),
                    right = std::min(x1, static_cast<float>(c + 1));
        const float part = x1 > x0 ? (right - left) / (x1 - x0) : 1.0f;
        const float mean = 0.5f * (left + right) - static_cast<float>(c);
        cell[c] += d * part * (1 - mean);
        cell[c + 1] += d * part * mean;
      }
    }
  }
  for (int y = rows.first; y < rows.last; ++y) {
    float sum = 0;
    for (int x = 0; x < kSide; ++x) {
      sum += cells[static_cast<size_t>(y * stride + x)];
      coverage[static_cast<size_t>(y * kSide + x)] = std::min(1.0f, std::fabs(sum));
    }
  }
  return rows;
}

using Colour = std::array<float, 3>;

// A colour of a given luminance; strength 0 is grey.
Colour colour(Genes& genes, float luminance, float strength) {
  const float hue = genes.free(0, 2 * kPi), chroma = strength * genes.free(0.2f, 1);
  const float u = chroma * std::cos(hue) * 0.45f, v = chroma * std::sin(hue) * 0.45f;
  return {luminance + 1.14f * v, luminance - 0.39f * u - 0.58f * v, luminance + 2.03f * u};
}

void box_blur(const Plane& in, Plane& out, int radius) {
  Plane across;
  const float scale = 1.0f / static_cast<float>(2 * radius + 1);
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      float sum = 0;
      for (int d = -radius; d <= radius; ++d)
        sum += in[static_cast<size_t>(y * kSide + std::clamp(x + d, 0, kSide - 1))];
      across[static_cast<size_t>(y * kSide + x)] = sum * scale;
    }
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) out[static_cast<size_t>(y * kSide + x)] = 0;
  for (int y = 0; y < kSide; ++y)
    for (int d = -radius; d <= radius; ++d) {
      const float* from = &across[static_cast<size_t>(std::clamp(y + d, 0, kSide - 1) * kSide)];
      for (int x = 0; x < kSide; ++x) out[static_cast<size_t>(y * kSide + x)] += scale * from[x];
    }
}

void slope_field(Genes& genes, Plane& out) {
  const float angle = genes.free(0, 2 * kPi), c = std::cos(angle) / 16, s = std::sin(angle) / 16;
  for (int i = 0; i < kSide * kSide; ++i)
    out[static_cast<size_t>(i)] =
        c * (static_cast<float>(i % kSide) - 15.5f) + s * (static_cast<float>(i / kSide) - 15.5f);
}

void noise_field(Genes& genes, Plane& out) {
  const float step = genes.free(0.08f, 0.35f);
  const uint32_t salt = genes.own_bits();
  for (int i = 0; i < kSide * kSide; ++i)
    out[static_cast<size_t>(i)] =
        2 * value_noise(static_cast<float>(i % kSide) * step, static_cast<float>(i / kSide) * step, salt) - 1;
}

void clutter_field(Genes& genes, Plane& out) {
  Sketch board;
  for (int i = 5 + genes.pick(8); i > 0; --i) {
    const Point at{genes.free(-1, 1), genes.free(-1, 1)};
    const float r = genes.free(0.15f, 0.6f), tone = genes.free(-1, 1), angle = genes.free(0, kPi);
    const float flat = genes.free(0.4f, 1);
    const int corners = 2 + genes.pick(4);
    board.fill(Ink::add, corners == 2 ? ellipse(at, r, r * flat, angle, 12) : regular(at, r, corners, angle),
               tone);
  }
  out = board.tone;
}

void measure(const Sketch& sketch, const std::array<Plane, 3>& rgb,
             std::array<float, kFormulaAttributes>& out) {
  float area = 0, sx = 0, sy = 0, sxx = 0, syy = 0, inside = 0, all = 0;
  for (int i = 0; i < kSide * kSide; ++i) {
    const auto k = static_cast<size_t>(i);
    const float a = sketch.whole ? 1.0f : sketch.alpha[k];
    const float x = (static_cast<float>(i % kSide) - 15.5f) / 15.5f,
                y = (static_cast<float>(i / kSide) - 15.5f) / 15.5f;
    const float l = 0.299f * rgb[0][k] + 0.587f * rgb[1][k] + 0.114f * rgb[2][k];
    area += a, sx += a * x, sy += a * y, sxx += a * x * x, syy += a * y * y, inside += a * l, all += l;
  }
  const float n = std::max(area, 1e-3f), rest = kSide * kSide - area;
  const float mx = sx / n, my = sy / n, vx = sxx / n - mx * mx, vy = syy / n - my * my;
  const float contrast = rest < 8 || area < 1 ? 0 : inside / n - (all - inside) / rest;
  const float total = vx + vy;
  out = {std::sin(sketch.pose.angle),
         std::cos(sketch.pose.angle),
         std::log2(sketch.pose.scale),
         mx,
         my,
         contrast,
         2 * area / (kSide * kSide) - 1,
         total > 1e-4f ? (vx - vy) / total : 0.0f};
  for (float& value : out) value = std::clamp(value, -1.0f, 1.0f);
}

}  // namespace

Point Pose::operator()(Point p) const {
  const float c = std::cos(angle) * scale, s = std::sin(angle) * scale;
  const float px = (mirrored ? -p.x : p.x) * stretch, py = p.y;
  return {kSide / 2.0f * (1 + c * px - s * py + x), kSide / 2.0f * (1 + s * px + c * py + y)};
}

Pose object_pose(Genes& genes, float turn) {
  Pose pose;
  pose.angle = turn * 0.5f * genes.sway();
  pose.scale = genes.maybe(0.7f) ? genes.free(0.8f, 1.02f) : genes.free(0.5f, 0.8f);
  pose.stretch = genes.free(0.88f, 1.12f);
  const float room = 0.04f + (1 - std::min(1.0f, pose.scale)) * 0.7f;
  pose.x = genes.free(-room, room);
  pose.y = genes.free(-room, room);
  return pose;
}

void Sketch::put(Ink ink, int pixel, float coverage, float tone_value) {
  const auto i = static_cast<size_t>(pixel);
  if (ink == Ink::cut) {
    alpha[i] = std::min(alpha[i], 1 - coverage);
    return;
  }
  if (ink == Ink::add) alpha[i] = std::max(alpha[i], coverage);
  tone[i] += coverage * (tone_value - tone[i]);
}

void Sketch::fill(Ink ink, const Path& model, float tone_value) {
  Plane coverage;
  Path pixels(model.size());
  const Point zero = pose({0, 0}), right = pose({1, 0}), down = pose({0, 1});
  for (size_t i = 0; i < model.size(); ++i)
    pixels[i] = {zero.x + model[i].x * (right.x - zero.x) + model[i].y * (down.x - zero.x),
                 zero.y + model[i].x * (right.y - zero.y) + model[i].y * (down.y - zero.y)};
  const Rows rows = cover(pixels, coverage);
  for (int i = rows.first * kSide; i < rows.last * kSide; ++i)
    if (const float c = coverage[static_cast<size_t>(i)]; c > 0.002f) put(ink, i, c, tone_value);
}

void Sketch::line(Ink ink, const Path& model, float r0, float r1, float tone_value) {
  const auto parts = static_cast<float>(model.size() - 1);
  Point a = pose(model[0]);
  for (size_t k = 1; k < model.size(); ++k) {
    const Point b = pose(model[k]);
    const float ra = pose.length(r0 + (r1 - r0) * static_cast<float>(k - 1) / parts);
    const float rb = pose.length(r0 + (r1 - r0) * static_cast<float>(k) / parts);
    const float reach = std::max(ra, rb) + 0.5f;
    const int x0 = std::max(0, static_cast<int>(std::min(a.x, b.x) - reach));
    const int x1 = std::min(kSide - 1, static_cast<int>(std::max(a.x, b.x) + reach));
    const int y0 = std::max(0, static_cast<int>(std::min(a.y, b.y) - reach));
    const int y1 = std::min(kSide - 1, static_cast<int>(std::max(a.y, b.y) + reach));
    const float dx = b.x - a.x, dy = b.y - a.y, inverse = 1 / std::max(1e-6f, dx * dx + dy * dy);
    for (int y = y0; y <= y1; ++y)
      for (int x = x0; x <= x1; ++x) {
        const float px = static_cast<float>(x) + 0.5f - a.x, py = static_cast<float>(y) + 0.5f - a.y;
        const float t = std::clamp((px * dx + py * dy) * inverse, 0.0f, 1.0f);
        const float ex = px - t * dx, ey = py - t * dy, radius = ra + t * (rb - ra);
        // A line thinner than a pixel keeps its area: it gets paler, not wider.
        const float c = std::min(std::min(1.0f, 2 * radius), radius + 0.5f - std::sqrt(ex * ex + ey * ey));
        if (c > 0.002f) put(ink, y * kSide + x, c, tone_value);
      }
    a = b;
  }
}

void Sketch::outline(Ink ink, Path model, float radius, float tone_value) {
  model.push_back(model.front());
  line(ink, model, radius, radius, tone_value);
}

Path ellipse(Point centre, float rx, float ry, float angle, int points) {
  Path path(static_cast<size_t>(points));
  const float c = std::cos(angle), s = std::sin(angle);
  for (int i = 0; i < points; ++i) {
    const float t = 2 * kPi * static_cast<float>(i) / static_cast<float>(points);
    const float x = rx * std::cos(t), y = ry * std::sin(t);
    path[static_cast<size_t>(i)] = {centre.x + c * x - s * y, centre.y + s * x + c * y};
  }
  return path;
}

Path regular(Point centre, float radius, int corners, float angle, float inner) {
  Path path;
  const int points = inner < 1 ? 2 * corners : corners;
  for (int i = 0; i < points; ++i) {
    const float t = 2 * kPi * static_cast<float>(i) / static_cast<float>(points) - kPi / 2 + angle;
    const float r = inner < 1 && i % 2 ? radius * inner : radius;
    path.push_back({centre.x + r * std::cos(t), centre.y + r * std::sin(t)});
  }
  return path;
}

Path box(Point centre, float rx, float ry, float angle) {
  const float c = std::cos(angle), s = std::sin(angle);
  Path path;
  for (const Point corner : {Point{-rx, -ry}, {rx, -ry}, {rx, ry}, {-rx, ry}})
    path.push_back({centre.x + c * corner.x - s * corner.y, centre.y + s * corner.x + c * corner.y});
  return path;
}

Path spline(const Path& knots, bool closed, int steps) {
  const int n = static_cast<int>(knots.size()), spans = closed ? n : n - 1;
  const auto at = [&](int i) {
    return knots[static_cast<size_t>(closed ? (i + n) % n : std::clamp(i, 0, n - 1))];
  };
  const auto blend = [](float a, float b, float c, float d, float t) {
    return b + 0.5f * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  };
  Path path;
  path.reserve(static_cast<size_t>(spans * steps + 1));
  for (int i = 0; i < spans; ++i) {
    const Point a = at(i - 1), b = at(i), c = at(i + 1), d = at(i + 2);
    for (int k = 0; k < steps; ++k) {
      const float t = static_cast<float>(k) / static_cast<float>(steps);
      path.push_back({blend(a.x, b.x, c.x, d.x, t), blend(a.y, b.y, c.y, d.y, t)});
    }
  }
  if (!closed) path.push_back(knots.back());
  return path;
}

float smooth(float edge0, float edge1, float x) {
  const float t = std::clamp((x - edge0) / (edge1 - edge0), 0.0f, 1.0f);
  return t * t * (3 - 2 * t);
}

float lattice(int x, int y, uint32_t salt) {
  uint32_t h = static_cast<uint32_t>(x) * 0x9E3779B1u ^ static_cast<uint32_t>(y) * 0x85EBCA77u ^ salt;
  h = (h ^ h >> 15) * 0x2C1B3C6Du;
  h = (h ^ h >> 12) * 0x297A2D39u;
  return static_cast<float>((h ^ h >> 15) >> 8) * 0x1p-24f;
}

float value_noise(float x, float y, uint32_t salt) {
  const float fx = std::floor(x), fy = std::floor(y);
  const int ix = static_cast<int>(fx), iy = static_cast<int>(fy);
  const float u = smooth(0, 1, x - fx), v = smooth(0, 1, y - fy);
  const float top = lattice(ix, iy, salt) * (1 - u) + lattice(ix + 1, iy, salt) * u;
  const float low = lattice(ix, iy + 1, salt) * (1 - u) + lattice(ix + 1, iy + 1, salt) * u;
  return top + v * (low - top);
}

void paint(Genes& genes, const Sketch& sketch, FormulaPicture& picture) {
  const float strength = genes.maybe(0.5f) ? 0.0f : genes.free(0.2f, 1);

  // Background: black most often, as around a cut-out object.
  Plane field{};
  const float what = genes.free(0, 1);
  const float ground = what < 0.35f ? 0.0f : what < 0.45f ? genes.free(0.9f, 1) : genes.free(0, 1);
  float range = 0;
  if (!sketch.whole && what > 0.6f) {
    range = genes.free(0.05f, 0.35f);
    if (what < 0.72f)
      slope_field(genes, field);
    else if (what < 0.8f)
      noise_field(genes, field);
    else if (what < 0.9f) {
      Genes other = genes.without_class();
      texture(other, field);
      range *= 0.7f;
    } else
      clutter_field(genes, field);
  }
  const float ground_strength = what < 0.45f ? 0.0f : strength;
  const Colour ground_low = colour(genes, std::max(0.0f, ground - range), ground_strength);
  const Colour ground_high = colour(genes, std::min(1.0f, ground + range), ground_strength);

  // The object's base colour keeps away from the background's.
  const float gap = genes.free(0.25f, 0.6f);
  float base = ground < gap || (ground < 1 - gap && genes.maybe(0.5f))
                   ? genes.free(std::min(ground + gap, 0.95f), 1)
                   : genes.free(0, std::max(0.05f, ground - gap));
  if (what < 0.35f) base = genes.free(0.3f, 0.95f);
  if (sketch.whole) base = genes.free(0.3f, 0.7f);
  const float swing = genes.free(0.2f, 0.55f), flip = genes.maybe(0.3f) ? -1.0f : 1.0f;
  const float floor_level = what < 0.35f && !sketch.whole ? 0.1f : 0.0f;
  const Colour dark = colour(genes, std::max(floor_level, base - swing), strength);
  const Colour middle = colour(genes, base, strength);
  const Colour light = colour(genes, std::min(1.0f, base + swing), strength);

  // Fill: even, shaded to the rim, sloped, mottled or textured.
  Plane fill{};
  float amount = 0;
  const float how = genes.free(0, 1);
  if (sketch.fine_fill && how > 0.3f) {
    amount = genes.free(0.15f, 0.7f);
    if (how < 0.5f) {
      box_blur(sketch.alpha, fill, 2);
      for (float& f : fill) f = 3 * f - 2.2f;
    } else if (how < 0.68f)
      slope_field(genes, fill);
    else if (how < 0.86f)
      noise_field(genes, fill);
    else {
      Genes other = genes.without_class();
      texture(other, fill);
    }
  } else if (sketch.whole && how > 0.5f) {
    amount = genes.free(0.1f, 0.4f);
    slope_field(genes, fill);
  }

  std::array<Plane, 3> rgb;
  for (size_t i = 0; i < sketch.tone.size(); ++i) {
    const float t = std::clamp(flip * sketch.tone[i] + amount * fill[i], -1.0f, 1.0f);
    const float a = sketch.whole ? 1.0f : sketch.alpha[i], b = std::clamp(0.5f + 0.5f * field[i], 0.0f, 1.0f);
    for (size_t c = 0; c < 3; ++c) {
      const float object = middle[c] + (t < 0 ? -t * (dark[c] - middle[c]) : t * (light[c] - middle[c]));
      const float behind = ground_low[c] + b * (ground_high[c] - ground_low[c]);
      rgb[c][i] = std::clamp(behind + a * (object - behind), 0.0f, 1.0f);
    }
  }
  measure(sketch, rgb, picture.attributes);

  const float blur = genes.maybe(0.25f) ? genes.free(0.3f, 1) : 0.0f;
  const float noise = genes.maybe(0.3f) ? genes.free(0.01f, 0.06f) : 0.0f;
  const bool grey_noise = strength == 0;
  const uint32_t salt = genes.own_bits();
  for (size_t c = 0; c < 3; ++c) {
    if (blur > 0) {
      Plane soft;
      box_blur(rgb[c], soft, 1);
      for (size_t i = 0; i < soft.size(); ++i) rgb[c][i] += blur * (soft[i] - rgb[c][i]);
    }
    const auto channel = static_cast<uint32_t>(grey_noise ? 0 : c);
    for (size_t i = 0; i < rgb[c].size(); ++i) {
      float value = rgb[c][i];
      if (noise > 0) {
        const int k = static_cast<int>(i);
        value += noise * 3 * (lattice(k, 0, salt + channel) + lattice(k, 1, salt + channel) - 1);
      }
      picture.rgb[c * rgb[c].size() + i] = static_cast<uint8_t>(255 * std::clamp(value, 0.0f, 1.0f) + 0.5f);
    }
  }
}

}  // namespace vitrine::formula
