// scope.h: where a layer's weights come from, and thereby whether they are trained.
//
// A layer's constructor asks its Scope for a name, a shape and a role. `frozen(checkpoint)` answers with
// constants; `trainable(parameters, ...)` creates leaves and lists them. There is no flag to set afterwards:
// only what came from `trainable` can ever be stepped by an optimizer. A scope also says what a method of tuning
// adds to the layers that are built with it (Additions), and `chosen` takes each weight from one of two scopes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/autograd.h"
#include "engine/random.h"
#include "engine/safetensors.h"

namespace vitrine {

// What a weight does in its layer: `norm` is a norm's factor (what it adds is a bias), a table holds biases by distance,
// a statistic is what a layer remembers of the batches that it saw: no gradient reaches it. Optimizers decay by role
// (weights and prompts alone).
enum class Role { weight, bias, norm, position, class_token, token, table, prompt, statistic };

// How a fresh weight starts.
struct Init {
  enum class Kind { constant, uniform, normal, truncated } kind = Kind::constant;
  double size = 0;  // constant: the value; uniform: the bound v of U(-v, v); normal: the standard deviation
  static Init constant(double value) { return {Kind::constant, value}; }
  static Init uniform(double bound) { return {Kind::uniform, bound}; }
  static Init normal(double deviation) { return {Kind::normal, deviation}; }
  // normal, within 2 deviations
  static Init truncated(double deviation) { return {Kind::truncated, deviation}; }
};

// A fresh tensor. Element i is drawn from the stream of (seed, name), so it does not depend on other weights.
Tensor fresh(const Shape& shape, const Init& init, uint64_t seed, const std::string& name, DType dtype,
             const Memory& memory = {});

struct Parameter {
  std::string name;
  Role role;
  Variable value;  // a leaf
};

// The list of all that is trained.
class Parameters {
 public:
  // Throws if the name is taken or the value is not a leaf.
  void add(Parameter parameter);
  const std::vector<Parameter>& all() const { return all_; }
  std::vector<Parameter>& all() { return all_; }
  int64_t count() const;  // scalars
  void clear_gradients();

 private:
  std::vector<Parameter> all_;
};

// What a method of tuning adds to the layers of a frozen net (nn/additions.h).
struct Additions {
  int64_t adapter = 0;       // how many times narrower the bottleneck behind each MLP is; 0: none
  int64_t lora = 0;          // the rank of what is added to query and value projections; 0: none
  bool scale_shift = false;  // a factor and a summand behind each linear layer and each norm
  bool any() const { return adapter > 0 || lora > 0 || scale_shift; }
};

// What a layer asks for.
struct Wanted {
  std::string name;  // in full, e.g. "blocks.0.attn.qkv.weight"
  Shape shape;
  Role role = Role::weight;
  Init init{};  // how it starts if it is fresh
  int64_t block =
      -1;  // which block of the net it belongs to; -1: before the first one, their number: behind the last
  bool added = false;  // by a method of tuning: no checkpoint of the net has it
};

class Scope {
 public:
  using Source = std::function<Variable(const Wanted& wanted)>;
  explicit Scope(Source source, std::string prefix = {})
      : source_(std::make_shared<Source>(std::move(source))), prefix_(std::move(prefix)) {}

  // The scope of a part: (scope / "blocks.0") asks for names that begin with "blocks.0.".
  Scope operator/(const std::string& part) const;
  // The scope of a block's weights; of what is added to a layer; with other additions.
  Scope in_block(int64_t block) const;
  Scope added() const;
  Scope with(const Additions& additions) const;

  Variable get(const std::string& name, const Shape& shape, Role role, const Init& init) const;
  Variable get(const Wanted& wanted) const { return (*source_)(wanted); }
  const Additions& additions() const { return additions_; }

 private:
  std::shared_ptr<Source> source_;
  std::string prefix_;
  int64_t block_ = -1;
  bool added_ = false;
  Additions additions_;
};

// Sealed constants of the given type from a checkpoint. A missing or misshapen tensor is
// an error that names it.
Scope frozen(const TensorFile& checkpoint, DType dtype = DType::f32, const Memory& memory = {});
// Fresh leaves. Statistics, here and below, are constants of their own: who built the layer keeps them.
Scope trainable(Parameters& parameters, uint64_t seed, DType dtype = DType::f32, const Memory& memory = {});
// Leaves that start from copies of a checkpoint's tensors (fine-tuning).
Scope trainable(Parameters& parameters, const TensorFile& checkpoint, DType dtype = DType::f32,
                const Memory& memory = {});
// From `yes` what the predicate takes, the rest from `no`.
Scope chosen(const std::function<bool(const Wanted&)>& takes, const Scope& yes, const Scope& no);

}  // namespace vitrine
