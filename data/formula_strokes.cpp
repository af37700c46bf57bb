// formula_strokes.cpp: glyphs, jointed figures, hands, and plates with a glyph on them.
#include <algorithm>
#include <cmath>

#include "data/formula_paint.h"

namespace vitrine::formula {
namespace {

// Strokes between the points of a 3 x 4 grid, straight, bent or curved, with the class's width profile.
// `size` and `centre` put the glyph into its place.
void write_glyph(Genes& genes, Sketch& sketch, Ink ink, float size, Point centre, float tone) {
  const int strokes = 2 + genes.kind(4);
  const float pen = genes.has(0.5f) ? genes.around(0.06f, 0.1f) : genes.around(0.1f, 0.17f);
  const float width = size * pen * genes.free(0.75f, 1.3f);
  const float modulation = genes.trait(0.45f, 1);
  const auto grid = [&](int cell) {
    const int column = cell % 3, row = cell / 3;
    return Point{centre.x + size * (0.62f * static_cast<float>(column - 1) + 0.035f * genes.sway()),
                 centre.y + size * (0.56f * (static_cast<float>(row) - 1.5f) + 0.035f * genes.sway())};
  };
  int last = genes.kind(12);
  for (int k = 0; k < strokes; ++k) {
    const bool connected = genes.has(0.6f);
    const int start = genes.kind(12), kind = genes.kind(4);
    const int from = connected ? last : start;
    const int to = (from + 1 + genes.kind(11)) % 12, by = genes.kind(12);
    const float r0 = width * (genes.has(0.5f) ? 1.0f : modulation), r1 = width * modulation;
    const float loop = genes.around(0.22f, 0.42f);
    last = to;
    const Point a = grid(from), b = grid(to), c = grid(by);
    if (kind == 0)
      sketch.line(ink, {a, b}, r0, r1, tone);
    else if (kind == 1)
      sketch.line(ink, {a, c, b}, r0, r1, tone);
    else if (kind == 2) {
      Path curve;
      for (int i = 0; i <= 8; ++i) {
        const float t = static_cast<float>(i) / 8, u = 1 - t;
        curve.push_back(
            {u * u * a.x + 2 * u * t * c.x + t * t * b.x, u * u * a.y + 2 * u * t * c.y + t * t * b.y});
      }
      sketch.line(ink, curve, r0, r1, tone);
    } else if (k == 0 || k == 2) {
      sketch.outline(
          ink,
          ellipse({0.5f * (a.x + centre.x), 0.5f * (a.y + centre.y)}, size * loop, size * loop * 1.2f, 0, 14),
          r1, tone);
    } else {
      sketch.line(ink, {a, {a.x, b.y}, b}, r0, r1, tone);
    }
  }
}

}  // namespace

void draw_glyph(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.2f);
  write_glyph(genes, sketch, Ink::add, 0.98f, {0, 0}, 0);
}

