#include "data/png_encode.h"

#ifdef VITRINE_FILES

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "engine/check.h"

namespace vitrine {
namespace {

using Bytes = std::vector<std::byte>;

void put_number(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift & 0xff));
}

// Length, type, data, and the check sum of the last two.
void put_chunk(Bytes& out, std::string_view type, std::span<const std::byte> data) {
  put_number(out, static_cast<uint32_t>(data.size()));
  const size_t start = out.size();
  for (const char letter : type) out.push_back(static_cast<std::byte>(letter));
  out.insert(out.end(), data.begin(), data.end());
  const auto* summed = reinterpret_cast<const Bytef*>(out.data() + start);
  put_number(out, static_cast<uint32_t>(crc32(0, summed, static_cast<uInt>(out.size() - start))));
}

// Paeth's predictor: whichever of left, above and above left is nearest to left + above - above left.
int paeth(int left, int above, int corner) {
  const int to_left = std::abs(above - corner), to_above = std::abs(left - corner),
            to_corner = std::abs(left + above - 2 * corner);
  return to_left <= to_above && to_left <= to_corner ? left : to_above <= to_corner ? above : corner;
}

// The row as differences to what filter `how` foretells of each byte; `pixel` is the distance to the left neighbour.
void filter(int how, std::span<const uint8_t> row, std::span<const uint8_t> above, size_t pixel,
            std::span<uint8_t> out) {
  for (size_t i = 0; i < row.size(); ++i) {
    const int left = i >= pixel ? row[i - pixel] : 0, up = above[i],
              corner = i >= pixel ? above[i - pixel] : 0;
    const std::array<int, 5> foretold{0, left, up, (left + up) / 2, paeth(left, up, corner)};
    out[i] = static_cast<uint8_t>(row[i] - foretold[static_cast<size_t>(how)]);
  }
}

// How far the bytes are from 0, as signed numbers.
int64_t size_of_row(std::span<const uint8_t> row) {
  int64_t sum = 0;
  for (const uint8_t byte : row) sum += std::min<int>(byte, 256 - byte);
  return sum;
}

}  // namespace

std::vector<std::byte> png_encode(int width, int height, int channels, std::span<const uint8_t> pixels) {
  check(width >= 1 && height >= 1 && width <= max_image_side && height <= max_image_side,
        "png: {} x {} pixels make no picture", width, height);
  check(channels == 1 || channels == 3 || channels == 4, "png: expected 1, 3 or 4 channels, got {}",
        channels);
  const size_t pixel = static_cast<size_t>(channels), bytes = static_cast<size_t>(width) * pixel;
  check(pixels.size() == bytes * static_cast<size_t>(height), "png: expected {} bytes, got {}",
        bytes * static_cast<size_t>(height), pixels.size());

  std::vector<uint8_t> filtered, best(bytes), tried(bytes);
  filtered.reserve((bytes + 1) * static_cast<size_t>(height));
  const std::vector<uint8_t> nothing(bytes, 0);
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    const auto row = pixels.subspan(y * bytes, bytes);
    const std::span<const uint8_t> above = y > 0 ? pixels.subspan((y - 1) * bytes, bytes) : nothing;
    uint8_t chosen = 0;
    filter(0, row, above, pixel, best);
    for (uint8_t how = 1; how < 5; ++how) {
      filter(how, row, above, pixel, tried);
      if (size_of_row(tried) >= size_of_row(best)) continue;
      chosen = how;
      best.swap(tried);
    }
    filtered.push_back(chosen);
    filtered.insert(filtered.end(), best.begin(), best.end());
  }

  uLongf size = compressBound(static_cast<uLong>(filtered.size()));
  Bytes packed(size);
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, filtered.data(),
                static_cast<uLong>(filtered.size()), Z_BEST_COMPRESSION) != Z_OK)
    fail(Fault::resources, "png: no memory to pack a picture");
  packed.resize(size);

  Bytes header, out;
  put_number(header, static_cast<uint32_t>(width));
  put_number(header, static_cast<uint32_t>(height));
  constexpr uint8_t grey = 0, rgb = 2, rgb_alpha = 6;
  const uint8_t color = channels == 1 ? grey : channels == 3 ? rgb : rgb_alpha;
  for (const uint8_t byte : {uint8_t{8}, color, uint8_t{0}, uint8_t{0}, uint8_t{0}})
    header.push_back(static_cast<std::byte>(byte));
  for (const int byte : {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a})
    out.push_back(static_cast<std::byte>(byte));
  put_chunk(out, "IHDR", header);
  put_chunk(out, "IDAT", packed);
  put_chunk(out, "IEND", {});
  return out;
}

std::vector<std::byte> png_encode(const Image& image) {
  check_image(image, "png");
  return png_encode(image.width, image.height, 3, image.rgb);
}

}  // namespace vitrine

#endif
