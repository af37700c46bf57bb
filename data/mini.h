// mini.h: a small relative of VTAB-1k that needs no files: tasks of three kinds whose 32 x 32 pictures are drawn by
// formulas, open to all as the data set `mini:NAME`.
//
// The label comes first, so that classes are equally many, and then all that is no matter of it is drawn without it:
// colours, place, size, pose, background, light, noise.
//
//   natural      creatures    ten animals made of parts, in any colours, of any size and pose, among clutter
//                textures     ten ways to fill a plane, at any direction and scale, bent, in any two colours
//   specialised  cells        tissue under a microscope: nuclei few or many, small or large, round or long; stains vary
//                terrain      ten uses of land seen from above; seasons, soils, haze and directions vary
//   structured   count        1 to 8 objects of any size, colour and shape on a floor
//                position     in which eighth of the width a sprite lies; its height, pose, shape and colour vary
//                orientation  which of eight ways a sprite points; its place, shape, size and colour vary
//                distance     how far the nearest object of a scene in perspective is, in six steps; objects, their
//                             sizes, the floor and the sky vary
//
// docs/data.md tells more, with the drawing of each.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace vitrine {

// One thing in a picture, in pixels from the upper left corner, y downwards. What a task does not use is 0.
struct MiniPart {
  int kind = 0;  // which shape
  float x = 0, y = 0;
  float size = 0;   // its radius
  float angle = 0;  // where it points, radians clockwise from the right, in [0, 2 pi)
  float depth = 0;  // from the eye, in heights of the eye above the floor
};

struct MiniPicture {
  int64_t label = 0;
  Image image;
  std::vector<MiniPart> parts;  // what the label of a structured task can be read from
};

std::span<const std::string_view> mini_names();
std::span<const std::string_view> mini_class_names(std::string_view name);

// Picture `sample` of a split, which is train, val or test: equal arguments, equal bytes, on any thread. Its label is
// sample modulo the number of classes. Throws for an unknown name, with the nearest, and unless 0 <= sample < 2^32.
MiniPicture draw_mini(std::string_view name, Split split, int64_t sample);

}  // namespace vitrine
