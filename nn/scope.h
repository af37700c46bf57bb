// scope.h: where a layer's weights come from, and thereby whether they are trained.
//
// A layer's constructor asks its Scope for a name, a shape and a role. `frozen(checkpoint)` answers with
// constants; `trainable(parameters, ...)` creates leaves and lists them. There is no flag to set afterwards:
// only what came from `trainable` can ever be stepped by an optimizer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/autograd.h"
#include "engine/random.h"
#include "engine/safetensors.h"

namespace vitrine {

// What a weight does in its layer; a table holds biases by distance. Optimizers decay by role (norms, biases,
// positions, tokens and tables are not decayed).
enum class Role { weight, bias, norm, position, token, table, prompt };

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

class Scope {
 public:
  // `name` in full, e.g. "blocks.0.attn.qkv.weight".
  using Source =
      std::function<Variable(const std::string& name, const Shape& shape, Role role, const Init& init)>;
  explicit Scope(Source source, std::string prefix = {})
      : source_(std::make_shared<Source>(std::move(source))), prefix_(std::move(prefix)) {}

  // The scope of a part: (scope / "blocks.0") asks for names that begin with "blocks.0.".
  Scope operator/(const std::string& part) const;
  Variable get(const std::string& name, const Shape& shape, Role role, const Init& init) const;

 private:
  std::shared_ptr<Source> source_;
  std::string prefix_;
};

// Sealed constants of the given type from a checkpoint. A missing or misshapen tensor is
// an error that names it.
Scope frozen(const TensorFile& checkpoint, DType dtype = DType::f32, const Memory& memory = {});
// Fresh leaves.
Scope trainable(Parameters& parameters, uint64_t seed, DType dtype = DType::f32, const Memory& memory = {});
// Leaves that start from copies of a checkpoint's tensors (fine-tuning).
Scope trainable(Parameters& parameters, const TensorFile& checkpoint, DType dtype = DType::f32,
                const Memory& memory = {});

}  // namespace vitrine
