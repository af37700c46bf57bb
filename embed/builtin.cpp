// builtin.cpp: the backbones that come with Vitrine; who does not call this does not link their bytes.
#include "models/builtin.h"

#include "embed/handles.h"
#include "engine/parts.h"

using namespace vitrine;

int vitrine_backbone_open_builtin(vitrine_library* library, const char* name,
                                  const vitrine_backbone_options* options, vitrine_backbone** backbone) {
  if (name == nullptr) name = "";
  return embed::open_backbone(library, options, backbone, name, [&] {
    const std::string which = name;
    check(which == "builtin" || which == "builtin-swin",
          "vitrine_backbone_open_builtin: expected builtin or builtin-swin, got '{}'", which);
    if constexpr (!parts::swin)
      if (which != "builtin") left_out(which, "VITRINE_SWIN");
    const auto bytes = !parts::swin || which == "builtin" ? builtin_vit() : builtin_swin();
    // The bytes are part of the program: an owner that owns nothing keeps them from being copied.
    return read_safetensors(bytes, std::shared_ptr<const void>(std::shared_ptr<const void>{}, bytes.data()),
                            which);
  });
}
