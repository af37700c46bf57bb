#include "engine/containers/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

using Kind = PickleValue::Kind;

namespace {

// What a value, an item, an entry of the stack or the memo may take, with what growing needs meanwhile.
constexpr size_t value_cost = sizeof(PickleValue) + 16, item_cost = 16, memo_cost = 64;
constexpr size_t longest_name = 1024;  // of a module, or of something in it

bool is_dangerous(std::string_view module) {
  constexpr std::string_view refused[] = {"os", "sys", "posix", "nt", "subprocess"};
  return std::ranges::any_of(refused, [&](std::string_view name) {
    return module == name || (module.starts_with(name) && module[name.size()] == '.');
  });
}

// Pieces of sentences that are put into words only where a sentence is needed.
class Place final : public Phrase {
 public:
  Place(const std::string& where, size_t at) : where_(where), at_(at) {}
  std::string words() const override { return text("{}: byte {}", where_, at_); }

 private:
  const std::string& where_;
  size_t at_;
};
class Described final : public Phrase {
 public:
  Described(const PickleTree& tree, PickleRef ref) : tree_(tree), ref_(ref) {}
  std::string words() const override { return tree_.describe(ref_); }

 private:
  const PickleTree& tree_;
  PickleRef ref_;
};

}  // namespace

// Runs one pickle.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, const std::string& where, Allowance& allowance,
                PickleTree& tree)
      : bytes_(bytes), where_(where), allowance_(allowance), tree_(tree) {
    add(Kind::none);
    false_ = add_integer(Kind::boolean, 0);
    true_ = add_integer(Kind::boolean, 1);
  }

  size_t run() {
    while (true) {
      allowance_.take(1, "the pickle");  // where it lies
      const auto opcode = std::to_integer<unsigned>(take(1)[0]);
      if (opcode == '.') break;
      step(opcode);
    }
    tree_.root_ = pop();
    check(stack_.empty() && marks_.empty(), "{}: values are left on the pickle's stack", where());
    return at_;
  }

 private:
  Place where() const { return {where_, at_}; }
  Described what(PickleRef ref) const { return {tree_, ref}; }

  // The bytes of the program.
  std::span<const std::byte> take(uint64_t count) {
    check(count <= bytes_.size() - at_, "{}: the pickle breaks off, expected {} bytes more, got {}", where(),
          count, bytes_.size() - at_);
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  uint64_t number(size_t width) {
    uint64_t value = 0;
    const auto taken = take(width);
    std::memcpy(&value, taken.data(), width);
    return value;
  }
  std::string_view words(uint64_t count) {
    const auto taken = take(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const size_t end = rest.substr(0, longest_name + 1).find('\n');
    check(end != std::string_view::npos, "{}: expected a name of at most {} bytes and the end of its line",
          where(), longest_name);
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // Values.
  PickleRef add(Kind kind) {
    allowance_.take(value_cost, "the pickle's values");
    tree_.values_.emplace_back();
    tree_.values_.back().kind = kind;
    return static_cast<PickleRef>(tree_.values_.size() -
                                  1);  // 2^32 values would need more bytes than are allowed
  }
  PickleRef add_integer(Kind kind, int64_t integer) {
    const PickleRef ref = add(kind);
    value(ref).integer = integer;
    return ref;
  }
  PickleRef add_words(Kind kind, std::string_view words) {
    const PickleRef ref = add(kind);
    value(ref).words = words;
    return ref;
  }
  PickleRef add_global(std::string_view module, std::string_view name) {
    if (is_dangerous(module)) {
      fail(Fault::input, "{}: the pickle asks for {}, which no weights need: it may be an attack", where(),
           quote(text("{}.{}", module, name)));
    }
    const PickleRef ref = add_words(Kind::global, name);
    value(ref).module = module;
    return ref;
  }
  PickleRef add_object(PickleRef callee, PickleRef arguments, bool called) {
    const Kind kind = value(callee).kind;
    check(kind == Kind::global || kind == Kind::object || kind == Kind::persistent, "{}: the pickle calls {}",
          where(), what(callee));
    check(value(arguments).is(Kind::tuple), "{}: expected a tuple of arguments, got {}", where(),
          what(arguments));
    const PickleRef ref = add(Kind::object);
    PickleValue& object = value(ref);
    object.callee = callee;
    object.arguments = arguments;
    object.called = called;
    return ref;
  }
  PickleValue& value(PickleRef ref) { return tree_.values_[ref]; }
  void put(PickleValue& container, std::span<const PickleRef> items) {
    allowance_.take(items.size() * item_cost, "the pickle's values");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  // The stack. It is one array; marks are positions in it, below which no opcode may reach.
  void push(PickleRef ref) {
    if (stack_.size() == most_on_stack_) {
      ++most_on_stack_;
      allowance_.take(item_cost, "the pickle's stack");
    }
    stack_.push_back(ref);
  }
  PickleRef top() {
    check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "{}: the pickle's stack is empty", where());
    return stack_.back();
  }
  PickleRef pop() {
    const PickleRef ref = top();
    stack_.pop_back();
    return ref;
  }
  // What was pushed since the last mark, which is taken away; valid until the next push.
  std::span<const PickleRef> pop_marked() {
    check(!marks_.empty(), "{}: the pickle has no mark", where());
    const size_t begin = marks_.back();
    marks_.pop_back();
    const std::span<const PickleRef> taken = std::span(stack_).subspan(begin);
    stack_.resize(begin);  // shrinking moves nothing
    return taken;
  }

  void remember(uint64_t index) {
    const PickleRef ref = top();
    if (memo_.emplace(index, ref).second) {
      allowance_.take(memo_cost, "the pickle's memo");
    } else {
      memo_[index] = ref;
    }
  }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    check(found != memo_.end(), "{}: the pickle's memo has no entry {}", where(), index);
    push(found->second);
  }

  void push_tuple(std::span<const PickleRef> items) {
    const PickleRef ref = add(Kind::tuple);
    put(value(ref), items);
    push(ref);
  }
  void pop_tuple(size_t count) {
    std::array<PickleRef, 3> items{};
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_tuple(std::span(items).first(count));
  }
  void push_integer_of(std::span<const std::byte> little_endian) {
    if (little_endian.size() > 8) {
      push(add_words(Kind::big, {reinterpret_cast<const char*>(little_endian.data()), little_endian.size()}));
      return;
    }
    const bool negative = !little_endian.empty() && (little_endian.back() & std::byte{0x80}) != std::byte{0};
    uint64_t bits = negative ? ~uint64_t{0} : 0;
    std::memcpy(&bits, little_endian.data(), little_endian.size());
    push(add_integer(Kind::integer, static_cast<int64_t>(bits)));
  }

  void append_to(PickleRef container, std::span<const PickleRef> items) {
    PickleValue& into = value(container);
    check(into.is(Kind::list) || (into.is(Kind::object) && (!into.keyed || into.items.empty())),
          "{}: expected a list to append to, got {}", where(), what(container));
    into.keyed = false;
    put(into, items);
  }
  void set_in(PickleRef container, std::span<const PickleRef> items) {
    PickleValue& into = value(container);
    check(into.is(Kind::dict) || (into.is(Kind::object) && (into.keyed || into.items.empty())),
          "{}: expected a dictionary to put into, got {}", where(), what(container));
    check(items.size() % 2 == 0, "{}: expected keys with values, got a key without", where());
    into.keyed = true;
    put(into, items);
  }

  void build() {
    const PickleRef state = pop(), target = top();
    PickleValue& into = value(target);
    // What OrderedDict carries beside its entries, `_metadata`, says nothing of the tensors.
    if (into.is(Kind::dict)) return;
    check(into.is(Kind::object), "{}: expected an object to give state to, got {}", where(), what(target));
    into.state = state;
  }

  // A call: of OrderedDict a dictionary, of anything else a record.
  void reduce() {
    const PickleRef arguments = pop(), callee = pop();
    if (!tree_.is_global(callee, "collections", "OrderedDict")) {
      push(add_object(callee, arguments, true));
      return;
    }
    check(value(arguments).is(Kind::tuple) && value(arguments).items.size() <= 1,
          "{}: expected OrderedDict of one argument or none", where());
    const PickleRef ref = add(Kind::dict);
    value(ref).keyed = true;
    push(ref);
    if (value(arguments).items.empty()) return;
    const PickleValue& pairs = value(value(arguments).items[0]);
    check(pairs.is(Kind::list), "{}: expected OrderedDict of a list of pairs", where());
    for (const PickleRef item : pairs.items) {
      const PickleValue& pair = value(item);
      check((pair.is(Kind::list) || pair.is(Kind::tuple)) && pair.items.size() == 2,
            "{}: expected OrderedDict of a list of pairs", where());
      put(value(ref), pair.items);
    }
  }

  void step(unsigned opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        const uint64_t protocol = number(1);
        return check(protocol >= 2 && protocol <= 5, "{}: expected a pickle of protocol 2 to 5, got {}",
                     where(), protocol);
      }
      case 0x95:  // FRAME: how much could be read ahead
        number(8);
        return;
      case '(':  // MARK
        if (marks_.size() == most_marks_) {
          ++most_marks_;
          allowance_.take(item_cost + 8, "the pickle's stack");
        }
        return marks_.push_back(stack_.size());
      case '0':  // POP
        pop();
        return;
      case '2':  // DUP
        return push(top());
      case 'N':
        return push(pickle_none);
      case 0x88:
        return push(true_);
      case 0x89:
        return push(false_);
      case 'K':  // BININT1, BININT2, BININT
        return push(add_integer(Kind::integer, static_cast<int64_t>(number(1))));
      case 'M':
        return push(add_integer(Kind::integer, static_cast<int64_t>(number(2))));
      case 'J':
        return push(add_integer(Kind::integer, static_cast<int32_t>(number(4))));
      case 0x8a:  // LONG1, LONG4
        return push_integer_of(take(number(1)));
      case 0x8b:
        return push_integer_of(take(number(4)));
      case 'G': {  // BINFLOAT, big-endian
        const PickleRef ref = add(Kind::real);
        value(ref).real = std::bit_cast<double>(__builtin_bswap64(number(8)));
        return push(ref);
      }
      case 'X':  // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
        return push(add_words(Kind::text, words(number(4))));
      case 0x8c:
        return push(add_words(Kind::text, words(number(1))));
      case 0x8d:
        return push(add_words(Kind::text, words(number(8))));
      case 'U':  // SHORT_BINSTRING, BINSTRING
        return push(add_words(Kind::text, words(number(1))));
      case 'T':
        return push(add_words(Kind::text, words(number(4))));
      case 'C':  // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
        return push(add_words(Kind::bytes, words(number(1))));
      case 'B':
        return push(add_words(Kind::bytes, words(number(4))));
      case 0x8e:
      case 0x96:
        return push(add_words(Kind::bytes, words(number(8))));
      case ']':
        return push(add(Kind::list));
      case '}':
        return push(add(Kind::dict));
      case 0x8f:
        return push(add(Kind::set));
      case 0x91: {  // FROZENSET
        const std::span<const PickleRef> items = pop_marked();
        const PickleRef ref = add(Kind::set);
        put(value(ref), items);
        return push(ref);
      }
      case ')':
        return push_tuple({});
      case 't':
        return push_tuple(pop_marked());
      case 0x85:  // TUPLE1, TUPLE2, TUPLE3
      case 0x86:
      case 0x87:
        return pop_tuple(opcode - 0x84);
      case 'q':  // BINPUT, LONG_BINPUT, MEMOIZE
        return remember(number(1));
      case 'r':
        return remember(number(4));
      case 0x94:
        return remember(memo_.size());
      case 'h':  // BINGET, LONG_BINGET
        return recall(number(1));
      case 'j':
        return recall(number(4));
      case 'c': {  // GLOBAL
        const std::string_view module = line(), name = line();
        return push(add_global(module, name));
      }
      case 0x93: {  // STACK_GLOBAL
        const PickleValue &name = value(pop()), &module = value(pop());
        check(name.is(Kind::text) && module.is(Kind::text) && name.words.size() <= longest_name &&
                  module.words.size() <= longest_name,
              "{}: expected the names of a module and of something in it", where());
        return push(add_global(module.words, name.words));
      }
      case 'R':
        return reduce();
      case 0x81: {  // NEWOBJ: cls.__new__(cls, *arguments)
        const PickleRef arguments = pop(), callee = pop();
        return push(add_object(callee, arguments, false));
      }
      case 0x92: {  // NEWOBJ_EX: the same with arguments by name
        const PickleRef named = pop(), arguments = pop(), callee = pop();
        check(value(named).is(Kind::dict), "{}: expected a dictionary of arguments, got {}", where(),
              what(named));
        return push(add_object(callee, arguments, false));
      }
      case 'b':
        return build();
      case 'Q': {  // BINPERSID
        const PickleRef id = pop(), ref = add(Kind::persistent);
        value(ref).callee = id;
        return push(ref);
      }
      case 'a': {  // APPEND, APPENDS
        const PickleRef item = pop();
        return append_to(top(), {&item, 1});
      }
      case 'e': {
        const auto items = pop_marked();
        return append_to(top(), items);
      }
      case 's': {  // SETITEM, SETITEMS
        std::array<PickleRef, 2> item{};
        item[1] = pop();
        item[0] = pop();
        return set_in(top(), item);
      }
      case 'u': {
        const auto items = pop_marked();
        return set_in(top(), items);
      }
      case 0x90: {  // ADDITEMS
        const auto items = pop_marked();
        check(value(top()).is(Kind::set), "{}: expected a set to add to, got {}", where(), what(top()));
        return put(value(top()), items);
      }
      default:
        fail(Fault::input, "{}: the pickle's opcode {} is none that weights need", where(), opcode);
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  Allowance& allowance_;
  PickleTree& tree_;
  size_t at_ = 0;
  std::vector<PickleRef> stack_;
  std::vector<size_t> marks_;
  size_t most_on_stack_ = 0, most_marks_ = 0;
  std::unordered_map<uint64_t, PickleRef> memo_;
  PickleRef false_ = 0, true_ = 0;
};

PickleTree::PickleTree(std::span<const std::byte> bytes, const std::string& where, Allowance& allowance,
                       size_t& used) {
  used = PickleMachine(bytes, where, allowance, *this).run();
}

bool PickleTree::is_global(PickleRef ref, std::string_view module, std::string_view name) const {
  const PickleValue& value = values_[ref];
  return value.is(Kind::global) && value.module == module && value.words == name;
}

std::string PickleTree::describe(PickleRef ref) const {
  constexpr std::string_view names[] = {"None",    "a truth value", "a whole number", "a real number",
                                        "text",    "bytes",         "a big number",   "a list",
                                        "a tuple", "a dictionary",  "a set"};
  const PickleValue& value = values_[ref];
  if (value.is(Kind::global)) return quote(text("{}.{}", value.module, value.words));
  if (value.is(Kind::persistent)) return "a reference out of the pickle";
  if (!value.is(Kind::object)) return std::string(names[static_cast<size_t>(value.kind)]);
  const PickleValue& callee = values_[value.callee];
  if (!callee.is(Kind::global)) return "an object of unknown kind";
  return text("{}{}{}", value.called ? "what " : "an object of ",
              quote(text("{}.{}", callee.module, callee.words)), value.called ? " makes" : "");
}

}  // namespace vitrine
