// containers_refusal_test.cpp: containers that are not as they must be are refused, with a sentence that says why.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "container_files.h"
#include "engine/text.h"
#include "golden_files.h"

using namespace vitrine;
using files::dict, files::global, files::integer, files::integers, files::npy, files::npy_header,
    files::storage, files::tensor, files::torch_zip, files::tuple, files::words, files::zip;

namespace {

TensorFile read(const std::string& bytes) { return golden::read(files::as_bytes(bytes)); }
std::string refusal(const std::string& bytes) { return golden::refusal(files::as_bytes(bytes)); }
void check_refusal(const std::string& bytes, const std::string& sentence) {
  const std::string got = refusal(bytes);
  INFO(got);
  CHECK(got.find(sentence) != std::string::npos);
}

void set(std::string& bytes, size_t at, uint64_t value, int width) {
  std::string number;
  files::put_little64(number, value, width);
  bytes.replace(at, width, number);
}

const std::string array = npy(npy_header("'<f4'", "(2,)"), files::floats(2));
const std::vector<files::Member> two = {{"a.npy", array}, {"b.npy", array, true}, {"notes.txt", "hello"}};
const std::string good = tensor(storage("0", 6), 0, {2, 3}, {3, 1});
const std::vector<files::Member> six = {{"x/data/0", files::floats(6)}};

}  // namespace

TEST_CASE("zip: archives with and without zip64 and with a comment are read") {
  for (const bool zip64 : {false, true}) {
    files::Archive archive = zip(two, zip64);
    CHECK(read(archive.bytes).tensors.size() == 2);
    CHECK(read(archive.bytes).at("b").shape() == Shape{2});
    set(archive.bytes, archive.end + 20, 300, 2);
    CHECK(read(archive.bytes + std::string(300, 'c')).tensors.size() == 2);
    // What looks like an end in the comment, but does not reach to the file's, is none.
    CHECK(read(archive.bytes + "PK\5\6" + std::string(296, 'c')).tensors.size() == 2);
  }
  // A member may have a descriptor behind it, gaps are no matter, and other extra fields are skipped.
  files::Archive archive = zip(two);
  set(archive.bytes, archive.central[0] + 8, 8, 2);
  CHECK(read(archive.bytes).tensors.size() == 2);
  for (const char* name : {"containers/stored.npz", "containers/state.pth"}) {
    const files::Bytes bytes = golden::bytes(name);
    for (size_t size = 4; size < bytes.size(); size += 7)
      CHECK(golden::refusal({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)}).find("zip: 'x'") ==
            0);
  }
}

