// containers_mutants_test.cpp: files damaged in ten thousand ways each, and files made to use up time or memory. All are
// read or refused with an Error, soon and in no more memory than the file's size and 16 MiB.
//
// Damage to bytes at random would seldom come past a checksum or a header. So the mutants know the formats: they
// change numbers in headers, opcodes and arguments of pickles, fields of directories, and put lengths and checksums
// right again.
#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <new>
#include <random>

#include "container_files.h"
#include "engine/containers/shards.h"
#include "engine/containers/zip.h"
#include "golden_files.h"

using namespace vitrine;
using files::Member;

// What sanitizers and tests/coverage.sh put into the program takes its own time and memory.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(VITRINE_COVERAGE)
#define VITRINE_COUNTED 0
#else
#define VITRINE_COUNTED 1
#endif

namespace {

// What this thread has allocated since it began to watch, and the most of it at once.
thread_local bool watching = false;
thread_local int64_t allocated = 0, most_allocated = 0;

[[maybe_unused]] void* counted(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  if (watching)
    most_allocated = std::max(most_allocated, allocated += static_cast<int64_t>(malloc_usable_size(block)));
  return block;
}
[[maybe_unused]] void release(void* block) {
  if (watching && block) allocated -= static_cast<int64_t>(malloc_usable_size(block));
  std::free(block);
}

}  // namespace

#if VITRINE_COUNTED
void* operator new(size_t size) { return counted(std::malloc(size ? size : 1)); }
void* operator new(size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<size_t>(alignment);
  return counted(std::aligned_alloc(unit, (size + unit) / unit * unit));
}
void operator delete(void* block) noexcept { release(block); }
void operator delete(void* block, size_t) noexcept { release(block); }
void operator delete(void* block, std::align_val_t) noexcept { release(block); }
void operator delete(void* block, size_t, std::align_val_t) noexcept { release(block); }
#endif

namespace {

// The processor's time, not the clock's: a machine may have other things to do.
double seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Outcome {
  bool read = false;
  std::string refusal;
};

// Has a file of `size` bytes read by `read` within the limits: in memory of so many times its size and 16 MiB.
Outcome survive_reading(size_t size, size_t times, const std::function<void()>& read) {
  Outcome outcome;
  allocated = most_allocated = 0;
  watching = true;
  const double begin = seconds();
  try {
    read();
    outcome.read = true;
  } catch (const Error& error) {
    outcome.refusal = error.what();
    if (error.fault() != Fault::input) FAIL_CHECK("another fault: ", outcome.refusal);
  }
  const double time = seconds() - begin;
  watching = false;
  // Of large files each byte is looked at.
  const double limit = (VITRINE_COUNTED ? 0.1 : 2.0) + 1e-7 * static_cast<double>(size);
  if (time >= limit) FAIL_CHECK("took ", time, " s: ", outcome.refusal);
  if (most_allocated >= static_cast<int64_t>(times * size + (size_t{16} << 20)))
    FAIL_CHECK("took ", most_allocated, " bytes for ", size, ": ", outcome.refusal);
  return outcome;
}

// The same with a file of tensors, all of which are touched.
Outcome survive(const std::string& words, size_t times = 1) {
  const auto bytes = std::make_shared<const files::Bytes>(files::as_bytes(words));
  return survive_reading(words.size(), times, [&] {
    const TensorFile file = read_tensors(*bytes, bytes, "x");
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors) {
      for (const std::byte byte : tensor.raw()) sum += std::to_integer<unsigned>(byte);
    }
    watching = sum != 1 || watching;  // so that it is not optimised away
  });
}

Outcome survive_index(const std::string& words) {
  const files::Bytes bytes = files::as_bytes(words);
  return survive_reading(words.size(), 1, [&] { read_shard_index(bytes, "x"); });
}

using Source = std::mt19937_64;
size_t below(Source& random, size_t limit) { return limit ? random() % limit : 0; }
bool chance(Source& random, int in) { return random() % static_cast<size_t>(in) == 0; }

