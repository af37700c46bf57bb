// autograd.h: a Variable is a Tensor with a history; backward walks the history.
//
// An op computes its result as plain Tensors and records, for each input, the rule that turns the gradient
// of the result (dy) into the gradient of that input. Rules belong to inputs: a rule whose input
// is a constant is dropped together with all that it captured. With a frozen weight, `linear` therefore
// keeps no activation at all.
//
// Rules capture Tensors, never Variables, so no reference cycle can form.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <vector>

#include "engine/parts.h"
#include "engine/tensor.h"

namespace vitrine {

class Variable;

// What stands for a rule in a build without VITRINE_TRAINING: it takes any and keeps none, so that no code of a backward
// pass is left.
struct NoRule {
  template <class Any>
  NoRule(const Any&) {}  // NOLINT: where a rule is expected, any function will do
};
template <class Signature>
using RuleOf = std::conditional_t<parts::training, std::function<Signature>, NoRule>;

// Gradient of the result in, gradient of one input out (of that input's shape and type). A rule that nobody
// shares dy with (dy.unique()) may write its result over it.
using Rule = RuleOf<Tensor(Tensor dy)>;
// The same for several inputs at once, where their gradients share work. An entry whose input was
// not wanted is ignored.
using JointRule = RuleOf<std::vector<Tensor>(Tensor dy)>;
// Makes it, told which inputs want a gradient.
using MakeJointRule = RuleOf<JointRule(const std::vector<bool>& wanted)>;
// Part of a computation that can be run again.
using Recomputed = std::function<Variable(const std::vector<Variable>& inputs)>;

class Variable {
 public:
  Variable() = default;                                 // undefined
  Variable(Tensor value) : value_(std::move(value)) {}  // NOLINT: a Tensor is a constant Variable
  // A trainable: backward leaves its gradient here. The value must be f32 or f64 and not
  // sealed; throws otherwise, and in a build without VITRINE_TRAINING.
  static Variable leaf(Tensor value);

  const Tensor& value() const { return value_; }
  bool defined() const { return value_.defined(); }
  const Shape& shape() const { return value_.shape(); }
  int64_t dim(int i) const { return value_.dim(i); }
  int64_t numel() const { return value_.numel(); }
  DType dtype() const { return value_.dtype(); }

  // True for trainables and for all that was computed from one.
  bool wants_gradient() const { return parts::training && node_ != nullptr; }
  // The gradient that backward left at a leaf; undefined before, or if the leaf had no part in the result.
  const Tensor& gradient() const;
  void clear_gradient();
  void set_gradient(Tensor gradient);  // of a leaf: clipping, gradients added up elsewhere
  // The same value without the history.
  Variable detach() const { return Variable(value_); }

 private:
  struct Node;
  Tensor value_;
  std::shared_ptr<Node> node_;

  friend struct Edge;
  friend Variable record(Tensor y, std::initializer_list<struct Edge> edges);
  friend Variable record_jointly(Tensor y, const std::vector<Variable>& inputs, const MakeJointRule& make);
  friend void backward(const Variable& y, Tensor dy);
  friend Variable recompute(const std::vector<Variable>& inputs, const Recomputed& body);
  static void walk(std::shared_ptr<Node> top, Tensor dy);
};

struct Edge {
  const Variable& input;
  Rule rule;
};

// Gives `y` a history: one rule per input. If no input wants a gradient, y is a constant.
Variable record(Tensor y, std::initializer_list<Edge> edges);

// The same with one rule for all inputs. `make` is told which inputs want a gradient and captures only what
// those need; it is not called if none does.
Variable record_jointly(Tensor y, const std::vector<Variable>& inputs, const MakeJointRule& make);

// Adds d(y)/d(leaf) to the gradient of every leaf that y was computed from. `dy` is the gradient of y itself;
// without it y must hold one element, and dy is 1. The history is used up: each node is freed as soon as its
// rules have run. Throws if y is a constant or its history was used before, and passes on what a rule throws;
// what the leaves got until then stays with them, nothing else does. May be called inside a rule.
void backward(const Variable& y, Tensor dy = {});

// body(inputs) with the same gradients to the last bit, for the memory of `inputs` alone (arXiv 1604.06174): forward
// keeps no history of what the body computes; backward runs it a second time, with one, and goes back through it.
// The body must compute the same both times, and must own what it captures. Trained weights among that get their
// gradients, too; they must be leaves. Inputs may be undefined.
//
// An input that others use as well has its gradient added up in another order if the body uses it more than
// once; leaves do not.
Variable recompute(const std::vector<Variable>& inputs, const Recomputed& body);

}  // namespace vitrine
