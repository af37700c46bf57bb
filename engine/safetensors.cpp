#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>

#include "engine/check.h"
#include "engine/containers/array.h"
#include "engine/file.h"
#include "engine/json.h"
#include "engine/json_events.h"
#include "engine/text.h"

namespace vitrine {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is used in place");

constexpr std::string_view metadata_key = "__metadata__";

constexpr std::pair<std::string_view, DType> dtype_names[] = {
    {"F64", DType::f64}, {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16},
    {"I64", DType::i64}, {"I32", DType::i32}, {"I8", DType::i8},   {"U8", DType::u8},
};

// All that the format has.
constexpr std::pair<std::string_view, Element> element_names[] = {
    {"F64", Element::f64},        {"F32", Element::f32},    {"F16", Element::f16},
    {"BF16", Element::bf16},      {"I64", Element::i64},    {"I32", Element::i32},
    {"I16", Element::i16},        {"I8", Element::i8},      {"U64", Element::u64},
    {"U32", Element::u32},        {"U16", Element::u16},    {"U8", Element::u8},
    {"BOOL", Element::boolean},   {"C64", Element::c64},    {"F8_E5M2", Element::f8},
    {"F8_E4M3", Element::f8},     {"F8_E8M0", Element::f8}, {"F8_E4M3FNUZ", Element::f8},
    {"F8_E5M2FNUZ", Element::f8}, {"F6_E2M3", Element::f6}, {"F6_E3M2", Element::f6},
    {"F4", Element::f4},
};

std::string_view name_in_file(DType dtype) {
  for (const auto& [name, candidate] : dtype_names) {
    if (candidate == dtype) return name;
  }
  fail(Fault::input, "safetensors: no name for dtype {}", name_of(dtype));
}

// What the header says of one tensor.
struct Entry {
  Element element = Element::f32;
  std::string_view dtype;  // the format's name of it
  std::vector<int64_t> extents;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

struct Header {
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
};

// Follows the events through the one structure a header may have, at most three levels deep. Unlike a tree they show
// repeated keys.
class HeaderReader final : public JsonEvents {
 public:
  HeaderReader(const std::string& file, Allowance& allowance) : file_(file), allowance_(allowance) {}

  Header take() { return std::move(header_); }

  void null() override { unexpected("null"); }
  void boolean(bool) override { unexpected("a boolean"); }

  void number(const JsonNumber& number) override {
    if (!number.whole || number.negative)
      unexpected(number.whole ? "a negative number" : text("the number {}", number.words));
    if (place_ == Place::shape) {
      if (entry_->extents.size() == Shape::max_rank)
        refuse(text("at most {} extents, got more", Shape::max_rank));
      if (number.size > uint64_t{std::numeric_limits<int64_t>::max()})
        refuse(text("extents below 2^63, got {}", number.size));
      entry_->extents.push_back(static_cast<int64_t>(number.size));
    } else if (place_ == Place::offsets) {
      if (entry_->offsets.size() == 2) refuse("two numbers, got more");
      entry_->offsets.push_back(number.size);
    } else {
      unexpected("a number");
    }
  }

  void string(std::string& value) override {
    if (place_ == Place::metadata) {
      allowance_.take(value.size(), "its metadata");
      header_.metadata[key_] = std::string_view(value);  // without the room that the parser's word has beyond
    } else if (place_ == Place::tensor && key_ == "dtype") {
      set_dtype(value);
    } else {
      unexpected("a string");
    }
  }

  void begin_object() override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = name_ == metadata_key ? Place::metadata : Place::tensor;
    } else {
      unexpected("an object");
    }
  }

  void key(std::string& value) override {
    if (place_ == Place::top) {
      start_entry(std::move(value));
      return;
    }
    key_ = std::move(value);
    if (place_ == Place::metadata) {
      allowance_.take(metadata_cost + key_.size(), "its metadata");
      check(!header_.metadata.contains(key_), "safetensors: '{}': metadata {} appears twice", file_,
            quote(key_));
      return;
    }
    bool* seen = nullptr;
    if (key_ == "dtype") seen = &entry_->has_dtype;
    if (key_ == "shape") seen = &entry_->has_shape;
    if (key_ == "data_offsets") seen = &entry_->has_offsets;
    check(seen != nullptr, "{}: expected the fields dtype, shape and data_offsets, got {}", where(),
          quote(key_));
    check(!*seen, "{}: field {} appears twice", where(), quote(key_));
    *seen = true;
  }