TEST_CASE("zip: each rule is kept") {
  const auto damaged = [&](bool zip64, auto damage) {
    files::Archive archive = zip(two, zip64);
    damage(archive);
    return archive.bytes;
  };
  const auto central = [&](size_t field, uint64_t value, int width, size_t member = 0) {
    return damaged(false, [&](auto& x) { set(x.bytes, x.central[member] + field, value, width); });
  };
  const auto end = [&](size_t field, uint64_t value, int width) {
    return damaged(false, [&](auto& x) { set(x.bytes, x.end + field, value, width); });
  };
  const auto end64 = [&](size_t field, uint64_t value, int width) {
    return damaged(true, [&](auto& x) { set(x.bytes, x.end64 + field, value, width); });
  };
  check_refusal("PK\3\4", "expected a zip archive, got 4 bytes");
  check_refusal(zip(two).bytes + "x", "found no end of its directory");
  check_refusal(central(8, 1, 2), "member 'a.npy': is encrypted");
  check_refusal(central(10, 12, 2), "expected it stored or deflated, got method 12");
  check_refusal(central(34, 1, 2), "member 'a.npy': expected one disk, got several");
  check_refusal(central(16, 1, 4), "member 'a.npy': is damaged: its CRC-32");
  check_refusal(central(16, 1, 4, 1), "member 'b.npy': is damaged: its CRC-32");
  check_refusal(central(20, 1, 4), "is stored, but has 1 bytes for");
  check_refusal(central(42, 1, 4), "expected its header at 1, found none");
  check_refusal(central(42, 0xfffffff0, 4), "expected its header at 4294967280, found none");
  check_refusal(central(28, 0xffff, 2), "its directory breaks off at member 0 of 3");
  check_refusal(central(0, 1, 1), "its directory breaks off at member 0 of 3");
  check_refusal(central(20, 100'000, 4, 1), "go beyond the end");
  // What an array is to inflate to, its header tells as well.
  check_refusal(central(24, array.size() - 1, 4, 1), "'b': expected 2 elements of 4 bytes, got 7 bytes");
  check_refusal(central(24, array.size() + 1, 4, 1),
                text("'b': expected {} bytes, got {}", array.size(), array.size() + 1));
  const auto resized = [&](int64_t more) {
    const std::string program = files::pickle("N");
    files::Archive archive = zip({{"x/data.pkl", program, true}});
    set(archive.bytes, archive.central[0] + 24, program.size() + static_cast<size_t>(more), 4);
    return archive.bytes;
  };
  check_refusal(resized(-1), "inflates to more than its");
  check_refusal(resized(1), "inflates to ");
  check_refusal(central(46, 0, 1), "expected a name without NUL");
  check_refusal(end(4, 1, 2), "expected one disk, got several");
  check_refusal(end(8, 2, 2), "expected one disk, got several");
  check_refusal(damaged(false, [](auto& x) { set(x.bytes, x.end + 8, 0x00020002, 4); }),
                "expected a directory of 2 members, got");
  check_refusal(damaged(false, [](auto& x) { set(x.bytes, x.end + 8, 0x00040004, 4); }),
                "its directory of 157 bytes cannot hold 4 members");
  check_refusal(damaged(false, [](auto& x) { set(x.bytes, x.end + 8, 0xf000f000, 4); }),
                "cannot hold 61440 members");
  check_refusal(end(12, 1, 4), "expected a directory that ends at");
  check_refusal(end(16, 0xfffffff0, 4), "expected a directory that ends at");
  check_refusal(end64(24, 4, 8), "expected one disk, got several");
  check_refusal(damaged(true,
                        [](auto& x) {
                          set(x.bytes, x.end64 + 24, 1 << 20, 8);
                          set(x.bytes, x.end64 + 32, 1 << 20, 8);
                        }),
                "expected at most 65536 members, got 1048576");
  check_refusal(end64(48, ~uint64_t{0}, 8), "expected a directory that ends at");
  check_refusal(end64(0, 0, 4), "its zip64 locator points to");
  check_refusal(damaged(true, [](auto& x) { set(x.bytes, x.end - 12, ~uint64_t{0}, 8); }),
                "its zip64 locator points");
  check_refusal(damaged(true, [](auto& x) { set(x.bytes, x.end + 12, 7, 4); }),
                "its two ends disagree: 7 and");
  // Extra fields: the first member's name is 5 bytes long.
  const auto extra = [&](size_t field, uint64_t value, int width) {
    return damaged(true, [&](auto& x) { set(x.bytes, x.central[0] + 46 + 5 + field, value, width); });
  };
  check_refusal(extra(2, 25, 2), "its extra fields go beyond their end");
  check_refusal(extra(2, 23, 2), "its zip64 field is too short");
  check_refusal(extra(0, 2, 2), "expected its header at 4294967295");  // without the zip64 field
  check_refusal(extra(4, ~uint64_t{0}, 8), "is stored, but has");
  check_refusal(zip({{"a.npy", array}, {"a.npy", array}}).bytes, "member 'a.npy' appears twice");
  // Two members of one place.
  check_refusal(central(42, 0, 4, 1).replace(0, 0, ""), "overlap");
  check_refusal(zip({{"text", "x"}}).bytes, "got neither");
  // Deflated data with something behind it, cut short, or none.
  std::string packed = files::deflate_raw(array);
  const auto deflated = [&](const std::string& data, size_t size) {
    files::Archive archive = zip({{"b.npy", data}});
    set(archive.bytes, archive.central[0] + 10, 8, 2);
    set(archive.bytes, archive.central[0] + 24, size, 4);
    const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(array.data()), array.size());
    set(archive.bytes, archive.central[0] + 16, crc, 4);
    return archive.bytes;
  };
  CHECK(read(deflated(packed, array.size())).tensors.size() == 1);
  check_refusal(deflated(packed + "x", array.size()), "bytes follow the end of the deflate data");
  check_refusal(deflated(packed.substr(0, packed.size() - 2), array.size()), "it breaks off");
  check_refusal(deflated("", array.size()), "it breaks off");
  check_refusal(deflated("\xff\xff\xff\xff", array.size()), "damaged deflate data: invalid block type");
}

TEST_CASE("npy: headers in every spelling") {
  const auto one = [](const std::string& header, const std::string& data, int major = 1) {
    return read(npy(header, data, major)).at("array");
  };
  CHECK(one(npy_header("'<f4'", "(3L, 2L)"), files::floats(6)).shape() == Shape{3, 2});
  CHECK(one(npy_header("\"<f4\"", "( 6 ,)"), files::floats(6)).shape() == Shape{6});
  CHECK(one("{'shape':(),'descr':'=f4','fortran_order':True}", files::floats(1)).shape() == Shape{});
  CHECK(one(npy_header("'<f4'", "(0, 3)"), "").numel() == 0);
  CHECK(one(npy_header("'<f4'", "(2,)"), files::floats(2) + "more").numel() == 2);
  CHECK(one(npy_header("'|u1'", "(2,)"), "ab", 3).dtype() == DType::u8);
  CHECK(one(npy_header("'>i8'", "(1,)"), std::string("\0\0\0\0\0\0\1\2", 8)).data<int64_t>()[0] == 258);
  CHECK(one(npy_header("'|V2'", "(1,)"), "\x80\x3f").dtype() == DType::bf16);
}

TEST_CASE("npy: each refusal") {
  const auto header = [](const std::string& words) { return refusal(npy(words, files::floats(4))); };
  const auto shape = [&](const std::string& words) { return header(npy_header("'<f4'", words)); };
  check_refusal("\x93NUMPY", "expected a .npy file, got less than its first 10 bytes");
  check_refusal(std::string("\x93NUMPY\2\0\0\0", 10), "its header is cut short");
  check_refusal(npy(npy_header("'<f4'", "()"), "abcd", 4), "expected version 1.0, 2.0 or 3.0, got 4.0");
  check_refusal(npy(npy_header("'<f4'", "()") + std::string(10'000, ' '), "abcd"),
                "header of at most 10000 bytes, got");
  check_refusal(npy(npy_header("'<f4'", "()"), "abcd").substr(0, 30), "expected a header of");
  check_refusal(zip({{"a.npy", "hello, world"}}).bytes,
                "npz: 'x': array 'a': expected a .npy file, got other first bytes");
  CHECK(shape("(5,)") == "npy: 'x': expected 5 elements of 4 bytes, got 16 bytes");
  CHECK(shape("(4611686018427387904, 4)").find("overflows 64 bits") != std::string::npos);
  CHECK(shape("(0, 4611686018427387904, 4)").find("overflows 64 bits") != std::string::npos);
  CHECK(shape("(9223372036854775808,)").find("expected extents of 0 to 2^63") != std::string::npos);
  CHECK(shape("(-1,)").find("expected extents of 0 to 2^63") != std::string::npos);
  CHECK(shape("(4)").ends_with("expected a tuple as shape, got a number"));
  CHECK(shape("(2, 2").find("expected extents of 0 to 2^63") != std::string::npos);
  CHECK(shape("(2, 2;").find("expected ')' in its header") != std::string::npos);
  CHECK(shape("4").find("expected '(' in its header, got '4") != std::string::npos);
  std::string many;
  for (int i = 0; i < 65; ++i) many += "1,";
  CHECK(shape("(" + many + ")").ends_with("expected at most 64 extents, got more"));
  CHECK(read(npy(npy_header("'<f4'", "(1,1,1,1,1,1,1,1,1)"), files::floats(1))).unreadable.at("array") ==
        "expected at most 8 extents, got 9");
  CHECK(header("[]").find("expected '{' in its header, got '[]'") != std::string::npos);
  CHECK(header("{'descr': '<f4', 'shape': (4,)}").ends_with("got no fortran_order"));
  CHECK(header("{}").ends_with("got no descr, shape"));
  CHECK(header("{'descr': '<f4', 'fortran_order': False}").ends_with("got no shape"));
  CHECK(header("{'descr': '<f4', 'descr': '<f4'}").ends_with("key 'descr' appears twice"));
  CHECK(header("{'extra': 1}").ends_with("expected the keys descr, fortran_order and shape, got 'extra'"));
  CHECK(header("{descr: 1}").find("expected a string in its header") != std::string::npos);
  CHECK(header("{'descr").ends_with("a string in its header has no end"));
  CHECK(header("{'des\\x63r': 1}").find("expected plain strings") != std::string::npos);
  CHECK(header("{'fortran_order': 1}").find("expected True or False in its header, got '1}'") !=
        std::string::npos);
  CHECK(header("{'descr': [('a', '<f4'").ends_with("a list in its header has no end"));
  CHECK(header(npy_header("'<f4'", "(4,)") + "x").find("goes on behind its end, at 'x'") !=
        std::string::npos);
  CHECK(header(npy_header("''", "(4,)")).ends_with("expected a descr such as '<f4', got ''"));
  CHECK(header(npy_header("'f4'", "(4,)")).ends_with("expected a descr such as '<f4', got 'f4'"));
}

TEST_CASE("pickle: values, calls and names as they should be") {
  const std::string ordered = global("collections", "OrderedDict");
  const auto tensors = [&](const std::string& value) {
    std::string names;
    for (const auto& [name, unused] : read(torch_zip(value, six)).tensors)
      names += (names.empty() ? "" : " ") + name;
    return names;
  };
  CHECK(tensors(dict(words("a") + good)) == "a");
  CHECK(tensors(ordered + ")R(" + words("a") + good + "u}b") == "a");
  CHECK(tensors(ordered + tuple("](" + tuple(words("a") + good) + "](" + words("b") + good + "ee") + "R") ==
        "a b");
  CHECK(tensors("}" + words("a") + good + "s") == "a");
  CHECK(tensors("](" + good + good + "e") == "0 1");
  CHECK(tensors("]" + good + "a") == "0");
  CHECK(tensors(dict(integer(-3) + dict(words("x") + good))) == "-3.x");
  CHECK(tensors(dict(words("a") + good + words("a") + "N" + words("b") + "2")).empty() == false);
  CHECK(tensors(dict(words("a") + good + words("a") + good)) == "a");  // the last counts
  // The outer dictionaries; a tensor beside them that might be a layer's keeps them.
  const std::string inner = dict(words("w") + good);
  CHECK(tensors(dict(words("model") + dict(words("v") + good) + words("state_dict_ema") + inner)) == "w");
  CHECK(tensors(dict(words("state_dict") + dict(words("module") + inner))) == "w");
  CHECK(tensors(dict(words("model") + inner + words("norm.scale") + good)) == "model.w norm.scale");
  CHECK(tensors(dict(words("model") + inner + words("best_acc1") + good)) == "w");
  const TensorFile beside = read(torch_zip(dict(words("state_dict") + inner + words("best_acc1") + good +
                                                words("w") + good + words("epoch") + integer(90)),
                                           six));
  CHECK(beside.part == "state_dict");
  CHECK(beside.objects ==
        std::map<std::string, std::string>{{"best_acc1", "it lies beside the part 'state_dict'"}});
  // Averaged weights go before those that they are the average of, and what is passed over is told.
  const TensorFile averaged = read(torch_zip(dict(words("model") + dict(words("v") + good) +
                                                  words("model_ema") + inner + words("epoch") + integer(9)),
                                             six));
  CHECK(averaged.part == "model_ema");
  CHECK(averaged.objects ==
        std::map<std::string, std::string>{{"model", "it lies beside the part 'model_ema'"}});
  CHECK(tensors(dict(words("model") + words("vit") + words("teacher") + inner)) == "w");
  // An average that was never begun is none.
  CHECK(tensors(dict(words("model") + inner + words("model_ema") + "}")) == "w");
  CHECK(tensors(dict(words("model") + inner + words("model_ema") + dict(words("decay") + integer(1)))) ==
        "w");
  CHECK(tensors(dict(words("state_dict") + "}" + words("model") + inner)) == "w");
  CHECK(read(torch_zip(dict(words("model") + inner + words("ema") + inner), six)).objects.at("ema") ==
        "it lies beside the part 'model'");
  CHECK(tensors(dict(words("other") + inner)) == "other.w");
  // Objects: attributes, entries of their own, Python's pair of attributes and slots.
  const std::string made = global("my.module", "Thing") + ")\x81";
  CHECK(tensors(dict(words("o") + made + inner + "b")) == "o.w");
  CHECK(tensors(dict(words("o") + made + tuple(inner + "N") + "b")) == "o.w");
  CHECK(tensors(dict(words("o") + made + "(" + words("w") + good + "u")) == "o.w");
  CHECK(tensors(dict(words("o") + made + "(" + good + "e")) == "o.0");
  CHECK(tensors(made +
                dict(words("_modules") + dict(words("0") + made + dict(words("_parameters") + inner) + "b")) +
                "b") == "0.w");
  // A value that holds itself, and one that is called by nothing.
  CHECK(tensors("}q\1(" + words("a") + good + words("self") + "h\1u") == "a");
  const std::string values = std::string("N0N\x88\x89M\1\1J\1\1\1\1G????????U\1xC\1y") + "T\1" +
                             std::string(3, '\0') + "x" + "B\1" + std::string(3, '\0') + "y" + "\x8e\1" +
                             std::string(7, '\0') + "y" + "\x8d\1" + std::string(7, '\0') + "y" + "\x8a\x09" +
                             "123456789" + "\x8a" + '\0' + "\x8f(NN\x90";
  CHECK(tensors(dict(words("a") + good + words("b") + "(" + values + "t")) == "a");
  CHECK(tensors(dict("N" + good)).empty());  // None is no name
  // Protocol 5 beside older ones' opcodes: LONG4, BYTEARRAY8, FROZENSET, NEWOBJ_EX.
  const std::string newer = std::string("\x8b\2\0\0\0\1\1", 7) + std::string("\x96\1\0\0\0\0\0\0\0y", 10) +
                            "(NN\x91" + global("a", "b") + ")}\x92";
  const std::string fifth = "\x80\5" + dict(words("a") + good + words("b") + "(" + newer + "t") + ".";
  CHECK(golden::read(files::as_bytes(zip({{"x/data.pkl", fifth}, six[0]}).bytes)).tensors.size() == 1);
}

TEST_CASE("pickle: each refusal") {
  const auto check_pickle = [](const std::string& value, const std::string& sentence) {
    check_refusal(torch_zip(value, six), sentence);
  };
  for (const char* module : {"os", "sys", "posix", "nt", "subprocess", "os.path"})
    check_pickle(global(module, "system"), std::string("the pickle asks for '") + module + ".system'");
  check_pickle(words("os") + words("system") + "\x93", "the pickle asks for 'os.system'");
  CHECK(read(torch_zip(dict(words("a") + good + words("b") + global("ostrich", "x")), six)).tensors.size() ==
        1);
  for (const char* opcode : {"I1\n", "L1\n", "S'a'\n", "Va\n", "F1\n", "p1\n", "g1\n", "o", "d", "l", "1",
                             "\x82", "\x97", "\x98", "\xff"})
    check_pickle(opcode, "is none that weights need");
  for (const char* opcode : {"\x8b", "\x96"}) check_pickle(opcode, "the pickle breaks off");
  check_pickle("\x91", "the pickle has no mark");
  check_pickle("\x92", "the pickle's stack is empty");
  check_pickle(global("a", "b") + ")]\x92", "expected a dictionary of arguments, got a list");
  check_pickle("", "the pickle's stack is empty");
  check_pickle("NN", "values are left on the pickle's stack");
  check_pickle("(N", "values are left on the pickle's stack");
  check_pickle("(0", "the pickle's stack is empty");
  check_pickle("t", "the pickle has no mark");
  check_pickle("h\1", "the pickle's memo has no entry 1");
  check_pickle("j\1\1\1\1", "the pickle's memo has no entry 16843009");
  check_pickle("X\xff\xff\xff\xff", "the pickle breaks off, expected 4294967295 bytes more");
  check_pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "the pickle breaks off");
  check_pickle("c" + std::string(2000, 'a') + "\n", "expected a name of at most 1024 bytes");
  check_pickle("cos", "expected a name of at most 1024 bytes");
  check_pickle("\x80\1", "expected a pickle of protocol 2 to 5, got 1");
  check_pickle("\x80\6", "expected a pickle of protocol 2 to 5, got 6");
  check_pickle("NNR", "the pickle calls None");
  check_pickle("N)R", "the pickle calls None");
  check_pickle(global("a", "b") + "NR", "expected a tuple of arguments, got None");
  check_pickle("NN\x93", "expected the names of a module and of something in it");
  check_pickle("NNa", "expected a list to append to, got None");
  check_pickle("}Na", "expected a list to append to, got a dictionary");
  check_pickle("](NNu", "expected a dictionary to put into, got a list");
  check_pickle("}(Nu", "expected keys with values, got a key without");
  check_pickle("](N\x90", "expected a set to add to, got a list");
  check_pickle("NNb", "expected an object to give state to, got None");
  check_pickle(global("a", "b") + ")R(NNuNa", "expected a list to append to, got what 'a.b' makes");
  check_pickle(global("a", "b") + ")\x81NaNNs", "expected a dictionary to put into, got an object of 'a.b'");
  const std::string ordered = global("collections", "OrderedDict");
  check_pickle(ordered + "NR", "expected OrderedDict of one argument or none");
  check_pickle(ordered + "NN\x86R", "expected OrderedDict of one argument or none");
  check_pickle(ordered + "N\x85R", "expected OrderedDict of a list of pairs");
  check_pickle(ordered + "](Ne\x85R", "expected OrderedDict of a list of pairs");
  check_pickle(ordered +
                   "](N\x85"
                   "e\x85R",
               "expected OrderedDict of a list of pairs");
  CHECK(refusal(zip({{"x/data.pkl", files::pickle("N") + "x"}}).bytes)
            .ends_with("1 bytes follow the end of the pickle"));
  // Names.
  check_pickle(dict(words("a.b") + good + words("a") + dict(words("b") + good)),
               "two values are called 'a.b'");
  check_pickle(dict(words(std::string(5000, 'k')) + good),
               "expected names of at most 4096 bytes, got one of 5000");
  std::string deep = good;
  for (int i = 0; i < 70; ++i) deep = "]" + deep + "a";
  check_pickle(deep, "expected dictionaries at most 64 deep");
}

TEST_CASE("torch: each refusal") {
  const auto check_tensor = [](const std::string& tensor, const std::string& sentence) {
    check_refusal(torch_zip(dict(words("w") + tensor), six), "torch: 'x': tensor 'w': " + sentence);
  };
  CHECK(read(torch_zip(dict(words("w") + good), six)).at("w").shape() == Shape{2, 3});
  check_tensor(tensor(storage("0", 6), 1, {2, 3}, {3, 1}), "its last element would be number 6 of 6");
  check_tensor(tensor(storage("0", 6), -1, {2, 3}, {3, 1}), "expected an offset of 0 or more, got -1");
  check_tensor(tensor(storage("0", 6), 0, {2, 3}, {-3, 1}),
               "expected extents and strides of 0 or more, got 2 and -3");
  check_tensor(tensor(storage("0", 6), 0, {-2, 3}, {3, 1}),
               "expected extents and strides of 0 or more, got -2 and 3");
  check_tensor(tensor(storage("0", 6), 0, {2, 3}, {3}), "expected as many strides as extents, got 1 and 2");
  const int64_t huge = int64_t{1} << 62;
  check_tensor(tensor(storage("0", 6), 0, {huge, 4}, {0, 0}), text("{} times 4 overflows 64 bits", huge));
  check_tensor(tensor(storage("0", 6), 0, {5, 1}, {huge, 0}), text("4 times {} overflows 64 bits", huge));
  check_tensor(tensor(storage("0", 6), huge, {3, 1}, {huge / 2, 0}),
               text("{} plus {} overflows 64 bits", huge, huge));
  check_tensor(tensor(storage("0", 7), 0, {1}, {1}), "expected a storage '0' of 28 bytes, got 24");
  check_tensor(tensor(storage("0", -1), 0, {1}, {1}), "expected a storage's key of at most 256 bytes");
  check_tensor(tensor(storage(std::string(257, 'k'), 6), 0, {1}, {1}),
               "expected a storage's key of at most 256 bytes");
  check_tensor(tensor(storage("0", huge), 0, {1}, {1}), text("{} times 4 overflows", huge));
  check_tensor(tensor(tuple(words("storage") + "N") + "Q", 0, {1}, {1}),
               "expected 5 or 6 entries for a storage, got 2");
  check_tensor(tensor(storage("0", 24, "UntypedStorage"), 0, {1}, {1}),
               "expected a storage with a type, got one without");
  check_tensor(tensor(storage("0", 6, "FloatStorage", "]"), 0, {1}, {1}),
               "expected a view's key, offset and size");
  check_tensor(
      tensor(storage("0", 6, "FloatStorage", tuple(words("v") + integer(4) + integer(3))), 0, {1}, {1}),
      "a view of 3 elements from 4 goes beyond the 6 of its storage");
  check_tensor(global("torch._utils", "_rebuild_tensor") + ")R",
               "expected a storage, an offset, sizes and strides, got 0");
  check_tensor(global("torch._utils", "_rebuild_parameter") + ")R", "a parameter without its tensor");
  check_refusal(torch_zip(dict(words("w") + tensor(storage("9", 6), 0, {1}, {1})), six),
                "torch: 'x': expected a member 'x/data/9', found none");
  check_refusal(torch_zip("N", {{"x/byteorder", "middle"}}),
                "expected byteorder little or big, got 'middle'");

  const auto reason = [](const std::string& tensor, const std::vector<files::Member>& members = six) {
    return read(torch_zip(dict(words("w") + tensor), members)).unreadable.at("w");
  };
  CHECK(reason(tensor(storage("0", 6, "StrangeStorage"), 0, {1}, {1})) ==
        "its storage is of type 'torch.StrangeStorage'");
  CHECK(reason(tensor("NQ", 0, {1}, {1})) == "it refers to something out of the pickle that is no storage");
  CHECK(reason(global("torch._utils", "_rebuild_tensor") + tuple("NNNN") + "R") == "its storage is None");
  CHECK(reason(global("torch._utils", "_rebuild_tensor") + tuple(storage("0", 6) + "K\1NN") + "R") ==
        "expected whole numbers as its offset, sizes and strides, got a whole number, None and None");
  CHECK(reason(global("torch._utils", "_rebuild_tensor") + tuple(storage("0", 6) + "K\1]]Na") + "R") ==
        "expected whole numbers as its offset, sizes and strides, got a whole number, a list and a list");
  CHECK(reason(global("my", "maker") + tuple(storage("0", 6)) + "R") == "it is what 'my.maker' makes");
  CHECK(read(torch_zip(dict(words("w") + storage("0", 6) + ")R"), six)).objects.at("w") ==
        "it is an object of unknown kind");
  // No more copies than the file's size and 16 MiB.
  CHECK(reason(tensor(storage("0", 6), 0, {int64_t{1} << 40}, {0}))
            .starts_with("a copy of 4398046511104 bytes"));
  const std::vector<files::Member> zeros = {{"x/data/0", std::string(20 << 20, '\0'), true}};
  CHECK(reason(tensor(storage("0", 5 << 20), 0, {1}, {1}), zeros) ==
        "its 20971520 bytes would need more memory than four times the file's size and 16 MiB");
  check_refusal(torch_zip(dict(words("w") + tensor(storage("0", 7), 0, {1}, {1})),
                          {{"x/data/0", files::floats(6), true}}),
                "expected a storage '0' of 28 bytes, got 24");
  const std::string content = npy(npy_header("'|u1'", "(20971520,)"), std::string(20 << 20, '\0'));
  const std::string npz = zip({{"a.npy", content, true}}).bytes;
  CHECK(
      read(npz).unreadable.at("a") ==
      text("its {} bytes would need more memory than four times the file's size and 16 MiB", content.size()));
}

TEST_CASE("torch before 1.6: views, and each refusal") {
  const std::string six_floats = files::floats(6);
  const auto check_old = [](const std::string& bytes, const std::string& sentence) {
    check_refusal(bytes, sentence);
  };
  const std::string view = storage("0", 6, "FloatStorage", tuple(words("v") + integer(2) + integer(3)));
  std::string counted(24, '\0');
  for (int i = 0; i < 6; ++i) counted[i * 4] = static_cast<char>(i);
  const TensorFile file =
      read(files::legacy(dict(words("w") + good + words("v") + tensor(view, 1, {2}, {1})), {{"0", counted}}));
  CHECK(file.at("v").raw()[0] == std::byte{3});
  CHECK(file.at("v").raw()[4] == std::byte{4});
  check_old(files::legacy(dict(words("v") + tensor(view, 2, {2}, {1})), {{"0", counted}}),
            "tensor 'v': its last element would be number 3 of 3");
  const std::string value = dict(words("w") + good), whole = files::legacy(value, {{"0", six_floats}});
  CHECK(read(whole).at("w").shape() == Shape{2, 3});
  check_old(whole + "x", "1 bytes follow the last storage");
  check_old(whole.substr(0, whole.size() - 1), "expected 24 bytes in storage '0', got 23");
  check_old(whole.substr(0, whole.size() - 25), "it breaks off before storage '0'");
  check_old(files::legacy(value, {{"0", files::floats(5)}}), "expected 6 elements in storage '0', got 5");
  check_old(files::legacy(value, {{"1", six_floats}}), "no tensor says of what type storage '1' is");
  check_old(files::legacy(value, {}), "expected a storage '0', found none");
  check_old(files::legacy(value, {{"0", six_floats}, {"0", six_floats}}), "storage '0' appears twice");
  check_old(
      files::legacy(dict(words("w") + good + words("d") + tensor(storage("0", 6, "IntStorage"), 0, {1}, {1})),
                    {{"0", six_floats}}),
      "storage '0' is described in two ways");
  const std::string magic = files::legacy_beginning().substr(0, 15);
  check_old(magic + files::pickle(integer(1000)), "expected version 1001, got 1000");
  check_old(magic + files::pickle("N"), "expected version 1001, got None");
  check_old(magic + files::pickle(integer(1001)) + files::pickle("N"),
            "expected a dictionary about its system, got None");
  check_old(files::legacy_beginning() + files::pickle("N") + files::pickle("N"),
            "expected a list of storages' keys, got None");
  check_old(files::legacy_beginning() + files::pickle("N") + files::pickle("]Na"),
            "expected text as a storage's key, got None");
  check_old(magic, "version: byte 0: the pickle breaks off");
  CHECK(read(files::legacy_beginning() + files::pickle("N") + files::pickle("]")).tensors.empty());
}

TEST_CASE("memory: what lies in a file's header and in small members counts, too") {
  // Read where they lie, these bytes are in memory beside what is made of them.
  const auto with_words = [](int count, size_t length, size_t data) {
    std::string header = "{\"__metadata__\":{";
    for (int i = 0; i < count; ++i)
      header += text("{}\"k{}\":\"{}\"", i ? "," : "", i, std::string(length, 'v'));
    header += text("},\"a\":{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[0,{}]}}", data, data);
    std::string file;
    files::put_little64(file, header.size(), 8);
    return file + header + std::string(data, '\0');
  };
  const std::string words_refused = "its metadata would need more memory than the file's size and 16 MiB";
  check_refusal(with_words(60'000, 400, 1), words_refused);
  check_refusal(with_words(200'000, 50, 1), words_refused);
  // A file with as many weights has room for them.
  CHECK(read(with_words(60'000, 400, 32 << 20)).metadata.size() == 60'000);
  CHECK(read(with_words(10'000, 400, 1)).metadata.size() == 10'000);

  const auto archive_of = [](int count) {
    std::vector<files::Member> members;
    for (int i = 0; i < count; ++i) members.push_back({text("a{}.npy", i), array});
    return zip(members).bytes;
  };
  check_refusal(archive_of(20'000),
                "the archive's arrays would need more memory than the file's size and 16 MiB");
  CHECK(read(archive_of(2'000)).tensors.size() == 2'000);

  // Of a pickle, too: bytes that make nothing leave no more room for values.
  const auto too_large = [](size_t values, size_t needless) {
    std::string program = "N";
    for (size_t i = 0; i < needless; ++i) program += "N0";
    program += std::string(values, '\x85');  // a tuple of the value before
    const std::string file = files::legacy_beginning() + files::pickle(program) + files::pickle("]");
    return refusal(file).find("would need more memory than the file's size and 16 MiB") != std::string::npos;
  };
  size_t most = 1, more = 4 << 20;
  REQUIRE(too_large(more, 0));
  while (more - most > 1) {
    const size_t middle = (most + more) / 2;
    (too_large(middle, 0) ? more : most) = middle;
  }
  CHECK(!too_large(most - most / 64, 4 << 20));
  CHECK(too_large(most + most / 64, 4 << 20));
}

TEST_CASE("torch: storages that lie where no tensor may are copied, and their pages set aside") {
  const std::string six_floats = files::floats(1 << 16);  // 256 KiB: whole pages, wherever they begin
  const std::string value =
      files::dict(files::words("w") + files::tensor(files::storage("0", 1 << 16), 0, {1 << 16}, {1}));
  const std::string whole = files::legacy(value, {{"0", six_floats}});
  for (size_t shift = 0; shift < 4; ++shift) {
    CAPTURE(shift);
    const auto bytes = std::make_shared<std::vector<std::byte>>(whole.size() + 8);
    std::memcpy(bytes->data() + shift, whole.data(), whole.size());
    size_t aside = 0;
    const TensorFile file = read_tensors(std::span(*bytes).subspan(shift, whole.size()), bytes, "shifted",
                                         [&](std::span<const std::byte> part) { aside += part.size(); });
    const bool aligned = file.at("w").raw().data() >= bytes->data() &&
                         file.at("w").raw().data() < bytes->data() + bytes->size();
    CHECK((aligned || aside == six_floats.size()));
    CHECK(file.at("w").data<float>()[5] == file.at("w").data<float>()[6]);
  }
}
