// dialects_test.cpp: one backbone in every program's names and layouts (golden/make_dialects.py) is the same backbone.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

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
  const Tensors swin = read("swin.pth").file.tensors, small = read("swin-small.pth").file.tensors;
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
                                   ? (file.find("small") == std::string::npos ? swin : small).at(name)
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

TEST_CASE("dialects: a Swin whose last map is smaller than its window") {
  // Made for such pictures: the window of that stage is as small as the map, and its table.
  const auto config = std::get<SwinConfig>(read("swin-small.pth").config);
  CHECK(config.windows == std::vector<int64_t>{4, 4, 2});
  CHECK(describe(config).find("windows 4-4-2") != std::string::npos);
  const Backbone made = make_backbone(settled(read("swin-small.pth")), "swin-small.pth");
  int64_t numbers_there = 0;
  for (const auto& [name, tensor] : made.file.tensors) numbers_there += tensor.numel();
  CHECK(parameter_count(config) == numbers_there);
  // Shown to a net that was made for greater ones: the window stays and is filled up.
  const Backbone backbone = make_backbone(settled(read("torchvision-swin.pth")), "torchvision-swin.pth");
  const Transformer net(backbone.config, frozen_weights(backbone));
  check_close(values(net.logits(numbers("images", {2, 3, 16, 16}, DType::f32)).value()),
              values(expected().at("torchvision-swin.pth at 16 pixels")), 1e-6);
  // A table that fits no window, and windows that grow.
  const std::string table = "layers.2.blocks.0.attn.relative_position_bias_table";
  const auto with_rows = [&](int64_t rows) {
    return refusal("swin-small.pth", [&](Tensors& t) {
      t[table] = Tensor::zeros({rows, 4}, DType::f32).seal();
    });
  };
  CHECK(with_rows(10) == "swin-small.pth: a bias table of 10 rows fits no window: (2 w - 1)^2");
  CHECK(with_rows(25).find(
            "'layers.2.blocks.1.attn.relative_position_bias_table': expected (25, 4), got (9, 4)") !=
        std::string::npos);
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
  // Zero of either sign: weights times 0.
  TensorFile signs = load_tensors(path_of("timm.safetensors"));
  std::vector<float> zeros(5 * 16);
  for (size_t i = 0; i < zeros.size(); ++i) zeros[i] = i % 3 == 0 ? -0.0F : 0.0F;
  const auto head = [&] {
    Tensor made = Tensor::empty({5, 16}, DType::f32);
    std::ranges::copy(zeros, made.mutable_data<float>().begin());
    return made;
  };
  for (const DType type : {DType::f32, DType::f64, DType::f16, DType::bf16}) {
    signs.tensors["head.weight"] = head().to(type).seal();
    CHECK(class_count(canonical_form(signs, told_of("timm.safetensors")).config) == 0);
  }
  zeros[7] = 1e-30F;
  signs.tensors["head.weight"] = head().to(DType::f64).seal();
  CHECK(class_count(canonical_form(signs, told_of("timm.safetensors")).config) == 5);
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
  const std::string end =
      "; give --backbone-config with the model's config.json or the name of its family, which may be ";
  CHECK(asked("hf-vit.safetensors", heads) ==
        "hf-vit.safetensors: is a ViT in Hugging Face's names, which does not tell the epsilon of its layer "
        "norms and "
        "the form of its GELU" +
            end + "google-vit, deit-transformers or mae-transformers");
  CHECK(asked("hf-clip.safetensors", heads).ends_with(end + "openai-clip or laion-clip"));
  CHECK(asked("clip.pt", heads).empty());  // OpenAI's own file has numbers that open_clip's have not
  CHECK(asked("timm.safetensors", {}) ==
        "timm.safetensors: how many attention heads? Shapes cannot tell for width 16; give --heads");
  CHECK(facts_of_family("openai-clip").gelu == Gelu::quick);
  CHECK_THROWS_WITH_AS(facts_of_family("diet"), "no family of checkpoints 'diet'; did you mean deit?", Error);
  CHECK(family_names().size() > 15);

  // Each family is told to somebody, and to nobody whose net it cannot be.
  std::set<std::string> told;
  for (const auto& [file, words] : expected().metadata) {
    CAPTURE(file);
    const Checkpoint found = read(file);
    const std::vector<std::string> names = families_of(found.dialect, found.config);
    CHECK(!names.empty());
    told.insert(names.begin(), names.end());
    for (const std::string& name : names)
      CHECK(is_swin_family(name) == std::holds_alternative<SwinConfig>(found.config));
    // What the file itself tells is among them, whoever prepared the pictures.
    const auto fits = [&](const std::string& name) {
      const std::string &a = facts_of_family(name).preprocess, &b = found.facts.preprocess;
      return a == b || (a == "swin" && b.ends_with("swin")) || (a == "swin" && b.starts_with("swin"));
    };
    if (!found.facts.preprocess.empty()) CHECK(std::ranges::any_of(names, fits));
  }
  TensorFile miil = load_tensors(path_of("timm.safetensors"));
  std::erase_if(miil.tensors, [](const auto& entry) { return entry.first.ends_with("attn.qkv.bias"); });
  const Checkpoint unbiased = canonical_form(std::move(miil), heads);
  CHECK(families_of(unbiased.dialect, unbiased.config) == std::vector<std::string>{"miil"});
  told.insert("miil");
  // SigLIP in timm's names: what the canonical tensors are, without their configuration.
  TensorFile siglip = read("hf-siglip.safetensors").file;
  siglip.metadata.clear();
  const Checkpoint timms = canonical_form(std::move(siglip), heads);
  CHECK(families_of(timms.dialect, timms.config) == std::vector<std::string>{"siglip", "timm-siglip"});
  told.insert("timm-siglip");
  for (const std::string& name : family_names()) CHECK_MESSAGE(told.contains(name), name);
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

TEST_CASE("dialects: of queries, keys and values the one that is not like the others is named") {
  const std::string
      begin = "hf-vit.safetensors: tensor 'vit.encoder.layer.1.attention.attention.",
      end =
          ".weight': expected (16, 16) of f32 in PyTorch's layout, as of what it is put together "
          "with, got ";
  for (const std::string which : {"query", "key", "value"}) {
    const std::string name = "vit.encoder.layer.1.attention.attention." + which + ".weight";
    CHECK(refusal("hf-vit.safetensors", [&](Tensors& t) { t[name] = t.at(name).rows(0, 8); }) ==
          begin + which + end + "(8, 16) of f32");
    CHECK(refusal("hf-vit.safetensors", [&](Tensors& t) { t[name] = t.at(name).to(DType::f16).seal(); }) ==
          begin + which + end + "(16, 16) of f16");
  }
}

namespace {

// What a file becomes to which somebody adds, and which names get something in front.
Checkpoint with_more(const std::string& file, const std::string& in_front,
                     const std::vector<std::string>& more) {
  TensorFile changed = load_tensors(path_of(file));
  Tensors tensors;
  for (const auto& [name, tensor] : changed.tensors) tensors[in_front + name] = tensor;
  for (const std::string& name : more) tensors[name] = Tensor::zeros({4}, DType::f32).seal();
  changed.tensors = tensors;
  changed.name = file;
  return canonical_form(std::move(changed), told_of(file));
}

// The reason why this was left out; empty if it was not.
std::string reason_of(const Checkpoint& checkpoint, const std::string& name) {
  for (const LeftOut& out : checkpoint.left_out)
    if (out.name == name) return out.reason;
  return {};
}

void check_same(const Checkpoint& got, const Checkpoint& expected) {
  CHECK(config_to_json(got.config) == config_to_json(expected.config));
  REQUIRE(got.file.tensors.size() == expected.file.tensors.size());
  for (const auto& [name, tensor] : expected.file.tensors)
    CHECK(std::ranges::equal(got.file.tensors.at(name).raw(), tensor.raw()));
}

}  // namespace

TEST_CASE("dialects: towers for text beside a ViT in whatever names are left out") {
  const Checkpoint plain = read("open-clip-timm.pt");
  CHECK(reason_of(plain, "module.text.transformer.resblocks.0.ln_1.weight") == "the text tower");
  for (const char* tower :
       {"text.transformer.encoder.layer.0.attention.self.query.weight", "text.encoder.layers.0.self_attn.x",
        "transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "ln_final.bias", "text_projection",
        "positional_embedding"}) {
    CAPTURE(tower);
    const Checkpoint found = with_more("open-clip-timm.pt", "", {std::string("module.") + tower});
    check_same(found, plain);
    CHECK(reason_of(found, std::string("module.") + tower) == "the text tower");
  }
  check_same(
      with_more("clip.pt", "", {"text.transformer.encoder.layer.0.x", "text.transformer.resblocks.0.x"}),
      read("clip.pt"));
  const std::string bert = "text_model.encoder.layer.0.attention.self.query.weight";
  const Checkpoint both = with_more("hf-clip.safetensors", "", {bert});
  check_same(both, read("hf-clip.safetensors"));
  for (const std::string& name : {bert, std::string("text_model.encoder.layers.0.self_attn.q_proj.weight")})
    CHECK(reason_of(both, name) == "the text tower");
}

TEST_CASE("dialects: of Google's training states the weights are taken, not the optimizer's") {
  const Checkpoint plain = read("google.npz");
  for (const auto& [weights, state] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"opt/target/",
            {"opt/state/param_states/Transformer/encoderblock_0/LayerNorm_0/scale/grad_ema",
             "opt/state/step"}},
           {"params/", {"opt/mu/Transformer/encoderblock_0/LayerNorm_0/scale", "opt/mu/cls", "opt/count"}},
           {"", {"opt/0/mu/Transformer/encoderblock_0/LayerNorm_0/scale", "opt/0/nu/cls"}},
           {"params/img/", {"opt_state/params/img/Transformer/encoderblock/LayerNorm_0/scale"}},
           {"optimizer/target/", {"optimizer/state/param_states/Transformer/encoderblock_0/x/y"}}}) {
    CAPTURE(weights);
    const Checkpoint found = with_more("google.npz", weights, state);
    check_same(found, plain);
    for (const std::string& name : state) CHECK(reason_of(found, name) == "the state of an optimizer");
  }
  CHECK(refusal("google.npz", [](Tensors& t) {
          Tensors state;
          for (const auto& [name, tensor] : t) state["opt/mu/" + name] = tensor;
          t = state;
        }) == "google.npz: holds no ViT or Swin whose names are known; docs/checkpoints.md lists them");
  // What stands between the weights' own names is no part of something else.
  const std::string norm = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query_norm/scale";
  CHECK(refusal("google.npz", [&](Tensors& t) {
          t[norm] = t.at("cls");
        }).starts_with("google.npz: tensor '" + norm + "' belongs to no ViT in the names of Google's"));
}

