// hub_config_test.cpp: the config.json beside a checkpoint, and what it says against the weights.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/containers/tensor_file.h"
#include "engine/file.h"
#include "engine/text.h"
#include "models/training/pretrained.h"
#include "tests/op_checks.h"

using namespace vitrine;

namespace {

using Json = nlohmann::json;

const Json vit{{"model_type", "vit"},      {"hidden_size", 16},       {"num_hidden_layers", 2},
               {"num_attention_heads", 2}, {"intermediate_size", 24}, {"patch_size", 4},
               {"image_size", 12},         {"hidden_act", "gelu"}};
const Json swin{{"model_type", "swin"}, {"embed_dim", 8},  {"depths", {2, 2}}, {"num_heads", {2, 4}},
                {"window_size", 4},     {"patch_size", 4}, {"mlp_ratio", 4.0}, {"image_size", 224}};

// What is said against the file; empty if they agree. `beside`: the config.json lies in its folder.
std::string contradiction(const std::string& file, Json config, bool beside = true) {
  try {
    const HubConfig hub = hub_config_from_json(config.dump(), "config.json");
    Facts facts = hub.facts;
    if (!facts.heads) facts.heads = 2;
    TensorFile tensors = load_tensors(std::string(VITRINE_GOLDEN "/dialects/") + file);
    tensors.name = file;
    check_agreement(hub, beside, canonical_form(std::move(tensors), facts), "config.json");
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

// timm's, for a small net of two heads (a Swin of 2 and 4) and pictures of this size.
Json timm(const char* architecture, int64_t size) {
  const bool swin = std::string_view(architecture).starts_with("swin");
  const Json vit_arguments{{"num_heads", 2}, {"embed_dim", 16}, {"patch_size", 4}},
      swin_arguments{{"num_heads", {2, 4}}, {"embed_dim", 8}, {"depths", {2, 2}}, {"window_size", 4}};
  return {{"architecture", architecture},
          {"model_args", swin ? swin_arguments : vit_arguments},
          {"pretrained_cfg", {{"input_size", {3, size, size}}, {"mean", {0, 0, 0}}, {"std", {1, 1, 1}}}}};
}

Json with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return config;
}

}  // namespace

TEST_CASE("config.json: what it says of a ViT's shapes must be so") {
  const std::string file = "hf-vit.safetensors";
  CHECK(contradiction(file, vit).empty());
  CHECK(contradiction(file, {{"model_type", "vit"}, {"num_attention_heads", 2}})
            .empty());  // it need not say much
  CHECK(contradiction(file, with(vit, "image_size", 15))
            .empty());  // the patch does not divide it: whole patches
  CHECK(contradiction(file, with(vit, "image_size", {12, 12})).empty());
  for (const auto& [field, value, rest] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"hidden_size", 768, "has width 16"},
           {"num_hidden_layers", 12, "has depth 2"},
           {"intermediate_size", 3072, "has mlp_width 24"},
           {"patch_size", 32, "has patch 4"},
           {"image_size", 224, "has image_size 12"},
           {"image_size", 11, "has image_size 12"},
           {"qkv_bias", false, "has qkv_bias true"}}) {
    CAPTURE(field);
    const std::string got = contradiction(file, with(vit, field, value));
    CHECK(got.starts_with(text("config.json: {} is ", field)));
    CHECK(got.ends_with(text("but hf-vit.safetensors {}", rest)));
  }
  CHECK(contradiction(file, with(vit, "hidden_size", 768)) ==
        "config.json: hidden_size is 768, but hf-vit.safetensors has width 16");
  CHECK(contradiction(file, with(vit, "image_size", {16, 64})) ==
        "config.json: image_size is '[16,64]', but only squares are known");
  CHECK(contradiction(file, with(vit, "num_attention_heads", 3)) ==
        "config.json: num_attention_heads 3 does not divide hidden_size 16");
  CHECK(contradiction(file, {{"model_type", "vit"}, {"num_attention_heads", 3}}) ==
        "hf-vit.safetensors: 3 attention heads do not divide its width 16");
  for (const Json& wrong : {Json("16"), Json(-1), Json(1.5), Json({1, 2, 3})})
    for (const char* field : {"hidden_size", "image_size"})
      CHECK_MESSAGE(contradiction(file, with(vit, field, wrong)).starts_with(text("config.json: {}", field)),
                    contradiction(file, with(vit, field, wrong)));
}

