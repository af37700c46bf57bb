// formula_images.h: pictures that nobody took, for pretraining: 32 x 32 RGB, made by formulas.
//
// Formula-driven supervised learning (Kataoka et al., FractalDB, arXiv 2101.08515; contours, arXiv
// 2206.09132) and procedural programs (Baradad et al., arXiv 2211.16412): a class is the parameter set of a
// generating formula, its pictures are jittered copies in random colours, on random backgrounds, at random
// places. A backbone that learns to name the class learns contours, strokes, textures and arrangements
// without anybody's images.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace vitrine {

inline constexpr int kFormulaSide = 32;  // pixels along an edge

// What can be read off a picture besides its class; each in [-1, 1].
enum class FormulaAttribute {
  sine,      // of the rotation (radians, clockwise) against the class's own upright pose
  cosine,    // of the same
  scale,     // log2 of the size against a picture that is filled
  centre_x,  // centre of the object, -1 left to 1 right
  centre_y,  // -1 top to 1 bottom
  contrast,  // mean luminance of the object less that of the background; 0 where a texture fills the picture
  area,      // covered part of the picture, -1 nothing to 1 all
  elongation,  // (var x - var y) / (var x + var y) of the object's pixels
};
inline constexpr int kFormulaAttributes = 8;

struct FormulaPicture {
  std::array<uint8_t, 3 * kFormulaSide * kFormulaSide> rgb{};  // (3, 32, 32): all red, all green, all blue
  int family = 0;  // the generating process, 0 .. formula_family_count() - 1
  int label = 0;   // the class, 0 .. formula_class_count() - 1
  std::array<float, kFormulaAttributes> attributes{};  // in the order of FormulaAttribute
};

int formula_class_count();
int formula_family_count();
std::string_view formula_family_name(int family);  // throws for an unknown family
int formula_family_of(int label);                  // throws for an unknown class

// Picture `sample` of the endless data set `seed`; its class is uniform over all classes. Pure: equal
// arguments, equal bytes, on any thread. Classes do not depend on the seed. `sample` is at least 0.
FormulaPicture draw_formula_picture(uint64_t seed, int64_t sample);

// The same, of a class of the caller's choice.
FormulaPicture draw_formula_picture(uint64_t seed, int64_t sample, int label);

}  // namespace vitrine
