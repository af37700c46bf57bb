#include "engine/containers/state.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

using Kind = PickleValue::Kind;

namespace {

constexpr size_t deepest = 64;
constexpr size_t most_steps = 2'000'000;  // shared values can be reached in many ways
constexpr size_t most_passed_over = 16;
constexpr size_t name_cost = 640;  // a tensor, or a reason why there is none, in two maps

bool rebuilds(const PickleTree& tree, PickleRef ref) {
  const PickleValue& value = tree[ref];
  if (!value.is(Kind::object) || !value.called) return false;
  const PickleValue& callee = tree[value.callee];
  return callee.is(Kind::global) && callee.module == "torch._utils" && callee.words.starts_with("_rebuild_");
}

constexpr std::array<std::string_view, 7> outer = {"state_dict_ema", "model_ema", "state_dict", "model",
                                                   "teacher",        "student",   "module"};

// Which of a dictionary's entries to unwrap, and which others could have been: averaged weights go before those that they
// are the average of, a teacher before its student.
struct Inner {
  std::string_view key;
  PickleRef value;
  std::vector<std::string_view> passed_over;
};

// Whether there may be weights in a value: not in {}, nor in {'decay': 0.999}.
bool may_hold_tensors(const PickleTree& tree, PickleRef ref) {
  const PickleValue& value = tree[ref];
  if (value.is(Kind::object)) return true;
  return value.is(Kind::dict) && std::ranges::any_of(value.items, [&](PickleRef item) {
           return is_tensor_record(tree, item) || tree[item].is(Kind::dict) || tree[item].is(Kind::object) ||
                  tree[item].is(Kind::list) || tree[item].is(Kind::tuple);
         });
}

std::optional<Inner> inner_of(const PickleTree& tree, const PickleValue& dict) {
  std::array<PickleRef, outer.size()> found{};
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& key = tree[dict.items[i]];
    if (!key.is(Kind::text)) continue;
    if (key.words.find('.') != std::string_view::npos && is_tensor_record(tree, dict.items[i + 1]))
      return std::nullopt;
    const auto known = std::ranges::find(outer, key.words);
    if (known != outer.end())
      found[known - outer.begin()] = dict.items[i + 1];  // of equal keys the last counts
  }
  std::optional<Inner> inner;
  // Of those that hold tensors, if any does: an average that was never begun is none.
  for (size_t i = 0; i < outer.size(); ++i) {
    if (!may_hold_tensors(tree, found[i])) continue;
    if (inner)
      inner->passed_over.push_back(outer[i]);
    else
      inner = Inner{outer[i], found[i], {}};
  }
  // Other nets, of whatever name.
  for (size_t i = 0; inner && i + 1 < dict.items.size(); i += 2) {
    const PickleValue &key = tree[dict.items[i]], &value = tree[dict.items[i + 1]];
    const bool other = key.is(Kind::text) && std::ranges::find(outer, key.words) == outer.end() &&
                       value.is(Kind::dict) && inner->passed_over.size() < most_passed_over;
    if (other &&
        std::ranges::any_of(value.items, [&](PickleRef item) { return is_tensor_record(tree, item); }))
      inner->passed_over.push_back(key.words);
  }
  return inner;
}

void report_tensors(const PickleTree& tree, const PickleValue& dict, Allowance& allowance,
                    std::vector<std::string>& names) {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& key = tree[dict.items[i]];
    if (!key.is(Kind::text) || !is_tensor_record(tree, dict.items[i + 1])) continue;
    allowance.take(name_cost + 4 * key.words.size(), "the names of its tensors");
    names.emplace_back(key.words);
  }
}

PickleRef unwrapped(const PickleTree& tree, Allowance& allowance, std::string& part,
                    std::vector<std::string>& beside) {
  constexpr int most_wrappings = 8;
  PickleRef ref = tree.root_ref();
  for (int depth = 0; depth < most_wrappings && tree[ref].is(Kind::dict); ++depth) {
    const auto inner = inner_of(tree, tree[ref]);
    if (!inner) break;
    part += part.empty() ? "" : ".";
    part += inner->key;
    report_tensors(tree, tree[ref], allowance, beside);
    for (const std::string_view other : inner->passed_over) beside.emplace_back(other);
    ref = inner->value;
  }
  return ref;
}

// Walks over everything below a value, with its own stack.
class Walk {
 public:
  Walk(const PickleTree& tree, const std::string& where, Allowance& allowance, StateDict& out)
      : tree_(tree), where_(where), allowance_(allowance), out_(out) {}

