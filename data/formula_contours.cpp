// formula_contours.cpp: closed silhouettes: radial contours, symmetric garments and vessels, side views.
#include <algorithm>
#include <cmath>

#include "data/formula_paint.h"

namespace vitrine::formula {
namespace {

Path mirrored(Path path) {
  for (Point& p : path) p.x = -p.x;
  std::reverse(path.begin(), path.end());
  return path;
}

void add_pair(Sketch& sketch, Ink ink, const Path& right, float tone) {
  sketch.fill(ink, right, tone);
  sketch.fill(ink, mirrored(right), tone);
}

}  // namespace

// Radial contours: a polygon or star whose radius also carries harmonics; one of them,
// an outline, or nested ones.
void draw_contour(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.5f);
  const int corners = 3 + genes.kind(8), mode = genes.kind(4), waves = genes.kind(4);
  const bool round = genes.has(0.4f), star = genes.has(0.4f);
  const float inner = genes.around(0.35f, 0.8f), squash = genes.around(0.55f, 1), tilt = genes.trait(0, kPi);
  std::array<float, 4> amount{}, phase{}, order{};
  for (size_t k = 0; k < 4; ++k) {
    amount[k] = genes.around(0.05f, 0.3f) / (1 + 0.5f * static_cast<float>(k));
    phase[k] = genes.around(0, 2 * kPi, 0.02f);
    order[k] = static_cast<float>(2 + genes.kind(6));
  }
  const int points = 60;
  Path contour;
  float reach = 0;
  for (int i = 0; i < points; ++i) {
    const float t = 2 * kPi * static_cast<float>(i) / points;
    float r = 1;
    if (!round) {  // distance to the polygon's side; a star interpolates between two radii
      const float part = t * static_cast<float>(corners) / (2 * kPi), within = part - std::floor(part);
      const float half = kPi / static_cast<float>(corners);
      r = star ? 1 - (1 - inner) * (1 - std::fabs(2 * within - 1))
               : std::cos(half) / std::cos((2 * within - 1) * half);
    }
    for (size_t k = 0; k < static_cast<size_t>(waves); ++k)
      r += amount[k] * std::cos(order[k] * t + phase[k]);
    const float x = r * std::cos(t), y = r * std::sin(t) * squash;
    contour.push_back({x * std::cos(tilt) - y * std::sin(tilt), x * std::sin(tilt) + y * std::cos(tilt)});
    reach = std::max({reach, std::fabs(contour.back().x), std::fabs(contour.back().y)});
  }
  for (Point& p : contour) p = {p.x * 0.95f / reach, p.y * 0.95f / reach};
  const float width = genes.around(0.04f, 0.12f), ratio = genes.around(0.5f, 0.75f),
              twist = genes.around(-0.6f, 0.6f);
  const int rings = 2 + genes.kind(3);
  const bool holes = genes.has(0.5f);
  if (mode == 1) {
    for (Point& p : contour) p = {p.x * 0.92f, p.y * 0.92f};
    return sketch.outline(Ink::add, contour, width);
  }
  sketch.fill(Ink::add, contour);
  if (mode == 0) return;
  for (int k = 1; k <= rings; ++k) {  // nested copies, alternately holes (or marks) and fills
    const float c = ratio * std::cos(twist), s = ratio * std::sin(twist);
    for (Point& p : contour) p = {c * p.x - s * p.y, s * p.x + c * p.y};
    if (mode == 2)
      sketch.fill(holes && k % 2 ? Ink::cut : Ink::add, contour, k % 2 ? -0.8f : 0.7f);
    else
      sketch.outline(Ink::mark, contour, 0.5f * width, k % 2 ? -0.9f : 0.9f);
    if (mode == 2 && holes && k == 2) return;
  }
}