// A trunk with jointed limbs, a head, perhaps a tail; half of the classes mirror their limbs.
void draw_figure(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.2f);
  const bool upright = genes.has(0.55f), symmetric = genes.has(0.5f);
  const float length = genes.around(0.25f, 0.5f), girth = genes.around(0.12f, 0.3f),
              taper = genes.around(0.6f, 1.2f);
  const int limbs = 2 + genes.kind(4);
  const float limb_tone = genes.has(0.4f) ? genes.trait(-0.7f, 0.7f) : -0.2f;
  const Point head_end = upright ? Point{0, -length} : Point{length, 0}, tail_end{-head_end.x, -head_end.y};
  for (int k = 0; k < limbs; ++k) {
    const float along = genes.around(-0.9f, 0.9f), angle = genes.around(-1.3f, 1.3f, 0.04f);
    const float bend = genes.around(-1.2f, 1.2f, 0.05f), reach = genes.around(0.3f, 0.65f);
    const float r = genes.around(0.05f, 0.12f);
    const bool flipped = genes.has(0.5f);
    for (const float side : {-1.0f, 1.0f}) {
      if (!symmetric && (side > 0) != (upright ? flipped : true)) continue;
      const Point root =
          upright ? Point{side * 0.5f * girth, along * length} : Point{along * length, side * 0.5f * girth};
      const float a =
          upright ? (side > 0 ? angle : kPi - angle) : (side > 0 ? kPi / 2 - angle : -kPi / 2 + angle);
      const float b = a + (upright ? side : -side) * bend;
      const Point knee{root.x + reach * std::cos(a), root.y + reach * std::sin(a)};
      const Point foot{knee.x + 0.8f * reach * std::cos(b), knee.y + 0.8f * reach * std::sin(b)};
      sketch.line(Ink::add, {root, knee, foot}, r, 0.6f * r, limb_tone);
    }
  }
  sketch.line(Ink::add, {tail_end, head_end}, girth, girth * taper);
  const int head = genes.kind(4);
  const float size = genes.around(0.12f, 0.3f), neck = genes.around(0.7f, 1.2f),
              lean = genes.around(-0.3f, 0.3f);
  const float head_tone = genes.trait(-0.5f, 0.8f);
  const Point at = upright ? Point{lean, head_end.y - neck * girth - 0.5f * size}
                           : Point{head_end.x + neck * girth, head_end.y + lean - 0.5f * size};
  if (head > 0) {
    sketch.line(Ink::add, {head_end, at}, 0.5f * size, 0.5f * size, head_tone);
    sketch.fill(Ink::add,
                head == 1 ? ellipse(at, size, size * 0.9f) : regular(at, size * 1.2f, head + 1, lean),
                head_tone);
    if (genes.has(0.4f))
      for (const float s : {-1.0f, 1.0f})
        sketch.line(Ink::add,
                    {{at.x + s * 0.6f * size, at.y - 0.5f * size}, {at.x + s * size, at.y - 1.4f * size}},
                    0.4f * size, 0.1f * size, head_tone);
  }
}

// A palm, a wrist and five fingers, each stretched, bent or folded as the class says.
void draw_hand(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.3f);
  sketch.pose.mirrored = genes.maybe(0.2f);
  const float tilt = genes.trait(-0.9f, 0.9f), palm_x = genes.around(0.26f, 0.36f),
              palm_y = genes.around(0.28f, 0.4f);
  const float thick = genes.around(0.075f, 0.115f), fan = genes.around(0, 0.55f),
              side_view = genes.around(0.6f, 1);
  const float c = std::cos(tilt), s = std::sin(tilt);
  const auto place = [&](Point p) {
    return Point{c * p.x * side_view - s * (p.y + 0.05f), s * p.x * side_view + c * (p.y + 0.05f) + 0.1f};
  };
  const float wrist = genes.around(0.6f, 0.95f);
  sketch.line(Ink::add, {place({0, 0.25f}), place({0, 1.1f})}, palm_x * wrist * 0.9f, palm_x * wrist, 0);
  Path palm = spline({{-palm_x, -palm_y},
                      {0, -palm_y * 1.12f},
                      {palm_x, -palm_y},
                      {palm_x * 1.05f, 0.1f},
                      {palm_x * 0.8f, palm_y},
                      {-palm_x * 0.8f, palm_y},
                      {-palm_x * 1.1f, 0.1f}},
                     true, 3);
  for (Point& p : palm) p = place(p);
  sketch.fill(Ink::add, palm);
  for (int k = 0; k < 4; ++k) {
    const int state = genes.kind(4);  // 0 1: stretched, 2: bent, 3: folded onto the palm
    const float along = (static_cast<float>(k) - 1.5f) / 1.5f;
    const float reach = genes.around(0.42f, 0.55f) * (k == 3 ? 0.8f : 1.0f), hook = genes.around(0.8f, 2.2f);
    const float angle = fan * along + 0.04f * genes.sway();
    const Point root{0.78f * palm_x * along, -palm_y * 0.9f};
    if (state == 3) {
      const Point tip{root.x, root.y + 0.3f};
      sketch.line(Ink::add, {place(root), place(tip)}, thick, thick, 0.25f);
      sketch.line(Ink::mark, {place({tip.x - thick, tip.y + thick}), place({tip.x + thick, tip.y + thick})},
                  0.025f, 0.025f, -0.9f);
      sketch.line(Ink::mark, {place({root.x + thick, root.y}), place({tip.x + thick, tip.y})}, 0.025f, 0.025f,
                  -0.9f);
      continue;
    }
    const float first = state == 2 ? 0.45f : 0.6f,
                b = state == 2 ? angle + (along < 0 ? hook : -hook) : angle;
    const Point mid{root.x + reach * first * std::sin(angle), root.y - reach * first * std::cos(angle)};
    const Point tip{mid.x + 0.6f * reach * std::sin(b), mid.y - 0.6f * reach * std::cos(b)};
    sketch.line(Ink::add, {place(root), place(mid), place(tip)}, thick, thick * 0.85f, 0.1f);
  }
  const int thumb = genes.kind(3);  // out, along, across the palm
  const float angle = thumb == 0   ? genes.around(0.7f, 1.4f)
                      : thumb == 1 ? genes.around(0.1f, 0.4f)
                                   : genes.around(-1.3f, -0.5f);
  const Point root{-palm_x * (thumb == 2 ? 0.7f : 0.95f), 0.15f};
  const Point tip{root.x - 0.52f * std::sin(angle), root.y - 0.52f * std::cos(angle)};
  sketch.line(Ink::add, {place(root), place(tip)}, thick * 1.25f, thick, thumb == 2 ? 0.3f : 0.0f);
  if (thumb == 2)
    sketch.line(Ink::mark, {place({root.x, root.y + 1.4f * thick}), place({tip.x, tip.y + 1.4f * thick})},
                0.025f, 0.025f, -0.9f);
}

