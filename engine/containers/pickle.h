// pickle.h: Python's pickles as plain data. No code runs, whatever the file says.
//
// A pickle is a program for a small stack machine, which may import and call anything. Here it builds a tree of plain
// values only: calls are recorded, never made, and give opaque objects that remember what was called with what.
// (`collections.OrderedDict`, whose call makes a dictionary, is one at once.) Read are the opcodes that Python's own
// pickler writes in protocols 2 to 5; any other is an error, and so is the name of anything in os, sys, posix, nt or
// subprocess.
//
// All values lie in one array and point to each other by their number in it. So values that the file shares are shared
// here, cycles do no harm, and neither building nor destroying nests however deep the file nests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/containers/allowance.h"

namespace vitrine {

// The number of a value in its tree.
using PickleRef = uint32_t;
constexpr PickleRef pickle_none = 0;  // the value None of every tree

struct PickleValue {
  enum class Kind : uint8_t {
    none,
    boolean,     // integer: 0 or 1
    integer,     // integer
    real,        // real
    text,        // words: UTF-8, or Python 2's bytes
    bytes,       // words
    big,         // an integer beyond 64 bits; words: its little-endian bytes
    list,        // items
    tuple,       // items
    dict,        // items: key, value, key, value, ...; of equal keys the last counts
    set,         // items
    global,      // module, words: a class or function
    persistent,  // callee: what the outer file should look up
    object       // callee(*arguments), then its state, and items put into it as into a list or a dictionary
  };
  Kind kind = Kind::none;
  bool called = false;  // of an object: by REDUCE; else it is an instance of the class `callee`
  bool keyed = false;   // of an object: its items are key, value, ...
  union {
    int64_t integer = 0;
    double real;
  };
  std::string_view words, module;
  PickleRef callee = pickle_none, arguments = pickle_none, state = pickle_none;
  std::vector<PickleRef> items;

  bool is(Kind wanted) const { return kind == wanted; }
};

class PickleTree {
 public:
  // Reads the pickle at the beginning of `bytes`, which must outlive the tree; `used` becomes its length. `where` opens
  // the sentences of errors. All memory is taken from the allowance. Throws Fault::input if anything is not as it must
  // be.
  PickleTree(std::span<const std::byte> bytes, const std::string& where, Allowance& allowance, size_t& used);

  const PickleValue& root() const { return values_[root_]; }
  PickleRef root_ref() const { return root_; }
  const PickleValue& operator[](PickleRef ref) const { return values_[ref]; }
  size_t size() const { return values_.size(); }

  // Whether a value is the class or function `module`.`name`.
  bool is_global(PickleRef ref, std::string_view module, std::string_view name) const;
  // What the value is, for error messages: "a list", "an object of argparse.Namespace", ...
  std::string describe(PickleRef ref) const;

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;  // they stay where they are while more come
  PickleRef root_ = pickle_none;
};

}  // namespace vitrine