TEST_CASE("config.json: queries, keys and values have biases unless it says otherwise") {
  const auto without = [](const Json& config) {
    TensorFile file = load_tensors(VITRINE_GOLDEN "/dialects/hf-vit.safetensors");
    std::erase_if(file.tensors, [](const auto& entry) {
      return entry.first.find("attention.attention.") != std::string::npos && entry.first.ends_with(".bias");
    });
    file.name = "a.safetensors";
    const HubConfig hub = hub_config_from_json(config.dump(), "config.json");
    check_agreement(hub, true, canonical_form(std::move(file), hub.facts), "config.json");
  };
  CHECK_THROWS_WITH_AS(
      without(vit),
      "config.json: qkv_bias is not said, which means true, but a.safetensors has qkv_bias false", Error);
  without(with(vit, "qkv_bias", false));
}

TEST_CASE("config.json: what makes no sense is named") {
  const std::string file = "hf-vit.safetensors";
  for (const Json& wrong : {Json(0), Json(-1e-6), Json(1), Json("1e-6"), Json(nullptr)})
    CHECK(contradiction(file, with(vit, "layer_norm_eps", wrong))
              .starts_with("config.json: layer_norm_eps: expected"));
  for (const Json& wrong : {Json(3), Json(nullptr), Json::array()}) {
    CHECK(contradiction(file, with(vit, "hidden_act", wrong))
              .starts_with("config.json: hidden_act: expected a name"));
    CHECK(contradiction(file, with(vit, "model_type", wrong))
              .starts_with("config.json: model_type: expected a name"));
  }
  CHECK_THROWS_WITH_AS(hub_config_from_json(R"({"model_type": "vit", "model_type": "swin"})", "config.json"),
                       "config.json: 'model_type' appears twice", Error);
  CHECK(contradiction(file, with(vit, "num_channels", 3)).empty());
  CHECK(contradiction(file, with(vit, "num_channels", 1)) ==
        "config.json: num_channels is '1', but only pictures of 3 are known");
  CHECK(contradiction(file, {{"model_type", "clip"}}) == "config.json: vision_config: expected an object");
  Json of_timm = timm("vit_x", 12);
  of_timm["pretrained_cfg"]["mean"][2] = "a";
  CHECK(contradiction("timm.safetensors", of_timm) == "config.json: mean: expected three numbers");
  CHECK(contradiction("timm.safetensors", with(of_timm, "architecture", 3))
            .starts_with("config.json: architecture: expected a name"));
}

