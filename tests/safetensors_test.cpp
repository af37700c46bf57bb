// safetensors_test.cpp: what the format allows is read back unchanged; everything else is
// refused, never believed.
#include "engine/safetensors.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <random>
#include <string_view>

using namespace vitrine;

namespace {

std::vector<std::byte> bytes_of(std::string_view words) {
  const auto span = std::as_bytes(std::span(words));
  return {span.begin(), span.end()};
}

// A file of a header with its true length, and data.
std::string file_of(std::string_view header, std::string_view data = "") {
  const uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out.append(header).append(data);
}

// Reads from a heap block of just that size, so that sanitizers see any step beyond it.
TensorFile read(std::string_view file) {
  const auto owner = std::make_shared<std::vector<std::byte>>(bytes_of(file));
  return read_safetensors(*owner, owner, "x.safetensors");
}

std::string refusal(std::string_view file) {
  try {
    read(file);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::input);
    return error.what();
  }
  return "no error";
}

// Reads a damaged file: it must be refused with an Error, or give tensors that can be touched, written and
// read again. Returns whether it was read.
bool survives(std::string_view bytes) {
  TensorFile file;
  try {
    file = read(bytes);
  } catch (const Error&) {
    return false;
  }
  size_t total = 0;
  unsigned sum = 0;
  for (const auto& [name, tensor] : file.tensors) {
    REQUIRE(tensor.sealed());
    for (const std::byte byte : tensor.raw()) sum += std::to_integer<unsigned>(byte);
    total += tensor.bytes();
  }
  REQUIRE(sum <= 255 * total);
  REQUIRE(total < bytes.size());
  const auto written = write_safetensors(file);
  const auto again = read_safetensors(written, nullptr, "again");
  REQUIRE(again.tensors.size() == file.tensors.size());
  REQUIRE(again.metadata == file.metadata);
  return true;
}

Tensor counting(const Shape& shape, DType dtype) {
  Tensor out = Tensor::empty(shape, dtype);
  int value = 1;
  for (std::byte& byte : out.mutable_raw()) byte = static_cast<std::byte>(value = value * 5 % 251);
  return out;
}

void check_equal(const Tensor& a, const Tensor& b) {
  CHECK(a.dtype() == b.dtype());
  CHECK(a.shape() == b.shape());
  CHECK(std::ranges::equal(a.raw(), b.raw()));
}

TensorFile sample() {
  TensorFile file;
  file.tensors["head.weight"] = counting({2, 3}, DType::f32);
  file.tensors["head.bias"] = counting({2}, DType::f32);
  file.tensors["scale"] = counting({}, DType::bf16);
  file.tensors["none"] = counting({0, 4}, DType::i8);
  file.tensors["step"] = counting({1}, DType::i64);
  file.metadata = {{"format", "vitrine"}, {"note", "caf\xc3\xa9 \"\\\n"}};
  return file;
}

std::string sample_bytes() {
  const auto bytes = write_safetensors(sample());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr std::string_view one_tensor = R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";

}  // namespace

TEST_CASE("safetensors: the reference's file is read") {
  std::string file("<\0\0\0\0\0\0\0", 8);
  file.append(one_tensor).append(16, '\0');
  REQUIRE(file.size() == 8 + 60 + 16);
  const TensorFile tensors = read(file);
  CHECK(tensors.tensors.size() == 1);
  CHECK(tensors.metadata.empty());
  CHECK(tensors.at("test").shape() == Shape{2, 2});
  CHECK(tensors.at("test").dtype() == DType::i32);
  CHECK(tensors.at("test").sealed());
  for (const int32_t value : tensors.at("test").data<int32_t>()) CHECK(value == 0);

  CHECK(refusal(file + "x") == "safetensors: 'x.safetensors': expected 16 bytes of data, got 17");
  CHECK(refusal(file.substr(0, file.size() - 2)) ==
        "safetensors: 'x.safetensors': expected 16 bytes of data, got 14");
  CHECK(refusal(std::string("<\0\0\0\0\xff\xff\xff", 8) + file.substr(8)) ==
        "safetensors: 'x.safetensors': expected a header of at most 100000000 bytes, got a length of "
        "18446742974197923900: not a safetensors file");
  CHECK(refusal(file.substr(0, 67)) ==
        "safetensors: 'x.safetensors': expected a header of 60 bytes, got a file of 67");
  CHECK(refusal("") == "safetensors: 'x.safetensors': expected at least 8 bytes, got 0");
  CHECK(refusal(file_of("{")).starts_with("safetensors: 'x.safetensors': the header is not valid JSON"));
  CHECK(refusal(file_of("\xff")).ends_with("not a safetensors file"));
  CHECK(refusal(file_of("")).ends_with("not a safetensors file"));
  CHECK(read(file_of("\t\n{}\r ")).tensors.empty());
  CHECK(read(file_of("{}")).tensors.empty());
}