// A body with mirrored sides, as clothes, bottles, vases, lamps and bags have: a width profile, limbs, a
// neck, legs, straps or a handle, and marks along the axis.
void draw_garment(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.1f);
  const float half = genes.around(0.5f, 0.95f), base = genes.around(0.2f, 0.55f);
  const float slope = genes.around(-0.25f, 0.35f), waist = genes.around(-0.2f, 0.25f),
              place = genes.trait(0.3f, 0.7f);
  const bool angular = genes.has(0.4f);
  Path side;
  constexpr int knots = 6;
  std::array<float, knots> widths{};
  for (int k = 0; k < knots; ++k) {
    const float t = static_cast<float>(k) / (knots - 1), d = (t - place) / 0.25f;
    const float w = base + slope * (t - 0.5f) - waist * std::exp(-d * d) + genes.around(-0.06f, 0.06f, 0.15f);
    widths[static_cast<size_t>(k)] = std::clamp(w, 0.08f, 0.95f);
    side.push_back({widths[static_cast<size_t>(k)], half * (2 * t - 1)});
  }
  const float hem = genes.has(0.4f) ? genes.around(-0.12f, 0.15f) : 0.0f;
  const float shoulder_drop = genes.has(0.5f) ? genes.around(0.05f, 0.25f) : 0.0f;
  const float top_width = widths[0], lean = 0.03f * genes.sway();
  if (shoulder_drop > 0) side.insert(side.begin(), {0.45f * top_width, -half}), side[1].y += shoulder_drop;
  const Path curve = angular ? side : spline(side, false, 4);
  Path body = curve;
  body.push_back({0, half + hem});
  const Path left = mirrored(curve);
  body.insert(body.end(), left.begin(), left.end());
  for (Point& p : body) p.x += lean * p.y;

  // Limbs first, so that the body overlaps them; a seam may part the two.
  const int limbs = genes.kind(7);  // 0 1 2: none
  const float angle = genes.around(0.1f, 1.25f), root = genes.around(0.12f, 0.24f),
              tip = genes.around(0.08f, 0.22f);
  const float length = limbs == 3 ? genes.around(0.25f, 0.5f) : genes.around(0.8f, 1.5f);
  const float elbow = genes.around(-0.4f, 0.4f),
              limb_tone = genes.has(0.3f) ? genes.trait(-0.8f, 0.8f) : 0.0f;
  const bool seam = genes.has(0.5f);
  const float swing = 0.06f * genes.sway();
  if (limbs >= 3) {
    const Point from{std::max(0.05f, top_width - 0.5f * root), -half + shoulder_drop + root};
    const float a = angle + swing, b = a + (limbs == 6 ? elbow : 0.0f);
    const Point mid{from.x + 0.5f * length * std::sin(a), from.y + 0.5f * length * std::cos(a)};
    const Point end{mid.x + 0.5f * length * std::sin(b), mid.y + 0.5f * length * std::cos(b)};
    const Path limb{{from.x + root * std::cos(a), from.y - root * std::sin(a)},
                    {mid.x + 0.5f * (root + tip) * std::cos(a), mid.y - 0.5f * (root + tip) * std::sin(a)},
                    {end.x + tip * std::cos(b), end.y - tip * std::sin(b)},
                    {end.x - tip * std::cos(b), end.y + tip * std::sin(b)},
                    {mid.x - 0.5f * (root + tip) * std::cos(a), mid.y + 0.5f * (root + tip) * std::sin(a)},
                    {from.x - root * std::cos(a), from.y + root * std::sin(a)}};
    add_pair(sketch, Ink::add, limb, limb_tone);
  }
  const int top = genes.kind(8);
  const float handle_x = genes.around(0.3f, 0.9f) * top_width, handle_y = genes.around(0.15f, 0.6f);
  const float strap = genes.around(0.03f, 0.08f);
  if (top == 1)  // a handle
    sketch.line(Ink::add,
                spline({{-handle_x, -half + 0.1f},
                        {-0.7f * handle_x, -half - 0.8f * handle_y},
                        {0, -half - handle_y},
                        {0.7f * handle_x, -half - 0.8f * handle_y},
                        {handle_x, -half + 0.1f}},
                       false, 4),
                strap, strap);
  if (top == 2)  // a hood, a lid, a head
    sketch.fill(Ink::add, ellipse({0, -half}, handle_x, handle_y * 0.6f), 0.3f);
  if (top == 3) {  // a neck: bottles and turtlenecks
    sketch.fill(Ink::add, box({0, -half}, handle_x * 0.5f, handle_y * 0.6f), 0.0f);
  }
  sketch.fill(Ink::add, body);
  if (seam && limbs >= 3)
    for (const float s : {-1.0f, 1.0f})
      sketch.line(
          Ink::mark,
          {{s * top_width, -half + shoulder_drop}, {s * widths[2], -half + shoulder_drop + 2.2f * root}},
          0.03f, 0.03f, -0.7f);
  const float cut_width = genes.around(0.35f, 0.85f) * top_width, cut_depth = genes.around(0.1f, 0.5f);
  if (top == 4)
    sketch.fill(Ink::cut, {{-cut_width, -half - 0.05f}, {cut_width, -half - 0.05f}, {0, -half + cut_depth}});
  if (top == 5) sketch.fill(Ink::cut, ellipse({0, -half}, cut_width, cut_depth * 0.7f));
  if (top == 6) sketch.fill(Ink::cut, box({0, -half}, std::max(0.05f, top_width - 2 * strap), cut_depth));

  const bool legs = genes.has(0.3f);
  const float gap = genes.around(0.03f, 0.22f), depth = genes.around(0.3f, 1.5f),
              crotch = genes.around(0, 0.6f);
  if (legs)
    sketch.fill(Ink::cut, {{-gap, half + 0.3f},
                           {-gap * crotch, half - depth},
                           {gap * crotch, half - depth},
                           {gap, half + 0.3f}});
  if (genes.has(0.12f))
    sketch.fill(Ink::cut, ellipse({0, genes.around(-0.5f, 0.5f) * half}, 0.4f * base, 0.3f * base));

  const float mark = genes.has(0.5f) ? -0.8f : 0.8f;
  if (genes.has(0.3f))
    sketch.line(Ink::mark, {{lean * -half, -half}, {lean * half, half}}, 0.028f, 0.028f, mark);
  if (genes.has(0.25f)) {  // a belt or bands
    const int bands = 1 + genes.kind(4);
    const float first = genes.around(-0.7f, 0.5f), step = genes.around(0.2f, 0.4f),
                thick = genes.around(0.03f, 0.09f);
    for (int k = 0; k < bands; ++k) {
      const float y = half * (first + step * static_cast<float>(k));
      sketch.line(Ink::mark, {{-1, y}, {1, y}}, thick, thick, mark);
    }
  }
  if (genes.has(0.2f)) {  // a print
    const float r = base * genes.around(0.25f, 0.6f), y = half * genes.around(-0.4f, 0.3f);
    const int shape = genes.kind(4);
    sketch.fill(
        Ink::mark,
        shape == 0 ? ellipse({0, y}, r, r) : regular({0, y}, r, 2 + shape, kPi / 4, shape == 3 ? 0.5f : 1),
        -mark);
  }
  if (genes.has(0.2f)) {  // buttons
    const int count = 2 + genes.kind(4);
    for (int k = 0; k < count; ++k) {
      const float y = half * (-0.6f + 1.2f * static_cast<float>(k) / static_cast<float>(count));
      sketch.line(Ink::mark, {{0, y}, {0, y}}, 0.05f, 0.05f, -mark);
    }
  }
  if (genes.has(0.2f)) {  // pockets
    const float y = half * genes.around(-0.2f, 0.6f), x = base * genes.around(0.35f, 0.6f), r = 0.3f * base;
    add_pair(sketch, Ink::mark, box({x, y}, r, genes.trait(0.03f, 0.2f)), mark);
  }
}

