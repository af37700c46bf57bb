// data_lists_test.cpp: data sets whose splits are lists of files (vtab:, fgvc:), damaged in every way, and train and val
// together for every format.
#ifdef VITRINE_FILES

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "data/dataset.h"
#include "data/joined.h"
#include "data/preprocess.h"
#include "engine/file.h"
#include "tests/data_files.h"

using namespace vitrine;
using namespace files;

namespace {

Bytes tiny_png(uint32_t seed) { return encode_png(random_image(3, 2, seed)); }

std::string opening_fails(const std::string& spec, Split split) {
  return message_of([&] { open_dataset(spec, split); });
}

std::vector<std::string> names_of(const Dataset& dataset) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < dataset.size(); ++i) names.push_back(dataset.name(i));
  return names;
}

// A task in the community's layout. `prefix` goes before the paths in the lists: "" or "images/".
void write_vtab(const TemporaryFolder& folder, const std::string& prefix) {
  uint32_t seed = 0;
  for (const std::string part : {"train800", "val200", "train800val200", "test"}) {
    std::string list;
    for (int i = 0; i < 4; ++i) {
      const std::string path = part + "/" + std::to_string(i) + ".png";
      folder.write("images/" + path, tiny_png(++seed));
      list += prefix + path + " " + std::to_string((i + static_cast<int>(part.size())) % 3) + "\n";
    }
    folder.write(part + ".txt", bytes_of(list));
  }
}

}  // namespace

TEST_CASE("vtab: lists relative to images/ and to the folder itself") {
  for (const std::string prefix : {"", "images/"}) {
    CAPTURE(prefix);
    const TemporaryFolder folder;
    write_vtab(folder, prefix);
    const std::string spec = "vtab:" + folder.str();
    const auto train = open_dataset(spec, Split::train), test = open_dataset(spec, Split::test);
    CHECK(train->size() == 4);
    CHECK(train->classes() == 3);
    CHECK(train->class_names() == std::vector<std::string>{"0", "1", "2"});
    CHECK(train->labels() == std::vector<int64_t>{2, 0, 1, 2});  // "train800" has eight letters
    CHECK(test->labels() == std::vector<int64_t>{1, 2, 0, 1});
    CHECK(train->image(2).rgb == random_image(3, 2, 3).rgb);
    CHECK(test->name(1) == folder / "images/test/1.png");
    CHECK(says(test->mark(1), "images/test/1.png "));  // and the size, without the place
    CHECK(!train->tensors().defined());
    // Together they are their own list, whose pictures may have other names.
    const auto both = open_dataset(spec, Split::train_val);
    CHECK(both->size() == 4);
    CHECK(both->name(0) == folder / "images/train800val200/0.png");
    CHECK(open_dataset(spec, Split::all)->size() == 12);
    for (const Split split : {Split::train, Split::val, Split::train_val, Split::test, Split::all})
      CHECK(has_split(spec, split));
    std::filesystem::remove(folder / "train800val200.txt");
    CHECK(open_dataset(spec, Split::train_val)->labels() == std::vector<int64_t>{2, 0, 1, 2, 0, 1, 2, 0});
    std::filesystem::remove(folder / "val200.txt");
    CHECK(!has_split(spec, Split::val));
    CHECK(says(opening_fails(spec, Split::val), "has no val split: there is no val200.txt"));
    CHECK(open_dataset(spec, Split::train_val)->labels() == train->labels());
    CHECK(open_dataset(spec, Split::all)->size() == 8);
  }
}

