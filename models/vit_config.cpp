// vit_config.cpp: a ViT's configuration as JSON, for the metadata of checkpoints.
#include "models/config_json.h"

namespace vitrine {

namespace {

constexpr const char* pooling_names[] = {"token", "mean"};

}  // namespace

std::string config_to_json(const VitConfig& c) {
  return nlohmann::json{{"model", "vit"},
                        {"image_size", c.image_size},
                        {"patch", c.patch},
                        {"width", c.width},
                        {"depth", c.depth},
                        {"heads", c.heads},
                        {"mlp_width", c.mlp_width},
                        {"classes", c.classes},
                        {"pooling", pooling_names[static_cast<int>(c.pooling)]},
                        {"class_token", c.class_token},
                        {"gelu", gelu_names[static_cast<int>(c.gelu)]},
                        {"epsilon", c.epsilon}}
      .dump();
}

VitConfig vit_config_from_json(const nlohmann::json& j) {
  VitConfig c;
  for (const auto& [key, field] :
       std::initializer_list<std::pair<const char*, int64_t*>>{{"image_size", &c.image_size},
                                                               {"patch", &c.patch},
                                                               {"width", &c.width},
                                                               {"depth", &c.depth},
                                                               {"heads", &c.heads},
                                                               {"mlp_width", &c.mlp_width},
                                                               {"classes", &c.classes}})
    *field = whole_number(j.at(key), key);
  c.pooling = static_cast<Pooling>(name_place(pooling_names, j.at("pooling").get<std::string>(), "pooling"));
  c.class_token = j.at("class_token").get<bool>();
  c.gelu = static_cast<Gelu>(name_place(gelu_names, j.at("gelu").get<std::string>(), "gelu"));
  c.epsilon = j.at("epsilon").get<double>();
  check_config(c);
  return c;
}

}  // namespace vitrine
