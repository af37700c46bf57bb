// pictures.h: how pictures are prepared for a backbone.
#pragma once

#include <map>
#include <string>

#include "data/preprocess.h"
#include "models/backbone.h"

namespace vitrine {

// How pictures are prepared at another size, if this is how they are at their own: as the family that the metadata name
// ("pictures") has it, or with the share of the shorter side that they state ("crop_pct 0.9", timm's); else in proportion.
Preprocess pictures_at(const std::map<std::string, std::string>& metadata, const Preprocess& preprocess,
                       int64_t size);

// How preprocessing is found: from the checkpoint's metadata; a file of another program that does not tell it
// (pretrained.h) is refused. Else, for tensors that make_backbone got without more, as DeiT has it for the size
// (resize size / 0.875, bicubic, ImageNet mean and deviation). `side`, if not 0, is another size of the images,
// which a Swin takes: everything is scaled to it.
Preprocess preprocess_of(const Backbone& backbone, int64_t side = 0);

}  // namespace vitrine