TEST_CASE("safetensors: ten tensors in the same bytes are refused") {
  std::string header = "{";
  for (int i = 0; i < 10; ++i) {
    header += (i ? "," : "") + text("\"t{}{}", i, R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})");
  }
  CHECK(refusal(file_of(header + "}", std::string(16, 'x'))) ==
        "safetensors: 'x.safetensors': tensor 't1': expected its data to begin at 16, where the previous "
        "tensor ends, "
        "got 0 (an overlap)");
}

TEST_CASE("safetensors: each refusal names the file, the tensor, what was expected and what came") {
  const std::string who = "safetensors: 'x.safetensors': ", data(16, 'x');
  // What stands for the tensor's fields, and the end of the message.
  const auto with_fields = [&](const std::string& fields) {
    return refusal(file_of("{\"a\":{" + fields + "}}", data));
  };
  const std::string type = R"("dtype":"I32")", shape = R"("shape":[2,2])", range = R"("data_offsets":[0,16])";
  CHECK(with_fields(type + "," + shape + "," + range) == "no error");
  CHECK(with_fields(range + "," + type + "," + shape) == "no error");

  CHECK(with_fields(shape + "," + range) == who + "tensor 'a': expected a field 'dtype', got none");
  CHECK(with_fields(type + "," + range) == who + "tensor 'a': expected a field 'shape', got none");
  CHECK(with_fields(type + "," + shape) == who + "tensor 'a': expected a field 'data_offsets', got none");
  CHECK(with_fields(type + "," + type + "," + shape + "," + range) ==
        who + "tensor 'a': field 'dtype' appears twice");
  CHECK(with_fields(type + "," + shape + "," + range + "," + range) ==
        who + "tensor 'a': field 'data_offsets' appears twice");
  CHECK(with_fields(type + "," + shape + "," + range + ",\"strides\":[2,1]") ==
        who + "tensor 'a': expected the fields dtype, shape and data_offsets, got 'strides'");
  for (const char* other : {"F128", "f32", ""}) {
    CHECK(with_fields(text("\"dtype\":\"{}\",{},{}", other, shape, range))
              .starts_with(text("{}tensor 'a': expected a dtype among F64, F32, F16, ", who)));
  }
  CHECK(with_fields(text("{}{}", R"("dtype":"F4","shape":[3],)", range)) ==
        who + "tensor 'a': its 12 bits are no whole bytes");
  CHECK(with_fields(text("{}{}", R"("dtype":"F6_E2M3","shape":[4],)", range)) ==
        who + "tensor 'a': expected 3 bytes for (4) of F6_E2M3, got data_offsets of 16 bytes");
  const auto with_shape = [&](const char* value) {
    return with_fields(text("{},\"shape\":{},{}", type, value, range));
  };
  const std::string whole =
      who + "tensor 'a': field 'shape': expected non-negative whole numbers below 2^64, got ";
  CHECK(with_shape("[2,-2]") == whole + "a negative number");
  CHECK(with_shape("[2,-0]") == whole + "a negative number");
  CHECK(with_shape("[2,2.0]") == whole + "the number 2.0");
  CHECK(with_shape("[2,2e0]") == whole + "the number 2e0");
  CHECK(with_shape("[18446744073709551616]") == whole + "the number 18446744073709551616");
  CHECK(with_shape("[\"2\"]") == whole + "a string");
  CHECK(with_shape("[[2]]") == whole + "an array");
  CHECK(with_shape("[null]") == whole + "null");
  CHECK(with_shape("4") ==
        who + "tensor 'a': field 'shape': expected an array of whole numbers, got a number");
  CHECK(with_shape("[9223372036854775808]") ==
        who + "tensor 'a': field 'shape': expected extents below 2^63, got 9223372036854775808");
  CHECK(with_shape("[1,1,1,1,1,1,1,1,4]") ==
        who + "tensor 'a': field 'shape': expected at most 8 extents, got more");
  CHECK(with_shape("[2,3]") ==
        who + "tensor 'a': expected 24 bytes for (2, 3) of I32, got data_offsets of 16 bytes");
  CHECK(with_shape("[4294967296,4294967296]") ==
        who + "tensor 'a': 17179869184 times 4294967296 overflows 64 bits");
  CHECK(with_shape("[4611686018427387904,4]").ends_with("overflows 64 bits"));

  const auto with_range = [&](const char* value) {
    return with_fields(text("{},{},\"data_offsets\":{}", type, shape, value));
  };
  CHECK(with_range("[0]") == who + "tensor 'a': field 'data_offsets': expected two numbers, got 1");
  CHECK(with_range("[0,16,16]") == who + "tensor 'a': field 'data_offsets': expected two numbers, got more");
  CHECK(with_range("[16,0]") == who + "tensor 'a': its data begins at 16 and ends before, at 0");
  CHECK(with_range("[4,20]").ends_with("got 4 (a hole)"));
  CHECK(with_range("[0,18446744073709551615]").ends_with("got data_offsets of 18446744073709551615 bytes"));

  CHECK(refusal(file_of("[]")).ends_with("not a safetensors file"));
  CHECK(refusal(file_of("\xef\xbb\xbf{}")).ends_with("not a safetensors file"));
  CHECK(refusal(file_of(std::string_view("{}\0\0", 4)))
            .starts_with(who + "the header is not valid JSON in UTF-8 at its byte 3"));
  CHECK(refusal(file_of("{} {}")).starts_with(who + "the header is not valid JSON"));
  CHECK(refusal(file_of("{\"a\":1}")) == who + "entry 'a': expected an object, got a number");
  CHECK(refusal(file_of("{\"a\xff\":{}}")).starts_with(who + "the header is not valid JSON"));
  CHECK(refusal(file_of("{/* */}")).starts_with(who + "the header is not valid JSON"));
  const std::string empty = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK(refusal(file_of("{\"a\":" + empty + ",\"b\":" + empty + ",\"a\":" + empty + "}")) ==
        who + "tensor 'a' appears twice");
  CHECK(refusal(file_of("{\"a\":" + empty + ",\"\\u0061\":" + empty + "}")) ==
        who + "tensor 'a' appears twice");
  CHECK(refusal(file_of("{\"\x1b[2J\":" + empty + "}")).starts_with(who + "the header is not valid JSON"));
  CHECK(refusal(file_of("{\"\\u001b[2J\":{}}")) ==
        who + "tensor '\\x1b[2J': expected a field 'dtype', got none");

  CHECK(refusal(file_of(R"({"__metadata__":{"k":1}})")) ==
        who + "metadata 'k': expected a string, got a number");
  CHECK(refusal(file_of(R"({"__metadata__":{"k":{}}})")) ==
        who + "metadata 'k': expected a string, got an object");
  CHECK(refusal(file_of(R"({"__metadata__":null})")) ==
        who + "entry '__metadata__': expected an object, got null");
  CHECK(refusal(file_of(R"({"__metadata__":{"k":"1","k":"2"}})")) == who + "metadata 'k' appears twice");
  CHECK(refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")) == who + "__metadata__ appears twice");
  for (const char open : {'[', '{'}) {  // a parser that recursed would run out of stack
    CHECK(refusal(file_of("{\"a\":" + std::string(1'000'000, open))).starts_with(who));
  }
}

TEST_CASE("safetensors: a header longer than the caller allows is refused") {
  const auto bytes = bytes_of(file_of(one_tensor, std::string(16, '\0')));
  CHECK(read_safetensors(bytes, nullptr, "x", 60).tensors.size() == 1);
  CHECK_THROWS_WITH(read_safetensors(bytes, nullptr, "x", 59),
                    "safetensors: 'x': expected a header of at most 59 bytes, got a length of 60");
}

TEST_CASE("safetensors: every dtype, rank and empty extent comes back unchanged") {
  TensorFile file;
  for (const DType dtype :
       {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i8, DType::u8}) {
    for (const Shape& shape :
         {Shape{}, Shape{3}, Shape{0}, Shape{2, 0, 3}, Shape{2, 3}, Shape{1, 1, 2, 1, 3, 1, 1, 2}}) {
      file.tensors[text("{} {}", name_of(dtype), shape)] = counting(shape, dtype);
    }
  }
  file.tensors[""] = counting({2}, DType::u8);
  file.metadata = {{"", ""}, {"quotes \" and \\", "line\nbreak"}, {"caf\xc3\xa9", std::string("\0", 1)}};
  const auto bytes = write_safetensors(file);
  for (const bool owned : {true, false}) {
    const auto owner = std::make_shared<std::vector<std::byte>>(bytes);
    const TensorFile again = read_safetensors(*owner, owned ? owner : nullptr, "again");
    CHECK(again.metadata == file.metadata);
    REQUIRE(again.tensors.size() == file.tensors.size());
    for (const auto& [name, tensor] : file.tensors) {
      CAPTURE(name);
      check_equal(again.at(name), tensor);
      CHECK(again.at(name).sealed());
      const std::byte* place = again.at(name).raw().data();
      const bool inside = place >= owner->data() && place <= owner->data() + owner->size();
      CHECK(inside == owned);  // everything we write is aligned, so that it can be borrowed
    }
    CHECK(write_safetensors(again) == bytes);
  }
}

TEST_CASE("safetensors: the written bytes are the definition's") {
  TensorFile file;
  file.tensors["b"] = Tensor::of<float>({2}, {1.0f, -2.0f});
  file.tensors["a"] = Tensor::of<uint8_t>({3}, {1, 2, 3});
  file.tensors["c"] = Tensor::of<int32_t>({}, {-1});
  file.tensors["d"] = Tensor::of<double>({1, 1}, {0.5});
  file.metadata = {{"z", "1"}, {"k", "2"}};
  std::string header = R"({"__metadata__":{"k":"2","z":"1"},)"
                       R"("d":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                       R"("c":{"dtype":"I32","shape":[],"data_offsets":[16,20]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[20,23]}})";
  while (header.size() % 8 != 0) header += ' ';
  const std::string data(
      "\0\0\0\0\0\0\xe0\x3f"
      "\0\0\x80\x3f"
      "\0\0\0\xc0"
      "\xff\xff\xff\xff"
      "\1\2\3",
      23);
  CHECK(write_safetensors(file) == bytes_of(file_of(header, data)));
}

