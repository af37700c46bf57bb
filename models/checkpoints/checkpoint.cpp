#include "models/checkpoints/checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "engine/check.h"
#include "engine/text.h"
#include "models/checkpoints/layouts.h"

namespace vitrine {

namespace {

// Of a whole model that was wrapped for training or compiled.
constexpr std::array<std::string_view, 2> wrappers = {"module.", "_orig_mod."};

// All that the file holds by names without wrappers, what could not be read, too. Takes it out of the file.
Sources unwrapped(TensorFile& file, const std::string& who) {
  Sources out;
  const auto add = [&](const std::string& name, Source&& source) {
    std::string_view inner = name;
    for (bool again = true; again;) {
      again = false;
      for (const std::string_view wrapper : wrappers)
        if (inner.starts_with(wrapper)) {
          inner.remove_prefix(wrapper.size());
          again = true;
        }
    }
    const auto [place, fresh] = out.try_emplace(std::string(inner), std::move(source));
    if (fresh || source.is_object) return;  // of objects only those are told that have a name to themselves
    check(place->second.is_object, "{}: tensors {} and {} are the same one", who,
          quote(place->second.original), quote(name));
    place->second = std::move(source);
  };
  for (auto& [name, tensor] : file.tensors) add(name, {name, tensor.shape(), std::exchange(tensor, {})});
  for (const auto& [name, why] : file.unreadable) add(name, {name, {}, {}, why});
  for (const auto& [name, what] : file.objects) add(name, {name, {}, {}, what, true});
  file.tensors.clear();
  file.unreadable.clear();
  file.objects.clear();
  return out;
}

// big_vision keeps all blocks in one tensor, a block for each row: Transformer/encoderblock/...
Sources unrolled(Sources&& names, const std::string& who) {
  constexpr std::string_view all = "Transformer/encoderblock/", one = "Transformer/encoderblock_";
  // A block has less than twenty tensors, and no net that is known a thousand blocks: more is a file that wants memory.
  constexpr int64_t most_blocks = 1024, most = most_blocks * 20;
  int64_t rows = 0;
  Sources out;
  for (auto& [name, source] : names) {
    const size_t place = name.find(all);
    const Shape& shape = source.shape;
    if (place != std::string::npos && !source.unreadable.empty()) {  // of how many blocks nobody knows
      out.insert_or_assign(text("{}{}0/{}", name.substr(0, place), one, name.substr(place + all.size())),
                           std::move(source));
      continue;
    }
    if (place == std::string::npos || shape.rank() < 2) {
      out.insert_or_assign(name, std::move(source));
      continue;
    }
    check(shape.dim(0) <= most_blocks && (rows += shape.dim(0)) <= most,
          "{}: tensor {}: expected a row for each of at most {} blocks, got {}", who, quote(source.original),
          most_blocks, shape);
    std::vector<int64_t> rest;
    for (int d = 1; d < shape.rank(); ++d) rest.push_back(shape.dim(d));
    for (int64_t i = 0; i < shape.dim(0); ++i) {
      const std::string to =
          text("{}{}{}/{}", name.substr(0, place), one, i, name.substr(place + all.size()));
      const Shape one_shape{std::span<const int64_t>(rest)};
      out.insert_or_assign(
          to, Source{source.original, one_shape, source.tensor.rows(i, i + 1).reshape(one_shape)});
    }
  }
  return out;
}

// A name that does not begin with the prefix, as rules see it. A program may keep trunk and head together under a name, so
// that "model." stands before "vit.encoder..." and before "classifier.weight": what the table knows behind it counts.
std::string beside(const Spoken& spoken, const std::string& name) {
  const std::string& prefix = spoken.prefix;
  for (size_t end = 0; end < prefix.size(); end = prefix.find_first_of("./", end) + 1) {
    if (!name.starts_with(prefix.substr(0, end))) break;
    if (std::string seen = "/" + name.substr(end); knows(spoken.dialect->naming, prefix, seen)) return seen;
  }
  return "/" + name;
}

// Names below the prefix without it, the others behind a '/'.
Sources seen_from(const Spoken& spoken, Sources&& names, std::vector<LeftOut>& left_out,
                  const std::string& who) {
  Sources out;
  for (auto& [name, source] : names) {
    const auto below = [&name = name](const std::string& prefix) { return name.starts_with(prefix); };
    if (is_optimizer_state(name))
      left_out.push_back({source.original, "the state of an optimizer"});
    else if (name.starts_with(spoken.prefix))
      out.emplace(name.substr(spoken.prefix.size()), std::move(source));
    else if (std::any_of(spoken.others.begin(), spoken.others.end(), below))
      left_out.push_back({source.original, "another net of its training"});
    else {
      const auto [place, fresh] = out.try_emplace(beside(spoken, name), std::move(source));
      check(fresh, "{}: tensors {} and {} are the same one", who, quote(place->second.original), quote(name));
    }
  }
  return out;
}

bool has(const Sources& names, std::string_view beginning) {
  const auto found = names.lower_bound(std::string(beginning));
  return found != names.end() && found->first.starts_with(beginning);
}

// timm's Swins merge patches at the beginning of a stage, their authors' at the end of the one before.
Dialect swin_of(Dialect dialect, const Sources& names) {
  if (dialect.name != "swin") return dialect;
  int64_t stages = 0;
  while (has(names, text("layers.{}.blocks.0.", stages))) ++stages;
  const bool at_the_end = has(names, "layers.0.downsample.");
  const bool first =
      names.contains("head.fc.weight") || (!at_the_end && stages > 1 && has(names, "layers.1.downsample."));
  if (!first) return dialect;
  for (Dialect& other : dialects())
    if (other.name == "timm-swin") dialect = std::move(other);
  return dialect;
}

void leave_out(Renamed& renamed, const std::string& canonical, const std::string& reason) {
  if (renamed.tensors.erase(canonical) > 0)
    renamed.left_out.push_back({renamed.origin.at(canonical), reason});
}

bool all_zero(const Tensor& tensor) {
  const Tensor here = tensor.at_hand();
  const auto raw = here.raw();
  // The last byte of a float begins with its sign: -0 is zero, too.
  const std::byte sign{is_floating(tensor.dtype()) ? uint8_t{0x80} : uint8_t{0}};
  const size_t size = size_of(tensor.dtype());
  for (size_t i = 0; i < raw.size(); ++i)
    if ((raw[i] & ~(i % size == size - 1 ? sign : std::byte{0})) != std::byte{0}) return false;
  return true;
}

// What is there but is no part of the net that is built: heads on other features, a norm that MAE's tuned nets keep.
void leave_out_needless(Renamed& renamed, const Sources& names, const std::string& prefix) {
  const auto projection = renamed.tensors.find("patch_embed.proj.weight");
  const auto head = renamed.tensors.find("head.weight");
  if (head == renamed.tensors.end() || projection == renamed.tensors.end()) return;
  const int64_t width = projection->second.dim(0);
  const bool own = renamed.origin.at("head.weight").find(prefix) != std::string::npos;
  std::string reason;
  if (has(names, "pre_logits/"))
    reason = "stands behind a layer that backbones do without";
  else if (all_zero(head->second))
    reason = "is zero everywhere";
  else if (renamed.tensors.contains("patch_embed.norm.weight") == false && head->second.shape().rank() == 2 &&
           head->second.dim(1) == 2 * width)
    reason = "takes the class token and the mean of the patches side by side";  // DINOv2
  else if (const Shape& shape = head->second.shape();
           !own && renamed.tensors.contains("patch_embed.norm.weight") == false &&
           (shape.rank() != 2 || shape.dim(1) != width))
    reason = text("stands beside the trunk and is no head of its {} features: {}", width, shape);
  if (reason.empty()) return;
  for (const char* name : {"head.weight", "head.bias"}) leave_out(renamed, name, reason);
}

// DINOv2's registers stand behind the position embedding, whose first row is the class token's alone: it can as well
// be part of that token.
void fold_class_position(Renamed& renamed, const std::string& who) {
  const auto registers = renamed.tensors.find("reg_token"), token = renamed.tensors.find("cls_token"),
             positions = renamed.tensors.find("pos_embed");
  if (registers == renamed.tensors.end() || token == renamed.tensors.end() ||
      positions == renamed.tensors.end())
    return;
  const Shape& shape = positions->second.shape();
  if (shape.rank() != 3 || shape.dim(0) != 1 || token->second.shape() != Shape{1, 1, shape.dim(2)}) return;
  const auto square = [](int64_t n) {
    const auto root = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n))));
    return n > 0 && root * root == n;
  };
  if (square(shape.dim(1)) || square(shape.dim(1) - 1 - registers->second.dim(1)) ||
      !square(shape.dim(1) - 1))
    return;
  const DType type = positions->second.dtype();
  check(token->second.dtype() == type, "{}: class token and position embedding are of different types", who);
  const Tensor rows = positions->second.reshape({shape.dim(1), shape.dim(2)});
  const Tensor first = rows.rows(0, 1).to(DType::f64), old = token->second.to(DType::f64);
  Tensor sum = Tensor::empty({1, 1, shape.dim(2)}, DType::f64);
  const auto a = old.data<double>(), b = first.data<double>();
  auto out = sum.mutable_data<double>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] + b[i];
  // Wide enough for what 16 bits could not hold.
  token->second = sum.to(type == DType::f64 ? DType::f64 : DType::f32).seal();
  positions->second = rows.rows(1, shape.dim(1)).reshape({1, shape.dim(1) - 1, shape.dim(2)});
}