TEST_CASE("vtab and fgvc: pictures that val or test share with those to learn from are told") {
  const TemporaryFolder folder;
  write_vtab(folder, "");
  std::vector<std::string> notes;
  const OpenOptions options{.note = [&](const std::string& words) { notes.push_back(words); }};
  const auto told = [&](const std::string& spec, Split split) {
    notes.clear();
    open_dataset(spec, split, options);
    return notes.empty() ? "" : notes[0];
  };
  const std::string spec = "vtab:" + folder.str();
  for (const Split split : {Split::train, Split::val, Split::test}) CHECK(told(spec, split).empty());
  folder.write("test.txt", bytes_of("test/0.png 0\nval200/./1.png 1\n"));
  CHECK(says(told(spec, Split::test),
             "1 of 2 pictures of test stand among those to learn from as well, 'val200/./1.png' the first"));
  CHECK(told(spec, Split::val).empty());
  folder.write("val200.txt", bytes_of("train800/0.png 0\ntrain800/1.png 1\n"));
  CHECK(says(told(spec, Split::val), "2 of 2 pictures of val stand among those"));
  CHECK(told(spec, Split::train).empty());
  folder.write("train.json", bytes_of(R"({"images/train800/0.png": 1, "images/train800/1.png": 2})"));
  folder.write("test.json", bytes_of(R"({"images/train800/1.png": 2})"));
  CHECK(says(told("fgvc:" + folder.str(), Split::test), "1 of 1 pictures of test"));

  // A picture's fingerprint follows its bytes, its mark the size alone; joined data tell the same of their parts.
  const auto train = open_dataset(spec, Split::train), val = open_dataset(spec, Split::val);
  const std::string mark = train->mark(2), print = train->fingerprint(2);
  CHECK(says(print, mark));
  std::vector<std::byte> bytes = read_file(folder / "images/train800/2.png");
  bytes.back() ^= std::byte{1};
  folder.write("images/train800/2.png", bytes);
  CHECK(train->mark(2) == mark);
  CHECK(train->fingerprint(2) != print);
  CHECK(joined(val, train)->fingerprint(2 + val->size()) == "2 " + train->fingerprint(2));
}

TEST_CASE("vtab: classes are counted over all lists and may have names") {
  const TemporaryFolder folder;
  write_vtab(folder, "");
  const std::string spec = "vtab:" + folder.str();
  folder.write("test.txt", bytes_of("test/0.png 6\n"));  // a class that only the test has
  CHECK(open_dataset(spec, Split::train)->classes() == 7);
  folder.write("classes.txt", bytes_of("ant\nbee\ncat\ndog\r\n\neel\nfox \ngnu\n"));
  CHECK(open_dataset(spec, Split::train)->class_names()[5] == "fox");
  folder.write("classes.txt", bytes_of("ant\nbee\n"));
  CHECK(says(opening_fails(spec, Split::train), "expected 7 names in"));
  folder.write("classes.txt", bytes_of("a\nb\nc\nd\ne\nb\nf\n"));
  CHECK(says(opening_fails(spec, Split::train), "classes.txt' line 6: 'b' is already on line 2"));
  folder.write("classes.txt", bytes_of("a\nb\nc\nd\ne\ncaf\xe9\nf\n"));
  CHECK(says(opening_fails(spec, Split::train), "expected class names in UTF-8, got 'caf\\xe9'"));
}