TEST_CASE("config.json: as many classes as the head has, and what transformers takes for granted") {
  const std::string file = "hf-vit.safetensors", end = ", but hf-vit.safetensors has classes 5";
  const auto names = [](int count) {
    Json labels = Json::object();
    for (int i = 0; i < count; ++i) labels[std::to_string(i)] = text("c{}", i);
    return labels;
  };
  CHECK(contradiction(file, with(vit, "id2label", names(5))).empty());
  CHECK(contradiction(file, with(vit, "id2label", names(3))) ==
        "config.json: id2label is a list of 3 names" + end);
  CHECK(contradiction(file, with(vit, "id2label", nullptr)).empty());
  CHECK(contradiction(file, with(vit, "num_labels", 5)).empty());
  CHECK(contradiction(file, with(vit, "num_labels", 7)) == "config.json: num_labels is 7" + end);
  CHECK(contradiction("hf-dinov2.safetensors",
                      {{"model_type", "dinov2"}, {"num_attention_heads", 2}, {"num_labels", 1000}})
            .empty());  // whose head is left out
  const Json of_timm = timm("vit_tiny_patch16_224", 12);
  CHECK(contradiction("timm.safetensors", with(of_timm, "num_classes", 5)).empty());
  CHECK(contradiction("timm.safetensors", with(of_timm, "num_classes", 0)).empty());
  CHECK(contradiction("timm.safetensors", with(of_timm, "num_classes", 7)) ==
        "config.json: num_classes is 7, but timm.safetensors has classes 5");
  CHECK(contradiction("timm-swin.safetensors",
                      with(timm("swin_tiny_patch4_window7_224", 32), "num_classes", 7)) ==
        "config.json: num_classes is 7, but timm-swin.safetensors has classes 5");
  CHECK(contradiction("timm.safetensors", with(of_timm, "label_names", {"a", "b"})) ==
        "config.json: label_names is a list of 2 names, but timm.safetensors has classes 5");

  CHECK(hub_config_from_json(with(vit, "hidden_act", "gelu_python").dump(), "").facts.gelu == Gelu::erf);
  Json silent = vit;
  silent.erase("num_attention_heads");
  CHECK(contradiction(file, silent) ==
        "config.json: num_attention_heads 12 (as transformers has it where it is not said) does not divide "
        "hidden_size 16");
  const auto folder = std::filesystem::temp_directory_path() / "vitrine-hub-heads";
  std::filesystem::create_directories(folder);
  const std::string words = R"({"model_type": "vit"})", path = (folder / "config.json").string();
  write_file_atomically(path, std::as_bytes(std::span<const char>(words)));
  const auto open = [&](int64_t heads) {
    return make_pretrained(load_tensors(VITRINE_GOLDEN "/dialects/hf-vit.safetensors"),
                           (folder / file).string(), {.heads = heads});
  };
  CHECK_THROWS_WITH_AS(open(0),
                       doctest::Contains(("12 attention heads do not divide its width 16; " + path +
                                          " has no num_attention_heads, which are 12 in transformers then")
                                             .c_str()),
                       Error);
  CHECK(!open(2).backbone.file.tensors.empty());
  std::filesystem::remove_all(folder);
}

TEST_CASE("config.json: what it says of a Swin's shapes must be so") {
  const std::string file = "hf-swin.safetensors";
  CHECK(contradiction(file, swin).empty());  // a Swin takes pictures of any size
  for (const auto& [field, value, rest] :
       std::vector<std::tuple<const char*, Json, const char*>>{{"embed_dim", 96, "has width 8"},
                                                               {"depths", {2, 2, 6, 2}, "has depths [2,2]"},
                                                               {"num_heads", {3, 6}, "has heads [2,4]"},
                                                               {"window_size", 7, "has window 4"},
                                                               {"patch_size", 2, "has patch 4"},
                                                               {"mlp_ratio", 2.0, "has mlp_ratio 4"}}) {
    CAPTURE(field);
    CHECK(contradiction(file, with(swin, field, value)).ends_with(text("but hf-swin.safetensors {}", rest)));
  }
}