// A DeiT that is tuned or saved by a program whose one head looks at the class token alone: its distillation token is
// another token beside the patches, as a register is.
void keep_unheard_token(Renamed& renamed) {
  if (!renamed.tensors.contains("head.weight") || renamed.tensors.contains("reg_token")) return;
  for (const char* name : {"head_dist.weight", "head_dist.bias"})
    if (renamed.tensors.contains(name)) return;
  auto token = renamed.tensors.extract("dist_token");
  if (token.empty()) return;
  token.key() = "reg_token";
  renamed.tensors.insert(std::move(token));
  renamed.origin["reg_token"] = renamed.origin.at("dist_token");
}

// What a file in timm's names tells by what it has that the others have not.
Facts facts_of_timm(const Spoken& spoken, const Sources& names, const Renamed& renamed) {
  Facts facts;
  const auto there = [&](const char* name) { return renamed.tensors.contains(name); };
  const bool clip = there("norm_pre.weight"), pooled = there("attn_pool.latent");
  facts.epsilon = clip ? 1e-5 : 1e-6;
  facts.positions = PositionFilter::bicubic_antialias;
  if (!clip && !pooled) facts.gelu = Gelu::erf;
  if (spoken.prefix.find("base_encoder.") != std::string::npos) {
    facts.heads = 12;  // of its small one, too
    facts.preprocess = "moco-v3";
  } else if (clip) {
    facts.preprocess = "clip";
  } else if (pooled) {
    facts.preprocess = "siglip";
  } else if (has(names, "decoder_blocks.")) {
    facts.preprocess = "mae";
    facts.positions = PositionFilter::bicubic;
  } else if (there("dist_token") || has(names, "blocks.0.gamma_1")) {
    facts.preprocess = "deit";
    facts.positions = PositionFilter::bicubic;
  } else if (there("blocks.0.ls1.gamma") && (has(names, "mask_token") || has(names, "register_tokens"))) {
    facts.preprocess = "dinov2";
    if (!there("reg_token")) facts.positions = PositionFilter::bicubic_offset;
  } else if (has(names, "/head.last_layer.") || has(names, "head.last_layer.")) {
    facts.preprocess = "dino";
    facts.positions = PositionFilter::bicubic_offset;
  } else if (there("blocks.0.attn.qkv.weight") && !there("blocks.0.attn.qkv.bias")) {
    facts.preprocess = "miil";
  }
  return facts;
}

