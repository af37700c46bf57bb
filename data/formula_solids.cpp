// formula_solids.cpp: arrangements of simple shapes, shaded blobs, boxes in space.
#include <algorithm>
#include <cmath>

#include "data/formula_paint.h"

namespace vitrine::formula {
namespace {

Path primitive(int kind, Point at, float r, float angle) {
  switch (kind) {
    case 0:
      return ellipse(at, r, r, 0, 16);
    case 1:
      return ellipse(at, r, 0.5f * r, angle, 16);
    case 2:
      return regular(at, r * 1.1f, 3, angle);
    case 3:
      return box(at, r * 0.9f, r * 0.9f, angle);
    case 4:
      return box(at, r, 0.35f * r, angle);
    case 5:
      return regular(at, r * 1.15f, 5, angle, 0.45f);
    case 6:
      return regular(at, r, 6, angle);
    default:
      return regular(at, r * 1.1f, 4, angle, 0.4f);
  }
}

}  // namespace

// Two to seven shapes in a class-specific order: scattered, in a ring, a row, a grid, mirrored, or stacked.
void draw_arrangement(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.25f);
  const int count = 2 + genes.kind(6), law = genes.kind(6), common = genes.kind(8);
  const bool mixed = genes.has(0.5f), joined = genes.has(0.3f);
  const float size = genes.around(0.75f, 1.1f), start = genes.trait(0, 2 * kPi),
              slant = genes.around(-0.7f, 0.7f);
  for (int k = 0; k < count; ++k) {
    const int own_kind = genes.kind(8);
    const int kind = mixed ? own_kind : common;
    const float part = (static_cast<float>(k) + 0.5f) / static_cast<float>(count);
    Point at{genes.around(-0.65f, 0.65f, 0.04f), genes.around(-0.65f, 0.65f, 0.04f)};
    float r = genes.around(0.2f, 0.45f, 0.05f);
    const float angle = genes.around(0, kPi, 0.03f), tone = genes.trait(-0.9f, 0.9f);
    const bool hollow = genes.has(0.3f);
    if (law == 1)
      at = {0.62f * std::cos(start + 2 * kPi * part), 0.62f * std::sin(start + 2 * kPi * part)}, r *= 0.8f;
    if (law == 2)
      at = {1.7f * part - 0.85f, slant * (2 * part - 1)}, r = std::min(r, 1.1f / static_cast<float>(count));
    if (law == 3)
      at = {-0.6f + 0.6f * static_cast<float>(k % 3), -0.6f + 0.6f * static_cast<float>((k / 3 + k) % 3)},
      r *= 0.65f;
    if (law == 4 && k % 2) at.x = -at.x;
    if (law == 5) at = {0.3f * at.x, 0.3f * at.y}, r = 0.9f * (1 - part) + 0.1f;
    const Path path = primitive(kind, at, r * size, angle);
    if (joined && k > 0) sketch.line(Ink::add, {{0, 0}, at}, 0.05f, 0.05f, -0.5f);
    if (hollow && law != 5)
      sketch.outline(Ink::add, path, 0.06f, tone);
    else
      sketch.fill(Ink::add, path, tone);
  }
}

// Balls that melt into each other, lit from one side: f = sum r^2 / d^2, the surface where f = 1.
void draw_metaballs(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.3f);
  const int count = 2 + genes.kind(5);
  const bool symmetric = genes.has(0.4f), dented = genes.has(0.3f), glossy = genes.has(0.5f);
  std::array<Point, 6> centre{};
  std::array<float, 6> strength{};
  for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
    Point at{genes.around(-0.65f, 0.65f, 0.04f), genes.around(-0.65f, 0.65f, 0.04f)};
    const float r = genes.around(0.22f, 0.5f, 0.05f) * (count > 4 ? 0.7f : 1.0f);
    const bool negative = genes.has(0.3f);
    if (symmetric && k % 2) at = {-centre[k - 1].x, centre[k - 1].y};
    centre[k] = at;
    strength[k] = (dented && k > 1 && negative ? -0.6f : 1.0f) * r * r;
  }
  const float turn = genes.free(-1, 1) - kPi / 2, height = genes.free(0.4f, 1.2f);
  const float norm = 1 / std::sqrt(1 + height * height);
  const float lx = std::cos(turn) * norm, ly = std::sin(turn) * norm, lz = height * norm;
  const float c = std::cos(sketch.pose.angle), s = std::sin(sketch.pose.angle),
              unit = 1 / sketch.pose.length(1);
  const Point zero = sketch.pose({0, 0});
  const float stretch = 1 / sketch.pose.stretch;
  for (int i = 0; i < kSide * kSide; ++i) {
    const float px = (static_cast<float>(i % kSide) + 0.5f - zero.x) * unit,
                py = (static_cast<float>(i / kSide) + 0.5f - zero.y) * unit;
    const float x = (c * px + s * py) * stretch, y = c * py - s * px;
    float f = 0, gx = 0, gy = 0;
    for (size_t k = 0; k < static_cast<size_t>(count); ++k) {
      const float dx = x - centre[k].x, dy = y - centre[k].y, d = 1 / (dx * dx + dy * dy + 0.01f);
      const float v = strength[k] * d;
      f += v, gx -= 2 * v * d * dx, gy -= 2 * v * d * dy;
    }
    const float slope = std::sqrt(gx * gx + gy * gy);
    const float a = std::clamp((f - 1) / std::max(0.3f, slope * unit) + 0.5f, 0.0f, 1.0f);
    if (a < 0.002f) continue;
    // The surface rises from the rim as a ball does: steep where f is 1, flat where it is large.
    const float rim = 1 / std::max(1.0f, f), flat = std::sqrt(std::max(0.0f, 1 - rim)),
                out = slope > 1e-4f ? rim / slope : 0.0f;
    const float nx = -(c * gx - s * gy) * out, ny = -(s * gx + c * gy) * out;
    const float length = 1 / std::sqrt(nx * nx + ny * ny + flat * flat + 1e-4f);
    const float lambert = std::max(0.0f, (nx * lx + ny * ly + flat * lz) * length);
    const float shine = glossy && lambert > 0.9f ? 8 * (lambert - 0.9f) : 0.0f;
    sketch.put(Ink::add, i, a, std::clamp(1.9f * lambert - 1.1f + shine, -1.0f, 1.0f));
  }
  sketch.fine_fill = genes.maybe(0.25f);
}