TEST_CASE("safetensors: unaligned data is copied, offsets may come in any order") {
  const std::string header =
      R"({"late":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"early":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  for (int shift = 0; shift < 4; ++shift) {  // at every alignment, at least one of the two is unaligned
    const std::string file =
        file_of(header + std::string(static_cast<size_t>(shift), ' '), std::string_view("\7\0\0\x80\x3f", 5));
    CHECK(read(file).at("late").item() == 1.0);
    CHECK(read(file).at("early").data<uint8_t>()[0] == 7);
    CHECK(read(file).at("late").sealed());
  }
}

TEST_CASE("safetensors: borrowed tensors outlive the reader's other handles") {
  Tensor kept;
  {
    const auto owner = std::make_shared<std::vector<std::byte>>(write_safetensors(sample()));
    kept = read_safetensors(*owner, owner, "x").at("head.weight");
    CHECK(owner.use_count() == 2);
  }
  check_equal(kept, sample().at("head.weight"));
}

TEST_CASE("safetensors: the writer refuses what it could not read back") {
  TensorFile file = sample();
  SUBCASE("reserved name") {
    file.tensors["__metadata__"] = counting({1}, DType::u8);
    CHECK_THROWS_WITH(write_safetensors(file), "safetensors: a tensor cannot be called __metadata__");
  }
  SUBCASE("undefined tensor") {
    file.tensors["gone"] = Tensor();
    CHECK_THROWS_WITH(write_safetensors(file), "safetensors: tensor 'gone' is undefined");
  }
  SUBCASE("name not in UTF-8") {
    file.tensors["\xff"] = counting({1}, DType::u8);
    CHECK_THROWS_AS(write_safetensors(file), Error);
  }
  SUBCASE("metadata not in UTF-8") {
    file.metadata["k"] = "\xc3";
    CHECK_THROWS_AS(write_safetensors(file), Error);
  }
}

