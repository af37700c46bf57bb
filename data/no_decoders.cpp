// no_decoders.cpp: image files in a build without VITRINE_DECODERS.
#ifdef VITRINE_FILES

#include "data/image.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

Image decode_image(std::span<const std::byte>, const std::string& name) {
  left_out(text("image {}", quote(name)), "VITRINE_DECODERS");
}

Image load_image(const std::string& path, bool) { return decode_image({}, path); }

}  // namespace vitrine

#endif