// A plate with a rim and something on it.
void draw_sign(Genes& genes, Sketch& sketch) {
  sketch.pose = object_pose(genes, 0.12f);
  sketch.fine_fill = genes.maybe(0.4f);
  const int shape = genes.kind(7);
  const float rim = genes.around(0.7f, 0.9f), face = genes.trait(-1, 1) < 0 ? -0.7f : 0.5f;
  const bool has_rim = genes.has(0.7f), pole = genes.has(0.25f);
  const float tall = genes.around(0.7f, 1);
  const auto plate = [&](float r) {
    switch (shape) {
      case 0:
        return ellipse({0, 0}, r, r, 0, 24);
      case 1:
        return regular({0, 0.2f}, r * 1.15f, 3);
      case 2:
        return regular({0, -0.2f}, r * 1.15f, 3, kPi);
      case 3:
        return regular({0, 0}, r * 1.05f, 8, kPi / 8);
      case 4:
        return regular({0, 0}, r * 1.1f, 4);
      case 5:
        return box({0, 0}, r, r * tall);
      default:
        return box({0, 0}, r * tall * 0.8f, r);
    }
  };
  if (pole) sketch.line(Ink::add, {{0, 0}, {0, 1.6f}}, 0.07f, 0.07f, -0.5f);
  sketch.fill(Ink::add, plate(0.9f), has_rim ? -face : face);
  if (has_rim) sketch.fill(Ink::mark, plate(0.9f * rim), face);
  const float ink = face > 0 ? -1.0f : 1.0f;
  const int content = genes.kind(5);
  const float shift = shape == 1 ? 0.2f : shape == 2 ? -0.2f : 0.0f;
  const float turn = kPi / 4 * static_cast<float>(genes.kind(8)), width = genes.around(0.08f, 0.15f),
              size = genes.around(0.35f, 0.5f);
  const float c = std::cos(turn), s = std::sin(turn);
  const auto at = [&](float x, float y) {
    return Point{size * (c * x - s * y), size * (s * x + c * y) + shift};
  };
  if (content == 0) {
    sketch.line(Ink::mark, {at(-0.9f, 0), at(0.9f, 0)}, width, width, ink);
  } else if (content == 1) {  // an arrow
    sketch.line(Ink::mark, {at(0, 1), at(0, -0.8f)}, width * 0.7f, width * 0.7f, ink);
    sketch.line(Ink::mark, {at(-0.7f, -0.2f), at(0, -1), at(0.7f, -0.2f)}, width * 0.7f, width * 0.7f, ink);
  } else if (content == 2) {
    const int corners = 3 + genes.kind(4);
    const float inner = genes.has(0.5f) ? 0.5f : 1.0f;
    sketch.fill(Ink::mark, regular({0, shift}, size * 0.9f, corners, 0, inner), ink);
  } else if (content == 3) {  // two glyphs, as numbers have
    write_glyph(genes, sketch, Ink::mark, 0.34f, {-0.28f, shift}, ink);
    write_glyph(genes, sketch, Ink::mark, 0.34f, {0.28f, shift}, ink);
  } else {
    write_glyph(genes, sketch, Ink::mark, 0.5f, {0, shift}, ink);
  }
}

}  // namespace vitrine::formula
