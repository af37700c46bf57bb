// resize.h: the geometry of pictures. Resizing equals Pillow's `Image.resize` to the last bit.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "data/image.h"

namespace vitrine {

// Pillow's filters, by Pillow's names. Their reach to either side, in pixels of the smaller picture: nearest none,
// box 1/2, bilinear (the triangle) and hamming 1, bicubic (Keys' with a = -1/2) 2, lanczos 3.
enum class Filter { nearest, box, bilinear, hamming, bicubic, lanczos };
constexpr std::array<Filter, 6> all_filters{Filter::nearest, Filter::box,     Filter::bilinear,
                                            Filter::hamming, Filter::bicubic, Filter::lanczos};
const char* name_of(Filter filter);  // "bicubic" and so on
std::optional<Filter> filter_named(std::string_view name);

// Resamples to width x height as Pillow does for mode RGB: the filter is stretched when shrinking, its weights
// are rounded to 22 fractional bits, rows are done first and rounded to bytes, then columns. `nearest` takes the
// pixel that holds the middle of the new one. Equal to Pillow 9.4; since then Pillow does the columns of pictures
// more than 100 times as high as wide first, which may change a byte by one.
Image resize(const Image& image, int width, int height, Filter filter);

// Resizes so that the shorter side is `size` and the longer one floor(size * longer / shorter),
// as torchvision, timm and transformers do.
Image resize_shorter(const Image& image, int size, Filter filter);

// The middle width x height pixels, starting at half of what is left over, rounded half to even, as in
// torchvision and timm (transformers' own crop rounds down, so that it may lie one pixel to the left or higher).
// An image that is too small is first set in black, what is left over halved downwards.
Image center_crop(const Image& image, int width, int height);

// The pixels [x, x + width) x [y, y + height). Throws unless they lie inside.
Image crop(const Image& image, int x, int y, int width, int height);

// Mirrored left to right.
Image flip(const Image& image);

}  // namespace vitrine
