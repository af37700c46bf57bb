// formula_fractals.cpp: iterated function systems, and branching plants.
#include <algorithm>
#include <cmath>

#include "data/formula_paint.h"

namespace vitrine::formula {

void draw_fractal(Genes& genes, Sketch& sketch) {
  // Each map is rotation * stretch * rotation + shift with singular values below 1, so it contracts (Anderson
  // and Farrell's sampling, arXiv 2110.09642, in spirit).
  struct Map {
    float a, b, c, d, e, f, weight;
  };
  std::array<Map, 6> maps{};
  const int count = 2 + genes.kind(5);
  const bool vertical = genes.has(0.3f);  // symmetric pairs
  float total = 0;
  for (int k = 0; k < count; ++k) {
    const float s1 = genes.around(0.4f, 0.85f, 0.03f), s2 = s1 * genes.around(0.3f, 0.95f, 0.03f);
    const float turn = genes.around(-kPi, kPi, 0.012f), lean = genes.around(-kPi, kPi, 0.012f);
    const float c1 = std::cos(turn), n1 = std::sin(turn), c2 = std::cos(lean), n2 = std::sin(lean);
    const float mirror = genes.has(0.5f) ? -1.0f : 1.0f;
    Map& m = maps[static_cast<size_t>(k)];
    m = {c1 * s1 * c2 - n1 * s2 * mirror * n2,
         -c1 * s1 * n2 - n1 * s2 * mirror * c2,
         n1 * s1 * c2 + c1 * s2 * mirror * n2,
         -n1 * s1 * n2 + c1 * s2 * mirror * c2,
         genes.around(-1, 1, 0.02f),
         genes.around(-1, 1, 0.02f),
         0};
    if (vertical && k % 2) {  // the mirror image of the map before
      const Map& o = maps[static_cast<size_t>(k - 1)];
      m = {o.a, -o.b, -o.c, o.d, -o.e, o.f, 0};
    }
    total += std::max(0.08f, std::fabs(m.a * m.d - m.b * m.c));
    m.weight = total;
  }
  constexpr int points = 1400, skipped = 20;
  std::array<Point, points> cloud;
  Point at{};
  float mx = 0, my = 0, mxx = 0, myy = 0;
  uint32_t state = genes.own_bits() | 1;
  for (int i = -skipped; i < points; ++i) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    const float choice = total * static_cast<float>(state >> 8) * 0x1p-24f;
    int k = 0;
    while (k + 1 < count && choice >= maps[static_cast<size_t>(k)].weight) ++k;
    const Map& m = maps[static_cast<size_t>(k)];
    at = {m.a * at.x + m.b * at.y + m.e, m.c * at.x + m.d * at.y + m.f};
    if (i < 0) continue;
    cloud[static_cast<size_t>(i)] = at;
    mx += at.x, my += at.y, mxx += at.x * at.x, myy += at.y * at.y;
  }
  mx /= points, my /= points;
  const float sx = std::sqrt(std::max(1e-6f, mxx / points - mx * mx));
  const float sy = std::sqrt(std::max(1e-6f, myy / points - my * my));
  const float spread = std::max(sx, sy), thin = std::min(sx, sy);
  const float kx = 0.52f / (sx == thin ? 0.5f * (sx + spread) : sx),
              ky = 0.52f / (sy == thin ? 0.5f * (sy + spread) : sy);
  sketch.pose = object_pose(genes, 0.35f);
  Plane density{};
  for (const Point& p : cloud) {
    const Point q = sketch.pose({(p.x - mx) * kx, (p.y - my) * ky});
    const float fx = q.x - 0.5f, fy = q.y - 0.5f;
    if (!(fx >= 0 && fy >= 0 && fx < kSide - 1 && fy < kSide - 1)) continue;
    const int ix = static_cast<int>(fx), iy = static_cast<int>(fy);
    const float u = fx - static_cast<float>(ix), v = fy - static_cast<float>(iy);
    float* cell = &density[static_cast<size_t>(iy * kSide + ix)];
    cell[0] += (1 - u) * (1 - v), cell[1] += u * (1 - v);
    cell[kSide] += (1 - u) * v, cell[kSide + 1] += u * v;
  }
  const float shade = genes.free(0, 1);
  for (int i = 0; i < kSide * kSide; ++i) {
    const float d = density[static_cast<size_t>(i)];
    if (d > 0) sketch.put(Ink::add, i, std::min(1.0f, 0.9f * d), shade * (2 * d / (d + 4) - 0.8f));
  }
}

void draw_branches(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.25f);
  sketch.fine_fill = false;
  const int arms = 2 + genes.kind(2), levels = arms == 3 ? 3 : 4 + genes.kind(2);
  const bool leaves = genes.has(0.5f), trunk_goes_on = genes.has(0.4f);
  std::array<float, 3> turn{}, shrink{};
  const bool symmetric = genes.has(0.5f);
  for (size_t k = 0; k < 3; ++k) {
    turn[k] = genes.around(-1.2f, 1.2f, 0.04f);
    shrink[k] = genes.around(0.5f, 0.85f, 0.04f);
  }
  if (symmetric) turn[1] = -turn[0], shrink[1] = shrink[0];
  if (trunk_goes_on) turn[static_cast<size_t>(arms - 1)] *= 0.15f;
  const float trunk = genes.around(0.4f, 0.8f), thick = genes.around(0.05f, 0.11f),
              taper = genes.trait(0.55f, 0.8f);
  const float leaf = genes.around(0.06f, 0.16f);
  struct Twig {
    Point at;
    float angle, length, radius;
    int level;
  };
  std::vector<Twig> open{{{0, 0.92f}, -kPi / 2, trunk, thick, 0}};
  while (!open.empty()) {
    const Twig twig = open.back();
    open.pop_back();
    const float angle = twig.angle + 0.05f * genes.sway();
    const Point tip{twig.at.x + twig.length * std::cos(angle), twig.at.y + twig.length * std::sin(angle)};
    sketch.line(Ink::add, {twig.at, tip}, twig.radius, twig.radius * taper, -0.4f);
    if (twig.level + 1 < levels) {
      for (size_t k = 0; k < static_cast<size_t>(arms); ++k)
        open.push_back({tip, angle + turn[k], twig.length * shrink[k], twig.radius * taper, twig.level + 1});
    } else if (leaves) {
      sketch.line(Ink::add, {tip, tip}, leaf, leaf, 0.5f + 0.25f * genes.sway());
    }
  }
}

}  // namespace vitrine::formula