TEST_CASE("vtab: what lists may hold, and what they may not") {
  const TemporaryFolder folder;
  write_vtab(folder, "");
  folder.write("images/a b.png", tiny_png(50));
  folder.write("outside.png", tiny_png(51));
  const std::string spec = "vtab:" + folder.str();
  const auto with = [&](const std::string& list) {
    folder.write("train800.txt", bytes_of(list));
    return open_dataset(spec, Split::train);
  };
  const auto refused = [&](const std::string& list) { return message_of([&] { with(list); }); };
  CHECK(with("\xEF\xBB\xBFtrain800/0.png 1\r\n\r\n \t\ntrain800/1.png\t2  \r\na b.png  0")->labels() ==
        std::vector<int64_t>{1, 2, 0});
  CHECK(says(refused("train800/0.png 1\ntrain800/1.png\n"),
             "train800.txt' line 2: expected a path and a label"));
  for (const std::string label : {"-1", "1048576", "99999999999999999999999", "1.5", "x", "+1", "0x1"})
    CHECK(says(refused("train800/0.png 1\n\ntrain800/1.png " + label),
               "line 3: expected a label of 0 to 1048575, got '" + label));
  for (const std::string path : {"/etc/passwd", "../outside.png", "train800/../../outside.png", ".."})
    CHECK(says(refused("train800/0.png 1\n" + path + " 1"),
               "line 2: expected a path inside the data set, got '" + path));
  CHECK(says(refused(std::string("train800/0.png 1\na\0b 1", 22)), "line 2: expected a path inside"));
  CHECK(says(refused("train800/0.png 1\ntrain800/1.png 1\ntrain800/0.png 2"),
             "line 3: 'train800/0.png' is already on line 1"));
  for (const std::string other : {"./train800/0.png", "train800//0.png", "train800/./0.png"})
    CHECK(says(refused("train800/0.png 1\n" + other + " 1"), "line 2: '" + other + "' is already on line 1"));
  CHECK(says(refused("train800/0.png 1\ntrain800/9.png 1"), "train800/9.png' is no file"));
  CHECK(says(refused("train800/0.png 1\ntrain800 1"), "train800' is no file"));
  CHECK(says(refused("train800/9.png 1"), "line 1: 'train800/9.png' is a file neither in '"));
  CHECK(says(refused(""), "lists no picture"));
  CHECK(says(refused("\n \n"), "lists no picture"));
  // A list that is not asked for is read, too: its labels count.
  with("train800/0.png 1");
  folder.write("test.txt", bytes_of("test/0.png"));
  CHECK(says(opening_fails(spec, Split::train), "test.txt' line 1"));
  std::filesystem::remove(folder / "test.txt");
  std::filesystem::create_symlink("nowhere", folder / "test.txt");  // it was meant to be there
  CHECK(says(opening_fails(spec, Split::train), "test.txt"));
  CHECK(says(opening_fails(spec + "/none", Split::train), "is not a folder"));
  CHECK(!has_split(spec + "/none", Split::test));
}

namespace {

void write_fgvc(const TemporaryFolder& folder, const std::string& images) {
  uint32_t seed = 100;
  for (const std::string name : {"a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/2.png"})
    folder.write(images + name, tiny_png(++seed));
  folder.write("train.json", bytes_of(R"({"c/1.png": 9, "a/1.png": 3})"));
  folder.write("val.json", bytes_of(R"({"b/1.png": "07"})"));
  folder.write("test.json", bytes_of(R"({"c/2.png": 9, "a/2.png": "3"})"));
}

}  // namespace

TEST_CASE("fgvc: the classes of all splits together are numbered, pictures lie in one of three places") {
  for (const std::string images : {"images/", "Images/", ""}) {
    CAPTURE(images);
    const TemporaryFolder folder;
    write_fgvc(folder, images);
    const std::string spec = "fgvc:" + folder.str();
    const auto train = open_dataset(spec, Split::train), test = open_dataset(spec, Split::test);
    CHECK(train->class_names() == std::vector<std::string>{"3", "7", "9"});
    CHECK(train->labels() == std::vector<int64_t>{2, 0});  // in the file's order
    CHECK(train->name(0) == folder / (images + "c/1.png"));
    CHECK(train->image(1).rgb == random_image(3, 2, 101).rgb);
    // The code of the paper would number test's two classes 0 and 1.
    CHECK(test->labels() == std::vector<int64_t>{2, 0});
    CHECK(open_dataset(spec, Split::train_val)->labels() == std::vector<int64_t>{2, 0, 1});
    CHECK(open_dataset(spec, Split::all)->labels() == std::vector<int64_t>{2, 0, 1, 2, 0});
    std::filesystem::remove(folder / "val.json");
    CHECK(!has_split(spec, Split::val));
    CHECK(has_split(spec, Split::train_val));
    CHECK(open_dataset(spec, Split::train_val)->labels() == std::vector<int64_t>{1, 0});
    CHECK(says(opening_fails(spec, Split::val), "there is no val.json"));
    std::filesystem::remove(folder / "train.json");
    CHECK(says(opening_fails(spec, Split::train_val), "has no train split"));
  }
}

