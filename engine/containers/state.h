// state.h: from the value that a checkpoint's pickle holds to flat names, as `blocks.0.attn.qkv.weight`.
//
// What people save is a dictionary of tensors, or one inside of another with much beside it ({'model': ..., 'epoch':
// ..., 'args': ...}), or a whole module. The rules:
//
//   1. Unwrapping. While the value is a dictionary that has one of the keys state_dict_ema, model_ema, state_dict,
//      model, teacher, student, module (the first of them that holds a dictionary or an object), that entry takes its
//      place, and what lies beside it is left out. Tensors beside it (best_acc1, rng_state) and others of these keys
//      (model beside model_ema) are reported; a tensor whose name has a dot would be a layer's, and nothing is unwrapped.
//      `module.` at the front of names stays: it is the business of those who know the model.
//   2. Names. The keys of nested dictionaries (text or whole numbers), positions in lists and attributes of objects are
//      joined by dots. Modules' own dictionaries _parameters, _buffers and _modules add nothing to a name.
//   3. Other values (numbers, text, None) are no weights and are left out. An object of which nothing is known that has
//      no attributes is reported as opaque.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/containers/allowance.h"
#include "engine/containers/pickle.h"

namespace vitrine {

struct StateDict {
  std::string part;                          // the keys that were unwrapped, with dots: "state_dict", or ""
  std::map<std::string, PickleRef> tensors;  // what was made by a function from storages
  std::map<std::string, PickleRef> opaque;   // other objects
  std::vector<std::string> beside;           // tensors, and other parts, that lie beside the part
};

// Whether the value is a tensor's record: the call of one of torch's rebuilding functions, or of another function on a
// storage or a tensor.
bool is_tensor_record(const PickleTree& tree, PickleRef ref);

// Throws Fault::input, beginning with `where`, if two values get the same name, or if there are too many names for the
// allowance, too long or too deep ones.
StateDict state_of(const PickleTree& tree, const std::string& where, Allowance& allowance);

}  // namespace vitrine
