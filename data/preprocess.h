// preprocess.h: from a picture to the numbers that a backbone was trained on, and the
// augmentations of training.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "data/resize.h"
#include "engine/random.h"
#include "engine/tensor.h"

namespace vitrine {

// What a backbone expects. The defaults are those of ImageNet checkpoints in timm's DeiT manner.
struct Preprocess {
  int size = 224;       // side of the square that the network sees
  int resize = 256;     // shorter side before the central square is cut out; >= size
  bool squash = false;  // instead: resize to size x size, whatever the aspect ratio
  Filter filter = Filter::bicubic;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  // of values in [0, 1]
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};
};

// What may change from epoch to epoch.
struct Augment {
  bool flip = false;  // mirror with probability 1/2
  bool crop = false;  // a random part of random shape, resized ("random resized crop", Szegedy et al. 2015)
  double crop_scale_min = 0.08;  // smallest part of the area; the largest is 1, the aspect ratio 3/4 to 4/3
};

// Throws unless the sizes, the means (-1e6 to 1e6), the deviations (finite, at least 1e-6) and the scale make
// sense: the numbers that normalise makes then lie within about 1e12.
void check_preprocess(const Preprocess& preprocess);
void check_augment(const Augment& augment);

// The size x size square of evaluation: shorter side to `resize` and central square, or squashed.
Image prepare(const Image& image, const Preprocess& preprocess);

// The size x size square of training. Random crops follow torchvision's RandomResizedCrop (ten tries,
// then the largest central part of allowed shape) and take the place of prepare's geometry. Whether
// to flip is drawn first.
Image augment(const Image& image, const Preprocess& preprocess, const Augment& augment, Random& random);

// (value / 255 - mean) / std into planes (3, height, width), in f32 in this very order of operations, as
// torchvision. `chw` holds width * height * 3 floats.
void normalise(const Image& image, const Preprocess& preprocess, std::span<float> chw);

// What normalise makes of each byte in each plane: (3, 256) f32, for engine/ops.h: planes.
Tensor values_of_bytes(const Preprocess& preprocess);

// The metadata form, e.g.
// {"size": 224, "resize": 256, "squash": false, "filter": "bicubic", "mean": [...], "std": [...]}.
// Reading it back gives the same bits. Unknown, missing or duplicate keys and senseless values are errors.
std::string to_json(const Preprocess& preprocess);
Preprocess preprocess_from_json(std::string_view json);

}  // namespace vitrine
