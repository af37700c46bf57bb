// mini_cells.cpp: tissue under a microscope, stained by two dyes. The class is how many nuclei there are, how large they
// are and how long; stains, their strength, fibres, gaps, light and the direction of long nuclei are not.
#include <algorithm>
#include <cmath>

#include "data/mini_paint.h"

namespace vitrine::mini {

void draw_cells(Random& random, MiniPicture& picture) {
  const bool many = picture.label & 4, large = picture.label & 2, long_ones = picture.label & 1;
  const float hue = between(random, 0.6f, 0.95f);  // of nuclei; what lies around is redder
  const Colour around = between(random, {hue + 0.02f, 0.12f, 0.7f}, {hue + 0.2f, 0.45f, 0.95f});
  const Colour nucleus = between(random, {hue, 0.4f, 0.25f}, {hue, 0.8f, 0.55f});
  const Colour glass = mix({0.95f, 0.95f, 0.95f}, around, between(random, 0, 0.3f));
  Canvas canvas(around);

  // What lies around is uneven, has fibres and gaps.
  const float step = between(random, 0.1f, 0.3f), unevenness = between(random, 0.05f, 0.3f);
  const uint32_t salt = random.bits();
  canvas.paint([&](float x, float y, const Colour& now) {
    return mix(now, nucleus, unevenness * value_noise(x * step, y * step, salt));
  });
  const float grain = between(random, 0, kPi);  // the direction of fibres and of long nuclei
  for (int i = below(random, 6); i > 0; --i) {
    const Point at = anywhere(random);
    const float a = grain + between(random, -0.3f, 0.3f), half = between(random, 6, 20);
    const float dx = half * std::cos(a), dy = half * std::sin(a), radius = between(random, 0.3f, 0.7f);
    canvas.line({{at.x - dx, at.y - dy}, {at.x + dx, at.y + dy}}, radius,
                mix(around, nucleus, between(random, 0.1f, 0.4f)), 0.6f);
  }
  for (int i = below(random, 3); i > 0; --i) {
    const Point at = anywhere(random);
    const float rx = between(random, 2, 6), ry = between(random, 2, 4);
    canvas.fill(ellipse(at, rx, ry, between(random, 0, kPi), 16), glass, 0.8f);
  }

  // Nuclei keep apart as far as there is room. They cover more where they are many or large, not where they are long.
  const float size = large ? 2.7f : 1.6f, share = many ? 0.32f : 0.1f;
  const auto count = static_cast<int>(
      std::lround(between(random, 0.8f, 1.2f) * share * kSide * kSide / (kPi * size * size)));
  for (int i = 0; i < count; ++i) {
    MiniPart part{.kind = static_cast<int>(picture.label), .size = size * between(random, 0.8f, 1.2f)};
    for (int attempt = 0; attempt < 20; ++attempt) {
      part.x = between(random, -1, kSide + 1);
      part.y = between(random, -1, kSide + 1);
      const auto crowds = [&](const MiniPart& other) {
        return std::hypot(part.x - other.x, part.y - other.y) < part.size + other.size;
      };
      if (std::none_of(picture.parts.begin(), picture.parts.end(), crowds)) break;
    }
    part.angle = grain + between(random, -0.5f, 0.5f);
    const float length =
        long_ones ? std::sqrt(between(random, 2.2f, 3.4f)) : std::sqrt(between(random, 1, 1.3f));
    const Colour own = mix(nucleus, around, between(random, 0, 0.3f));
    canvas.fill(ellipse({part.x, part.y}, part.size * length, part.size / length, part.angle, 20), own,
                0.95f);
    if (large && random.chance(0.6))
      canvas.fill(ellipse({part.x, part.y}, 0.8f, 0.8f, 0, 10), mix(own, {0, 0, 0}, 0.4f), 0.8f);
    picture.parts.push_back(part);
  }
  picture.image = canvas.developed(random);
}

}  // namespace vitrine::mini
