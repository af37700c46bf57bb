// vit_config.cpp: a ViT's configuration as JSON, for the metadata of checkpoints.
#include <nlohmann/json.hpp>

#include "engine/check.h"
#include "engine/text.h"
#include "models/vit.h"

namespace vitrine {

namespace {

constexpr const char* gelu_names[] = {"erf", "tanh", "quick"};
constexpr const char* pooling_names[] = {"token", "mean"};

template <size_t N>
int position(const char* const (&names)[N], const std::string& name, const char* what) {
  for (size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<int>(i);
  fail(Fault::input, "vit config: unknown ", what, " ", quote(name));
}

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

VitConfig config_from_json(const std::string& json) {
  VitConfig c;
  try {
    const nlohmann::json j = nlohmann::json::parse(json);
    check(j.at("model").get<std::string>() == "vit", "vit config: the model is not a ViT");
    for (const auto& [key, field] :
         std::initializer_list<std::pair<const char*, int64_t*>>{{"image_size", &c.image_size},
                                                                 {"patch", &c.patch},
                                                                 {"width", &c.width},
                                                                 {"depth", &c.depth},
                                                                 {"heads", &c.heads},
                                                                 {"mlp_width", &c.mlp_width},
                                                                 {"classes", &c.classes}}) {
      check(j.at(key).is_number_integer(), "vit config: ", key, " is not a whole number");
      *field = j.at(key).get<int64_t>();
      check(*field >= 0 && *field <= 1 << 24, "vit config: ", key, " is ", *field);
    }
    c.pooling = static_cast<Pooling>(position(pooling_names, j.at("pooling").get<std::string>(), "pooling"));
    c.class_token = j.at("class_token").get<bool>();
    c.gelu = static_cast<Gelu>(position(gelu_names, j.at("gelu").get<std::string>(), "gelu"));
    c.epsilon = j.at("epsilon").get<double>();
  } catch (const nlohmann::json::exception& e) {
    fail(Fault::input, "vit config: ", e.what());
  }
  check_config(c);
  return c;
}

}  // namespace vitrine