TEST_CASE("config.json: it is of the net and of the program whose names the file has") {
  const auto of = [](const char* type) { return Json{{"model_type", type}, {"num_attention_heads", 2}}; };
  const std::string ask =
      "; give --backbone-config with the model's config.json or the name of its family, which may be swin or "
      "timm-swin";
  CHECK(contradiction("swin.pth", of("vit")) ==
        "config.json: model_type is 'vit', but swin.pth is a Swin in its authors' names: Swin, width 8, "
        "depths 2-2, "
        "heads 2-4, window 4, patch 4, 32 pixels" +
            ask);
  CHECK(
      contradiction("hf-vit.safetensors", of("swin")).starts_with("config.json: model_type is 'swin', but "));
  CHECK(contradiction("swin.pth", of("swin")).starts_with("config.json: model_type is 'swin', but "));
  CHECK(contradiction("timm.safetensors", of("vit")).starts_with("config.json: model_type is 'vit', but "));
  // Named by a user, it may be another program's.
  CHECK(contradiction("swin.pth", of("swin"), false).empty());
  CHECK(contradiction("timm.safetensors", of("vit"), false).empty());
  CHECK(
      contradiction("timm.safetensors", with(of("vit"), "hidden_size", 8), false).ends_with("has width 16"));
  CHECK(!contradiction("swin.pth", of("vit"), false).empty());

  const Json clip{{"model_type", "clip"}, {"vision_config", of("clip_vision_model")}};
  CHECK(contradiction("hf-clip.safetensors", clip).empty());
  CHECK(contradiction("clip.pt", clip).empty());  // LAION's repositories hold both
  CHECK(!contradiction("hf-siglip.safetensors", clip).empty());
  const Json siglip{{"model_type", "siglip"}, {"vision_config", of("siglip_vision_model")}};
  CHECK(contradiction("hf-siglip.safetensors", siglip).empty());
  CHECK(!contradiction("hf-clip.safetensors", siglip).empty());
  CHECK(!contradiction("clip.pt", siglip).empty());

  const Json dinov2{{"model_type", "dinov2"}, {"hidden_size", 16},      {"num_attention_heads", 2},
                    {"mlp_ratio", 2},         {"use_swiglu_ffn", true}, {"image_size", 12}};
  CHECK(contradiction("hf-dinov2.safetensors", dinov2).empty());  // (2 16 2/3 + 7) / 8 8 = 24
  CHECK(contradiction("hf-dinov2.safetensors", with(dinov2, "mlp_ratio", 4)) ==
        "config.json: mlp_ratio is 4, but hf-dinov2.safetensors has mlp_width 24");
  CHECK(contradiction("hf-dinov2.safetensors", with(dinov2, "num_register_tokens", 4)) ==
        "config.json: num_register_tokens is 4, but hf-dinov2.safetensors has registers 0");
  CHECK(contradiction("hf-dinov2.safetensors", with(dinov2, "qkv_bias", true)).empty());
  CHECK(!contradiction("hf-dinov2.safetensors", of("vit")).empty());
  CHECK(!contradiction("hf-vit.safetensors", of("dinov2")).empty());
  CHECK(contradiction("hf-deit.safetensors", of("deit")).empty());
}

TEST_CASE("config.json: timm's, too, and families") {
  const auto of = [](const char* architecture, int64_t size) { return timm(architecture, size); };
  CHECK(contradiction("timm.safetensors", of("vit_tiny_patch16_224", 12)).empty());
  CHECK(contradiction("timm.safetensors", of("vit_tiny_patch16_224", 16)) ==
        "config.json: input_size is [3,16,16], but timm.safetensors has image_size 12");
  CHECK(contradiction("timm-swin.safetensors", of("swin_tiny_patch4_window7_224", 224)).empty());
  CHECK(contradiction("timm.safetensors", of("swin_tiny_patch4_window7_224", 12))
            .starts_with(
                "config.json: architecture is 'swin_tiny_patch4_window7_224', but timm.safetensors is"));
  CHECK(!contradiction("timm-swin.safetensors", of("vit_tiny_patch16_224", 32)).empty());
}