// One to four boxes, wedges or pyramids that stand in space; the nearer hide the farther, each face
// is lit by its normal.
void draw_boxes(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.12f);
  sketch.fine_fill = genes.maybe(0.3f);
  const int count = 1 + genes.kind(4);
  const float yaw = genes.around(0.2f, 1.3f), pitch = genes.around(0.2f, 0.8f);
  const float cy = std::cos(yaw), sy = std::sin(yaw), cp = std::cos(pitch), sp = std::sin(pitch);
  struct Spot {
    float x, y, z;
  };
  const float size = count < 3 ? 1.5f : 1.15f;
  const auto project = [&](Spot p) {  // y is up
    const float depth = sy * p.x + cy * p.z;
    return Point{size * (cy * p.x - sy * p.z), size * (sp * depth - cp * p.y) + 0.1f};
  };
  struct Block {
    Spot low, high;
    float taper_x, taper_z, tone, depth;
    bool windows;
  };
  std::vector<Block> blocks;
  for (int k = 0; k < count; ++k) {
    const Spot half{genes.around(0.12f, 0.5f), genes.around(0.1f, 0.4f), genes.around(0.12f, 0.5f)};
    Spot at{genes.around(-0.45f, 0.45f), 0, genes.around(-0.45f, 0.45f)};
    const bool stacked = genes.has(0.5f), pointed = genes.has(0.3f);
    const float taper = genes.trait(0, 0.9f), tone = genes.trait(-0.35f, 0.35f);
    const bool ridge = genes.has(0.5f), windows = genes.has(0.35f);
    float ground = -0.4f;
    if (k == 0) at = {0, 0, 0};
    if (stacked && k > 0) at = {0.3f * at.x, 0, 0.3f * at.z}, ground = blocks.back().high.y;
    const Spot low{at.x - half.x, ground, at.z - half.z},
        high{at.x + half.x, ground + 2 * half.y, at.z + half.z};
    const float slim = pointed ? taper : 0.0f;
    // Nearer and higher blocks are painted later.
    blocks.push_back(
        {low, high, slim, ridge ? 0.0f : slim, tone, sy * at.x + cy * at.z + 2 * (ground + 0.4f), windows});
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.depth < b.depth; });
  const float light_top = genes.free(0.4f, 0.8f), light_left = genes.free(-0.2f, 0.3f),
              light_right = light_left - genes.free(0.35f, 0.7f);
  for (const Block& block : blocks) {
    const float ix = 0.5f * block.taper_x * (block.high.x - block.low.x),
                iz = 0.5f * block.taper_z * (block.high.z - block.low.z);
    const float x0 = block.low.x, x1 = block.high.x, y0 = block.low.y, y1 = block.high.y, z0 = block.low.z,
                z1 = block.high.z;
    // Seen from +z and +x, a little from above: the faces z = z1, x = x1 and the top.
    const std::array<Spot, 4> top{
        {{x0 + ix, y1, z0 + iz}, {x1 - ix, y1, z0 + iz}, {x1 - ix, y1, z1 - iz}, {x0 + ix, y1, z1 - iz}}};
    const std::array<Spot, 4> front{{{x0, y0, z1}, {x1, y0, z1}, top[2], top[3]}};
    const std::array<Spot, 4> right{{{x1, y0, z1}, {x1, y0, z0}, top[1], top[2]}};
    const auto face = [&](const std::array<Spot, 4>& spots, float tone) {
      Path path;
      for (const Spot& p : spots) path.push_back(project(p));
      sketch.fill(Ink::add, path, std::clamp(block.tone + tone, -1.0f, 1.0f));
    };
    face(front, light_left);
    face(right, light_right);
    face(top, light_top);
    if (!block.windows) continue;
    const Point a = project(front[0]), b = project(front[1]), d = project(front[3]), e = project(front[2]);
    for (const float v : {0.3f, 0.7f})
      for (const float u : {0.25f, 0.5f, 0.75f}) {
        const Point p{(1 - v) * (a.x + u * (b.x - a.x)) + v * (d.x + u * (e.x - d.x)),
                      (1 - v) * (a.y + u * (b.y - a.y)) + v * (d.y + u * (e.y - d.y))};
        sketch.line(Ink::mark, {p, p}, 0.055f, 0.055f, -1);
      }
  }
}

}  // namespace vitrine::formula