TEST_CASE("safetensors: a missing tensor is answered with the nearest name") {
  TensorFile file = sample();
  CHECK_THROWS_WITH(file.at("head.wieght"), "no tensor 'head.wieght'; did you mean 'head.weight'?");
  CHECK_THROWS_WITH(file.at("prompts"), "no tensor 'prompts'");
  file.name = "task.safetensors";
  CHECK_THROWS_WITH(file.at("prompts"), "'task.safetensors': no tensor 'prompts'");
}

TEST_CASE("safetensors: damage is refused or harmless: every truncation, every extension") {
  const std::string file = sample_bytes();
  REQUIRE(survives(file));
  for (size_t length = 0; length < file.size(); ++length) REQUIRE(!survives(file.substr(0, length)));
  for (size_t more = 1; more < 20; ++more) REQUIRE(!survives(file + std::string(more, '\0')));
}

TEST_CASE("safetensors: damage is refused or harmless: every byte of the header") {
  const std::string file = sample_bytes();
  uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  for (size_t at = 0; at < 8 + header; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      survives(damaged);
    }
    for (const char other : std::string_view("\0\"{}[],:\\-.e9 \xff\x80", 17)) {
      std::string damaged = file;
      damaged[at] = other;
      survives(damaged);
    }
    if (at < 8) continue;
    survives(
        file_of(file.substr(8, at - 8) + file.substr(at + 1, 8 + header - at - 1), file.substr(8 + header)));
  }
}