TEST_CASE("dialects: of a detector the backbone is taken") {
  const Checkpoint plain = read("swin.pth");
  TensorFile detector = load_tensors(path_of("swin.pth"));
  Tensors tensors;
  for (const auto& [name, tensor] : detector.tensors)
    if (!name.starts_with("head.")) tensors["backbone." + name] = tensor;
  const std::vector<std::string> parts{"neck.lateral_convs.0.conv.weight",   "rpn_head.rpn_conv.weight",
                                       "roi_head.bbox_head.0.fc_cls.weight", "decode_head.conv_seg.bias",
                                       "auxiliary_head.conv_seg.bias",       "backbone.norm0.weight"};
  for (const std::string& name : parts) tensors[name] = tensors.at("backbone.norm.bias");
  detector.tensors = tensors;
  const Checkpoint found = canonical_form(detector);
  for (const auto& [name, tensor] : found.file.tensors)
    CHECK(std::ranges::equal(tensor.raw(), plain.file.tensors.at(name).raw()));
  for (const std::string& name : parts)
    CHECK(reason_of(found, name) ==
          (name == parts.back() ? "a detector's norm" : "a part of a detector behind the backbone"));
}

TEST_CASE("dialects: whatever stands before trunk and head, both are found") {
  // The trunk below `trunk`, what the file has beside it below `outer`; a head of the trunk's own is called `head`.
  const auto below = [](const std::string& file, const std::string& own, const std::string& trunk,
                        const std::string& outer, const std::string& from, const std::string& head) {
    TensorFile changed = load_tensors(path_of(file));
    Tensors tensors;
    for (const auto& [name, tensor] : changed.tensors) {
      if (name.starts_with(from))
        tensors[outer + head + name.substr(from.size())] = tensor;
      else if (name.starts_with(own))
        tensors[trunk + name.substr(own.size())] = tensor;
      else
        tensors[outer + name] = tensor;
    }
    changed.tensors = tensors;
    changed.name = file;
    return canonical_form(std::move(changed), told_of(file));
  };
  for (const auto& [trunk, outer] :
       std::vector<std::pair<std::string, std::string>>{{"model.vit.", "model."},
                                                        {"vit.", ""},
                                                        {"net.model.vit.", "net.model."},
                                                        {"module.model.vit.", "module.model."},
                                                        {"_orig_mod.model.vit.", "_orig_mod.model."},
                                                        {"model._orig_mod.vit.", "model._orig_mod."},
                                                        {"vit._orig_mod.", ""},
                                                        {"model.backbone.", "model."}}) {
    CAPTURE(trunk);
    const Checkpoint found = below("hf-vit.safetensors", "vit.", trunk, outer, "classifier.", "classifier.");
    check_same(found, read("hf-vit.safetensors"));
    CHECK(class_count(found.config) == 5);
    CHECK(found.left_out.empty());
    for (const char* head : {"head.", "fc."})
      check_same(below("hf-vit.safetensors", "vit.", trunk, outer, "classifier.", head),
                 read("hf-vit.safetensors"));
  }
  // CLIP's tower, its projection and the tower for text.
  const Checkpoint clip = below("hf-clip.safetensors", "vision_model.", "model.vision_model.", "model.",
                                "visual_projection.", "visual_projection.");
  check_same(clip, read("hf-clip.safetensors"));
  CHECK(reason_of(clip, "model.text_projection.weight") == "the text tower");
  CHECK(reason_of(clip, "model.logit_scale") == "the text tower's scale");
  // A trunk of timm's, of Swin's authors or of torchvision's under a head of somebody's own.
  for (const char* head : {"head.", "classifier.", "fc."}) {
    for (const char* outer : {"", "model.", "module.", "module.net."}) {
      CAPTURE(text("{}{}", outer, head));
      const Checkpoint timm = below("timm.safetensors", "", text("{}backbone.", outer), outer, "head.", head);
      check_same(timm, read("timm.safetensors"));
      CHECK(timm.facts.preprocess.empty());  // not DINO's, though its files have such a name, too
      check_same(below("swin.pth", "", text("{}backbone.", outer), outer, "head.", head), read("swin.pth"));
      check_same(below("torchvision-vit.pth", "", text("{}encoder_net.", outer), outer, "heads.head.", head),
                 read("torchvision-vit.pth"));
    }
  }
  // What is no single layer, or of other features, is left out by name; the trunk is what it was.
  const auto with_heads = [&](const std::vector<std::pair<std::string, Shape>>& heads) {
    TensorFile changed = load_tensors(path_of("timm.safetensors"));
    Tensors tensors;
    for (const auto& [name, tensor] : changed.tensors)
      if (!name.starts_with("head.")) tensors["backbone." + name] = tensor;
    for (const auto& [name, shape] : heads) tensors[name] = Tensor::full(shape, 0.5, DType::f32).seal();
    changed.tensors = tensors;
    return canonical_form(std::move(changed), told_of("timm.safetensors"));
  };
  const Checkpoint layers =
      with_heads({{"head.0.weight", {8, 16}}, {"head.2.weight", {5, 8}}, {"fc.norm.bias", {4}}});
  CHECK(class_count(layers.config) == 0);
  CHECK(reason_of(layers, "head.2.weight") == "a head that is not one linear layer");
  CHECK(reason_of(layers, "fc.norm.bias") == "a head that is not one linear layer");
  const Checkpoint wide = with_heads({{"head.weight", {5, 64}}, {"head.bias", {5}}});
  CHECK(class_count(wide.config) == 0);
  CHECK(reason_of(wide, "head.weight") ==
        "stands beside the trunk and is no head of its 16 features: (5, 64)");
  CHECK(reason_of(wide, "head.bias") == reason_of(wide, "head.weight"));
  CHECK_THROWS_WITH_AS(with_heads({{"head.weight", {5, 16}}, {"fc.weight", {5, 16}}}),
                       doctest::Contains("are both 'head.weight'"), Error);
  CHECK(reason_of(with_heads({{"loss.weight", {5}}}), "loss.weight") == "stands beside the net");
}

TEST_CASE("dialects: a distillation token that no head looks at is a token among the others") {
  TensorFile file = load_tensors(path_of("deit-distilled.pth"));
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("head_dist."); });
  const Checkpoint found = canonical_form(file, told_of("deit-distilled.pth"));
  const auto& config = std::get<VitConfig>(found.config);
  CHECK(!config.distillation_token);
  CHECK(config.registers == 1);
  CHECK(config.pooled_tokens() == 1);
  CHECK(found.origin.at("reg_token") == "dist_token");
  CHECK(found.facts.preprocess == "deit");
  // Half of that head, and no head at all, are what they were.
  file.tensors["head_dist.bias"] = Tensor::zeros({5}, DType::f32).seal();
  CHECK_THROWS_WITH_AS(canonical_form(file, told_of("deit-distilled.pth")),
                       doctest::Contains("no tensor 'head_dist.weight'"), Error);
  std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("head"); });
  CHECK(std::get<VitConfig>(canonical_form(file, told_of("deit-distilled.pth")).config).distillation_token);
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
