// dialect_facts_test.cpp: what a file tells by the tensors that it has beside the others', for files made from those of
// golden/dialects by taking tensors away and giving some more.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/containers/tensor_file.h"
#include "models/checkpoints/checkpoint.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

using Tensors = std::map<std::string, Tensor>;

TensorFile load(const std::string& file) {
  return load_tensors(std::string(VITRINE_GOLDEN "/dialects/") + file);
}

// The backbone under timm's names, which are Vitrine's own without their configuration.
TensorFile in_timms_names(const std::string& file, const Facts& given) {
  TensorFile canonical = canonical_form(load(file), given).file;
  canonical.metadata.clear();
  return canonical;
}

Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, DType::f32).seal(); }

template <class Change>
Facts facts_of(TensorFile file, Change change) {
  change(file.tensors);
  return canonical_form(std::move(file), {.heads = 2}).facts;
}
Facts facts_of(TensorFile file) {
  return facts_of(std::move(file), [](Tensors&) {});
}

std::string message_of(TensorFile file, const Facts& given = {.heads = 2}) {
  try {
    canonical_form(std::move(file), given);
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

const Facts told{.heads = 2, .epsilon = 1e-6, .gelu = Gelu::erf};

}  // namespace

TEST_CASE("dialects: families that share timm's names differ by what they have") {
  const TensorFile plain = load("timm.safetensors");
  CHECK(facts_of(plain).preprocess.empty());
  CHECK(facts_of(plain).positions == PositionFilter::bicubic_antialias);

  const Facts clip = facts_of(in_timms_names("hf-clip.safetensors", told));
  CHECK(clip.preprocess == "clip");
  CHECK(clip.epsilon == 1e-5);
  CHECK(!clip.gelu);  // OpenAI's is not LAION's
  const Facts siglip = facts_of(in_timms_names("hf-siglip.safetensors", told));
  CHECK(siglip.preprocess == "siglip");
  CHECK(siglip.epsilon == 1e-6);
  CHECK(!siglip.gelu);  // timm's is not the paper's

  const Facts miil = facts_of(plain, [](Tensors& t) {
    std::erase_if(t, [](const auto& entry) { return entry.first.ends_with("attn.qkv.bias"); });
  });
  CHECK(miil.preprocess == "miil");
  const Facts dino = facts_of(plain, [](Tensors& t) {
    t["head.last_layer.weight_g"] = zeros({1, 1});
    t.erase("head.weight");
    t.erase("head.bias");
  });
  CHECK(dino.preprocess == "dino");
  CHECK(dino.positions == PositionFilter::bicubic_offset);

  // LayerScale alone is nobody's; with the token for masked patches it is DINOv2's.
  const auto scaled = [](Tensors& t) {
    for (const char* name :
         {"blocks.0.ls1.gamma", "blocks.0.ls2.gamma", "blocks.1.ls1.gamma", "blocks.1.ls2.gamma"})
      t[name] = t.at("norm.weight");
  };
  CHECK(facts_of(plain, scaled).preprocess.empty());
  const Facts dinov2 = facts_of(plain, [&](Tensors& t) {
    scaled(t);
    t["mask_token"] = zeros({1, 16});
  });
  CHECK(dinov2.preprocess == "dinov2");
  CHECK(dinov2.positions == PositionFilter::bicubic_offset);
  const Facts registers = facts_of(plain, [&](Tensors& t) {
    scaled(t);
    t["register_tokens"] = zeros({1, 2, 16});
  });
  CHECK(registers.preprocess == "dinov2");
  CHECK(registers.positions == PositionFilter::bicubic_antialias);
}

TEST_CASE(
    "dialects: CLIP's heads are 64 wide where its own width allows, DINOv2's registers change the filter") {
  TensorFile clip = load("clip.pt");
  for (auto& [name, tensor] : clip.tensors) {  // four times as wide
    std::vector<int64_t> extents;
    for (int d = 0; d < tensor.shape().rank(); ++d) {
      const int64_t extent = tensor.shape().dim(d);
      extents.push_back(extent == 16 ? 64 : extent == 48 ? 192 : extent);
    }
    if (name.find("input_resolution") == std::string::npos)
      tensor = zeros(Shape{std::span<const int64_t>(extents)});
  }
  const Checkpoint wide = canonical_form(std::move(clip));
  CHECK(wide.facts.heads == 1);
  CHECK(std::get<VitConfig>(wide.config).width == 64);

  const auto filter = [](bool with_registers) {
    TensorFile file = load("hf-dinov2.safetensors");
    std::string tokens;
    for (const auto& [name, tensor] : file.tensors)
      if (name.ends_with("register_tokens")) tokens = name;
    if (!with_registers) {
      std::erase_if(file.tensors, [&](const auto& entry) { return entry.first == tokens; });
    } else if (tokens.empty()) {
      for (const auto& [name, tensor] : Tensors(file.tensors))
        if (name.ends_with("cls_token"))
          file.tensors[name.substr(0, name.size() - 9) + "register_tokens"] = zeros({1, 2, 16});
    }
    return facts_of(std::move(file)).positions;
  };
  CHECK(filter(true) == PositionFilter::bicubic_antialias);
  CHECK(filter(false) != PositionFilter::bicubic_antialias);
}

TEST_CASE("dialects: attributes of wrapped modules are no tensors, tensors of one name are refused") {
  TensorFile file = load("timm.safetensors");
  TensorFile wrapped;
  wrapped.name = "wrapped";
  for (const auto& [name, tensor] : file.tensors) wrapped.tensors["module." + name] = tensor;
  wrapped.objects = {{"_non_persistent_buffers_set", "it is a set"},
                     {"module._non_persistent_buffers_set", "it is a set"},
                     {"norm.bias", "it is an object"}};
  CHECK(canonical_form(wrapped, {.heads = 2}).file.tensors.size() == file.tensors.size());
  wrapped.tensors["norm.bias"] = file.at("norm.bias");
  wrapped.objects.clear();
  CHECK(message_of(wrapped).find("are the same one") != std::string::npos);
}

TEST_CASE("dialects: heads that no backbone of ours has are left out") {
  TensorFile google = load("google.npz");
  google.tensors["pre_logits/kernel"] = zeros({16, 16});
  google.tensors["pre_logits/bias"] = zeros({16});
  const Checkpoint found = canonical_form(std::move(google));
  CHECK(class_count(found.config) == 0);
  CHECK(std::ranges::any_of(found.left_out, [](const LeftOut& out) {
    return out.name == "head/kernel" && out.reason == "stands behind a layer that backbones do without";
  }));
}

TEST_CASE("dialects: the class token's row is folded into it where registers stand between") {
  // As DINOv2 has them: positions for the class token and the patches, registers without.
  TensorFile file = load("timm.safetensors");
  const Tensor token = file.at("cls_token"), positions = file.at("pos_embed");
  file.tensors["reg_token"] = zeros({1, 2, 16});
  const auto folded = [&](const Tensors& tensors) {
    TensorFile changed;
    changed.tensors = tensors;
    return canonical_form(std::move(changed), {.heads = 2}).file;
  };
  const TensorFile out = folded(file.tensors);
  CHECK(out.at("pos_embed").dim(1) == positions.dim(1) - 1);
  const auto sum = out.at("cls_token").data<float>(), a = token.data<float>(), b = positions.data<float>();
  for (size_t i = 0; i < sum.size(); ++i)
    CHECK(sum[i] == static_cast<float>(static_cast<double>(a[i]) + static_cast<double>(b[i])));
  Tensors wide = file.tensors;
  for (auto& [name, tensor] : wide) tensor = tensor.to(DType::f64).seal();
  CHECK(folded(wide).at("cls_token").dtype() == DType::f64);

  // Other shapes stay, and are refused or taken for what they are.
  const auto refused = [&](const std::string& name, const Tensor& tensor) {
    TensorFile changed = file;
    changed.tensors[name] = tensor;
    return message_of(std::move(changed));
  };
  const int64_t rows = positions.dim(1);
  CHECK(!refused("pos_embed", zeros({rows, 16})).empty());
  CHECK(!refused("pos_embed", zeros({2, rows, 16})).empty());
  CHECK(!refused("cls_token", zeros({1, 2, 16})).empty());
  CHECK(!refused("pos_embed", zeros({1, rows + 1, 16})).empty());
  CHECK(refused("cls_token", token.to(DType::f64).seal())
            .ends_with("class token and position embedding are of different types"));
  CHECK(refused("pos_embed", zeros({1, rows - 1, 16})).empty());  // as timm keeps them: folded already
  CHECK(refused("pos_embed", zeros({1, rows + 2, 16})).empty());  // with rows for the registers
  Tensors tokenless = file.tensors;
  tokenless.erase("cls_token");
  TensorFile without;
  without.tensors = tokenless;
  CHECK(!message_of(std::move(without)).empty());
}

TEST_CASE("dialects: names that are far from any, and files without a name") {
  TensorFile file = load("timm.safetensors");
  file.name.clear();
  CHECK(message_of(file, {}) ==
        "checkpoint: how many attention heads? Shapes cannot tell for width 16; give --heads");
  file.tensors["qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"] = zeros({1});
  CHECK(message_of(file).ends_with("belongs to no ViT in timm's names"));
  TensorFile numbered = load("hf-vit.safetensors");
  numbered.tensors["vit.encoder.layer.12345.layernorm_after.bias"] = zeros({1});
  CHECK(message_of(std::move(numbered)).find("12345") != std::string::npos);
  TensorFile nameless = load("hf-vit.safetensors");
  nameless.name.clear();
  std::string asked;
  try {
    settled(canonical_form(std::move(nameless), {.heads = 2}));
  } catch (const Error& e) {
    asked = e.what();
  }
  CHECK(asked.starts_with("checkpoint: is a ViT in Hugging Face's names, which does not tell "));
  CHECK_THROWS_WITH_AS(
      facts_of_family("qqqqqqqqqqqqqqqqqqqqqq"),
      doctest::Contains("no family of checkpoints 'qqqqqqqqqqqqqqqqqqqqqq'; families are augreg, "), Error);
  // big_vision keeps all blocks in one tensor; one that has no blocks is named as it is.
  TensorFile all = load("big-vision.npz");
  for (auto& [name, tensor] : all.tensors)
    if (name.ends_with("LayerNorm_0/bias")) tensor = zeros({4});
  CHECK(message_of(std::move(all)).find("LayerNorm_0/bias") != std::string::npos);
}

TEST_CASE("dialects: shapes that make no sense are refused, and small ones are what they are") {
  const std::string file = "timm.safetensors", swin = "swin.pth";
  const auto changed = [](const std::string& from, const std::string& name, const Shape& shape) {
    TensorFile out = load(from);
    out.name = from;
    out.tensors[name] = Tensor::full(shape, 0.5, DType::f32).seal();
    return out;
  };
  const std::string patch = "patch_embed.proj.weight",
                    table = "layers.0.blocks.0.attn.relative_position_bias_table";
  for (const auto& [name, shape, end] : std::vector<std::tuple<std::string, Shape, std::string>>{
           {patch, {16, 1, 4, 4}, "expected (16, 3, 4, 4), got (16, 1, 4, 4)"},
           {patch, {16, 4, 4, 4}, "expected (16, 3, 4, 4), got (16, 4, 4, 4)"},
           {patch, {16, 3, 4, 8}, "expected (16, 3, 8, 8), got (16, 3, 4, 8)"},
           {patch, {16, 3, 0, 4}, "expected 4 extents, none of them 0, got (16, 3, 0, 4)"},
           {patch, {}, "expected filters (D, 3, p, p) or (D, 3 p p), got ()"},
           {patch, {16, 3, 1, 20000}, "vit: image size 60000 is more than 16384"},
           {"pos_embed",
            {1, 13, 16},
            "pos_embed has 12 patch positions, which is no square; other grids are not known"},
           {"pos_embed", {1, 0, 16}, "expected 3 extents, none of them 0, got (1, 0, 16)"},
           {"cls_token", {1, 0, 16}, "got (1, 0, 16)"},
           {"cls_token", {1, 2, 16}, "expected (1, 1, 16), got (1, 2, 16)"},
           {"head.weight", {5}, "expected 2 extents, none of them 0, got (5)"},
           {"blocks.0.mlp.fc1.weight", {0, 16}, "none of them 0, got (0, 16)"}}) {
    const std::string message = message_of(changed(file, name, shape));
    CHECK_MESSAGE(message.starts_with("timm.safetensors: "), message);
    CHECK_MESSAGE(message.ends_with(end), message);
  }
  CHECK(message_of(load(file), {.heads = 3}).ends_with("3 attention heads do not divide its width 16"));
  TensorFile deep = load(file);
  deep.name = file;
  for (int i = 2; i < 1100; ++i) deep.tensors["blocks." + std::to_string(i) + ".norm1.weight"] = zeros({16});
  CHECK(message_of(std::move(deep)).starts_with("timm.safetensors: vit: depth 1100, "));
  for (const auto& [name, shape, end] : std::vector<std::tuple<std::string, Shape, std::string>>{
           {table, {0, 2}, "none of them 0, got (0, 2)"},
           {table, {64, 2}, "a bias table of 64 rows fits no window: (2 w - 1)^2"},
           {table, {49, 3}, "swin: 3 heads do not divide width 8 of stage 0"},
           {"layers.1.blocks.0.attn.relative_position_bias_table",
            {129 * 129, 4},
            "windows of 65 and patches of 4 make no sense"},
           {patch, {8, 1, 4, 4}, "expected (8, 3, 4, 4), got (8, 1, 4, 4)"}}) {
    const std::string message = message_of(changed(swin, name, shape), {});
    CHECK_MESSAGE(message.starts_with("swin.pth: "), message);
    CHECK_MESSAGE(message.ends_with(end), message);
  }
  TensorFile stages = load(swin);
  stages.name = swin;
  for (int s = 2; s < 60; ++s)
    stages.tensors["layers." + std::to_string(s) + ".blocks.0.attn.relative_position_bias_table"] =
        zeros({49, 1});
  CHECK(message_of(std::move(stages), {}) ==
        "swin.pth: 60 stages, windows of 4 and patches of 4 make no sense");

  // A grid of one patch; a block for each row of a tensor, but not more blocks than a net can have.
  TensorFile one = changed(file, "pos_embed", {1, 2, 16});
  CHECK(image_size(canonical_form(std::move(one), told).config) == 4);
  for (const int64_t rows : {int64_t{1025}, int64_t{1} << 40}) {
    TensorFile rolled = load("big-vision.npz");
    rolled.tensors["params/img/Transformer/encoderblock/LayerNorm_0/scale"] = zeros({rows, 0});
    CHECK(message_of(std::move(rolled)).find("expected a row for each of at most 1024 blocks") !=
          std::string::npos);
  }
  TensorFile many = load("big-vision.npz");
  for (int i = 0; i < 70; ++i)
    many.tensors["params/img/Transformer/encoderblock/x" + std::to_string(i)] = zeros({1024, 0});
  CHECK(message_of(std::move(many)).find("expected a row for each of at most 1024 blocks") !=
        std::string::npos);
}

TEST_CASE("dialects: a bias that its program always has is missed by name") {
  const auto without = [](const std::string& file, const std::string& part) {
    TensorFile changed = load(file);
    changed.name = file;
    const size_t erased = std::erase_if(
        changed.tensors, [&](const auto& e) { return e.first.find(part) != std::string::npos; });
    CHECK(erased > 0);
    return message_of(std::move(changed));
  };
  const auto missed = [&](const std::string& file, const std::string& part, const std::string& name) {
    CAPTURE(file);
    const std::string message = without(file, part);
    CHECK_MESSAGE(message.starts_with(file + ": no tensor '" + name + "' of a "), message);
  };
  const std::string patch = "patch_embed.proj.bias", hf_patch = "embeddings.patch_embeddings.projection.bias";
  for (const char* file : {"timm.safetensors", "deit-iii.pth"}) {
    missed(file, patch, patch);
    missed(file, "head.bias", "head.bias");
  }
  missed("hf-vit.safetensors", hf_patch, "vit." + hf_patch);
  missed("hf-vit.safetensors", "classifier.bias", "classifier.bias");
  missed("hf-siglip.safetensors", "patch_embedding.bias", "vision_model.embeddings.patch_embedding.bias");
  missed("google.npz", "embedding/bias", "embedding/bias");
  missed("google.npz", "head/bias", "head/bias");
  missed("torchvision-vit.pth", "conv_proj.bias", "conv_proj.bias");
  missed("torchvision-vit.pth", "heads.head.bias", "heads.head.bias");
  missed("torchvision-vit.pth", "in_proj_bias", "encoder.layers.encoder_layer_0.self_attention.in_proj_bias");
  CHECK(without("clip.pt", "attn.in_proj_bias").find("attn.in_proj_bias' of a CLIP") != std::string::npos);
  TensorFile jax = load("google.npz");
  std::erase_if(jax.tensors, [](const auto& e) {
    return e.first.ends_with("query/bias") || e.first.ends_with("key/bias") ||
           e.first.ends_with("value/bias");
  });
  CHECK(message_of(std::move(jax)).find("/bias' of a ViT in the names of Google's") != std::string::npos);

  // CLIP has neither, and timm and transformers have ViTs whose queries, keys and values have none.
  CHECK(message_of(load("clip.pt")).empty());
  CHECK(message_of(load("hf-clip.safetensors")).empty());
  CHECK(message_of(load("open-clip-timm.pt")).empty());
  CHECK(without("timm.safetensors", "attn.qkv.bias").empty());
  // A head that somebody put beside a trunk is as it was made.
  TensorFile own = load("timm.safetensors");
  Tensors tensors;
  for (const auto& [name, tensor] : own.tensors)
    if (name != "head.bias") tensors[(name.starts_with("head.") ? "" : "backbone.") + name] = tensor;
  own.tensors = tensors;
  CHECK(message_of(own).empty());
  CHECK(class_count(canonical_form(own, {.heads = 2}).config) == 5);
}

TEST_CASE("dialects: heads that a file's kernels have are no matter of opinion") {
  for (const char* file : {"google.npz", "google-linen.npz", "big-vision.npz"}) {
    CAPTURE(file);
    CHECK(message_of(load(file), {}).empty());
    CHECK(message_of(load(file), {.heads = 2}).empty());
    CHECK(message_of(load(file), {.heads = 4}).ends_with(": its kernels have 2 attention heads, not 4"));
  }
}
