// images.cpp: libFuzzer's entry to the decoders of JPEG, PNG and BMP.
#include <cstdint>
#include <span>

#include "data/image.h"
#include "engine/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const vitrine::Image image = vitrine::decode_image(bytes, "x");
    if (image.rgb.size() !=
        size_t{3} * static_cast<size_t>(image.width) * static_cast<size_t>(image.height)) {
      __builtin_trap();
    }
    vitrine::apply_orientation(image, vitrine::exif_orientation(bytes));
  } catch (const vitrine::Error&) {
    // What is refused is as good as what is read; anything else is a find.
  }
  return 0;
}