int64_t odd_number(Source& random) {
  constexpr int64_t numbers[] = {0,
                                 1,
                                 2,
                                 3,
                                 7,
                                 -1,
                                 255,
                                 256,
                                 65535,
                                 65536,
                                 1 << 20,
                                 INT32_MAX,
                                 int64_t{1} << 32,
                                 int64_t{1} << 40,
                                 int64_t{1} << 61,
                                 INT64_MAX,
                                 INT64_MIN};
  return numbers[below(random, std::size(numbers))];
}

void damage_byte(Source& random, std::string& bytes) {
  if (!bytes.empty()) bytes[below(random, bytes.size())] = static_cast<char>(random());
}

// Changes a word in a text of numbers, strings and brackets: another number, another word from `words`, or one twice.
void damage_text(Source& random, std::string& text, const std::vector<std::string>& words) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  std::vector<std::pair<size_t, size_t>> found;
  for (size_t at = 0; at < text.size(); ++at) {
    const size_t begin = at;
    while (at < text.size() && is_word(text[at])) ++at;
    if (at > begin) found.emplace_back(begin, at - begin);
  }
  if (found.empty()) return;
  const auto [at, size] = found[below(random, found.size())];
  const bool number = std::isdigit(static_cast<unsigned char>(text[at])) != 0;
  if (number) {
    text.replace(at, size, std::to_string(odd_number(random)));
  } else if (chance(random, 3)) {
    text.insert(at, text.substr(at, size));
  } else {
    text.replace(at, size, words[below(random, words.size())]);
  }
}

// The opcodes of a pickle: where each begins.
std::vector<size_t> opcodes(const std::string& pickle) {
  std::vector<size_t> out;
  size_t at = 0;
  const auto number = [&](size_t width) {
    uint64_t value = 0;
    if (at + 1 + width <= pickle.size()) std::memcpy(&value, pickle.data() + at + 1, width);
    return std::min<uint64_t>(value, pickle.size());
  };
  while (at < pickle.size()) {
    out.push_back(at);
    size_t size = 1;
    switch (static_cast<unsigned char>(pickle[at])) {
      case 0x80:
      case 'K':
      case 'q':
      case 'h':
        size = 2;
        break;
      case 'M':
        size = 3;
        break;
      case 'J':
      case 'r':
      case 'j':
        size = 5;
        break;
      case 'G':
      case 0x95:
        size = 9;
        break;
      case 0x8a:
      case 'U':
      case 0x8c:
      case 'C':
        size = 2 + number(1);
        break;
      case 'X':
      case 'T':
      case 'B':
        size = 5 + number(4);
        break;
      case 'c':
        size = pickle.find('\n', pickle.find('\n', at) + 1) + 1 - at;
        break;
      default:
        break;
    }
    at += size;
  }
  return out;
}

void damage_pickle(Source& random, std::string& pickle) {
  const std::vector<size_t> begins = opcodes(pickle);
  if (begins.size() < 3) return damage_byte(random, pickle);
  const size_t i = 1 + below(random, begins.size() - 2), j = 1 + below(random, begins.size() - 2);
  const auto opcode = [&](size_t k) { return pickle.substr(begins[k], begins[k + 1] - begins[k]); };
  const std::string here = opcode(i), there = opcode(j);
  switch (below(random, 6)) {
    case 0:  // another number, a list of them or a word in place of something
      pickle.replace(begins[i], here.size(), files::integer(odd_number(random)));
      return;
    case 1:
      pickle.replace(begins[i], here.size(), there);
      return;
    case 2:
      pickle.insert(begins[i], there);
      return;
    case 3:
      pickle.erase(begins[i], here.size());
      return;
    case 4: {
      constexpr std::string_view all = "(02N\x88\x89]})t\x85\x86\x87RbQaesu\x81\x90\x8f\x94\x93.";
      pickle.replace(begins[i], here.size(), std::string(1, all[below(random, all.size())]));
      return;
    }
    default:  // numbers where numbers are
      for (size_t k = 0; k + 1 < begins.size(); ++k) {
        const size_t place = (i + k) % (begins.size() - 1);
        const char code = pickle[begins[place]];
        if (code == 'K' || code == 'M' || code == 'J' || code == '\x8a') {
          pickle.replace(begins[place], opcode(place).size(), files::integer(odd_number(random)));
          return;
        }
      }
  }
}

