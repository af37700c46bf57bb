// vit_names.cpp: a ViT's weights as timm, Google, Hugging Face, OpenAI and torchvision name them.
#include <array>

#include "engine/check.h"
#include "models/checkpoints/dialects.h"

namespace vitrine {

namespace {

using NameRules = std::vector<NameRule>;

// Queries, keys and values, each in a tensor of its own, become the rows of one. Their names differ in `which`.
void add_qkv(NameRules& rules, const std::string& from, const std::array<const char*, 3>& which,
             const std::string& ending, const std::string& to, Form form = Form::same) {
  int part = 0;
  for (const char* name : which) rules.push_back({text("{}{}{}", from, name, ending), to, form, part++, 3});
}

const std::string block = "blocks.*.";

// timm's names are the canonical ones; DeiT, DeiT-III, MAE, MoCo v3, DINO and DINOv2 have them with a few of their own.
Dialect timm() {
  NameRules rules{{"cls_token", "cls_token", Form::token},
                  {"dist_token", "dist_token", Form::token},
                  {"reg_token", "reg_token", Form::token},
                  {"register_tokens", "reg_token", Form::token},  // DINOv2
                  {"pos_embed", "pos_embed"},
                  {"patch_embed.proj.weight", "patch_embed.proj.weight", Form::patch},
                  {"patch_embed.proj.bias", "patch_embed.proj.bias"},
                  {"attn_pool.latent", "attn_pool.latent"},
                  {"/visual.head.proj.?", "head.?"}};  // open_clip around a ViT of timm's
  for (const char* name :
       {"norm_pre.?", "norm.?", "fc_norm.?", "head.?", "head_dist.?", "attn_pool.q.?", "attn_pool.kv.?",
        "attn_pool.proj.?", "attn_pool.norm.?", "attn_pool.mlp.fc1.?", "attn_pool.mlp.fc2.?"})
    rules.push_back({name, name});
  // DINOv2's training files have blocks in chunks: blocks.CHUNK.BLOCK.
  for (const std::string from : {"blocks.*.", "blocks.#.*."}) {
    for (const char* name : {"norm1.?", "attn.qkv.?", "attn.proj.?", "norm2.?", "mlp.fc1.?", "mlp.fc2.?",
                             "ls1.gamma", "ls2.gamma"})
      rules.push_back({from + name, block + name});
    rules.push_back({from + "mlp.w12.?", block + "mlp.fc1.?"});  // DINOv2's gated MLP
    rules.push_back({from + "mlp.w3.?", block + "mlp.fc2.?"});
    rules.push_back({from + "gamma_1", block + "ls1.gamma"});  // DeiT-III
    rules.push_back({from + "gamma_2", block + "ls2.gamma"});
  }
  return {.name = "timm",
          .signs = {"blocks.0."},
          .naming = {"ViT in timm's names",
                     std::move(rules),
                     {{"pre_logits.**", "a layer in front of the head that is not used any more"},
                      {"mask_token", "stands for hidden patches in training"},
                      {"decoder_**", "MAE's decoder"},
                      {"head.#.**", "the projection of MoCo v3's training"},
                      {"head.mlp.**", "the projection of DINO's training"},
                      {"head.last_layer.**", "the projection of DINO's training"},
                      {"/head.mlp.**", "the projection of DINO's training"},
                      {"/head.last_layer.**", "the projection of DINO's training"},
                      {"/dino_head.**", "the projection of DINOv2's training"},
                      {"/ibot_head.**", "the projection of DINOv2's training"},
                      {"/predictor.**", "the predictor of MoCo v3's training"},
                      {"/text.**", "the text tower"},
                      // open_clip's, whose tower for text may stand beside "visual."
                      {"/transformer.**", "the text tower"},
                      {"/token_embedding.**", "the text tower"},
                      {"/positional_embedding", "the text tower"},
                      {"/ln_final.**", "the text tower"},
                      {"/text_projection", "the text tower"},
                      {"/text_projection.**", "the text tower"},
                      {"/logit_scale", "the text tower's scale"},
                      {"/logit_bias", "the text tower's bias"}}},
          .facts = {}};
}

// JAX's kernels are (in, out), with the heads as an extent of their own. Submodules are numbered by kind (older: in
// one row), which `#` passes over.
Dialect google() {
  NameRules rules{{"cls", "cls_token", Form::token},
                  {"embedding/kernel", "patch_embed.proj.weight", Form::filters},
                  {"embedding/bias", "patch_embed.proj.bias"},
                  {"Transformer/posembed_input/pos_embedding", "pos_embed"},
                  {"pos_embedding", "pos_embed"},  // big_vision
                  {"Transformer/encoder_norm/scale", "norm.weight"},
                  {"Transformer/encoder_norm/bias", "norm.bias"},
                  {"head/kernel", "head.weight", Form::matrix},
                  {"head/bias", "head.bias"},
                  {"MAPHead_0/probe", "attn_pool.latent", Form::token}};
  const auto norm = [&](const std::string& from, const std::string& to) {
    rules.push_back({from + "/scale", to + ".weight"});
    rules.push_back({from + "/bias", to + ".bias"});
  };
  const auto mlp = [&](const std::string& from, const std::string& to) {
    for (const auto& [dense, fc] : {std::pair("/Dense_0/", "fc1"), std::pair("/Dense_1/", "fc2")}) {
      rules.push_back({from + dense + "kernel", to + fc + ".weight", Form::matrix});
      rules.push_back({from + dense + "bias", to + fc + ".bias"});
    }
  };
  const auto out = [&](const std::string& from, const std::string& to) {
    rules.push_back({from + "/out/kernel", to + ".weight", Form::heads_out});
    rules.push_back({from + "/out/bias", to + ".bias"});
  };
  const std::string from = "Transformer/encoderblock_*/", attention = from + "MultiHeadDotProductAttention_#";
  norm(from + "LayerNorm_0", block + "norm1");
  norm(from + "LayerNorm_1", block + "norm2");
  norm(from + "LayerNorm_2", block + "norm2");
  const std::array which{"/query/", "/key/", "/value/"};
  add_qkv(rules, attention, which, "kernel", block + "attn.qkv.weight", Form::heads_in);
  add_qkv(rules, attention, which, "bias", block + "attn.qkv.bias", Form::heads_bias);
  out(attention, block + "attn.proj");
  mlp(from + "MlpBlock_#", block + "mlp.");

  const std::string pool = "MAPHead_0/MultiHeadDotProductAttention_0";  // big_vision, SigLIP
  rules.push_back({pool + "/query/kernel", "attn_pool.q.weight", Form::heads_in});
  rules.push_back({pool + "/query/bias", "attn_pool.q.bias", Form::heads_bias});
  int part = 0;
  for (const char* keys : {"/key/", "/value/"}) {
    rules.push_back({text("{}{}kernel", pool, keys), "attn_pool.kv.weight", Form::heads_in, part, 2});
    rules.push_back({text("{}{}bias", pool, keys), "attn_pool.kv.bias", Form::heads_bias, part, 2});
    ++part;
  }
  out(pool, "attn_pool.proj");
  norm("MAPHead_0/LayerNorm_0", "attn_pool.norm");
  mlp("MAPHead_0/MlpBlock_0", "attn_pool.mlp.");
  return {.name = "google",
          .signs = {"Transformer/encoderblock_0/"},
          .naming = {"ViT in the names of Google's JAX programs",
                     std::move(rules),
                     {{"pre_logits/**", "a layer between the features and the head of ImageNet-21k"},
                      {"/**", "no part of the ViT"}}},
          .facts = {.epsilon = 1e-6,
                    .gelu = Gelu::tanh,
                    .preprocess = "google-vit",
                    .positions = PositionFilter::bilinear_corners}};
}

// ViT, DeiT, ViT-MAE and DINOv2 of transformers, with the names of files on the hub and those since version 5.
Dialect hugging_face() {
  NameRules rules{{"embeddings.cls_token", "cls_token", Form::token},
                  {"embeddings.distillation_token", "dist_token", Form::token},
                  {"embeddings.register_tokens", "reg_token", Form::token},
                  {"embeddings.position_embeddings", "pos_embed"},
                  {"embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight", Form::patch},
                  {"embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"},
                  {"layernorm.?", "norm.?"},
                  {"/classifier.?", "head.?"},
                  {"/cls_classifier.?", "head.?"},
                  {"/distillation_classifier.?", "head_dist.?"}};
  for (const std::string from : {"encoder.layer.*.", "layers.*."}) {
    for (const char* name : {"layernorm_before.?", "norm1.?"})
      rules.push_back({from + name, block + "norm1.?"});
    for (const char* name : {"layernorm_after.?", "norm2.?"})
      rules.push_back({from + name, block + "norm2.?"});
    for (const char* ending : {".weight", ".bias"}) {
      const std::string to = text("{}attn.qkv{}", block, ending);
      add_qkv(rules, from,
              {"attention.attention.query", "attention.attention.key", "attention.attention.value"}, ending,
              to);
      add_qkv(rules, from, {"attention.q_proj", "attention.k_proj", "attention.v_proj"}, ending, to);
    }
    for (const char* name : {"attention.output.dense.?", "attention.o_proj.?"})
      rules.push_back({from + name, block + "attn.proj.?"});
    for (const char* name : {"intermediate.dense.?", "mlp.fc1.?", "mlp.weights_in.?"})
      rules.push_back({from + name, block + "mlp.fc1.?"});
    for (const char* name : {"output.dense.?", "mlp.fc2.?", "mlp.weights_out.?"})
      rules.push_back({from + name, block + "mlp.fc2.?"});
    rules.push_back({from + "layer_scale1.lambda1", block + "ls1.gamma"});
    rules.push_back({from + "layer_scale2.lambda1", block + "ls2.gamma"});
  }
  return {.name = "hugging-face",
          .signs = {"encoder.layer.0.", "layers.0.attention."},
          .naming = {"ViT in Hugging Face's names",
                     std::move(rules),
                     {{"pooler.**", "a layer with tanh that no classifier uses"},
                      {"embeddings.mask_token", "stands for hidden patches in training"},
                      {"/decoder.**", "the decoder of its training"}}},
          .facts = {.positions = PositionFilter::bicubic}};
}

// The picture's towers of CLIP and SigLIP in transformers.
Dialect hugging_face_clip() {
  NameRules rules{{"embeddings.class_embedding", "cls_token", Form::token},
                  {"embeddings.position_embedding.weight", "pos_embed", Form::token},
                  {"embeddings.patch_embedding.weight", "patch_embed.proj.weight", Form::patch},
                  {"embeddings.patch_embedding.bias", "patch_embed.proj.bias"},
                  {"pre_layrnorm.?", "norm_pre.?"},  // so it is written
                  {"post_layernorm.?", "norm.?"},
                  {"/visual_projection.?", "head.?"},
                  {"head.probe", "attn_pool.latent", Form::token},
                  {"head.attention.in_proj_weight", "attn_pool.q.weight", Form::first_third},
                  {"head.attention.in_proj_weight", "attn_pool.kv.weight", Form::last_two_thirds},
                  {"head.attention.in_proj_bias", "attn_pool.q.bias", Form::first_third},
                  {"head.attention.in_proj_bias", "attn_pool.kv.bias", Form::last_two_thirds},
                  {"head.attention.out_proj.?", "attn_pool.proj.?"},
                  {"head.layernorm.?", "attn_pool.norm.?"},
                  {"head.mlp.fc1.?", "attn_pool.mlp.fc1.?"},
                  {"head.mlp.fc2.?", "attn_pool.mlp.fc2.?"}};
  const std::string from = "encoder.layers.*.", attention = from + "self_attn.";
  for (const char* ending : {".weight", ".bias"})
    add_qkv(rules, attention, {"q_proj", "k_proj", "v_proj"}, ending, text("{}attn.qkv{}", block, ending));
  rules.push_back({attention + "out_proj.?", block + "attn.proj.?"});
  rules.push_back({from + "layer_norm1.?", block + "norm1.?"});
  rules.push_back({from + "layer_norm2.?", block + "norm2.?"});
  rules.push_back({from + "mlp.fc1.?", block + "mlp.fc1.?"});
  rules.push_back({from + "mlp.fc2.?", block + "mlp.fc2.?"});
  return {.name = "hugging-face-clip",
          .signs = {"encoder.layers.0.self_attn."},
          .naming = {"CLIP or SigLIP in Hugging Face's names",
                     std::move(rules),
                     {{"embeddings.position_ids", "follows from the size"},
                      {"/classifier.**", "a classifier of the mean of the patches"},
                      {"/text_model.**", "the text tower"},
                      {"/text_projection.**", "the text tower"},
                      {"/logit_scale", "the text tower's scale"},
                      {"/logit_bias", "the text tower's bias"}}},
          .facts = {.positions = PositionFilter::bicubic}};
}

// The picture's tower of CLIP as OpenAI and open_clip save it.
Dialect clip() {
  NameRules rules{{"class_embedding", "cls_token", Form::token},
                  {"positional_embedding", "pos_embed", Form::token},
                  {"conv1.weight", "patch_embed.proj.weight", Form::patch},
                  {"ln_pre.?", "norm_pre.?"},
                  {"ln_post.?", "norm.?"},
                  {"proj", "head.weight", Form::matrix}};
  const std::string from = "transformer.resblocks.*.";
  for (const auto& [name, to] :
       {std::pair("ln_1.?", "norm1.?"), std::pair("attn.in_proj_weight", "attn.qkv.weight"),
        std::pair("attn.in_proj_bias", "attn.qkv.bias"), std::pair("attn.out_proj.?", "attn.proj.?"),
        std::pair("ln_2.?", "norm2.?"), std::pair("mlp.c_fc.?", "mlp.fc1.?"),
        std::pair("mlp.c_proj.?", "mlp.fc2.?"), std::pair("ls_1.gamma", "ls1.gamma"),
        std::pair("ls_2.gamma", "ls2.gamma")})
    rules.push_back({from + name, block + to});
  std::vector<Ignored> ignored;
  for (const char* name : {"/transformer.**", "/token_embedding.**", "/ln_final.**", "/text_projection",
                           "/text_projection.**", "/positional_embedding", "/text.**"})
    ignored.push_back({name, "the text tower"});
  for (const char* name :
       {"/logit_scale", "/logit_bias", "/input_resolution", "/context_length", "/vocab_size"})
    ignored.push_back({name, "a number beside the weights"});
  return {.name = "clip",
          .signs = {"transformer.resblocks.0."},
          .naming = {"CLIP in OpenAI's names", std::move(rules), std::move(ignored)},
          .facts = {.epsilon = 1e-5, .preprocess = "clip", .positions = PositionFilter::bicubic_antialias}};
}

Dialect torchvision() {
  NameRules rules{{"class_token", "cls_token", Form::token},
                  {"encoder.pos_embedding", "pos_embed"},
                  {"conv_proj.weight", "patch_embed.proj.weight", Form::patch},
                  {"conv_proj.bias", "patch_embed.proj.bias"},
                  {"encoder.ln.?", "norm.?"},
                  {"heads.head.?", "head.?"}};
  const std::string from = "encoder.layers.encoder_layer_*.";
  for (const auto& [name, to] :
       {std::pair("ln_1.?", "norm1.?"), std::pair("self_attention.in_proj_weight", "attn.qkv.weight"),
        std::pair("self_attention.in_proj_bias", "attn.qkv.bias"),
        std::pair("self_attention.out_proj.?", "attn.proj.?"), std::pair("ln_2.?", "norm2.?"),
        std::pair("mlp.0.?", "mlp.fc1.?"), std::pair("mlp.3.?", "mlp.fc2.?"),
        std::pair("mlp.linear_1.?", "mlp.fc1.?"), std::pair("mlp.linear_2.?", "mlp.fc2.?")})
    rules.push_back({from + name, block + to});
  return {.name = "torchvision",
          .signs = {"encoder.layers.encoder_layer_0."},
          .naming = {"ViT in torchvision's names", std::move(rules), {}},
          .facts = {.epsilon = 1e-6,
                    .gelu = Gelu::erf,
                    .preprocess = "torchvision-vit",
                    .positions = PositionFilter::bicubic_corners}};
}

}  // namespace

std::vector<Dialect> vit_dialects() {
  return {google(), hugging_face_clip(), clip(), torchvision(), hugging_face(), timm()};
}

}  // namespace vitrine