  void end_object() override {
    if (place_ == Place::tensor) {
      check(entry_->has_dtype, "{}: expected a field 'dtype', got none", where());
      check(entry_->has_shape, "{}: expected a field 'shape', got none", where());
      check(entry_->has_offsets, "{}: expected a field 'data_offsets', got none", where());
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
  }

  void begin_list() override {
    if (place_ == Place::tensor && key_ == "shape") {
      place_ = Place::shape;
    } else if (place_ == Place::tensor && key_ == "data_offsets") {
      place_ = Place::offsets;
    } else {
      unexpected("an array");
    }
  }

  void end_list() override {
    if (place_ == Place::offsets && entry_->offsets.size() != 2) {
      refuse(text("two numbers, got {}", entry_->offsets.size()));
    }
    place_ = Place::tensor;
  }

  void wrong(size_t at, std::string_view near) override {
    fail(Fault::input, "safetensors: '{}': the header is not valid JSON in UTF-8 at its byte {}, near {}",
         file_, at, quote(near));
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  void start_entry(std::string name) {
    name_ = std::move(name);
    if (name_ == metadata_key) {
      check(!has_metadata_, "safetensors: '{}': {} appears twice", file_, metadata_key);
      has_metadata_ = true;
      return;
    }
    allowance_.take(entry_cost + 3 * name_.size(), "its tensors");
    const auto [position, fresh] = header_.entries.try_emplace(name_);
    check(fresh, "{} appears twice", where());
    entry_ = &position->second;
    key_.clear();
  }

  void set_dtype(const std::string& value) {
    std::string known;
    for (const auto& [name, element] : element_names) {
      if (name == value) {
        entry_->element = element;
        entry_->dtype = name;
        return;
      }
      known += known.empty() ? "" : ", ";
      known += name;
    }
    fail(Fault::input, "{}: expected a dtype among {}, got {}", where(), known, quote(value));
  }

  std::string where() const { return text("safetensors: '{}': tensor {}", file_, quote(name_)); }

  [[noreturn]] void refuse(std::string_view expected) const {
    fail(Fault::input, "{}: field {}: expected {}", where(), quote(key_), expected);
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    switch (place_) {
      case Place::outside:
        fail(Fault::input, "safetensors: '{}': expected an object as header, got {}", file_, what);
      case Place::top:
        fail(Fault::input, "safetensors: '{}': entry {}: expected an object, got {}", file_, quote(name_),
             what);
      case Place::metadata:
        fail(Fault::input, "safetensors: '{}': metadata {}: expected a string, got {}", file_, quote(key_),
             what);
      case Place::tensor:
        refuse(text("{}, got {}", key_ == "dtype" ? "a string" : "an array of whole numbers", what));
      case Place::shape:
      case Place::offsets:
        break;
    }
    refuse(text("non-negative whole numbers below 2^64, got {}", what));
  }

  // What an entry, the tensor made of it and finding out its dialect take, and a pair of words.
  static constexpr size_t entry_cost = 1280, metadata_cost = 144;
  const std::string& file_;
  Allowance& allowance_;
  Header header_;
  Place place_ = Place::outside;
  std::string name_;        // the last key at the top
  std::string key_;         // the last key inside a tensor or the metadata
  Entry* entry_ = nullptr;  // of the tensor `name_`; a map's elements stay where they are
  bool has_metadata_ = false;
};

Header parse_header(std::string_view json, const std::string& file, Allowance& allowance) {
  const size_t first = json.find_first_not_of(" \t\r\n");
  check(first != std::string_view::npos && json[first] == '{',
        "safetensors: '{}': expected a header that begins with '{': not a safetensors file", file);
  take_for_json(json, allowance);
  allowance.take(json.size(), "its header");  // as it lies in the file it is in memory, too, while it is read
  HeaderReader reader(file, allowance);
  read_json(json, reader);
  return reader.take();
}

// Checks that the entries, in the order of their offsets, fill `data_size` bytes without holes or overlaps
// and that each has as many bytes as its shape and dtype ask for.
void check_layout(const std::map<std::string, Entry>& entries, size_t data_size, const std::string& file) {
  std::vector<const std::pair<const std::string, Entry>*> order;
  order.reserve(entries.size());
  for (const auto& entry : entries) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* entry) {
    return std::pair(entry->second.offsets[0], entry->second.offsets[1]);
  });
  uint64_t covered = 0;
  for (const auto* named : order) {
    const Entry& entry = named->second;
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    const std::string where = text("safetensors: '{}': tensor {}", file, quote(named->first));
    check(begin <= end, "{}: its data begins at {} and ends before, at {}", where, begin, end);
    check(begin == covered, "{}: expected its data to begin at {}, where the previous tensor ends, got {}{}",
          where, covered, begin, begin < covered ? " (an overlap)" : " (a hole)");
    // Few types have elements of no whole bytes; of these the bits are counted.
    const size_t bits = bits_of(entry.element), unit = bits % 8 == 0 ? 8 : 1;
    auto units = static_cast<int64_t>(bits / unit);
    for (const int64_t extent : entry.extents) units = checked_multiply(units, extent, where);
    const int64_t per_byte = unit == 8 ? 1 : 8;
    check(units % per_byte == 0, "{}: its {} bits are no whole bytes", where, units);
    check(static_cast<uint64_t>(units / per_byte) == end - begin,
          "{}: expected {} bytes for {} of {}, got data_offsets of {} bytes", where, units / per_byte,
          Shape(entry.extents), entry.dtype, end - begin);
    covered = end;
  }
  check(covered == data_size, "safetensors: '{}': expected {} bytes of data, got {}", file, covered,
        data_size);
}

