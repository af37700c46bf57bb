#include "models/backbone.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <utility>

#include "engine/check.h"
#include "engine/form_budget.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/stored_weights.h"

namespace vitrine {

namespace {

bool is_head(const std::string& name) { return name.starts_with("head.") || name.starts_with("head_dist."); }

// What the authors' Swin files hold beside weights: index and mask, which follow from the sizes.
bool is_computed(const std::string& name) {
  return name.starts_with("layers.") &&
         (name.ends_with(".attn.relative_position_index") || name.ends_with(".attn_mask"));
}

// Asks for every tensor of the configuration, so that a missing or misshapen one is found before any work.
std::vector<std::string> expected_names(const Backbone& backbone) {
  std::vector<std::string> names;
  const std::string who = backbone.file.name.empty() ? "checkpoint" : backbone.file.name;
  const Scope asking([&](const Wanted& wanted) {
    const Tensor& found = backbone.file.at(wanted.name);
    check(found.shape() == wanted.shape, "{}: tensor '{}': expected {}, got {}", who, wanted.name,
          wanted.shape, found.shape());
    check(is_floating(found.dtype()), "{}: tensor '{}': expected floating-point numbers, got {}", who,
          wanted.name, name_of(found.dtype()));
    names.push_back(wanted.name);
    return Variable(found);
  });
  const Transformer unused(backbone.config, asking);
  return names;
}

// Whether no number is NaN or infinite. The greatest magnitude, as bits, tells; compilers look for it in many numbers at
// once, so that one core keeps up with the memory.
bool all_finite(const Tensor& tensor) {
  constexpr uint32_t infinity = 0x7f800000;
  uint32_t most = 0;
  for (const float value : tensor.data<float>())
    most = std::max(most, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  return most < infinity;
}

// Throws for such a number, which would make every feature NaN.
void check_finite(const Tensor& tensor, const std::string& who) {
  if (all_finite(tensor)) return;
  int64_t place = 0;
  for (const float value : tensor.data<float>()) {
    check(std::isfinite(value), "{}: expected finite numbers in f32, got {} at place {}", who, value, place);
    ++place;
  }
}

}  // namespace

Backbone make_backbone(TensorFile file, const std::string& source, int64_t heads, const Memory& memory) {
  const auto format = file.metadata.find("format");
  check(format == file.metadata.end() || !format->second.starts_with("vitrine "),
        "{}: is a {} file, not a backbone", source, format == file.metadata.end() ? "" : format->second);
  Backbone backbone;
  backbone.source = source;
  backbone.file = std::move(file);
  for (auto* entries : {&backbone.file.unreadable, &backbone.file.objects}) {
    std::erase_if(*entries, [](const auto& entry) { return is_computed(entry.first); });
    if (!entries->empty()) backbone.file.at(entries->begin()->first);  // says why there is no such tensor
  }
  std::erase_if(backbone.file.tensors, [](const auto& entry) { return is_computed(entry.first); });
  std::set<std::string_view> types;
  for (const auto& [name, tensor] : backbone.file.tensors) {
    backbone.stored_bytes += tensor.bytes();
    types.insert(name_of(tensor.dtype()));
  }
  take_int8(backbone.file, source, memory);
  backbone.config = transformer_config_of(backbone.file, heads);
  const std::vector<std::string> names = expected_names(backbone);
  for (const auto& [name, tensor] : backbone.file.tensors) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::vector<std::string_view> known(names.begin(), names.end());
    const std::string guess = nearest(name, known);
    fail(Fault::input, "{}: tensor {} belongs to no {}{}", source, quote(name),
         std::holds_alternative<SwinConfig>(backbone.config) ? "Swin" : "ViT",
         guess.empty() ? "" : "; nearest: " + guess);
  }
  for (auto& [name, tensor] : backbone.file.tensors) {
    const Tensor stored = std::exchange(tensor, {});
    if (stored.dtype() == DType::f32 && stored.sealed()) {
      tensor = stored.with_memory(memory);
    } else if (stored.dtype() == DType::f32) {
      tensor = Tensor::of(stored.shape(), stored.data<float>(), memory).seal();
    } else {
      const Tensor sealed = (stored.sealed() ? stored : stored.clone().seal()).with_memory(memory);
      tensor = sealed.shape().rank() >= 2 ? widened(sealed, memory) : sealed.to(DType::f32).seal();
      stored.set_aside();
    }
    check_finite(tensor.at_hand(), text("{}: tensor '{}'", source, name));
    tensor.set_aside();
  }
  for (const std::string_view type : types)
    backbone.stored_types += text("{}{}", backbone.stored_types.empty() ? "" : ", ", type);
  return backbone;
}

Backbone with_precision(Backbone backbone, Precision precision) {
  backbone.precision = precision;
  for (auto& [name, tensor] : backbone.file.tensors)
    if (tensor.shape().rank() >= 2) tensor = tensor.with_precision(precision);
  return backbone;
}

Backbone with_budget(Backbone backbone, size_t bytes) {
  const auto budget = std::make_shared<FormBudget>(bytes);
  for (auto& [name, tensor] : backbone.file.tensors) tensor = tensor.with_budget(budget);
  return backbone;
}

Backbone with_one_form(Backbone backbone) {
  for (auto& [name, tensor] : backbone.file.tensors) tensor = tensor.with_one_form();
  return backbone;
}

bool keeps_one_form(const Backbone& backbone) {
  return !backbone.file.tensors.empty() && backbone.file.tensors.begin()->second.keeps_one_form();
}

Backbone on_device(Backbone backbone, const Memory& home, Precision precision, bool trained) {
  check(home.device() != nullptr, "backbone: expected memory of a device");
  check(precision != Precision::int8, "backbone: on a device weights are f32 or bf16, not int8");
  backbone.precision = precision;
  backbone.home = home;
  backbone.placed.clear();
  const DType type = precision == Precision::bf16 ? DType::bf16 : DType::f32;
  for (const auto& [name, tensor] : backbone.file.tensors) {
    if (trained) break;
    backbone.placed[name] = tensor.to(type).copied_to(home).seal();
    tensor.set_aside();
  }
  return backbone;
}

Scope frozen_weights(const Backbone& backbone, DType dtype, const Memory& memory) {
  if (!backbone.on_device()) return frozen(backbone.file, dtype, memory);
  TensorFile there = backbone.file;
  there.tensors = backbone.placed;
  return frozen(there, backbone.precision == Precision::bf16 ? DType::bf16 : DType::f32, backbone.home);
}

Backbone counted_in(const Memory& memory, const Backbone& backbone) {
  Backbone out = backbone;
  for (auto& [name, tensor] : out.file.tensors) tensor = tensor.with_memory(memory);
  return out;
}

TensorFile canonical_file(const Backbone& backbone, DType dtype) {
  check(dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::i8,
        "backbone: weights are written as f32, f16, bf16 or i8, not {}", name_of(dtype));
  TensorFile out;
  out.metadata = backbone.file.metadata;
  out.metadata["config"] = config_to_json(backbone.config);
  for (const auto& [name, tensor] : backbone.file.tensors) {
    if (dtype == DType::i8) {
      if (tensor.shape().rank() >= 2 && name.ends_with(".weight"))
        put_int8(out, name, tensor);
      else
        out.tensors[name] = tensor.at_hand();
      continue;
    }
    out.tensors[name] = tensor.at_hand().to(dtype);
    // They were finite in f32; the greatest f16 is 65504, the greatest bf16 all but that of f32.
    if (dtype != DType::f32)
      check(all_finite(out.tensors[name].to(DType::f32)),
            "tensor {}: has numbers that are too large for {}{}", quote(name), name_of(dtype),
            dtype == DType::f16 ? "; bf16 holds them" : "");
  }
  return out;
}

bool head_is_projection(const Backbone& backbone) {
  const auto head = backbone.file.metadata.find("head");
  return head != backbone.file.metadata.end() && head->second == "projection";
}

size_t resident_bytes(const Backbone& backbone) {
  size_t bytes = 0;
  for (const auto& [name, tensor] : backbone.file.tensors) bytes += tensor.resident_bytes();
  return bytes;
}

std::string identity_of(const Backbone& backbone) {
  if (!backbone.identity.empty()) return backbone.identity;
  Sha256 hash;
  hash.update(config_to_json(with_classes(backbone.config, 0))).update("\n");
  for (const auto& [name, tensor] : backbone.file.tensors) {  // a map: sorted by name
    if (is_head(name)) continue;
    hash.update(name).update(" ").update(tensor.shape().str()).update("\n").update(tensor.at_hand().raw());
    tensor.set_aside();  // of a file that was read through, products read their weights alone
  }
  return hash.hex();
}

Backbone with_identity(Backbone backbone) {
  backbone.identity = identity_of(backbone);
  return backbone;
}

}  // namespace vitrine