// A side view: an upper and a lower edge over x, as shoes, animals, cars, ships and tools have.
void draw_profile(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.12f);
  sketch.pose.mirrored = genes.maybe(0.25f);
  const int knots = 5 + genes.kind(4);
  const bool flat = genes.has(0.6f), angular = genes.has(0.3f);
  const float ground = genes.around(0.2f, 0.6f), rise = genes.around(0.2f, 0.75f),
              arch = genes.around(0, 0.25f);
  const float shaft = genes.has(0.3f) ? genes.around(0.5f, 1.1f) : 0.0f, heel = genes.around(-0.4f, 0.3f);
  Path upper, lower;
  for (int k = 0; k < knots; ++k) {
    const float x = -0.95f + 1.9f * static_cast<float>(k) / static_cast<float>(knots - 1);
    const float taper = 1 - 0.35f * x * x;
    const float top_edge = ground - 0.12f - rise * taper * genes.around(0.15f, 1.7f, 0.05f);
    // A shaft rises at the heel, as in boots, jugs and chairs.
    upper.push_back({x, shaft > 0 && x < heel ? std::min(top_edge, ground - 0.2f - shaft) : top_edge});
    const float wave = genes.around(0, 0.5f, 0.05f);
    lower.push_back({x, ground + (flat ? -arch * (1 - x * x) * 0.6f : 0.6f * wave * taper)});
  }
  Path top = angular ? upper : spline(upper, false, 5), bottom = angular ? lower : spline(lower, false, 5);
  const bool tail = genes.has(0.3f), hole = genes.has(0.15f);
  const float tail_y = genes.around(-0.8f, 0.2f), tail_r = genes.around(0.05f, 0.14f);
  const bool at_front = genes.has(0.5f);
  if (tail) {
    const Point root = at_front ? upper.back() : upper.front();
    const float inward = at_front ? -0.12f : 0.12f;
    sketch.line(Ink::add, {{root.x + inward, root.y + 0.15f}, {root.x, tail_y}}, tail_r, tail_r * 0.7f);
  }
  const int legs = genes.has(0.3f) ? 1 + genes.kind(4) : 0;
  const float leg_width = genes.around(0.05f, 0.12f), leg_length = genes.around(0.2f, 0.45f),
              spread = genes.around(0.5f, 0.8f);
  for (int k = 0; k < legs; ++k) {
    const float x =
        legs == 1 ? 0.0f : spread * (2 * static_cast<float>(k) / static_cast<float>(legs - 1) - 1);
    sketch.line(Ink::add, {{x, ground - 0.1f}, {x + 0.04f * genes.sway(), ground + leg_length}}, leg_width,
                leg_width * 0.7f, -0.3f);
  }
  Path body = top;
  body.insert(body.end(), bottom.rbegin(), bottom.rend());
  sketch.fill(Ink::add, body);
  const float mark = genes.has(0.5f) ? -0.85f : 0.85f;
  if (genes.has(0.35f)) {  // a sole, a keel
    const float thick = genes.around(0.04f, 0.09f);
    sketch.line(Ink::add, bottom, thick, thick, mark);
  }
  const int wheels = genes.has(0.25f) ? 2 + genes.kind(2) : 0;
  const float wheel = genes.around(0.12f, 0.24f);
  for (int k = 0; k < wheels; ++k) {
    const float x = spread * (2 * static_cast<float>(k) / static_cast<float>(wheels - 1) - 1);
    sketch.fill(Ink::add, ellipse({x, ground + 0.05f}, wheel, wheel), -0.9f);
    sketch.fill(Ink::mark, ellipse({x, ground + 0.05f}, 0.45f * wheel, 0.45f * wheel, 0, 10), 0.6f);
  }
  const float px = genes.around(-0.6f, 0.6f), py = genes.around(-0.5f, 0.1f), pr = genes.around(0.08f, 0.22f);
  if (hole) sketch.fill(Ink::cut, ellipse({px, py}, pr, pr * 0.7f));
  if (genes.has(0.35f)) {  // laces, ribs, windows
    const int count = 2 + genes.kind(4);
    const float x0 = genes.around(-0.6f, 0.2f), y0 = genes.around(-0.4f, 0.1f),
                step = genes.around(0.13f, 0.25f);
    const float tilt = genes.around(-0.6f, 0.6f), long_ = genes.around(0.08f, 0.2f);
    for (int k = 0; k < count; ++k) {
      const float x = x0 + step * static_cast<float>(k), y = y0 + tilt * step * static_cast<float>(k);
      sketch.line(Ink::mark, {{x, y - long_}, {x + 0.5f * long_ * tilt, y + long_}}, 0.04f, 0.04f, mark);
    }
  }
  if (genes.has(0.25f)) {  // a band along the body
    const float y = ground - 0.12f - 0.35f * rise;
    sketch.line(Ink::mark, {{-1, y}, {0, y + 0.15f * genes.trait(-1, 1)}, {1, y + 0.3f * genes.trait(-1, 1)}},
                0.05f, 0.05f, -mark);
  }
  if (genes.has(0.25f)) {  // an opening at the upper edge
    const float x = genes.around(-0.7f, 0.7f), y = ground - 0.15f - 0.9f * rise;
    const float rx = genes.around(0.15f, 0.35f), ry = genes.around(0.15f, 0.4f);
    sketch.fill(Ink::cut, ellipse({x, y}, rx, ry));
  }
}

}  // namespace vitrine::formula
