#include "models/method_text.h"

namespace vitrine {

TunedConfig method_from_text(const std::string& name) {
  TunedConfig config;
  config.method = method_of(name);
  config.prompts.kind = prompt_kind(config.method);
  return config;
}

bool trains_backbone(const TunedConfig& config) { return config.method == Method::full; }

}  // namespace vitrine
