// own_file.cpp: make_pretrained in a build without VITRINE_DIALECTS: files of Vitrine's own alone, at their own size.
#include "engine/check.h"
#include "models/training/pretrained.h"

namespace vitrine {

Pretrained make_pretrained(TensorFile file, const std::string& source, const BackboneHints& hints,
                           const Memory& memory) {
  constexpr const char* option = "VITRINE_DIALECTS";
  if (!file.metadata.contains("config") && !file.metadata.contains("format"))
    left_out(text("{}: is a file of another program", source), option);
  if (!hints.config.empty() || !hints.pictures.empty())
    left_out(text("{}: a family or pictures of another program", source), option);
  Pretrained out;
  out.dialect = "Vitrine's own file";
  out.backbone = make_backbone(std::move(file), source, hints.heads, memory);
  const auto* vit = std::get_if<VitConfig>(&out.backbone.config);
  if (hints.positions || (vit != nullptr && hints.image_size != 0 && hints.image_size != vit->image_size))
    left_out(text("{}: resampling positions for pictures of another size", source), option);
  return out;
}

}  // namespace vitrine
