// resize.h: the geometry of pictures. Resizing equals Pillow's `Image.resize` to the last bit.
#pragma once

#include "data/image.h"

namespace vitrine {

enum class Filter { bilinear, bicubic };

// Resamples to width x height as Pillow does for mode RGB: the filter (bicubic: Keys' with a = -0.5)
// is stretched when shrinking, its weights are rounded to 22 fractional bits, rows are done first and rounded
// to bytes, then columns.
Image resize(const Image& image, int width, int height, Filter filter);

// Resizes so that the shorter side is `size` and the longer one floor(size * longer / shorter),
// as torchvision does.
Image resize_shorter(const Image& image, int size, Filter filter);

// The middle width x height pixels, starting at half of what is left over, rounded half to even, as in
// torchvision. An image that is too small is first set in black.
Image center_crop(const Image& image, int width, int height);

// The pixels [x, x + width) x [y, y + height). Throws unless they lie inside.
Image crop(const Image& image, int x, int y, int width, int height);

// Mirrored left to right.
Image flip(const Image& image);

}  // namespace vitrine
