// mini_paint.h: the drawing board of the mini tasks; private to data/mini*.cpp. Numbers are drawn one in a
// statement or between braces, never twice among a function's arguments, whose order compilers choose. Shapes are those of formula_paint.h, whose
// families none of the tasks draws.
#pragma once

#include <array>
#include <string_view>

#include "data/formula_paint.h"
#include "data/mini.h"

namespace vitrine::mini {

using formula::box;
using formula::ellipse;
using formula::Ink;
using formula::kPi;
using formula::kSide;
using formula::lattice;
using formula::Path;
using formula::Plane;
using formula::Point;
using formula::Pose;
using formula::regular;
using formula::Sketch;
using formula::smooth;
using formula::spline;
using formula::value_noise;
using Colour = std::array<float, 3>;  // red, green, blue, each 0 to 1

inline float between(Random& random, float low, float high) {
  return static_cast<float>(random.uniform(low, high));
}
inline int below(Random& random, int n) { return static_cast<int>(random.below(static_cast<uint32_t>(n))); }
inline Point anywhere(Random& random) { return {between(random, 0, kSide), between(random, 0, kSide)}; }

struct Hsv {
  float hue, saturation, value;  // a full circle of hues is 1
};
Colour colour_of(const Hsv& hsv);
// A colour between two, in each of the three alike.
Colour between(Random& random, const Hsv& low, const Hsv& high);
Colour mix(const Colour& a, const Colour& b, float share_of_b);
Colour any_colour(Random& random);
// A colour whose channels differ from `other` by at least 0.8 in all.
Colour apart_from(const Colour& other, Random& random);

// A picture on the way. Places and lengths are in pixels.
class Canvas {
 public:
  explicit Canvas(const Colour& colour);

  // Asks for the colour of each pixel: colour(x, y, what is there), x and y of its centre.
  template <class F>
  void paint(F colour) {
    for (size_t i = 0; i < rgb_[0].size(); ++i) {
      const auto x = static_cast<float>(i % kSide) + 0.5f, y = static_cast<float>(i / kSide) + 0.5f;
      const Colour now = colour(x, y, Colour{rgb_[0][i], rgb_[1][i], rgb_[2][i]});
      for (size_t c = 0; c < 3; ++c) rgb_[c][i] = now[c];
    }
  }
  // A drawing; where its tone is above 0 it takes on `mark`, below 0 it gets darker.
  void lay(const Sketch& sketch, const Colour& base, const Colour& mark);
  void fill(const Path& polygon, const Colour& colour, float opacity = 1);
  void line(const Path& path, float radius, const Colour& colour, float opacity = 1);

  // With the blur and the noise of a camera, both of random strength.
  Image developed(Random& random) const;

 private:
  std::array<Plane, 3> rgb_{};
};

// A background to be found among: one colour, a slope, or noise of two colours, with up to `clutter` shapes on it, whose
// colours go up to `strangeness` of the way to any other. `mean` receives about its colour.
Canvas any_ground(Random& random, int clutter, float strangeness, Colour& mean);

// The tasks, one function each: draws picture.image and picture.parts for picture.label.
void draw_creature(Random& random, MiniPicture& picture);     // mini_creatures.cpp
void draw_texture(Random& random, MiniPicture& picture);      // mini_textures.cpp
void draw_cells(Random& random, MiniPicture& picture);        // mini_cells.cpp
void draw_terrain(Random& random, MiniPicture& picture);      // mini_terrain.cpp
void draw_count(Random& random, MiniPicture& picture);        // mini_scenes.cpp
void draw_position(Random& random, MiniPicture& picture);     // mini_sprites.cpp
void draw_orientation(Random& random, MiniPicture& picture);  // mini_sprites.cpp
void draw_distance(Random& random, MiniPicture& picture);     // mini_scenes.cpp

}  // namespace vitrine::mini
