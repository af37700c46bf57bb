// autograd.cpp: histories, and the way back through them.
#include "engine/autograd.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "engine/check.h"
#include "engine/gpu/run.h"
#include "engine/parallel.h"

namespace vitrine {

// A node stands one higher than its highest input, so that going down by height visits every node after all
// of its users: no global counter is needed.
struct Variable::Node {
  int64_t height = 0;
  bool is_leaf = false;
  bool used = false;
  Tensor gradient;
  std::vector<std::shared_ptr<Node>> inputs;  // only those that want a gradient
  std::vector<Rule> rules;                    // one per input, or ...
  JointRule joint_rule;                       // ... one for all,
  std::vector<size_t> joint_positions;        // whose results for `inputs` stand at these positions

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  // Long histories are taken apart in a loop, not by recursion, which could run out of stack. Those that wait hang on each
  // other: a destructor must not ask for memory.
  ~Node() {
    std::shared_ptr<Node> waiting;
    hang_on(waiting, inputs);
    while (waiting) {
      const std::shared_ptr<Node> node = std::move(waiting);
      waiting = std::move(node->next);
      hang_on(waiting, node->inputs);
    }
  }

 private:
  std::shared_ptr<Node> next;  // of those that wait

  static void hang_on(std::shared_ptr<Node>& waiting, std::vector<std::shared_ptr<Node>>& inputs) {
    for (std::shared_ptr<Node>& input : inputs) {
      if (input.use_count() == 1) {
        input->next = std::move(waiting);
        waiting = std::move(input);
      } else {
        input.reset();
      }
    }
    inputs.clear();
  }
};

namespace {

template <class T>
void add_into(Tensor& sum, const Tensor& term) {
  T* to = sum.mutable_data<T>().data();
  const T* from = term.data<T>().data();
  parallel_for(sum.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

// sum += term. The first term is kept as it is (it may be shared with others), so a later one
// may need a copy first.
void accumulate(Tensor& sum, Tensor term) {
  if (!sum.defined()) {
    sum = std::move(term);
    return;
  }
  check(sum.shape() == term.shape() && sum.dtype() == term.dtype(),
        "backward: expected a gradient {}, got {}", sum.shape(), term.shape());
  if (!sum.unique()) {
    if (term.unique()) {
      std::swap(sum, term);
    } else {
      sum = sum.clone();
    }
  }
  if (const Device* device = device_of(sum, "backward")) {
    void* to = gpu::out(*device, sum);
    device->run(&gpu::Kernels::combine,
                {sum.dtype(), gpu::Binary::add, 1, {sum.numel()}, {1}, {1}, to, gpu::in(*device, term), to});
    return;
  }
  dispatch(sum.dtype(), "backward", [&](auto zero) { add_into<decltype(zero)>(sum, term); });
}

}  // namespace

Variable Variable::leaf(Tensor value) {
  check(value.defined() && !value.sealed(), "leaf: a trainable needs a value that may be written");
  check(value.dtype() == DType::f32 || value.dtype() == DType::f64, "leaf: expected f32 or f64, got {}",
        name_of(value.dtype()));
  Variable out(std::move(value));
  out.node_ = std::make_shared<Node>();
  out.node_->is_leaf = true;
  return out;
}

const Tensor& Variable::gradient() const {
  check(node_ != nullptr && node_->is_leaf, "gradient: only a leaf keeps its gradient");
  return node_->gradient;
}

void Variable::clear_gradient() {
  if (node_) node_->gradient = Tensor();
}

void Variable::set_gradient(Tensor gradient) {
  check(node_ != nullptr && node_->is_leaf, "gradient: only a leaf keeps its gradient");
  check(gradient.shape() == shape() && gradient.dtype() == dtype(), "gradient: expected {}, got {}", shape(),
        gradient.shape());
  node_->gradient = std::move(gradient);
}

Variable record(Tensor y, std::initializer_list<Edge> edges) {
  Variable out(std::move(y));
  for (const Edge& edge : edges) {
    if (!edge.input.node_) continue;
    if (!out.node_) out.node_ = std::make_shared<Variable::Node>();
    out.node_->height = std::max(out.node_->height, edge.input.node_->height + 1);
    out.node_->inputs.push_back(edge.input.node_);
    out.node_->rules.push_back(edge.rule);
  }
  return out;
}

Variable record_jointly(Tensor y, const std::vector<Variable>& inputs, const MakeJointRule& make) {
  Variable out(std::move(y));
  std::vector<bool> wanted;
  for (const Variable& input : inputs) wanted.push_back(input.wants_gradient());
  if (std::ranges::find(wanted, true) == wanted.end()) return out;
  out.node_ = std::make_shared<Variable::Node>();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!wanted[i]) continue;
    out.node_->height = std::max(out.node_->height, inputs[i].node_->height + 1);
    out.node_->inputs.push_back(inputs[i].node_);
    out.node_->joint_positions.push_back(i);
  }
  out.node_->joint_rule = make(wanted);
  return out;
}

void backward(const Variable& y, Tensor dy) {
  check(y.wants_gradient(), "backward: the result does not depend on any trainable");
  if (!dy.defined()) {
    check(y.numel() == 1, "backward: expected a result of one element, got {}", y.shape());
    dy = Tensor::full(y.shape(), 1.0, y.dtype(), y.value().memory());
  }
  check(dy.shape() == y.shape() && dy.dtype() == y.dtype(), "backward: expected a gradient {}, got {}",
        y.shape(), dy.shape());
  check(dy.device() == y.value().device(), "backward: expected a gradient where the result is");
  Variable::walk(y.node_, std::move(dy));
}

void Variable::walk(std::shared_ptr<Node> top, Tensor dy) {
  // The waiting nodes by height, newest arrival last among equals: an order that depends on the graph alone.
  struct Waiting {
    int64_t height;
    int64_t arrival;
    std::shared_ptr<Node> node;
    bool operator<(const Waiting& other) const {
      return height != other.height ? height < other.height : arrival > other.arrival;
    }
  };
  // Those that an exception leaves waiting lose their gradients: another walk would take such a node for one
  // that waits already, and never visit it.
  struct Queue : std::priority_queue<Waiting> {
    ~Queue() {
      for (; !empty(); pop()) top().node->gradient = Tensor();
    }
  } waiting;
  int64_t arrivals = 0;
  const auto give = [&](const std::shared_ptr<Node>& node, Tensor gradient) {
    const bool first = !node->gradient.defined();
    if (first && !node->is_leaf) waiting.push({node->height, arrivals++, node});
    // What stays at a leaf is its own: rules may hand the same memory to several inputs.
    if (first && node->is_leaf && !gradient.unique()) gradient = gradient.clone();
    accumulate(node->gradient, std::move(gradient));
  };

  give(top, std::move(dy));
  top.reset();
  while (!waiting.empty()) {
    const std::shared_ptr<Node> node = waiting.top().node;
    waiting.pop();
    Tensor gradient = std::exchange(node->gradient, Tensor());
    check(!node->used, "backward: this history was used before; compute the result again");
    node->used = true;
    // A rule alone with the gradient may overwrite it: the last one gets it for good.
    const auto last = static_cast<std::ptrdiff_t>(node->rules.size()) - 1;
    for (std::ptrdiff_t i = 0; i < last; ++i) {
      const Rule rule = std::exchange(node->rules[i], nullptr);
      give(node->inputs[i], rule(gradient));
    }
    if (node->joint_rule) {
      const JointRule rule = std::exchange(node->joint_rule, nullptr);
      std::vector<Tensor> gradients = rule(std::move(gradient));
      for (size_t i = 0; i < node->inputs.size(); ++i)
        if (Tensor& found = gradients[node->joint_positions[i]]; found.defined())  // it had a part in y
          give(node->inputs[i], std::move(found));
    } else if (last >= 0) {
      const Rule rule = std::exchange(node->rules[last], nullptr);
      give(node->inputs[last], rule(std::move(gradient)));
    }
    node->rules.clear();
    node->inputs.clear();
  }
}

Variable recompute(const std::vector<Variable>& inputs, const Recomputed& body) {
  using Node = Variable::Node;
  auto node = std::make_shared<Node>();
  // What the second run of the body gets: constants and leaves as they are; any other input is stood in for by a
  // leaf of the same height, so that the nodes of the body are visited in the order that they have without all this.
  struct Kept {
    Variable input;
    int64_t height = 0;
    bool stand_in = false;
  };
  std::vector<Kept> kept;
  std::vector<Variable> plain;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Variable& x = inputs[i];
    plain.push_back(x.detach());
    if (!x.node_ || x.node_->is_leaf) {
      kept.push_back({x});
    } else {
      kept.push_back({x.detach(), x.node_->height, true});
      node->inputs.push_back(x.node_);
      node->joint_positions.push_back(i);
    }
    if (x.node_) node->height = std::max(node->height, x.node_->height + 1);
  }
  Variable out;
  {
    const Variable once = body(plain);
    out = once.detach();
    if (node->height == 0 && !once.wants_gradient()) return out;  // no input and no weight asks
  }
  node->height = std::max<int64_t>(node->height, 1);
  node->joint_rule = [kept = std::move(kept), body](Tensor dy) {
    std::vector<Variable> again;
    for (const Kept& k : kept) {
      again.push_back(k.input);
      if (!k.stand_in) continue;
      again.back().node_ = std::make_shared<Node>();
      again.back().node_->is_leaf = true;
      again.back().node_->height = k.height;
    }
    std::shared_ptr<Node> top;
    {
      const Variable y = body(again);
      check(y.wants_gradient() && y.shape() == dy.shape() && y.dtype() == dy.dtype(),
            "recompute: the body's second result is not like its first");
      top = y.node_;  // its value is not needed
    }
    Variable::walk(std::move(top), std::move(dy));
    std::vector<Tensor> gradients(again.size());
    for (size_t i = 0; i < again.size(); ++i)
      if (kept[i].stand_in) gradients[i] = std::exchange(again[i].node_->gradient, Tensor());
    return gradients;
  };
  out.node_ = std::move(node);
  return out;
}

}  // namespace vitrine
