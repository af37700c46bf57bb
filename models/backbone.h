// backbone.h: a pretrained checkpoint, ready to stand behind glass.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>

#include "models/transformer.h"

namespace vitrine {

struct Backbone {
  std::string source;  // where it came from: a path, or "builtin"
  TensorFile
      file;  // sealed f32, perhaps fetched (tensor.h), shared by all models built on it, packed forms included
  TransformerConfig config;
  std::string stored_types;  // of the tensors as they came, e.g. "bf16"
  size_t stored_bytes = 0;
  Precision precision = Precision::f32;  // in which its matrices are packed for products
  // On a device: the same tensors there, in their type, and the memory in which a model built on it lives.
  std::map<std::string, Tensor> placed{};
  Memory home{};
  std::string identity{};  // identity_of it, if with_identity has computed it
  bool on_device() const { return home.device() != nullptr; }
};

// The same backbone, whose matrices are packed in this precision by whatever is built on it: bf16 takes half of the
// memory for packed forms, int8 a quarter. The tensors themselves, and with them the identity, stay as they are.
Backbone with_precision(Backbone backbone, Precision precision);

// Reads a ViT in timm's key names or a Swin in its authors' and finds out its configuration
// (models/transformer.h: transformer_config_of). A Swin's tensors that can be computed (relative_position_index,
// attn_mask) are left out. Throws if a tensor is missing or misshapen, holds a number that is not finite in f32,
// or if one is left over whose name the model does not have. What has to be converted to f32 or packed later is
// allocated from `memory`; f32 stays where it is (a mapped file, which is read through once), matrices of other types, too:
// products pack them from there, and only what else asks for their numbers has them as f32. From a file:
// make_backbone(load_safetensors(path), path).
Backbone make_backbone(TensorFile file, const std::string& source, int64_t heads = 0,
                       const Memory& memory = {});

// The same backbone, which keeps one packed form of each matrix in place of two, and turns it in backward while it is
// used: about half of the memory for packed forms and not a bit changed, but slower (docs/memory.md says how much).
Backbone with_one_form(Backbone backbone);
bool keeps_one_form(const Backbone& backbone);

// The same backbone with its tensors on a device as well, for the models that are built on it: `home` is memory of the
// device, `precision` says what they hold there: f32 or bf16 (not int8: throws). `file` stays where it was, and with it
// the identity. With `trained` weights every model brings its own, so nothing is placed.
Backbone on_device(Backbone backbone, const Memory& home, Precision precision, bool trained = false);

// Its tensors as constants, wherever it is: converted to `dtype` in main memory, as they are on a device.
Scope frozen_weights(const Backbone& backbone, DType dtype = DType::f32, const Memory& memory = {});

// The same backbone, of which no more than so many bytes of packed forms stay: the others are made again from its bytes
// whenever they are needed, which changes no result, only the time (engine/form_budget.h).
Backbone with_budget(Backbone backbone, size_t bytes);

// A copy whose packed forms are counted in `memory`.
Backbone counted_in(const Memory& memory, const Backbone& backbone);

// Whether what stands behind its features is no classifier, but makes them comparable with those of texts, as CLIP's.
bool head_is_projection(const Backbone& backbone);

// The bytes of the backbone's tensors that stay in memory: those of a mapped file are set aside once they are packed.
size_t resident_bytes(const Backbone& backbone);

// The backbone as a file of its own: its tensors in their canonical names as f32, f16 or bf16 (rounded to nearest, so the
// identity is another), or matrices as i8 with a scale for each row and the rest as f32; its configuration, and whatever else its metadata held. Throws for a number that is
// infinite in `dtype`, naming the tensor, and for other types.
TensorFile canonical_file(const Backbone& backbone, DType dtype = DType::f32);

// SHA-256 over the configuration and the tensors, by name: name, shape and f32 bytes; the backbone's own head
// does not count. Two files of the same net have the same identity, whatever else they hold.
std::string identity_of(const Backbone& backbone);
// The same backbone, of which identity_of is known from now on: for many runs, each of which asks.
Backbone with_identity(Backbone backbone);

}  // namespace vitrine