const std::vector<std::string> npy_words = {"f2",    "f4",      "f8",    "i1",   "u4",    "c8",
                                            "c16",   "V2",      "O",     "True", "False", "shape",
                                            "descr", "fortran", "order", "b1",   "U3",    "S9"};

void damage_npy(Source& random, std::string& bytes) {
  if (bytes.size() < 12 || chance(random, 10)) return damage_byte(random, bytes);
  if (chance(random, 10)) return bytes.resize(below(random, bytes.size()));
  const size_t begin = bytes[6] == 1 ? 10 : 12;
  size_t size = 0;
  std::memcpy(&size, bytes.data() + 8, begin - 8);
  size = std::min(size, bytes.size() - begin);
  std::string header = bytes.substr(begin, size), data = bytes.substr(begin + size);
  damage_text(random, header, npy_words);
  bytes = files::npy(header, data, bytes[6]);
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The members of one of our own archives.
std::vector<Member> members_of(const std::string& name) {
  const files::Bytes bytes = golden::bytes(name);
  Allowance allowance(bytes.size() + (size_t{64} << 20), "x");
  const ZipArchive archive(bytes, "x", allowance);
  std::vector<Member> members;
  for (const ZipMember& member : archive.members()) {
    const SharedBytes content = archive.content(member, {bytes, nullptr, {}}, allowance);
    members.push_back({std::string(member.name), text_of(content.bytes), member.deflated});
  }
  return members;
}

std::string damaged_zip(Source& random, std::vector<Member> members,
                        const std::function<void(std::string&)>& inner) {
  inner(members[below(random, members.size())].content);
  if (chance(random, 8)) members[below(random, members.size())].name = members[0].name;
  if (chance(random, 8)) members[below(random, members.size())].deflated ^= true;
  files::Archive archive = files::zip(members, chance(random, 3));
  if (chance(random, 6)) {
    constexpr size_t fields[] = {8, 10, 16, 20, 24, 28, 30, 34, 42};
    const size_t header = archive.central[below(random, archive.central.size())];
    std::string number;
    files::put_little64(number, static_cast<uint64_t>(odd_number(random)), 4);
    archive.bytes.replace(header + fields[below(random, std::size(fields))], 2 + 2 * below(random, 2),
                          number);
  } else if (chance(random, 8)) {
    const size_t end = archive.bytes.size() - archive.end;
    archive.bytes[archive.end + below(random, end)] = static_cast<char>(random());
  }
  return archive.bytes;
}

constexpr int mutants = 10'000;

// Runs `mutant` that often. At least half must come past what `header` finds in the refusals.
void check_mutants(const char* what, const std::function<std::string(Source&)>& mutant,
                   const std::vector<std::string>& header) {
  Source random(20'26);
  int past = 0, read = 0;
  for (int i = 0; i < mutants; ++i) {
    CAPTURE(i);
    const Outcome outcome = survive(mutant(random));
    read += outcome.read;
    past += std::ranges::none_of(
        header, [&](const std::string& words) { return outcome.refusal.find(words) != std::string::npos; });
  }
  MESSAGE(std::string(what), ": ", past, " of ", mutants, " came past the header, ", read, " were read");
  CHECK(2 * past >= mutants);
  CHECK(read > 0);
  CHECK(read < mutants);
}

std::string text_of(const files::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("mutants of safetensors") {
  const std::vector<std::string> words = {"F32", "F16",   "I64",   "F4",   "BOOL",
                                          "U16", "dtype", "shape", "data", "offsets"};
  const std::string whole = text_of(golden::bytes("containers/state.pth.expected"));
  uint64_t size = 0;
  std::memcpy(&size, whole.data(), 8);
  check_mutants("safetensors",
                [&](Source& random) {
                  std::string header = whole.substr(8, size), data = whole.substr(8 + size), out;
                  for (size_t i = 0; i <= below(random, 2); ++i) damage_text(random, header, words);
                  if (chance(random, 10)) damage_byte(random, header);
                  if (chance(random, 10)) data.resize(below(random, 2 * data.size()));
                  files::put_little64(
                      out, chance(random, 20) ? static_cast<uint64_t>(odd_number(random)) : header.size());
                  return out + header + data;
                },
                {"not valid JSON", "expected a header", "expected a safetensors"});
}

TEST_CASE("mutants of npy") {
  const std::vector<std::string> seeds = {text_of(golden::bytes("containers/version1.npy")),
                                          text_of(golden::bytes("containers/version3.npy"))};
  check_mutants("npy",
                [&](Source& random) {
                  std::string bytes = seeds[below(random, seeds.size())];
                  for (size_t i = 0; i <= below(random, 3); ++i) damage_npy(random, bytes);
                  return bytes;
                },
                {"in its header", "expected version", "expected a .npy", "expected a safetensors",
                 "header of", "is cut short"});
}

TEST_CASE("mutants of npz") {
  const std::vector<std::vector<Member>> seeds = {members_of("containers/stored.npz"),
                                                  members_of("containers/deflated.npz")};
  check_mutants("npz",
                [&](Source& random) {
                  return damaged_zip(random, seeds[below(random, seeds.size())],
                                     [&](std::string& bytes) { damage_npy(random, bytes); });
                },
                {"zip: "});
}

TEST_CASE("mutants of torch's zip form") {
  std::vector<std::vector<Member>> seeds;
  for (const char* name :
       {"state.pth", "protocol4.pth", "big_endian.pth", "untyped.pth", "script.pt", "module.pth"})
    seeds.push_back(members_of(std::string("containers/") + name));
  check_mutants("torch",
                [&](Source& random) {
                  auto members = seeds[below(random, seeds.size())];
                  for (Member& member : members) {
                    if (!member.name.ends_with("data.pkl")) continue;
                    for (size_t i = 0; i <= below(random, 3); ++i) damage_pickle(random, member.content);
                  }
                  return damaged_zip(random, std::move(members), [&](std::string& bytes) {
                    if (chance(random, 4)) bytes.resize(below(random, 2 * bytes.size()));
                  });
                },
                {"zip: "});
}

TEST_CASE("mutants of torch's older form") {
  std::vector<std::string> seeds;
  for (const char* name : {"old.pth", "old4.pth"})
    seeds.push_back(text_of(golden::bytes(std::string("containers/") + name)));
  check_mutants(
      "old torch",
      [&](Source& random) {
        std::string bytes = seeds[below(random, seeds.size())];
        // Its first pickles end where the object's begins.
        const size_t object = bytes.find("}", bytes.find("type_sizes") + 12) - 6;
        std::string beginning = bytes.substr(0, object), rest = bytes.substr(object);
        if (chance(random, 20)) damage_pickle(random, beginning);
        const size_t keys = rest.find(".\x80", 0);
        if (keys == std::string::npos || chance(random, 10)) {
          damage_byte(random, rest);
        } else {
          std::string program = rest.substr(0, keys + 1), end = rest.substr(keys + 1);
          for (size_t i = 0; i <= below(random, 3); ++i) damage_pickle(random, program);
          if (chance(random, 5)) damage_byte(random, end);
          if (chance(random, 10)) end.resize(below(random, end.size()));
          rest = program + end;
        }
        return beginning + rest;
      },
      {"version:", "system:", "magic", "expected a safetensors", "expected version", "about its system"});
}

TEST_CASE("files made to use up time or memory") {
  using namespace files;
  const std::string ordered = global("collections", "OrderedDict");
  const std::string one = tensor(storage("0", 6), 0, {2, 3}, {3, 1});
  const auto repeat = [](const std::string& what, size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += what;
    return out;
  };
  constexpr size_t million = 1'000'000;
  std::string memo, doubling = "}" + words("t") + one + "s", names = "}(" + one + "q\1" + "0", shared;
  for (size_t i = 0; i < 200'000; ++i) {
    memo += "Nr";
    put_little64(memo, i, 4);
  }
  for (int i = 0; i < 60; ++i)
    doubling = doubling + "q" + static_cast<char>(i) + "0}(" + words("a") + "h" + static_cast<char>(i) +
               words("b") + "h" + static_cast<char>(i) + "u";
  for (int i = 0; i < 100'000; ++i) names += words(std::to_string(i)) + "h\1";
  // A pair that a hundred thousand dictionaries have in common.
  shared =
      "](NN\x86"
      "eq\1"
      "0]";
  for (int i = 0; i < 100'000; ++i) shared += ordered + "h\1\x85Ra";
  const std::vector<std::string> values = {
      repeat("N", million),
      repeat("(", million),
      repeat("]", million),
      repeat(")", million),
      repeat("K\1", million),
      "]" + repeat("(]", million) + repeat("e", million),
      memo,
      "]" + repeat("2a", 3),
      "](" + repeat("N", million) + "e",
      "]" + repeat("]a", million),
      repeat("]", million) + repeat("a", million - 1),
      doubling,
      names,
      shared,
      "]q\1" + repeat("(" + repeat("h\1", 1000) + "e", 300),
      words(std::string(million, 'x')),
      global("a", "b") + repeat(")R", million),
      "}(" + repeat("K\1h\1", 1) + "u",
      dict(words("w") + tensor(storage("0", 6), 0, {int64_t{1} << 22}, {0}) + words("v") +
           tensor(storage("0", 6), 0, {int64_t{1} << 21}, {0}))};
  for (size_t i = 0; i < values.size(); ++i) {
    CAPTURE(i);
    survive(torch_zip(values[i], {{"x/data/0", floats(6)}}));
    survive(legacy(values[i], {{"0", floats(6)}}));
  }
  // What shrinks a thousandfold.
  const Member zeros = {"x/data.pkl", pickle(repeat("N", 15 * million)), true};
  CHECK_FALSE(survive(zip({zeros}).bytes).read);
  std::vector<Member> arrays;
  for (int i = 0; i < 8; ++i)
    arrays.push_back(
        {text("{}.npy", i), npy(npy_header("'|u1'", "(4000000,)"), std::string(4'000'000, '\0')), true});
  const auto owner = std::make_shared<const Bytes>(as_bytes(zip(arrays).bytes));
  const TensorFile file = read_tensors(*owner, owner, "x");
  CHECK(file.tensors.size() == 4);  // as many as fit
  CHECK(file.unreadable.size() == 4);
  CHECK(survive(zip(arrays).bytes).read);
  // Many small things.
  std::vector<Member> members;
  for (int i = 0; i < 60'000; ++i) members.push_back({text("{}.npy", i), ""});
  survive(zip(members).bytes);
  std::string header = "{";
  for (int i = 0; i < 50'000; ++i)
    header += text("{}\"{}{}", i ? "," : "", i, R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  std::string many;
  put_little64(many, header.size() + 1);
  survive(many + header + "}");
}

TEST_CASE("files with one endless word") {
  const auto safetensors = [](const std::string& header) {
    std::string out;
    files::put_little64(out, header.size());
    return out + header;
  };
  const auto entry = [](const std::string& name, const std::string& dtype, const std::string& shape) {
    return text("{\"{}{}{}{}{}{}", name, R"(":{"dtype":")", dtype, R"(","shape":[)", shape,
                R"(],"data_offsets":[0,0]}})");
  };
  // Names that any program might write are read, and so is a long description.
  CHECK(survive(safetensors(entry(std::string(1 << 20, 'a'), "U8", "0"))).read);
  CHECK(survive(safetensors(R"({"__metadata__":{"a":")" + std::string(1 << 20, 'b') + "\"}}")).read);
  for (const size_t size : {size_t{3} << 20, size_t{20} << 20, size_t{50} << 20}) {
    CAPTURE(size);
    const std::string word(size, 'a'), digits(size, '1'), space(size, ' ');
    std::string escapes;
    while (escapes.size() < size) escapes += "\\u0041";
    for (const std::string& header :
         {entry(word, "U8", "0"), entry("a", word, "0"), entry("a", "U8", digits), entry("a", "U8", space),
          entry(escapes, "U8", "0"), R"({"__metadata__":{"a":")" + word + "\"}}",
          R"({"__metadata__":{"a":")" + escapes + "\"}}", R"({"__metadata__":{")" + word + R"(":""}})",
          "{" + space + "}", "{\"" + word, "{\"a\":" + word})
      survive(safetensors(header));
    for (const std::string& index :
         {R"({"weight_map":{")" + word + R"(":"a"}})", R"({"weight_map":{"a":")" + word + "\"}}",
          "{\"" + word + R"(":1,"weight_map":{}})"})
      survive_index(index);
  }
  std::string many = R"({"weight_map":{)";
  for (int i = 0; i < 90'000; ++i) many += text("{}\"{}\":\"{}\"", i ? "," : "", i, i % 999);
  survive_index(many + "}}");
}

TEST_CASE("deflated weights are larger than their file, and read") {
  // Numbers of which one byte of four is random: 3 to 1.
  Source random(1);
  std::string data(32 << 20, '\0');
  for (size_t i = 2; i < data.size(); i += 4) data[i] = static_cast<char>(random());
  const std::string weights =
      files::zip(
          {{"a.npy", files::npy(files::npy_header("'<f4'", text("({},)", data.size() / 4)), data), true}})
          .bytes;
  REQUIRE(data.size() > weights.size() + (size_t{16} << 20));
  CHECK(survive(weights, 4).read);
  const auto owner = std::make_shared<const files::Bytes>(files::as_bytes(weights));
  const TensorFile file = read_tensors(*owner, owner, "x");
  CHECK(std::ranges::equal(file.at("a").raw(), std::as_bytes(std::span(data))));
  // Ten arrays that are column-major, of which each has to be laid out anew.
  std::vector<files::Member> columns;
  for (int i = 0; i < 10; ++i)
    columns.push_back({text("{}.npy", i),
                       files::npy(files::npy_header("'<f4'", "(2, 524288)", "True"), data.substr(0, 4 << 20)),
                       true});
  const std::string column_major = files::zip(columns).bytes;
  REQUIRE((size_t{40} << 20) > column_major.size() + (size_t{16} << 20));
  const auto columns_owner = std::make_shared<const files::Bytes>(files::as_bytes(column_major));
  CHECK(read_tensors(*columns_owner, columns_owner, "x").tensors.size() == 10);
  CHECK(survive(column_major, 4).read);
  // The same within a checkpoint of PyTorch.
  const int64_t numel = static_cast<int64_t>(data.size()) / 4;
  const std::string torch = files::torch_zip(
      files::dict(files::words("a") + files::tensor(files::storage("0", numel), 0, {numel}, {1})),
      {{"x/data/0", data, true}});
  const auto torch_owner = std::make_shared<const files::Bytes>(files::as_bytes(torch));
  CHECK(std::ranges::equal(read_tensors(*torch_owner, torch_owner, "x").at("a").raw(),
                           std::as_bytes(std::span(data))));
  // What inflates to more than its header promises is refused before it does.
  const Outcome bomb = survive(
      files::zip(
          {{"a.npy", files::npy(files::npy_header("'<f4'", "(2,)"), std::string(40 << 20, '\0')), true}})
          .bytes);
  CHECK(bomb.refusal.starts_with("npz: 'x': array 'a': expected "));
}