TEST_CASE("safetensors: damage is refused or harmless: every number of the header") {
  const std::string file = sample_bytes();
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const std::string header = file.substr(8, length), data = file.substr(8 + length);
  int numbers = 0;
  for (size_t at = 0; at < header.size(); ++at) {
    if (std::string_view("[,").find(header[at]) == std::string_view::npos || !std::isdigit(header[at + 1]))
      continue;
    ++numbers;
    size_t end = at + 1;
    while (std::isdigit(header[end])) ++end;
    for (const char* value : {"0",
                              "1",
                              "-1",
                              "1.5",
                              "1e3",
                              "1E400",
                              "-0",
                              "00",
                              "2147483648",
                              "4294967296",
                              "9007199254740992",
                              "9223372036854775807",
                              "9223372036854775808",
                              "18446744073709551615",
                              "18446744073709551616",
                              "null",
                              "true",
                              "\"1\"",
                              "[]",
                              "[1]",
                              "{}",
                              "",
                              "1,1",
                              "NaN",
                              "0x1"}) {
      const std::string replaced = header.substr(0, at + 1) + value + header.substr(end);
      const bool same = header.substr(at + 1, end - at - 1) == value;
      const bool read = survives(file_of(replaced, data));
      if (same) REQUIRE(read);
      // Only an extent next to a zero, or an extra extent of one, may change without a contradiction.
      if (read && !same)
        REQUIRE((replaced.find("[0,") != std::string::npos || std::string_view(value) == "1,1"));
    }
  }
  CHECK(numbers == 6 + 2 * 5);  // shapes (1), (2), (2, 3), (), (0, 4) and five ranges
}

