// formula_paint.h: the drawing board of the formula-driven pictures; private to data/formula_*.cpp.
//
// A family draws into a Sketch: where the object is (alpha) and how its surface varies (tone). What colour
// that becomes on which background is the business of paint(), the same for every family, so that colour
// tells nothing of the class.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/formula_images.h"
#include "engine/random.h"

namespace vitrine::formula {

inline constexpr int kSide = kFormulaSide;
inline constexpr float kPi = 3.14159265f;
using Plane = std::array<float, kSide * kSide>;  // row-major

struct Point {
  float x = 0, y = 0;
};
using Path = std::vector<Point>;

// Where the parameters of a picture come from. The class's stream must be read in an order that
// only class draws decide.
class Genes {
 public:
  Genes(Random of_class, Random of_picture) : class_(of_class), own_(of_picture) {}

  // Drawn once for the class.
  float trait(float low, float high) { return static_cast<float>(class_.uniform(low, high)); }
  int kind(int n) { return static_cast<int>(class_.below(static_cast<uint32_t>(n))); }
  bool has(float probability) { return class_.chance(probability); }
  // The class's value with the picture's jitter, `wobble` times the range.
  float around(float low, float high, float wobble = 0.07f) {
    return trait(low, high) + wobble * (high - low) * sway();
  }
  // Drawn for the picture alone.
  float free(float low, float high) { return static_cast<float>(own_.uniform(low, high)); }
  int pick(int n) { return static_cast<int>(own_.below(static_cast<uint32_t>(n))); }
  bool maybe(float probability) { return own_.chance(probability); }
  float sway() { return free(-1, 1) + free(-1, 1); }  // mean 0, in [-2, 2]
  uint32_t own_bits() { return own_.bits(); }
  uint32_t class_bits() { return class_.bits(); }
  // Genes whose class draws are the picture's own: a texture nobody has to name.
  Genes without_class() {
    const uint64_t high = own_.bits(), low = own_.bits(), key = high << 32 | low;
    return Genes(Random(key, Purpose::formula, 0, 0, 3), Random(key, Purpose::formula, 0, 0, 4));
  }

 private:
  Random class_, own_;
};

// Model space [-1, 1] x [-1, 1], y downwards, to pixels.
struct Pose {
  float angle = 0, scale = 1, stretch = 1, x = 0, y = 0;
  bool mirrored = false;
  Point operator()(Point p) const;
  float length(float model) const { return model * scale * (kSide / 2.0f); }
};

enum class Ink {
  add,   // the object grows
  cut,   // a hole
  mark,  // on the object only: changes the tone
};

struct Sketch {
  Pose pose;
  Plane alpha{}, tone{};  // tone in [-1, 1]: 0 is the object's base colour
  bool whole = false;     // the tone alone is the picture, without object and background
  bool fine_fill = true;  // paint() may fill the object by a texture of its own

  void fill(Ink ink, const Path& model, float tone_value = 0);  // a closed polygon
  // A line whose radius goes from r0 to r1 (model units).
  void line(Ink ink, const Path& model, float r0, float r1, float tone_value = 0);
  void outline(Ink ink, Path model, float radius, float tone_value = 0);  // closed
  void put(Ink ink, int pixel, float coverage, float tone_value);
};

// Poses: `turn` radians to either side; small ones are moved further off the centre.
Pose object_pose(Genes& genes, float turn);

Path ellipse(Point centre, float rx, float ry, float angle = 0, int points = 20);
Path regular(Point centre, float radius, int corners, float angle = 0, float inner = 1);  // inner < 1: a star
Path box(Point centre, float rx, float ry, float angle = 0);
Path spline(const Path& knots, bool closed, int steps = 6);  // Catmull and Rom
float smooth(float edge0, float edge1, float x);

// Hash of a lattice point, in [0, 1).
float lattice(int x, int y, uint32_t salt);
// Smoothly interpolated lattice values, in [0, 1).
float value_noise(float x, float y, uint32_t salt);

// A texture over the whole picture, about [-1, 1]; kinds, directions and frequencies are the class's.
void texture(Genes& genes, Plane& out);

// Colours, background, fill, blur, noise, quantisation; sets rgb and all attributes.
void paint(Genes& genes, const Sketch& sketch, FormulaPicture& picture);

// The families, one function each.
void draw_texture(Genes& genes, Sketch& sketch);  // formula_textures.cpp
void draw_dead_leaves(Genes& genes, Sketch& sketch);
void draw_scenery(Genes& genes, Sketch& sketch);
void draw_fractal(Genes& genes, Sketch& sketch);  // formula_fractals.cpp
void draw_branches(Genes& genes, Sketch& sketch);
void draw_contour(Genes& genes, Sketch& sketch);  // formula_contours.cpp
void draw_garment(Genes& genes, Sketch& sketch);
void draw_profile(Genes& genes, Sketch& sketch);
void draw_glyph(Genes& genes, Sketch& sketch);  // formula_strokes.cpp
void draw_figure(Genes& genes, Sketch& sketch);
void draw_hand(Genes& genes, Sketch& sketch);
void draw_sign(Genes& genes, Sketch& sketch);
void draw_arrangement(Genes& genes, Sketch& sketch);  // formula_solids.cpp
void draw_metaballs(Genes& genes, Sketch& sketch);
void draw_boxes(Genes& genes, Sketch& sketch);

}  // namespace vitrine::formula
