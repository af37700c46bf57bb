#include "nn/scope.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

// FNV-1a: tells the random streams of two weights apart by their names.
uint32_t hash_of(const std::string& name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

double draw(const Init& init, Random& random) {
  if (init.kind == Init::Kind::constant) return init.size;
  if (init.kind == Init::Kind::uniform) return random.uniform(-init.size, init.size);
  double z = random.normal();
  while (init.kind == Init::Kind::truncated && std::abs(z) > 2) z = random.normal();
  return init.size * z;
}

// `value` as a leaf that is on the list; a statistic as a constant.
Variable listed(Parameters& parameters, const Wanted& wanted, const Tensor& value) {
  if (wanted.role == Role::statistic) return value;
  Variable leaf = Variable::leaf(value);
  parameters.add({wanted.name, wanted.role, leaf});
  return leaf;
}

const Tensor& find(const TensorFile& checkpoint, const std::string& name, const Shape& shape) {
  const Tensor& found = checkpoint.at(name);
  check(found.shape() == shape, "{}: tensor '{}': expected {}, got {}",
        checkpoint.name.empty() ? "checkpoint" : checkpoint.name, name, shape, found.shape());
  return found;
}

}  // namespace

Tensor fresh(const Shape& shape, const Init& init, uint64_t seed, const std::string& name, DType dtype,
             const Memory& memory) {
  Tensor out = Tensor::empty(shape, dtype, memory.device() == nullptr ? memory : Memory());
  Random random(seed, Purpose::init, 0, hash_of(name));
  dispatch(dtype, "init", [&](auto zero) {
    using T = decltype(zero);
    // Drawn in f32, so that an f64 model starts from the very same numbers.
    for (T& value : out.mutable_data<T>()) value = static_cast<T>(static_cast<float>(draw(init, random)));
  });
  return memory.device() == nullptr ? out : out.copied_to(memory);
}

void Parameters::add(Parameter parameter) {
  check(parameter.value.wants_gradient(), "parameters: '{}' is not a leaf", parameter.name);
  for (const Parameter& other : all_)
    check(other.name != parameter.name, "parameters: two are named {}", other.name);
  all_.push_back(std::move(parameter));
}

int64_t Parameters::count() const {
  int64_t scalars = 0;
  for (const Parameter& parameter : all_) scalars += parameter.value.numel();
  return scalars;
}

void Parameters::clear_gradients() {
  for (Parameter& parameter : all_) parameter.value.clear_gradient();
}

Scope Scope::operator/(const std::string& part) const {
  Scope inner = *this;
  inner.prefix_ = prefix_ + part + ".";
  return inner;
}

Scope Scope::in_block(int64_t block) const {
  Scope inner = *this;
  inner.block_ = block;
  return inner;
}

Scope Scope::added() const {
  Scope inner = *this;
  inner.added_ = true;
  return inner;
}

Scope Scope::with(const Additions& additions) const {
  Scope inner = *this;
  inner.additions_ = additions;
  return inner;
}

Variable Scope::get(const std::string& name, const Shape& shape, Role role, const Init& init) const {
  return get(Wanted{prefix_ + name, shape, role, init, block_, added_});
}

Scope chosen(const std::function<bool(const Wanted&)>& takes, const Scope& yes, const Scope& no) {
  return Scope([=](const Wanted& wanted) { return takes(wanted) ? yes.get(wanted) : no.get(wanted); });
}

Scope frozen(const TensorFile& checkpoint, DType dtype, const Memory& memory) {
  return Scope([checkpoint, dtype, memory](const Wanted& wanted) {
    const Tensor& found = find(checkpoint, wanted.name, wanted.shape);
    if (found.dtype() == dtype && found.device() == memory.device())
      return Variable(found.sealed() ? found : found.clone().seal());
    return Variable(found.to(dtype).copied_to(memory).seal());
  });
}

Scope trainable(Parameters& parameters, uint64_t seed, DType dtype, const Memory& memory) {
  return Scope([&parameters, seed, dtype, memory](const Wanted& w) {
    return listed(parameters, w, fresh(w.shape, w.init, seed, w.name, dtype, memory));
  });
}

Scope trainable(Parameters& parameters, const TensorFile& checkpoint, DType dtype, const Memory& memory) {
  return Scope([&parameters, checkpoint, dtype, memory](const Wanted& w) {
    return listed(parameters, w, find(checkpoint, w.name, w.shape).to(dtype).copied_to(memory));
  });
}

}  // namespace vitrine