// Of JAX's kernels the heads are an extent.
std::optional<int64_t> heads_in_kernels(const Sources& names) {
  for (const auto& [name, source] : names)
    if (matches("Transformer/encoderblock_0/MultiHeadDotProductAttention_#/query/kernel", name) &&
        source.shape.rank() == 3)
      return source.shape.dim(1);
  return {};
}

// Which are 64 wide in all that were published.
std::optional<int64_t> heads_of_clip(const Renamed& renamed) {
  const auto projection = renamed.tensors.find("patch_embed.proj.weight");
  if (projection == renamed.tensors.end() || projection->second.dim(0) % 64 != 0) return {};
  return projection->second.dim(0) / 64;
}

// What tensors tell beside their shapes in the canonical layout.
Facts facts_of(const Spoken& spoken, const Sources& names, const Renamed& renamed) {
  const std::string& dialect = spoken.dialect->name;
  Facts facts = spoken.dialect->facts;
  if (dialect == "timm") return facts_of_timm(spoken, names, renamed);
  if (dialect == "google") {
    facts.heads = heads_in_kernels(names);
  } else if (dialect == "clip") {
    facts.heads = heads_of_clip(renamed);
    if (names.contains("/input_resolution")) facts.gelu = Gelu::quick;  // OpenAI's own files alone have it
  } else if (dialect == "hugging-face-clip" && renamed.tensors.contains("attn_pool.latent")) {
    overlay(facts, {.epsilon = 1e-6, .gelu = Gelu::tanh, .preprocess = "siglip"});
  } else if (dialect == "hugging-face-clip") {
    facts.heads = heads_of_clip(renamed);
  } else if (dialect == "hugging-face" && renamed.tensors.contains("blocks.0.ls1.gamma")) {
    overlay(facts, {.epsilon = 1e-6, .gelu = Gelu::erf, .preprocess = "dinov2"});
    if (renamed.tensors.contains("reg_token")) facts.positions = PositionFilter::bicubic_antialias;
  }
  return facts;
}

