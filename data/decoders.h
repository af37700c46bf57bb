// decoders.h: what decode.cpp hands a file's bytes to, for decode_image alone. Only in builds with VITRINE_FILES.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace vitrine {

// Throws unless blank_image would take the extents; `name` opens the sentence.
void check_decoded_size(int64_t width, int64_t height, const std::string& name);

// A PNG file's pixels, as Pillow's convert("RGB") has them: palettes looked up (an index that the palette lacks is
// the grey of that number), 1, 2 and 4 bits spread over 0 to 255, alpha and transparent colors dropped. Of 16 bits the
// upper 8 are kept; Pillow does so, too, but for grey, where it cuts all values above 255 off. Takes memory for the
// image and two rows, however much the compressed data would give.
Image decode_png(std::span<const std::byte> file, const std::string& name);

}  // namespace vitrine
