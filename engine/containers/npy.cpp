#include "engine/containers/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {

namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr size_t header_limit = 10'000;  // numpy's own, above which it does not trust a header
constexpr size_t most_extents = 64;      // numpy's own

std::string_view characters(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads the header, a Python literal such as {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderReader {
 public:
  HeaderReader(std::string_view words, const std::string& where) : rest_(words), where_(where) {}

  std::string_view descr;
  bool structured = false;  // descr is a list of fields
  bool fortran_order = false;
  std::vector<int64_t> shape;

  void read() {
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!take('}')) {
      const std::string_view key = string();
      expect(':');
      bool* seen = nullptr;
      if (key == "descr") {
        seen = &has_descr;
        read_descr();
      } else if (key == "fortran_order") {
        seen = &has_order;
        fortran_order = truth();
      } else if (key == "shape") {
        seen = &has_shape;
        read_shape();
      }
      check(seen != nullptr, "{}: expected the keys descr, fortran_order and shape, got {}", where_,
            quote(key));
      check(!*seen, "{}: key {} appears twice", where_, quote(key));
      *seen = true;
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_spaces();
    check(rest_.empty(), "{}: its header goes on behind its end, at {}", where_, quote(rest_));
    check(has_descr && has_order && has_shape,
          "{}: expected the keys descr, fortran_order and shape, got {}{}", where_,
          has_descr ? "no " : "no descr, ", has_descr && !has_order ? "fortran_order" : "shape");
  }

 private:
  void skip_spaces() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }
  bool take(char wanted) {
    skip_spaces();
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    const bool taken = take(wanted);  // the sentence tells what is left without the spaces in front
    check(taken, "{}: expected '{}' in its header, got {}", where_, wanted, quote(rest_));
  }
  bool take(std::string_view word) {
    skip_spaces();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::string_view string() {
    skip_spaces();
    const char mark = rest_.empty() ? '\0' : rest_.front();
    check(mark == '\'' || mark == '"', "{}: expected a string in its header, got {}", where_, quote(rest_));
    const size_t end = rest_.find(mark, 1);
    check(end != std::string_view::npos, "{}: a string in its header has no end", where_);
    const std::string_view words = rest_.substr(1, end - 1);
    check(words.find('\\') == std::string_view::npos, "{}: expected plain strings in its header, got {}",
          where_, quote(words));
    rest_.remove_prefix(end + 1);
    return words;
  }
  bool truth() {
    if (take("True")) return true;
    const bool taken = take("False");
    check(taken, "{}: expected True or False in its header, got {}", where_, quote(rest_));
    return false;
  }
  // A structure's fields are skipped: brackets must match, and strings may hold brackets.
  void read_descr() {
    if (!take('[')) {
      descr = string();
      return;
    }
    structured = true;
    int open = 1;
    while (open > 0) {
      skip_spaces();
      check(!rest_.empty(), "{}: a list in its header has no end", where_);
      if (rest_.front() == '\'' || rest_.front() == '"') {
        string();
        continue;
      }
      open += rest_.front() == '[' ? 1 : rest_.front() == ']' ? -1 : 0;
      rest_.remove_prefix(1);
    }
  }
  void read_shape() {
    expect('(');
    while (!take(')')) {
      skip_spaces();
      int64_t extent = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      check(error == std::errc{} && extent >= 0, "{}: expected extents of 0 to 2^63 in its header, got {}",
            where_, quote(rest_));
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      if (!rest_.empty() && rest_.front() == 'L') rest_.remove_prefix(1);  // Python 2
      check(shape.size() < most_extents, "{}: expected at most {} extents, got more", where_, most_extents);
      shape.push_back(extent);
      if (!take(',')) {
        // (3) would be a number in parentheses.
        check(shape.size() > 1, "{}: expected a tuple as shape, got a number", where_);
        expect(')');
        break;
      }
    }
  }

  std::string_view rest_;
  const std::string& where_;
};

std::optional<Element> element_of(std::string_view kind) {
  constexpr std::pair<std::string_view, Element> known[] = {
      {"f2", Element::f16}, {"f4", Element::f32},   {"f8", Element::f64},  {"i1", Element::i8},
      {"i2", Element::i16}, {"i4", Element::i32},   {"i8", Element::i64},  {"u1", Element::u8},
      {"u2", Element::u16}, {"u4", Element::u32},   {"u8", Element::u64},  {"b1", Element::boolean},
      {"c8", Element::c64}, {"c16", Element::c128}, {"V2", Element::bf16},
  };
  for (const auto& [name, element] : known) {
    if (name == kind) return element;
  }
  return std::nullopt;
}

// `bytes` are the beginning of a file of `file_size`.
std::span<const std::byte> header_of(std::span<const std::byte> bytes, uint64_t file_size,
                                     const std::string& where) {
  check(bytes.size() >= 10 && characters(bytes).starts_with(magic), "{}: expected a .npy file, got {}", where,
        bytes.size() >= 10 ? "other first bytes" : "less than its first 10 bytes");
  const int major = std::to_integer<int>(bytes[6]), minor = std::to_integer<int>(bytes[7]);
  check(major >= 1 && major <= 3 && minor == 0, "{}: expected version 1.0, 2.0 or 3.0, got {}.{}", where,
        major, minor);
  const size_t begin = major == 1 ? 10 : 12;
  check(bytes.size() >= begin, "{}: its header is cut short", where);
  size_t size = std::to_integer<size_t>(bytes[8]) | std::to_integer<size_t>(bytes[9]) << 8;
  if (major > 1) size |= std::to_integer<size_t>(bytes[10]) << 16 | std::to_integer<size_t>(bytes[11]) << 24;
  check(size <= header_limit, "{}: expected a header of at most {} bytes, got {}", where, header_limit, size);
  check(size <= bytes.size() - begin, "{}: expected a header of {} bytes, got {}", where, size,
        file_size - begin);
  return bytes.subspan(begin, size);
}

// What the header says; the elements begin behind it.
struct Described {
  StoredArray array;
  size_t begin = 0;           // of the elements
  uint64_t bytes = 0;         // of the elements
  uint64_t tensor_bytes = 0;  // of the tensor, whose elements may be wider
  // Why it is no tensor, and whether it is none because it is no array of numbers.
  std::string reason;
  bool is_object = false;
};

Described described_by(std::span<const std::byte> bytes, uint64_t file_size, const std::string& where) {
  Described out;
  const auto words = header_of(bytes, file_size, where);
  out.begin = static_cast<size_t>(words.data() + words.size() - bytes.data());
  HeaderReader header(characters(words), where);
  header.read();
  out.array.extents = header.shape;
  out.array.strides = dense_strides(out.array.extents, header.fortran_order, where);
  if (header.structured) {
    out.reason = "it is an array of structures";
    out.is_object = true;
    return out;
  }
  const std::string_view descr = header.descr;
  const char order = descr.empty() ? '\0' : descr.front();
  check(order == '<' || order == '>' || order == '|' || order == '=',
        "{}: expected a descr such as '<f4', got {}", where, quote(descr));
  const std::optional<Element> element = element_of(descr.substr(1));
  if (!element) {
    out.reason = text("it is an array of {}",
                      descr.substr(1).starts_with('O') ? "Python objects, '|O'" : quote(descr));
    out.is_object = true;
    return out;
  }
  out.array.element = *element;
  out.array.big_endian = order == '>';
  uint64_t numel = 1;
  for (const int64_t extent : out.array.extents)
    numel *= static_cast<uint64_t>(extent);  // dense_strides has checked
  const size_t width = bits_of(*element) / 8;
  check(numel <= (file_size - out.begin) / width, "{}: expected {} elements of {} bytes, got {} bytes", where,
        numel, width, file_size - out.begin);
  out.bytes = numel * width;
  if (is_readable(*element)) {
    out.tensor_bytes = numel * size_of(dtype_for(*element));
  } else {
    out.reason = text("tensors cannot hold {}", name_of(*element));
  }
  return out;
}

void add(TensorFile& file, const std::string& key, const Described& described, const SharedBytes& content,
         Allowance& allowance, const std::string& where) {
  std::string reason;
  StoredArray array = described.array;
  array.bytes = content.bytes.subspan(described.begin);
  Tensor tensor = make_tensor(array, content.owner, content.set_aside, allowance, where, reason);
  if (tensor.defined()) {
    file.tensors.emplace(key, std::move(tensor));
  } else {
    file.unreadable.emplace(key, std::move(reason));
  }
}

// Whether it was found in the header that this is no tensor.
bool refused(TensorFile& file, const std::string& key, const Described& described) {
  if (described.reason.empty()) return false;
  (described.is_object ? file.objects : file.unreadable).emplace(key, described.reason);
  return true;
}

}  // namespace

TensorFile read_npy(const SharedBytes& file, const std::string& name) {
  TensorFile out;
  out.name = name;
  const std::string where = text("npy: '{}'", name);
  Allowance allowance(file.bytes.size(), where);
  const Described described = described_by(file.bytes, file.bytes.size(), where);
  if (!refused(out, "array", described)) add(out, "array", described, file, allowance, where);
  return out;
}

#ifdef VITRINE_FILES

TensorFile read_npz(const SharedBytes& file, const ZipArchive& archive, const std::string& name,
                    Allowance& allowance) {
  constexpr std::string_view ending = ".npy";
  // A tensor with its name and what finding out its dialect takes, or the reason why there is none; and of the file's own
  // memory what is not given back when it was read: pages that small members have in common.
  constexpr size_t per_array = 1280, page = 4096;
  TensorFile out;
  out.name = name;
  for (const ZipMember& member : archive.members())
    allowance.take(per_array + 2 * member.name.size() + std::min(member.bytes.size(), page),
                   "the archive's arrays");
  for (const ZipMember& member : archive.members()) {
    if (!member.name.ends_with(ending)) continue;
    const std::string key(member.name.substr(0, member.name.size() - ending.size()));
    const std::string where = text("npz: '{}': array {}", name, quote(key));
    if (!member.deflated) {
      const SharedBytes content = archive.content(member, file, allowance);
      const Described described = described_by(content.bytes, content.bytes.size(), where);
      if (!refused(out, key, described)) add(out, key, described, content, allowance, where);
      continue;
    }
    // Its header tells whether the rest is wanted, and how much that may be.
    std::array<std::byte, header_limit + 12> beginning;
    const size_t there = archive.inflate_beginning(member, beginning);
    const Described described = described_by(std::span(beginning).first(there), member.size, where);
    if (refused(out, key, described)) continue;
    check(described.begin + described.bytes == member.size, "{}: expected {} bytes, got {}", where,
          described.begin + described.bytes, member.size);
    // Where the elements lie otherwise than a tensor's, they take memory twice for a moment.
    const bool kept = lies_as_a_tensor(described.array);
    std::string reason = allowance.try_take_inflated(member.size);
    if (reason.empty() && !kept) reason = allowance.try_take_inflated(described.tensor_bytes);
    if (!reason.empty()) {
      out.unreadable.emplace(key, std::move(reason));
      continue;
    }
    Allowance taken(described.tensor_bytes, where);
    add(out, key, described, archive.inflated(member, file, described.begin), taken, where);
    if (!kept) allowance.give_back_inflated(member.size);
  }
  return out;
}

#endif

}  // namespace vitrine
