// dialects_test.cpp: one backbone in every program's names and layouts (golden/make_dialects.py) is the same backbone.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/containers/tensor_file.h"
#include "models/backbone.h"
#include "models/checkpoints/checkpoint.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

using Json = nlohmann::json;

std::string path_of(const std::string& file) { return std::string(VITRINE_GOLDEN "/dialects/") + file; }

const TensorFile& expected() {
  static const TensorFile file = load_safetensors(path_of("expected.safetensors"));
  return file;
}

Facts facts_from(const Json& told) {
  Facts facts;
  if (told.contains("heads")) facts.heads = told["heads"].get<int64_t>();
  if (told.contains("epsilon")) facts.epsilon = told["epsilon"].get<double>();
  if (told.contains("gelu")) facts.gelu = told["gelu"] == "erf" ? Gelu::erf : Gelu::quick;
  return facts;
}

Facts told_of(const std::string& file) {
  return facts_from(Json::parse(expected().metadata.at(file)).at("told"));
}

Checkpoint read(const std::string& file) {
  return canonical_form(load_tensors(path_of(file)), told_of(file));
}

// The message of what canonical_form throws for the file as `change` leaves it; empty if it takes it.
template <class Change>
std::string refusal(const std::string& file, Change change) {
  TensorFile changed = load_tensors(path_of(file));
  changed.name = file;
  change(changed.tensors);
  try {
    canonical_form(std::move(changed), told_of(file));
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

using Tensors = std::map<std::string, Tensor>;

}  // namespace

TEST_CASE("dialects: every file gives the same tensors, configuration and logits") {
  const Tensors swin = read("swin.pth").file.tensors;
  size_t files = 0;
  for (const auto& [file, words] : expected().metadata) {
    CAPTURE(file);
    const Json about = Json::parse(words);
    const TransformerConfig config = config_from_json(about.at("config").dump());
    const Checkpoint found = read(file);
    CHECK(found.unsettled.empty());
    CHECK(config_to_json(found.config) == config_to_json(config));
    for (const auto& [name, tensor] : found.file.tensors) {
      CAPTURE(name);
      REQUIRE(tensor.dtype() == DType::f32);
      const Tensor canonical = std::holds_alternative<SwinConfig>(config)
                                   ? swin.at(name)
                                   : numbers(name, tensor.shape(), DType::f32);
      CHECK(std::ranges::equal(tensor.data<float>(), canonical.data<float>()));
    }
    const Backbone backbone = make_backbone(settled(found), file);
    if (class_count(config) > 0) {
      const Transformer net(backbone.config, frozen_weights(backbone));
      const int64_t side = image_size(config);
      const Tensor images = numbers("images", {2, 3, side, side}, DType::f32);
      check_close(values(net.logits(images).value()), values(expected().at(file)), 1e-6);
    }
    ++files;
  }
  const auto there = std::filesystem::directory_iterator(path_of(""));
  CHECK(files + 1 == static_cast<size_t>(std::distance(begin(there), end(there))));
}

TEST_CASE("dialects: what is known of a file beside its shapes") {
  const auto preprocess = [](const std::string& file) { return read(file).facts.preprocess; };
  CHECK(preprocess("google.npz") == "google-vit");
  CHECK(preprocess("deit-distilled.pth") == "deit");
  CHECK(preprocess("deit-iii.pth") == "deit");
  CHECK(preprocess("mae.pth") == "mae");
  CHECK(preprocess("moco-v3.pth") == "moco-v3");
  CHECK(preprocess("dino.pth") == "dino");
  CHECK(preprocess("dinov2.pth") == "dinov2");
  CHECK(preprocess("hf-dinov2.safetensors") == "dinov2");
  CHECK(preprocess("clip.pt") == "clip");
  CHECK(preprocess("hf-siglip.safetensors") == "siglip");
  CHECK(preprocess("torchvision-vit.pth") == "torchvision-vit");
  CHECK(preprocess("swin.pth") == "swin");
  CHECK(preprocess("timm-swin.safetensors") == "timm-swin");
  // DeiT's and AugReg's ViTs have the same names and shapes and saw other pixels.
  CHECK(preprocess("timm.safetensors").empty());
  CHECK(read("moco-v3.pth").dialect == "ViT in timm's names");
  CHECK(canonical_form(load_tensors(path_of("google.npz"))).facts.heads == 2);  // their kernels tell
  // What is given goes before what a dialect has.
  Facts erf;
  erf.gelu = Gelu::erf;
  CHECK(std::get<VitConfig>(canonical_form(load_tensors(path_of("google.npz")), erf).config).gelu ==
        Gelu::erf);
}

TEST_CASE("dialects: what is left out is told with the reason") {
  const auto reason = [](const std::string& file, const std::string& name) {
    for (const LeftOut& out : read(file).left_out)
      if (out.name == name) return out.reason;
    return std::string();
  };
  CHECK(reason("mae.pth", "decoder_pred.bias") == "MAE's decoder");
  CHECK(reason("moco-v3.pth", "module.momentum_encoder.cls_token") == "another net of its training");
  CHECK(reason("dino.pth", "head.last_layer.weight_g") == "the projection of DINO's training");
  CHECK(reason("hf-clip.safetensors", "text_projection.weight") == "the text tower");
  CHECK(reason("hf-dinov2.safetensors", "classifier.weight") ==
        "takes the class token and the mean of the patches side by side");
  CHECK(reason("swin.pth", "layers.0.blocks.1.attn_mask") == "follows from the sizes of window and picture");
  const auto zero_head = [](Tensors& t) {
    for (const char* name : {"head/kernel", "head/bias"})
      t[name] = Tensor::zeros(t.at(name).shape(), DType::f32).seal();
  };
  TensorFile google = load_tensors(path_of("google.npz"));
  zero_head(google.tensors);
  const Checkpoint headless = canonical_form(std::move(google));
  CHECK(class_count(headless.config) == 0);
  REQUIRE(headless.left_out.size() == 2);
  CHECK(headless.left_out[0].reason == "is zero everywhere");
}

TEST_CASE("dialects: what no file tells is asked for") {
  const auto asked = [](const std::string& file, const Facts& given) {
    TensorFile tensors = load_tensors(path_of(file));
    tensors.name = file;
    try {
      settled(canonical_form(std::move(tensors), given));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  Facts heads;
  heads.heads = 2;
  const std::string end = "; give --backbone-config with the model's config.json or the name of its family";
  CHECK(asked("hf-vit.safetensors", heads) ==
        "hf-vit.safetensors: is a ViT in Hugging Face's names, which does not tell the epsilon of its layer "
        "norms and "
        "the form of its GELU" +
            end);
  CHECK(asked("hf-clip.safetensors", heads).ends_with(end));
  CHECK(asked("clip.pt", heads).empty());  // OpenAI's own file has numbers that open_clip's have not
  CHECK(asked("timm.safetensors", {}) ==
        "timm.safetensors: how many attention heads? Shapes cannot tell for width 16; give --heads");
  CHECK(facts_of_family("openai-clip").gelu == Gelu::quick);
  CHECK_THROWS_WITH_AS(facts_of_family("diet"), "no family of checkpoints 'diet'; did you mean deit?", Error);
  CHECK(family_names().size() > 15);
}

TEST_CASE(
    "dialects: a tensor that is missing, misshapen, there twice or left over is named as the file names it") {
  const auto move = [](Tensors& t, const char* from, const char* to) {
    t[to] = t.at(from);
    t.erase(from);
  };
  CHECK(refusal("hf-vit.safetensors",
                [](Tensors& t) { t.erase("vit.encoder.layer.1.layernorm_after.bias"); }) ==
        "hf-vit.safetensors: no tensor 'vit.encoder.layer.1.layernorm_after.bias' of a ViT in Hugging Face's "
        "names; "
        "nearest: vit.encoder.layer.0.layernorm_after.bias");
  CHECK(refusal("hf-vit.safetensors",
                [](Tensors& t) { t.erase("vit.encoder.layer.1.attention.attention.key.weight"); }) ==
        "hf-vit.safetensors: expected tensor 'vit.encoder.layer.1.attention.attention.key.weight' beside "
        "'vit.encoder.layer.1.attention.attention.query.weight', got none");
  CHECK(refusal("hf-vit.safetensors",
                [&](Tensors& t) { move(t, "vit.layernorm.bias", "vit.layernrom.bias"); }) ==
        "hf-vit.safetensors: tensor 'vit.layernrom.bias' belongs to no ViT in Hugging Face's names; nearest: "
        "vit.layernorm.bias");
  CHECK(refusal("google.npz",
                [](Tensors& t) {
                  t["Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel"] =
                      Tensor::zeros({16, 25}, DType::f32).seal();
                }) ==
        "google.npz: tensor 'Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel': expected "
        "blocks.1.mlp.fc1.weight (24, 16), got (25, 16)");
  CHECK(refusal("google.npz", [](Tensors& t) {
          t["head/kernel"] = Tensor::zeros({16}, DType::f32).seal();
        }) == "google.npz: tensor 'head/kernel': expected a matrix (in, out), got (16)");
  CHECK(refusal("torchvision-vit.pth",
                [](Tensors& t) {
                  t["encoder.layers.encoder_layer_0.mlp.linear_1.bias"] =
                      t.at("encoder.layers.encoder_layer_0.mlp.0.bias");
                }) ==
        "torchvision-vit.pth: tensor 'encoder.layers.encoder_layer_0.mlp.linear_1.bias' and "
        "'encoder.layers.encoder_layer_0.mlp.0.bias' are both 'blocks.0.mlp.fc1.bias'");
  CHECK(refusal("timm.safetensors", [](Tensors& t) { t["module.norm.bias"] = t.at("norm.bias"); }) ==
        "timm.safetensors: tensors 'module.norm.bias' and 'norm.bias' are the same one");
  CHECK(refusal("timm.safetensors", [](Tensors& t) {
          t["blocks.0.ls1.gamma"] = t.at("norm.bias");
        }).starts_with("timm.safetensors: no tensor 'blocks.0.ls2.gamma' of a ViT in timm's names"));
  CHECK(refusal("timm.safetensors", [](Tensors& t) {
          t["blocks.1.ls1.gamma"] = t.at("norm.bias");
        }).starts_with("timm.safetensors: tensor 'blocks.1.ls1.gamma' has no place in a ViT, width 16"));
  CHECK(refusal("dino.pth", [](Tensors& t) {
          Tensors all;
          for (const auto& [name, tensor] : t) all["a." + name] = all["b." + name] = tensor;
          t = all;
        }) == "dino.pth: holds several backbones, 'a.backbone.' and 'b.backbone.'; keep one of them");
  CHECK(refusal("timm.safetensors", [](Tensors& t) {
          std::erase_if(t, [](const auto& e) { return e.first[0] == 'b'; });
        }) == "timm.safetensors: holds no ViT or Swin whose names are known; docs/checkpoints.md lists them");
}

TEST_CASE("dialects: Vitrine's own files stay as they are") {
  const Checkpoint first = read("hf-vit.safetensors");
  const Checkpoint again = canonical_form(first.file);
  CHECK(again.dialect == "Vitrine's own file");
  CHECK(config_to_json(again.config) == config_to_json(first.config));
  for (const auto& [name, tensor] : again.file.tensors)
    CHECK(tensor.raw().data() == first.file.tensors.at(name).raw().data());
  // Tensors that lie canonically already are not copied.
  const TensorFile timm = load_tensors(path_of("timm.safetensors"));
  const Checkpoint same = canonical_form(timm, told_of("timm.safetensors"));
  for (const auto& [name, tensor] : timm.tensors)
    CHECK(tensor.raw().data() == same.file.tensors.at(name).raw().data());
}
