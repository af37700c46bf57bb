// png_encode.h: pixels to PNG files, for pictures that a page or a viewer is to show. Present only in builds with
// VITRINE_FILES, which have zlib.
#pragma once

#ifdef VITRINE_FILES

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/image.h"

namespace vitrine {

// A PNG file (W3C, 3rd edition) of 8 bits a channel, not interlaced. `pixels` is row-major (height, width, channels):
// 1 channel grey, 3 red, green, blue, 4 the same and alpha (0: see-through). Each row is filtered in the way that leaves
// the smallest sum of sizes (section 12.7). Throws unless 1 <= width, height <= max_image_side, the channels are as said
// and there are width * height * channels bytes. The same pixels give the same bytes with the same zlib.
std::vector<std::byte> png_encode(int width, int height, int channels, std::span<const uint8_t> pixels);
std::vector<std::byte> png_encode(const Image& image);

}  // namespace vitrine

#endif