void check_size(uint64_t size, const std::string& file) {
  check(size >= 8, "safetensors: '{}': expected at least 8 bytes, got {}", file, size);
}

// What the first bytes of a file of so many say.
uint64_t header_size_of(std::span<const std::byte, 8> first, uint64_t size, const std::string& file,
                        size_t limit) {
  uint64_t header = 0;
  std::memcpy(&header, first.data(), 8);
  check(header <= limit, "safetensors: '{}': expected a header of at most {} bytes, got a length of {}{}",
        file, limit, header, header > size - 8 ? ": not a safetensors file" : "");
  check(header <= size - 8, "safetensors: '{}': expected a header of {} bytes, got a file of {}", file,
        header, size);
  return header;
}

// The beginning of a file, up to its data, and the tensors whose data follows in this order.
struct Layout {
  std::vector<std::byte> beginning;
  std::vector<const Tensor*> tensors;
};

Layout lay_out(const TensorFile& file) {
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (const auto& named : file.tensors) {
    check(named.first != metadata_key, "safetensors: a tensor cannot be called {}", metadata_key);
    check(named.second.defined(), "safetensors: tensor {} is undefined", quote(named.first));
    order.push_back(&named);
  }
  // Falling element sizes from an aligned start keep every tensor aligned.
  std::ranges::stable_sort(order, std::greater{},
                           [](const auto* named) { return size_of(named->second.dtype()); });

  Layout layout;
  std::string json = "{";
  if (!file.metadata.empty()) {
    json += json_text(std::string(metadata_key)) + ":{";
    for (const auto& [key, value] : file.metadata) {
      json += (json.back() == '{' ? "" : ",") + json_text(key) + ":" + json_text(value);
    }
    json += "}";
  }
  int64_t offset = 0;
  for (const auto* named : order) {
    const auto& [name, tensor] = *named;
    const int64_t end = checked_add(offset, static_cast<int64_t>(tensor.bytes()), "safetensors");
    json += (json.size() == 1 ? "" : ",") + json_text(name);
    json += text(":{\"dtype\":\"{}\",\"shape\":[", name_in_file(tensor.dtype()));
    for (int i = 0; i < tensor.shape().rank(); ++i) json += text("{}{}", i ? "," : "", tensor.dim(i));
    json += text("],\"data_offsets\":[{},{}]}", offset, end);
    layout.tensors.push_back(&tensor);
    offset = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  check(json.size() <= safetensors_header_limit, "safetensors: expected a header of at most {} bytes, got {}",
        safetensors_header_limit, json.size());

  const auto length = std::bit_cast<std::array<std::byte, 8>>(uint64_t{json.size()});
  const auto characters = std::as_bytes(std::span(json));
  layout.beginning.assign(length.begin(), length.end());
  layout.beginning.insert(layout.beginning.end(), characters.begin(), characters.end());
  return layout;
}

}  // namespace

const Tensor& TensorFile::at(const std::string& tensor) const {
  const auto found = tensors.find(tensor);
  if (found != tensors.end()) return found->second;
  for (const auto* other : {&unreadable, &objects})
    if (const auto known = other->find(tensor); known != other->end())
      fail(Fault::input, "{}cannot read tensor {}: {}", name.empty() ? "" : text("'{}': ", name),
           quote(tensor), known->second);
  std::vector<std::string_view> names;
  for (const auto& named : tensors) names.push_back(named.first);
  const std::string near = nearest(tensor, names);
  fail(Fault::input, "{}no tensor {}{}", name.empty() ? "" : text("'{}': ", name), quote(tensor),
       near.empty() ? "" : text("; did you mean {}?", quote(near)));
}