TransformerConfig config_of(const Checkpoint& checkpoint, bool swin, bool timm) {
  const Facts& facts = checkpoint.facts;
  if (swin) {
    SwinConfig c = swin_config_of(checkpoint.file);
    if (timm) c.padding = WindowGrid::Padding::after_roll;
    if (facts.epsilon) c.epsilon = *facts.epsilon;
    if (facts.gelu) c.gelu = *facts.gelu;
    return c;
  }
  VitConfig c = vit_config_of(checkpoint.file, facts.heads.value_or(0));
  if (facts.epsilon) c.epsilon = *facts.epsilon;
  if (facts.gelu) c.gelu = *facts.gelu;
  return c;
}

// A net is taken as its tensors make it, so that without a bias that its program always has it would be another net.
void check_biases(Checkpoint& checkpoint, const Spoken& spoken, const Sources& names,
                  const std::string& who) {
  const auto* vit = std::get_if<VitConfig>(&checkpoint.config);
  if (vit == nullptr) return;
  const Naming& naming = spoken.dialect->naming;
  const auto in_file = [&](const char* name) { return source_name(naming, names, spoken.prefix, name); };
  const auto need = [&](bool there, const char* name) {
    const std::string missing = in_file(name);
    check(there, "{}: no tensor {} of a {}", who, quote(missing.empty() ? name : missing), naming.title);
  };
  const std::string& dialect = spoken.dialect->name;
  const bool clip = dialect == "clip" || vit->norm_pre;
  need(vit->patch_bias || clip, "patch_embed.proj.bias");
  // timm has such ViTs. So has transformers, where config.json or the family tells it: all but DINOv2 need one.
  const bool optional = dialect == "timm" || (dialect == "hugging-face" && !vit->layer_scale);
  need(vit->qkv_bias || optional, "blocks.0.attn.qkv.bias");
  if (vit->classes == 0 || vit->head_bias) return;
  // CLIP's projection has none, in whatever names; heads that people put beside a trunk are as they made them.
  const std::string& head = checkpoint.origin.at("head.weight");
  checkpoint.projection = clip || dialect == "hugging-face-clip" || head.ends_with("head.proj.weight");
  const bool of_somebody = !spoken.prefix.empty() && head.find(spoken.prefix) == std::string::npos &&
                           std::ranges::any_of(naming.rules, [&](const NameRule& rule) {
                             return rule.to == "head.?" && rule.from.starts_with("//") &&
                                    head.ends_with(rule.from.substr(2, rule.from.size() - 3) + "weight");
                           });
  need(checkpoint.projection || of_somebody, "head.bias");
}

// Asks for every tensor of the net: the first that is missing or misshapen is named as the file names it.
void check_complete(const Checkpoint& checkpoint, const Naming& naming, const Sources& names,
                    const std::string& prefix, const std::string& who) {
  std::set<std::string> asked;
  const auto& tensors = checkpoint.file.tensors;
  const Scope asking([&](const Wanted& wanted) {
    const auto& [name, shape] = std::tie(wanted.name, wanted.shape);
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      const std::string there = source_name(naming, names, prefix, name);
      std::vector<std::string_view> known;
      for (const auto& [other, source] : names) known.push_back(source.original);
      const std::string guess = nearest(there, known);
      fail(Fault::input, "{}: no tensor {} of a {}{}", who, quote(there.empty() ? name : there), naming.title,
           guess.empty() ? "" : "; nearest: " + guess);
    }
    check(found->second.shape() == shape, "{}: tensor {}: expected {}{}, got {}", who,
          quote(checkpoint.origin.at(name)), name == checkpoint.origin.at(name) ? "" : text("{} ", name),
          shape, found->second.shape());
    asked.insert(name);
    return Variable(found->second);
  });
  const Transformer unused(checkpoint.config, asking);
  for (const auto& [name, tensor] : tensors)
    check(asked.contains(name), "{}: tensor {} has no place in a {}", who, quote(checkpoint.origin.at(name)),
          describe(checkpoint.config));
}