TEST_CASE("config.json: what timm's architectures tell, and which are other nets") {
  const auto facts = [](const std::string& architecture) {
    Json config = timm(architecture.c_str(), 224);
    config.erase("model_args");
    return hub_config_from_json(config.dump(), "config.json").facts;
  };
  // The width alone would tell 12 and 24 heads, the family of SigLIP another GELU.
  CHECK(facts("vit_base_patch16_gap_224").heads == 16);
  CHECK(facts("vit_giantopt_patch16_siglip_256").heads == 16);
  CHECK(facts("vit_giant_patch14_dinov2.lvd142m").heads == 24);
  CHECK(facts("vit_base_patch16_224.augreg_in21k").heads == 12);
  for (const char* name : {"vit_base_patch32_siglip_256", "vit_large_patch16_siglip_gap_512.v2_webli",
                           "vit_so400m_patch16_siglip_384", "vit_giantopt_patch16_siglip_gap_384"})
    CHECK(facts(name).gelu == Gelu::tanh);
  for (const char* name : {"vit_base_patch16_siglip_256", "vit_so400m_patch14_siglip_gap_896",
                           "vit_base_patch16_clip_224", "deit3_huge_patch14_224"})
    CHECK(facts(name).gelu == Gelu::erf);
  CHECK(facts("vit_large_patch14_clip_quickgelu_336").gelu == Gelu::quick);
  for (const char* name : {"vit_base_patch16", "vit_base_patch16_224 vit_base_patch16_384", "resnet50", ""}) {
    CHECK(!facts(name).gelu);
    CHECK(!facts(name).heads);
  }

  const std::string file = "timm.safetensors";
  for (const char* other : {"vit_base_patch16_rpn_224.sw_in1k", "resnet50", "vit_base_patch16_xp_224",
                            "vit_small_patch16_18x2_224", "vit_pwee_patch16_reg1_gap_256",
                            "vit_base_patch16_clip_224", "vit_base_patch16_siglip_224", "vit_new"}) {
    const std::string got = contradiction(file, timm(other, 12));
    CHECK(got.starts_with(text("config.json: architecture is '{}', but timm.safetensors is a ViT", other)));
    CHECK(got.find("which may be augreg, deit") != std::string::npos);
  }
  CHECK(contradiction(file, timm("vit_base_patch16_224_miil", 12)) ==
        "config.json: architecture is vit_base_patch16_224_miil, but timm.safetensors has qkv_bias true");
  CHECK(contradiction("clip.pt", timm("vit_base_patch16_clip_quickgelu_224", 12)).empty());
}