TensorFile read_safetensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                            const std::string& name, size_t header_limit, const SetAside& set_aside) {
  check_size(bytes.size(), name);
  const uint64_t header_size = header_size_of(bytes.first<8>(), bytes.size(), name, header_limit);
  const auto json = bytes.subspan(8, static_cast<size_t>(header_size));
  const auto data = bytes.subspan(8 + static_cast<size_t>(header_size));

  Allowance allowance(bytes.size(), text("safetensors: '{}'", name));
  Header header = parse_header({reinterpret_cast<const char*>(json.data()), json.size()}, name, allowance);
  check_layout(header.entries, data.size(), name);
  TensorFile file;
  file.metadata = std::move(header.metadata);
  file.name = name;
  for (auto& [tensor, entry] : header.entries) {
    const std::string where = text("safetensors: '{}': tensor {}", name, quote(tensor));
    StoredArray array;
    array.bytes = data.subspan(static_cast<size_t>(entry.offsets[0]),
                               static_cast<size_t>(entry.offsets[1] - entry.offsets[0]));
    array.element = entry.element;
    array.strides = dense_strides(entry.extents, false, where);
    array.extents = std::move(entry.extents);
    std::string reason;
    Tensor read = make_tensor(array, owner, set_aside, allowance, where, reason);
    if (read.defined()) {
      file.tensors.emplace_hint(file.tensors.end(), tensor, std::move(read));
    } else {
      file.unreadable.emplace_hint(file.unreadable.end(), tensor, std::move(reason));
    }
  }
  return file;
}

TensorFile read_safetensors(uint64_t size, const ReadStorage& read, const std::string& name,
                            const Memory& memory) {
  check_size(size, name);
  std::array<std::byte, 8> beginning{};
  read(0, beginning);
  const uint64_t header_size = header_size_of(beginning, size, name, safetensors_header_limit);
  std::string json(static_cast<size_t>(header_size), '\0');
  read(8, std::as_writable_bytes(std::span(json)));

  Allowance allowance(static_cast<size_t>(size), text("safetensors: '{}'", name));
  Header header = parse_header(json, name, allowance);
  check_layout(header.entries, static_cast<size_t>(size - 8 - header_size), name);
  TensorFile file;
  file.metadata = std::move(header.metadata);
  file.name = name;
  for (const auto& [tensor, entry] : header.entries) {
    const auto dtype =
        std::ranges::find(dtype_names, entry.dtype, [](const auto& pair) { return pair.first; });
    if (dtype == std::end(dtype_names) || entry.extents.size() > Shape::max_rank) {
      file.unreadable[tensor] = text("storage that is read piece by piece cannot hold {} of {} extents",
                                     entry.dtype, entry.extents.size());
      continue;
    }
    const uint64_t begin = 8 + header_size + entry.offsets[0];
    file.tensors.emplace(
        tensor,
        Tensor::fetched(
            Shape(entry.extents), dtype->second,
            [read, begin](size_t offset, std::span<std::byte> to) { read(begin + offset, to); }, memory));
  }
  return file;
}

std::vector<std::byte> write_safetensors(const TensorFile& file) {
  Layout layout = lay_out(file);
  size_t size = layout.beginning.size();
  for (const Tensor* tensor : layout.tensors) size += tensor->bytes();
  std::vector<std::byte> bytes = std::move(layout.beginning);
  bytes.reserve(size);
  for (const Tensor* tensor : layout.tensors) {
    const auto own = tensor->raw();
    bytes.insert(bytes.end(), own.begin(), own.end());
  }
  return bytes;
}

#ifdef VITRINE_FILES

TensorFile load_safetensors(const std::string& path) {
  const auto file = map_file(path);
  return read_safetensors(file->bytes(), file, path, safetensors_header_limit,
                          [file = file.get()](std::span<const std::byte> part) { file->set_aside(part); });
}

void save_safetensors(const std::string& path, const TensorFile& file) {
  const Layout layout = lay_out(file);
  std::vector<std::span<const std::byte>> parts = {layout.beginning};
  for (const Tensor* tensor : layout.tensors) parts.push_back(tensor->raw());
  write_file_atomically(path, parts);
}

#endif

}  // namespace vitrine