TEST_CASE("safetensors: damage is refused or harmless: random cuts, copies and swaps of pieces") {
  const std::string file = sample_bytes();
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const std::string header = file.substr(8, length), data = file.substr(8 + length);
  const std::string_view pieces[] = {"{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "\"",
                                     "0",
                                     "8",
                                     "\"F32\"",
                                     "\"dtype\":",
                                     "\"\\u0000\"",
                                     "__metadata__",
                                     "\"data_offsets\":[0,0]",
                                     "\"shape\":[]",
                                     "\\ud800"};
  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return random() % limit; };
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = header;
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t at = below(damaged.size()), count = std::min(below(60), damaged.size() - at);
      const size_t kind = below(4);
      if (kind == 0 && count + 1 < damaged.size()) damaged.erase(at, count);
      if (kind == 1) damaged.insert(below(damaged.size()), damaged.substr(at, count));
      if (kind == 2) damaged.insert(at, pieces[below(std::size(pieces))]);
      if (kind == 3) damaged[at] = static_cast<char>(below(256));
    }
    survives(file_of(damaged, data));
  }
}

#ifdef VITRINE_FILES
TEST_CASE("safetensors: files are saved whole and loaded through a mapping") {
  const std::string name = text("vitrine_test_{}.safetensors", static_cast<long>(::getpid()));
  const std::string path = (std::filesystem::temp_directory_path() / name).string();
  const TensorFile file = sample();
  save_safetensors(path, file);
  const TensorFile again = load_safetensors(path);
  CHECK(again.name == path);
  CHECK(again.metadata == file.metadata);
  REQUIRE(again.tensors.size() == file.tensors.size());
  for (const auto& [key, tensor] : file.tensors) check_equal(again.at(key), tensor);
  CHECK(std::filesystem::file_size(path) == write_safetensors(file).size());

  // A file may be replaced by tensors that borrow from its old content.
  save_safetensors(path, again);
  CHECK(write_safetensors(load_safetensors(path)) == write_safetensors(file));
  std::filesystem::remove(path);
  try {
    load_safetensors(path);
    FAIL("a missing file was loaded");
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::output);
    CHECK(std::string(error.what()) == "cannot open '" + path + "': No such file or directory");
  }
}
#endif

TEST_CASE("safetensors: types that tensors lack are widened, or refused when they are asked for") {
  const auto one = [](const std::string& dtype, std::string_view data, int count) {
    return read(
        file_of(text("{}{}{}{}{}{}{}{},{}]}}", R"({"a":{"dtype":")", dtype, R"(","shape":[)", count,
                     R"(],"data_offsets":[0,)", data.size(),
                     R"(]},"b":{"dtype":"U8","shape":[1],"data_offsets":[)", data.size(), data.size() + 1),
                std::string(data) + "\7"));
  };
  const auto shorts = one("I16", std::string_view("\xfe\xff\x2c\x01", 4), 2).at("a");
  CHECK(shorts.data<int32_t>()[0] == -2);
  CHECK(shorts.data<int32_t>()[1] == 300);
  CHECK(one("U16", std::string_view("\xfe\xff", 2), 1).at("a").data<int32_t>()[0] == 65534);
  CHECK(one("U32", std::string_view("\xfe\xff\xff\xff", 4), 1).at("a").data<int64_t>()[0] == 4294967294);
  const auto truth = one("BOOL", std::string_view("\0\1\2", 3), 3).at("a");
  CHECK(std::ranges::equal(truth.data<uint8_t>(), std::vector<uint8_t>{0, 1, 1}));
  for (const auto& [dtype, count] : {std::pair{"U64", 3},
                                     {"C64", 3},
                                     {"F8_E4M3", 24},
                                     {"F8_E5M2", 24},
                                     {"F8_E8M0", 24},
                                     {"F8_E4M3FNUZ", 24},
                                     {"F8_E5M2FNUZ", 24},
                                     {"F6_E3M2", 32},
                                     {"F4", 48}}) {
    CAPTURE(dtype);
    const TensorFile file = one(dtype, std::string(24, 'x'), count);
    CHECK(file.at("b").data<uint8_t>()[0] == 7);
    CHECK_THROWS_WITH_AS(file.at("a"), doctest::Contains("cannot read tensor 'a': tensors cannot hold "),
                         Error);
  }
}