TEST_CASE("fgvc: what is no object of paths and classes is refused by name") {
  const TemporaryFolder folder;
  write_fgvc(folder, "images/");
  folder.write("outside.png", tiny_png(1));
  const std::string spec = "fgvc:" + folder.str();
  const auto refused = [&](const std::string& json) {
    folder.write("train.json", bytes_of(json));
    return opening_fails(spec, Split::train);
  };
  for (const std::string json : {"[]", "3", "\"x\"", "null", "true", "[{\"a/1.png\": 3}]"})
    CHECK(says(refused(json), "expected an object of paths and classes"));
  for (const std::string value :
       {"-1", "1.5", "1e3", "null", "true", "\"\"", "\"x\"", "\"-1\"", "\" 3\"", "\"3.0\"", "[3]",
        "{\"a\": 3}", "18446744073709551615", "99999999999999999999999"})
    CHECK(
        says(refused("{\"c/1.png\": 9, \"a/1.png\": " + value + "}"), "'a/1.png': expected a whole number"));
  CHECK(says(refused("{\"a/1.png\": 3, \"a/1.png\": 3}"), "'a/1.png' appears twice"));
  CHECK(says(refused("{\"a/1.png\": 3, \"a\\/1.png\": 4}"), "appears twice"));
  for (const std::string other : {"./a/1.png", "a//1.png", "a/./1.png"})
    CHECK(says(refused("{\"a/1.png\": 3, \"" + other + "\": 3}"), "'" + other + "' appears twice"));
  for (const std::string path : {"/etc/passwd", "../outside.png", "", "a/../../outside.png", "a\\u0000b"})
    CHECK(says(refused("{\"a/1.png\": 3, \"" + path + "\": 4}"), "expected a path inside the data set"));
  CHECK(says(refused("{\"a/1.png\": 3, \"a/9.png\": 4}"), "a/9.png' is no file"));
  CHECK(says(refused("{\"a/9.png\": 4}"), "'a/9.png' is a file neither in '"));
  CHECK(says(refused("{}"), "holds no picture"));
  CHECK(says(refused("{\"caf\xe9\": 1}"), "not valid JSON in UTF-8 at its byte"));
  CHECK(says(refused(std::string("{\"a/1.png\": 3}\0", 15)), "holds a NUL"));
  const std::string whole = "{\"c/1.png\": 9, \"a/1.png\": 3}";
  for (size_t length = 0; length < whole.size(); ++length)
    CHECK(says(refused(whole.substr(0, length)), "train.json"));
  CHECK(says(refused(whole + "x"), "train.json"));
  folder.write("train.json", bytes_of(whole));
  CHECK(open_dataset(spec, Split::train)->size() == 2);
  folder.write("test.json", bytes_of("{"));  // not asked for, but its classes count
  CHECK(says(opening_fails(spec, Split::train), "test.json"));
  CHECK(says(opening_fails(spec + "/none", Split::train), "is not a folder"));
}

