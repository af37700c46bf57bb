// preprocess.h: from a picture to the numbers that a backbone was trained on, and the
// augmentations of training.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/resize.h"
#include "engine/random.h"
#include "engine/tensor.h"

namespace vitrine {

// What a backbone expects. The defaults are those of ImageNet checkpoints in timm's DeiT manner.
struct Preprocess {
  int size = 224;              // side of the square that the network sees
  int resize = 256;            // shorter side before the central square is cut out; >= size
  bool squash = false;         // instead: resize to size x size, whatever the aspect ratio
  bool crop_squashed = false;  // with squash: to resize x resize, and cut the central square out of that
  // The square is this much larger at first; then its last columns and rows are cut off, which no whole patch covers: 6 of
  // 384 for patches of 14.
  int lost = 0;
  // The central square's corner is rounded down where sides differ by an odd number (transformers), not to the nearest even
  // number after halving (torchvision).
  bool floor_crop = false;
  Filter filter = Filter::bicubic;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  // of values in [0, 1]
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};
  bool exif =
      false;  // photos are turned first as their EXIF block asks: by who reads them (OpenOptions, load_image)
};

// The preprocessing of a family of published checkpoints.
struct PreprocessPreset {
  const char* name;
  const char* whose;
  Preprocess preprocess;
  double share = 0;  // of the shorter side that is cut out (resize_before_crop), where its program states one
};
// All that there are, in data/presets.cpp: the table of means, deviations, sizes and filters. Not among them is what
// cannot be done here to the bit: Google's JAX programs shrink bilinearly without widening the filter.
std::span<const PreprocessPreset> preprocess_presets();
// The one of this name, "timm-vit" for example. Throws for an unknown name, with the nearest.
Preprocess preprocess_preset(std::string_view name);
// The same family's at another size: the preset NAME-SIZE if there is one, else as its program does it, with its share of
// the shorter side or in proportion. Nothing for an unknown name.
std::optional<Preprocess> preprocess_preset_at(std::string_view name, int64_t size);
// timm's `crop_pct`: the shorter side before the central square, floor(size / share). 224 becomes 256 for 0.875 and 248
// for 0.9. Throws unless the share lies in (0, 1] and the result is at most 8192.
int resize_before_crop(int size, double share);

// How pictures become squares where it is not left to the backbone's own preprocessing.
enum class ResizeMode { own, crop, squash };
// The same preprocessing with that geometry.
Preprocess with_resize(Preprocess preprocess, ResizeMode mode);

// The same for another side of the square, with `resize` in proportion, rounded down as the programs of DeiT and Swin
// do it: int(256 / 224 * 384) is 438.
Preprocess at_size(Preprocess preprocess, int64_t size);

// The same for a net that sees whole patches alone, of `side` pixels together: the rest of the square is lost. Unchanged
// unless it is less than a patch.
Preprocess without_rest(Preprocess preprocess, int64_t side, int64_t patch);

// What may change from epoch to epoch.
struct Augment {
  bool flip = false;  // mirror with probability 1/2
  bool crop = false;  // a random part of random shape, resized ("random resized crop", Szegedy et al. 2015)
  double crop_scale_min = 0.08;  // smallest part of the area; the largest is 1, the aspect ratio 3/4 to 4/3
  bool shift =
      false;  // evaluation's geometry, but the square is cut out at a random place, not in the middle

  bool changes_size_or_place() const { return crop || shift; }
  bool changes_anything() const { return flip || crop || shift; }
};

// Throws unless the sizes, the means (-1e6 to 1e6), the deviations (finite, at least 1e-6) and the scale make
// sense: the numbers that normalise makes then lie within about 1e12.
void check_preprocess(const Preprocess& preprocess);
void check_augment(const Augment& augment);
// Throws for both, and for a shift of pictures that are squashed to the very square that the network sees.
void check_augment(const Augment& augment, const Preprocess& preprocess);

// The size x size square of evaluation: shorter side to `resize` and central square, or squashed. Equal to
// torchvision's Resize and CenterCrop of a Pillow image, with floor_crop to transformers' resize and center_crop.
Image prepare(const Image& image, const Preprocess& preprocess);

// The size x size square of training. Random crops follow torchvision's RandomResizedCrop (ten tries,
// then the largest central part of allowed shape) and take the place of prepare's geometry. A shift is its RandomCrop
// after its Resize. Whether to flip is drawn first.
Image augment(const Image& image, const Preprocess& preprocess, const Augment& augment, Random& random);

// (value / 255 - mean) / std into planes (3, height, width), in f32 in this very order of operations, as
// torchvision. `chw` holds width * height * 3 floats.
void normalise(const Image& image, const Preprocess& preprocess, std::span<float> chw);

// What normalise makes of each byte in each plane: (3, 256) f32, for engine/ops.h: planes.
Tensor values_of_bytes(const Preprocess& preprocess);

// In words: "shorter side 256, central square 224, bicubic; mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225".
std::string describe(const Preprocess& preprocess);

// The metadata form, e.g.
// {"size": 224, "resize": 256, "squash": false, "filter": "bicubic", "mean": [...], "std": [...]}.
// with "crop_squashed": true, "lost" and "floor_crop": true before the filter and "exif": true at the end where it is so. Reading it back gives the same bits. Unknown, missing or duplicate keys and senseless values are errors.
std::string to_json(const Preprocess& preprocess);
Preprocess preprocess_from_json(std::string_view json);

// What Hugging Face's preprocessor_config.json asks for, as the processors ViT, DeiT, Beit, Siglip, CLIP and Bit of
// transformers (also ...FeatureExtractor and ...Fast) understand it:
//   size            {"height": n, "width": n} or [n, n]: squash; {"shortest_edge": n}: keep the aspect ratio; n alone:
//                   the one or the other as default_to_square or the processor has it, squash if the file names neither
//                   and nothing is cut. Siglip takes no n alone, and ViT, Siglip, DeiT and Beit no shorter side
//   do_center_crop, crop_size (n, [n, n] or {"height", "width"})
//   resample        Pillow's codes: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming
//   do_normalize, image_mean, image_std: a list of three or one number; false is mean 0 and deviation 1
// `resample`, `size` and, unless do_normalize is false, `image_mean` and `image_std` have to be there.
// Throws Error{Fault::input}, beginning with `who` and naming the key, for what is malformed or missing and for all that would have to be
// guessed or cannot be done: other processors, results that are no square, a crop larger than the picture, do_resize or
// do_rescale false, a rescale_factor other than 1/255, unknown keys that are neither null nor false. The filter is
// Pillow's; processors called Fast resize tensors, which differs by up to a level or so.
Preprocess preprocess_from_hugging_face(std::string_view json,
                                        const std::string& who = "preprocessor_config.json");

}  // namespace vitrine