// Whether any name has the sign of a dialect, wherever it stands; without a copy of them all.
bool may_be_checkpoint(const TensorFile& file) {
  constexpr std::string_view rolled = "Transformer/encoderblock/";  // unrolled it has the sign of Google's
  const std::vector<Dialect> all = dialects();
  const auto sign_in = [&](const std::string& name) {
    if (name.find(rolled) != std::string::npos) return true;
    return std::ranges::any_of(all, [&](const Dialect& dialect) {
      return std::ranges::any_of(
          dialect.signs, [&](const std::string& sign) { return name.find(sign) != std::string::npos; });
    });
  };
  const auto has_sign = [&](const auto& names) {
    return std::ranges::any_of(names, [&](const auto& entry) { return sign_in(entry.first); });
  };
  return has_sign(file.tensors) || has_sign(file.unreadable) || has_sign(file.objects);
}

}  // namespace

bool is_checkpoint(const TensorFile& file) {
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  if (!may_be_checkpoint(file)) return false;
  TensorFile copy = file;  // of handles
  return dialect_of(unrolled(unwrapped(copy, who), who), who).dialect.has_value();
}

Checkpoint canonical_form(TensorFile file, const Facts& given) {
  const std::string who = file.name.empty() ? "checkpoint" : file.name;
  Checkpoint out;
  out.facts = given;
  if (file.metadata.contains("config")) {
    out.dialect = "Vitrine's own file";
    out.config = transformer_config_of(file, given.heads.value_or(0));
    for (const auto& [name, tensor] : file.tensors) out.origin[name] = name;
    out.file = std::move(file);
    return out;
  }
  Sources all = unrolled(unwrapped(file, who), who);
  Spoken spoken = dialect_of(all, who);
  check(spoken.dialect.has_value(),
        "{}: holds no ViT or Swin whose names are known; docs/checkpoints.md lists them", who);
  Sources names = seen_from(spoken, std::move(all), out.left_out, who);
  spoken.dialect = swin_of(std::move(*spoken.dialect), names);
  const Naming& naming = spoken.dialect->naming;
  Renamed renamed = rename(naming, names, spoken.prefix, who);
  leave_out_needless(renamed, names, spoken.prefix);
  fold_class_position(renamed, who);

  out.facts = facts_of(spoken, names, renamed);
  keep_unheard_token(renamed);
  // What a file says itself is no matter of opinion.
  check(!heads_in_kernels(names) || !given.heads || heads_in_kernels(names) == given.heads,
        "{}: its kernels have {} attention heads, not {}", who, heads_in_kernels(names).value_or(0),
        given.heads.value_or(0));
  overlay(out.facts, given);
  out.dialect = naming.title;
  out.left_out.insert(out.left_out.end(), renamed.left_out.begin(), renamed.left_out.end());
  out.origin = std::move(renamed.origin);
  file.tensors = std::move(renamed.tensors);
  out.file = std::move(file);
  out.config = config_of(out, spoken.dialect->swin, spoken.dialect->name == "timm-swin");
  check_complete(out, naming, names, spoken.prefix, who);
  check_biases(out, spoken, names, who);
  if (!out.facts.epsilon) out.unsettled.push_back({"epsilon", "the epsilon of its layer norms"});
  if (!out.facts.gelu) out.unsettled.push_back({"gelu", "the form of its GELU"});
  if (out.unsettled.empty()) out.file.metadata["config"] = config_to_json(out.config);
  return out;
}

TensorFile settled(const Checkpoint& checkpoint) {
  if (checkpoint.unsettled.empty()) return checkpoint.file;
  std::string all;
  for (const Unsettled& what : checkpoint.unsettled)
    all += text("{}{}", all.empty() ? "" : " and ", what.clause);
  fail(Fault::input, "{}: is a {}, which does not tell {}; give --backbone-config with {}",
       checkpoint.file.name.empty() ? "checkpoint" : checkpoint.file.name, checkpoint.dialect, all,
       what_may_tell(checkpoint.dialect, checkpoint.config));
}

}  // namespace vitrine