TEST_CASE("config.json: what the name of timm's architecture says must be so") {
  // Real widths, on nets of them with a depth of one.
  const auto net = [](int64_t width, int64_t patch, int64_t registers, bool distilled, bool scaled) {
    VitConfig config{.image_size = 3 * patch,
                     .patch = patch,
                     .width = width,
                     .depth = 1,
                     .heads = 1,
                     .mlp_width = 4 * width,
                     .classes = 0};
    config.registers = registers;
    config.distillation_token = distilled;
    config.layer_scale = scaled;
    Parameters parameters;
    const Vit unused(config, trainable(parameters, 1));
    TensorFile file;
    file.name = "net";
    for (const Parameter& p : parameters.all()) file.tensors[p.name] = p.value.value();
    return file;
  };
  const auto said = [](const TensorFile& file, const char* architecture, const Json& more = {}) {
    const int64_t patch = file.at("patch_embed.proj.weight").dim(3);
    Json config{{"architecture", architecture},
                {"pretrained_cfg",
                 {{"input_size", {3, 3 * patch, 3 * patch}}, {"mean", {0, 0, 0}}, {"std", {1, 1, 1}}}}};
    if (!more.is_null()) config.update(more);
    try {
      const HubConfig hub = hub_config_from_json(config.dump(), "config.json");
      check_agreement(hub, true, canonical_form(file, hub.facts), "config.json");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const TensorFile tiny = net(192, 16, 0, false, false);
  CHECK(said(tiny, "vit_tiny_patch16_224.augreg_in21k").empty());
  CHECK(said(tiny, "deit_tiny_patch16_224").empty());
  CHECK(said(tiny, "deit_tiny_distilled_patch16_224") ==
        "config.json: architecture is deit_tiny_distilled_patch16_224, but net has distillation_token false");
  // Heads that divide the width are not enough.
  CHECK(said(tiny, "vit_large_patch16_224") ==
        "config.json: architecture is vit_large_patch16_224, but net has width 192");
  for (const char* other : {"deit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch32_224",
                            "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"})
    CHECK(said(tiny, other).starts_with(text("config.json: architecture is {}, but net has ", other)));
  CHECK(said(net(192, 32, 0, false, false), "vit_tiny_patch16_224").ends_with("but net has patch 32"));
  CHECK(said(net(384, 16, 0, false, false), "deit3_small_patch16_224")
            .ends_with("but net has layer_scale false"));
  CHECK(said(net(384, 14, 4, false, true), "vit_small_patch14_reg4_dinov2").empty());
  CHECK(said(net(384, 14, 4, false, true), "vit_small_patch14_dinov2").ends_with("but net has registers 4"));
  // What else it says.
  CHECK(said(tiny, "vit_tiny_patch16_224", {{"num_features", 192}}).empty());
  CHECK(said(tiny, "vit_tiny_patch16_224", {{"num_features", 384}}) ==
        "config.json: num_features is 384, but net has width 192");
  CHECK(said(tiny, "vit_tiny_patch16_224", {{"model_args", {{"mlp_ratio", 4}}}}).empty());
  CHECK(said(tiny, "vit_tiny_patch16_224", {{"model_args", {{"mlp_ratio", 3}}}}) ==
        "config.json: model_args: mlp_ratio is 3, but net has mlp_width 768");
  CHECK(said(tiny, "vit_tiny_patch16_224", {{"model_args", {{"img_size", 384}}}}) ==
        "config.json: model_args: img_size is 384, but net has image_size 48");
  CHECK(
      said(tiny, "vit_large_patch16_224", {{"model_args", {{"embed_dim", 192}, {"num_heads", 3}}}}).empty());
  Json grey{{"architecture", "vit_tiny_patch16_224"},
            {"pretrained_cfg", {{"input_size", {1, 48, 48}}, {"mean", {0, 0, 0}}, {"std", {1, 1, 1}}}}};
  CHECK_THROWS_WITH_AS(hub_config_from_json(grey.dump(), "config.json"),
                       "config.json: input_size: expected [3, n, n], got '[1,48,48]'", Error);

  const std::string swin_file = "timm-swin.safetensors";
  CHECK(contradiction(swin_file, timm("swin_tiny_patch4_window7_224", 32)).empty());
  Json plain = timm("swin_large_patch4_window12_384", 32);
  plain.erase("model_args");
  CHECK(contradiction(swin_file, plain) ==
        "config.json: architecture is swin_large_patch4_window12_384, but timm-swin.safetensors has width 8");
  for (const char* other : {"swin_s3_tiny_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224"})
    CHECK(
        contradiction(swin_file, timm(other, 32))
            .starts_with(text("config.json: architecture is '{}', but timm-swin.safetensors is a ", other)));
}

TEST_CASE("config.json: timm's pooling and arguments are honoured or refused") {
  const std::string file = "timm.safetensors";
  const Json plain = timm("vit_tiny_patch16_224", 12);
  const auto argument = [&](const char* key, const Json& value) {
    Json config = plain;
    config["model_args"][key] = value;
    return config;
  };
  CHECK(contradiction(file, with(plain, "global_pool", "token")).empty());
  CHECK(contradiction(file, with(plain, "global_pool", "")).empty());
  CHECK(contradiction(file, with(plain, "global_pool", "avg")) ==
        "config.json: global_pool is \"avg\", but timm.safetensors has pooling \"token\"");
  CHECK(contradiction("mae-tuned.pth", with(timm("vit_base_patch16_224", 12), "global_pool", "avg")).empty());
  CHECK(contradiction(file, with(plain, "global_pool", "max"))
            .starts_with("config.json: global_pool is '\"max\"', not token, avg or map"));
  const auto gelu = [&](const char* name) {
    return hub_config_from_json(argument("act_layer", name).dump(), "config.json").facts.gelu;
  };
  CHECK(gelu("gelu") == Gelu::erf);
  CHECK(gelu("gelu_tanh") == Gelu::tanh);
  CHECK(gelu("quick_gelu") == Gelu::quick);
  CHECK(contradiction(file, argument("act_layer", "relu")).ends_with("which is no form of GELU"));
  CHECK(hub_config_from_json(argument("num_heads", 8).dump(), "config.json").facts.heads == 8);
  for (const auto& [key, good, wrong] :
       std::vector<std::tuple<const char*, Json, Json>>{{"embed_dim", 16, 192},
                                                        {"depth", 2, 12},
                                                        {"patch_size", 4, 16},
                                                        {"class_token", true, false},
                                                        {"reg_tokens", 0, 4},
                                                        {"global_pool", "token", "map"},
                                                        {"qkv_bias", true, false},
                                                        {"pre_norm", false, true},
                                                        {"init_values", nullptr, 1e-5}}) {
    CAPTURE(key);
    CHECK(contradiction(file, argument(key, good)).empty());
    CHECK(contradiction(file, argument(key, wrong)).find(", but timm.safetensors has ") != std::string::npos);
  }
  CHECK(contradiction(file, argument("drop_path_rate", 0.1)).empty());
  CHECK(contradiction(file, argument("qk_norm", true)) ==
        "config.json: model_args: qk_norm is 'true', and what it makes of the net is not known");
  CHECK(
      contradiction(file, argument("class_token", 3)).starts_with("config.json: model_args: class_token: "));
  CHECK(contradiction(file, with(plain, "model_args", 3)) == "config.json: model_args: expected an object");
}

TEST_CASE("config.json: with timm's, a file is timm's at other sizes, too") {
  const auto folder = std::filesystem::temp_directory_path() / "vitrine-hub-config";
  std::filesystem::create_directories(folder);
  Json config = timm("vit_tiny_patch16_224", 12);
  const auto opened = [&](const std::string& file, int64_t size) {
    write_file_atomically((folder / "config.json").string(),
                          {std::as_bytes(std::span<const char>(config.dump()))});
    return make_pretrained(load_tensors(VITRINE_GOLDEN "/dialects/" + file), (folder / file).string(),
                           {.image_size = size});
  };
  for (const char* file : {"timm.safetensors", "deit-distilled.pth", "mae.pth", "dino.pth"}) {
    config["architecture"] = std::string_view(file).starts_with("deit") ? "deit_tiny_distilled_patch16_224"
                                                                        : "vit_tiny_patch16_224";
    CHECK(opened(file, 20).positions.ends_with("resampled to 5 x 5 as bicubic-antialias"));
  }
  CHECK(opened("mae.pth", 0).backbone.file.metadata.at("positions") == "bicubic-antialias");
  for (const double share : {0.9, 0.875, 0.95, 1.0}) {
    config["pretrained_cfg"]["crop_pct"] = share;
    for (const int64_t size : {12, 24, 28, 36, 100, 280, 392}) {
      const Pretrained got = opened("timm.safetensors", size);
      CHECK(preprocess_from_json(got.backbone.file.metadata.at("preprocess")).resize ==
            resize_before_crop(static_cast<int>(size), share));
      // Converted, it is the same net at other sizes.
      TensorFile file = got.backbone.file;
      const Pretrained again = make_pretrained(file, "", {.image_size = 280});
      CHECK(preprocess_from_json(again.backbone.file.metadata.at("preprocess")).resize ==
            resize_before_crop(280, share));
    }
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("config.json: of a folder where one happens to work it says nothing of bytes that are no file") {
  const auto before = std::filesystem::current_path();
  const auto folder = std::filesystem::temp_directory_path() / "vitrine-hub-elsewhere";
  std::filesystem::create_directories(folder);
  const std::string words = R"({"model_type": "bert"})";
  write_file_atomically((folder / "config.json").string(), std::as_bytes(std::span<const char>(words)));
  const TensorFile file = load_tensors(VITRINE_GOLDEN "/dialects/timm.safetensors");
  std::filesystem::current_path(folder);
  CHECK(make_pretrained(file, "the host's bytes", {.heads = 2}).told_by.empty());
  write_file_atomically("model.safetensors",
                        std::as_bytes(std::span<const char>(words)));  // now there is one
  CHECK_THROWS_AS(make_pretrained(file, "model.safetensors", {.heads = 2}), Error);
  std::filesystem::current_path(before);
  std::filesystem::remove_all(folder);
}

TEST_CASE("families: docs/families.md is the table of the code") {
  std::ifstream file(VITRINE_GOLDEN "/../../docs/families.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const auto name = [](Gelu gelu) {
    return gelu == Gelu::erf ? "erf" : gelu == Gelu::tanh ? "tanh" : "quick";
  };
  std::string rows;
  for (const std::string& family : family_names()) {
    const Facts facts = facts_of_family(family);
    rows += text("| `{}` | {}, {}{} | `{}` |\n", family, *facts.epsilon, name(*facts.gelu),
                 facts.heads ? text(", {} heads", *facts.heads) : "", facts.preprocess);
  }
  CHECK_MESSAGE(page.find(rows) != std::string::npos, "expected in docs/families.md:\n", rows);
  rows.clear();
  for (const PreprocessPreset& preset : preprocess_presets())
    rows += text("| `{}` | {} | {} |\n", preset.name, preset.whose, describe(preset.preprocess));
  CHECK_MESSAGE(page.find(rows) != std::string::npos, "expected in docs/families.md:\n", rows);
}

TEST_CASE("families: one whose files have other names or another form is refused with those that fit") {
  const auto by_family = [](const std::string& file, const std::string& family) {
    try {
      make_pretrained(load_tensors(std::string(VITRINE_GOLDEN "/dialects/") + file), file,
                      {.heads = 2, .config = family});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(by_family("swin.pth", "swin").empty());
  CHECK(by_family("swin.pth", "deit") ==
        "--backbone-config: deit is a family of ViTs, but swin.pth is a Swin in its authors' names");
  CHECK(by_family("timm.safetensors", "timm-swin") ==
        "--backbone-config: timm-swin is a family of Swins, but timm.safetensors is a ViT in timm's names");

  // What is asked for and what is taken are the same table, for every dialect.
  int taken = 0, refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(VITRINE_GOLDEN "/dialects")) {
    const std::string file = entry.path().filename().string();
    if (file == "expected.safetensors") continue;
    const TensorFile tensors = load_tensors(entry.path().string());
    const bool told = file.find("swin") != std::string::npos || file == "google.npz";
    const Checkpoint found = canonical_form(tensors, told ? Facts{} : Facts{.heads = 2});
    const std::vector<std::string> fit = families_of(found.dialect, found.config);
    const bool swin = std::holds_alternative<SwinConfig>(found.config);
    for (const std::string& family : family_names()) {
      CAPTURE(file);
      CAPTURE(family);
      if (is_swin_family(family) != swin) continue;
      std::string message;
      try {
        make_pretrained(tensors, file, {.heads = swin ? 0 : 2, .config = family});
      } catch (const Error& e) {
        message = e.what();
      }
      if (std::ranges::find(fit, family) != fit.end()) {
        CHECK(message.empty());
        ++taken;
      } else {
        CHECK(message.starts_with("--backbone-config: " + family + " has no such files as " + file + ", a "));
        CHECK(message.ends_with(fit.empty() ? "no family has: give the model's config.json"
                                            : "that have are " + listed(fit, "and")));
        ++refused;
      }
    }
  }
  CHECK(taken > 0);
  CHECK(refused > 0);
}
