#include "models/training/pictures.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "engine/check.h"
#include "engine/parts.h"
#include "models/checkpoints/checkpoint.h"

namespace vitrine {

namespace {

// Of "crop_pct 0.9" the number.
std::optional<double> share_in(std::string_view words) {
  constexpr std::string_view begin = "crop_pct ";
  if (!words.starts_with(begin)) return {};
  double share = 0;
  const char *first = words.data() + begin.size(), *end = words.data() + words.size();
  const auto [last, problem] = std::from_chars(first, end, share);
  return problem == std::errc() && last == end && share > 0 && share <= 1 ? std::optional(share)
                                                                          : std::nullopt;
}

}  // namespace

Preprocess pictures_at(const std::map<std::string, std::string>& metadata, const Preprocess& preprocess,
                       int64_t size) {
  if (const auto family = metadata.find("pictures"); family != metadata.end()) {
    if (const auto share = share_in(family->second)) {
      const int whole = preprocess.size + preprocess.lost;
      if (resize_before_crop(whole, *share) != preprocess.resize) return at_size(preprocess, size);
      Preprocess other = at_size(preprocess, size);
      other.resize = resize_before_crop(other.size, *share);
      other.crop_squashed = other.squash && other.resize > other.size;
      check_preprocess(other);
      return other;
    }
    const auto told = preprocess_preset_at(family->second, preprocess.size);
    if (told && to_json(*told) == to_json(preprocess)) return *preprocess_preset_at(family->second, size);
  }
  return at_size(preprocess, size);
}

Preprocess preprocess_of(const Backbone& backbone, int64_t side) {
  const int size = static_cast<int>(image_size(backbone.config));
  Preprocess out{.size = size, .resize = static_cast<int>(std::floor(size / 0.875))};
  if (const auto stored = backbone.file.metadata.find("preprocess"); stored != backbone.file.metadata.end())
    out = preprocess_from_json(stored->second);
  else if (const auto dialect = backbone.file.metadata.find("dialect");
           dialect != backbone.file.metadata.end()) {
    std::string who;
    if constexpr (parts::dialects)
      who = text("; give {}", what_may_tell_pictures(dialect->second, backbone.config));
    fail(Fault::input, "{}: does not tell how its pictures were prepared{}", backbone.source, who);
  }
  check(out.size == size,
        "{}: what tells of its pictures (preprocessor_config.json, config.json or its metadata) prepares "
        "images of {} pixels, the net sees {}{}",
        backbone.source, out.size, size,
        untold_heads(backbone.config) == 0
            ? ""
            : text("; --image-size {} resamples its positions for them, --image-size {} prepares others",
                   out.size, size));
  if (side > 0 && side != size) {
    check_image_size(backbone.config, side);
    if constexpr (parts::swin) out = pictures_at(backbone.file.metadata, out, side);  // a ViT was refused
  }
  return out;
}

}  // namespace vitrine