TEST_CASE("vtab and fgvc turn photos on request, as folders do") {
  const TemporaryFolder folder;
  Bytes exif = bytes_of("\xFF\xD8\xFF\xE1");
  put_big(exif, 34, 2);
  put(exif,
      bytes_of(std::string("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 32)));
  const Bytes jpeg = encode_jpeg(random_image(8, 4, 1));
  put(exif, {jpeg.begin() + 2, jpeg.end()});
  folder.write("images/1.jpg", exif);
  folder.write("train800.txt", bytes_of("1.jpg 0"));
  folder.write("train.json", bytes_of("{\"1.jpg\": 0}"));
  for (const std::string scheme : {"vtab:", "fgvc:"}) {
    std::vector<std::string> notes;
    const auto note = [&](const std::string& words) { notes.push_back(words); };
    CHECK(open_dataset(scheme + folder.str(), Split::train, {.note = note})->image(0).width == 8);
    CHECK(notes.size() == 1);
    CHECK(open_dataset(scheme + folder.str(), Split::train, {.exif = true, .note = note})->image(0).width ==
          4);
    CHECK(notes.size() == 1);
  }
}

TEST_CASE("train and val together: train first, then val, or train alone") {
  const TemporaryFolder folder;
  for (const std::string part : {"train", "val", "test"})
    for (const std::string name : {"a/1.png", "b/1.png"})
      folder.write("full/" + part + "/" + name, tiny_png(1));
  for (const std::string name : {"a/1.png", "b/1.png"}) {
    folder.write("plain/" + name, tiny_png(1));
    folder.write("tested/train/" + name, tiny_png(1));
    folder.write("tested/test/" + name, tiny_png(1));
    folder.write("trainless/val/" + name, tiny_png(1));
  }
  const auto joined = [](const std::string& spec, bool has_val) {
    CAPTURE(spec);
    std::vector<std::string> names = names_of(*open_dataset(spec, Split::train));
    if (has_val) {
      const auto more = names_of(*open_dataset(spec, Split::val));
      names.insert(names.end(), more.begin(), more.end());
    }
    CHECK(has_split(spec, Split::train_val));
    CHECK(names_of(*open_dataset(spec, Split::train_val)) == names);
  };
  joined("folder:" + (folder / "full"), true);
  joined("folder:" + (folder / "plain"), false);
  joined("folder:" + (folder / "tested"), false);
  CHECK(says(opening_fails("folder:" + (folder / "trainless"), Split::train_val),
             "has no train split, only val"));
  CHECK(open_dataset("folder:" + (folder / "trainless"), Split::all)->size() == 2);
  joined("synthetic:shapes", true);
  joined("mini:count", true);
  CHECK(name_of(Split::train_val) == std::string("train_val"));
}

TEST_CASE("a relative place begins in a folder of the caller's choice") {
  CHECK(spec_below("folder:x/y", "/a") == "folder:/a/x/y");
  CHECK(spec_below("vtab:../x", "/a/b") == "vtab:/a/b/../x");
  CHECK(spec_below("fgvc:/x", "/a") == "fgvc:/x");
  CHECK(spec_below("tensors:x", "") == "tensors:x");
  CHECK(spec_below("mini:count", "/a") == "mini:count");
  CHECK(spec_below("synthetic:shapes", "/a") == "synthetic:shapes");
  CHECK(says(message_of([] { spec_below("foldr:x", "/a"); }), "did you mean 'folder:'?"));
}

TEST_CASE("shifts: the square of evaluation's geometry at a random place") {
  const Image image = random_image(40, 30, 5);
  const Preprocess p{.size = 12, .resize = 18};
  const Image whole = resize_shorter(image, 18, p.filter);
  std::map<std::pair<int, int>, int> places;
  Random random(3, Purpose::test);
  for (int i = 0; i < 600; ++i) {
    const Image square = augment(image, p, {.shift = true}, random);
    bool found = false;
    for (int y = 0; y + 12 <= whole.height && !found; ++y)
      for (int x = 0; x + 12 <= whole.width && !found; ++x)
        if (crop(whole, x, y, 12, 12).rgb == square.rgb) {
          found = true;
          ++places[{x, y}];
        }
    CHECK(found);
  }
  // 24 x 18 leaves 13 x 7 places, each of which is expected 6.6 times.
  CHECK(places.size() == 13 * 7);
  const Preprocess squashed{.size = 12, .resize = 18, .squash = true};
  CHECK(says(message_of([&] { check_augment({.shift = true}, squashed); }), "needs room around the square"));
  CHECK_NOTHROW(
      check_augment({.shift = true}, {.size = 12, .resize = 18, .squash = true, .crop_squashed = true}));
  CHECK(says(message_of([&] { check_augment({.crop = true, .shift = true}, p); }), "got both"));
}

#endif