  void run(PickleRef root) {
    visit(root, pickle_none);
    while (!path_.empty()) {
      Frame& frame = path_.back();
      name_.resize(frame.name);
      if (frame.next == tree_[frame.entries].items.size()) {
        path_.pop_back();
        continue;
      }
      check(++steps_ <= most_steps, "{}: its dictionaries hold each other in more than {} ways", where_,
            most_steps);
      const PickleValue& container = tree_[frame.entries];
      const PickleRef entries = frame.entries;
      if (container.is(Kind::list) || container.is(Kind::tuple) || !container.keyed) {
        const size_t i = frame.next++;
        extend(std::to_string(i));
        visit(container.items[i], entries);
      } else {
        const PickleRef key = container.items[frame.next], item = container.items[frame.next + 1];
        frame.next += 2;
        if (add_key(tree_[key], frame.of_object)) visit(item, entries);
      }
    }
  }

 private:
  // A container whose items are being visited.
  struct Frame {
    PickleRef entries;
    size_t next = 0;
    size_t name = 0;  // length of the name up to here
    bool of_object = false;
  };

  void extend(std::string_view piece) {
    if (!name_.empty()) name_ += '.';
    name_ += piece;
  }

  bool add_key(const PickleValue& key, bool of_object) {
    if (key.is(Kind::integer)) {
      extend(std::to_string(key.integer));
      return true;
    }
    if (!key.is(Kind::text)) return false;
    constexpr std::string_view silent[] = {"_parameters", "_buffers", "_modules"};
    if (!of_object || std::ranges::find(silent, key.words) == std::end(silent)) {
      check(key.words.size() <= longest_key, "{}: expected names of at most {} bytes, got one of {}", where_,
            longest_key, key.words.size());
      extend(key.words);
    }
    return true;
  }

  void visit(PickleRef ref, PickleRef container) {
    const PickleValue& value = tree_[ref];
    if (is_tensor_record(tree_, ref)) return report(ref, container, out_.tensors);
    switch (value.kind) {
      case Kind::dict:
      case Kind::list:
      case Kind::tuple:
        return enter(ref, false);
      case Kind::object: {
        // Its attributes, or Python's pair of those in a dictionary and those in slots.
        PickleRef state = value.state;
        if (tree_[state].is(Kind::tuple) && tree_[state].items.size() == 2) state = tree_[state].items[0];
        const bool attributes = tree_[state].is(Kind::dict);
        if (attributes) enter(state, true);
        if (!value.items.empty()) enter(ref, false);
        if (!attributes && value.items.empty()) report(ref, container, out_.opaque);
        return;
      }
      default:
        return;
    }
  }

  void enter(PickleRef entries, bool of_object) {
    const auto on_path = [&](const Frame& frame) { return frame.entries == entries; };
    if (tree_[entries].items.empty() || std::ranges::any_of(path_, on_path))
      return;  // a cycle has been named already
    check(path_.size() < deepest, "{}: expected dictionaries at most {} deep, got deeper ones", where_,
          deepest);
    path_.push_back({entries, 0, name_.size(), of_object});
  }

  void report(PickleRef ref, PickleRef container, std::map<std::string, PickleRef>& into) {
    allowance_.take(name_cost + 4 * name_.size(), "the names of its tensors");
    const auto [known, fresh] = holders_.try_emplace(name_, container);
    check(fresh || known->second == container, "{}: two values are called {}", where_, quote(name_));
    out_.tensors.erase(name_);
    out_.opaque.erase(name_);
    into.emplace(name_, ref);
  }

  static constexpr size_t longest_key = 4096;
  const PickleTree& tree_;
  const std::string& where_;
  Allowance& allowance_;
  StateDict& out_;
  std::vector<Frame> path_;
  std::string name_;
  std::map<std::string, PickleRef> holders_;  // whose entry a name is
  size_t steps_ = 0;
};

}  // namespace

bool is_tensor_record(const PickleTree& tree, PickleRef ref) {
  if (rebuilds(tree, ref)) return true;
  const PickleValue& value = tree[ref];
  if (!value.is(Kind::object) || !value.called) return false;
  const auto& arguments = tree[value.arguments].items;
  // Makers of tensors that are not known here have their storage among the first few.
  return std::ranges::any_of(
      std::span(arguments).first(std::min<size_t>(arguments.size(), 8)),
      [&](PickleRef argument) { return tree[argument].is(Kind::persistent) || rebuilds(tree, argument); });
}

StateDict state_of(const PickleTree& tree, const std::string& where, Allowance& allowance) {
  StateDict out;
  const PickleRef root = unwrapped(tree, allowance, out.part, out.beside);
  Walk(tree, where, allowance, out).run(root);
  return out;
}

}  // namespace vitrine
