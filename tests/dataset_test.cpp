// dataset_test.cpp: every data-set format from files made here, damaged in every way; subsets and splits.
#include "data/dataset.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "data/resize.h"
#include "data/subset.h"
#include "engine/safetensors.h"
#include "tests/data_files.h"

using namespace vitrine;

namespace {

// A data set of one-pixel images with the given labels.
std::shared_ptr<const Dataset> labelled(const std::vector<int64_t>& labels,
                                        std::vector<std::string> names = {}) {
  return memory_dataset(std::vector<Image>(labels.size(), blank_image(1, 1)), labels, std::move(names));
}

std::vector<int64_t> class_counts(const std::vector<int64_t>& samples, const Dataset& dataset) {
  std::vector<int64_t> counts(static_cast<size_t>(dataset.classes()));
  for (const int64_t i : samples) ++counts[static_cast<size_t>(dataset.label(i))];
  return counts;
}

// The share of `test` that the class with the nearest mean feature of `train` gets right.
template <class Feature>
double nearest_mean_accuracy(const std::string& spec, Feature feature) {
  const auto train = open_dataset(spec, Split::train), test = open_dataset(spec, Split::test);
  std::vector<std::vector<double>> means(static_cast<size_t>(train->classes()));
  for (int64_t i = 0; i < train->size(); ++i) {
    const std::vector<double> f = feature(train->image(i));
    auto& mean = means[static_cast<size_t>(train->label(i))];
    mean.resize(f.size());
    for (size_t k = 0; k < f.size(); ++k) mean[k] += f[k] * static_cast<double>(train->classes()) / 1000.0;
  }
  int right = 0;
  for (int64_t i = 0; i < test->size(); ++i) {
    const std::vector<double> f = feature(test->image(i));
    const auto distance = [&](const std::vector<double>& mean) {
      double d = 0;
      for (size_t k = 0; k < f.size(); ++k) d += (f[k] - mean[k]) * (f[k] - mean[k]);
      return d;
    };
    const auto best = std::min_element(
        means.begin(), means.end(), [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
    right += best - means.begin() == test->label(i);
  }
  return right / static_cast<double>(test->size());
}

double luminance(const Image& image, int x, int y) {
  const uint8_t* p = &image.rgb[static_cast<size_t>((y * image.width + x) * 3)];
  return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
}

}  // namespace

TEST_CASE("synthetic: sizes, balance, and the same pictures again") {
  for (const char* name : {"synthetic:shapes", "synthetic:stripes", "synthetic:colors"}) {
    CAPTURE(name);
    const auto train = open_dataset(name, Split::train), all = open_dataset(name, Split::all);
    CHECK(train->size() == 1000);
    CHECK(open_dataset(name, Split::val)->size() == 200);
    const auto test = open_dataset(name, Split::test);
    CHECK(test->size() == 500);
    CHECK(all->size() == 1700);
    CHECK(train->classes() == 8);
    for (const int64_t count : class_counts(all_samples(*train), *train)) CHECK(count == 125);
    CHECK(train->image(3).rgb == open_dataset(name, Split::train)->image(3).rgb);
    CHECK(train->image(3).rgb != train->image(11).rgb);  // of the same class
    CHECK(train->image(3).rgb != test->image(3).rgb);
    CHECK(all->image(1200 + 3).rgb == test->image(3).rgb);
    CHECK(all->label(1200 + 3) == test->label(3));
    CHECK_THROWS_AS(train->image(1000), Error);
    CHECK_THROWS_AS(train->label(-1), Error);
  }
}

TEST_CASE("synthetic: simple features tell the classes apart") {
  // The mean color, as a direction.
  CHECK(nearest_mean_accuracy("synthetic:colors", [](const Image& image) {
          std::vector<double> sum(3);
          for (size_t i = 0; i < image.rgb.size(); ++i) sum[i % 3] += image.rgb[i];
          const double mean = (sum[0] + sum[1] + sum[2]) / 3;
          double norm = 0;
          for (double& v : sum) norm += (v - mean) * (v - mean);
          for (double& v : sum) v = (v - mean) / std::sqrt(norm);
          return sum;
        }) > 0.9);
  // The direction of gradients, with its angle doubled: opposite slopes belong to the same stripes.
  CHECK(nearest_mean_accuracy("synthetic:stripes", [](const Image& image) {
          double c = 0, s = 0;
          for (int y = 1; y < 31; ++y)
            for (int x = 1; x < 31; ++x) {
              const double gx = luminance(image, x + 1, y) - luminance(image, x - 1, y);
              const double gy = luminance(image, x, y + 1) - luminance(image, x, y - 1);
              c += gx * gx - gy * gy;
              s += 2 * gx * gy;
            }
          const double norm = std::hypot(c, s) + 1e-9;
          return std::vector<double>{c / norm, s / norm};
        }) > 0.9);
  // What differs from the corner's color, cut out and brought to 12 x 12.
  CHECK(nearest_mean_accuracy("synthetic:shapes", [](const Image& image) {
          Image mask = blank_image(32, 32);
          int left = 31, right = 0, top = 31, bottom = 0;
          std::array<double, 3> corner{};
          for (int i = 0; i < 32; ++i)  // the frame of the picture is background
            for (size_t c = 0; c < 3; ++c)
              corner[c] += (image.rgb[static_cast<size_t>(i) * 3 + c] +
                            image.rgb[(31 * 32 + static_cast<size_t>(i)) * 3 + c]) /
                           64.0;
          for (int y = 0; y < 32; ++y)
            for (int x = 0; x < 32; ++x) {
              const auto at = static_cast<size_t>((y * 32 + x) * 3);
              double d = 0;
              for (size_t c = 0; c < 3; ++c) d += std::fabs(image.rgb[at + c] - corner[c]);
              if (d < 110) continue;
              for (size_t c = 0; c < 3; ++c) mask.rgb[at + c] = 255;
              left = std::min(left, x), right = std::max(right, x), top = std::min(top, y),
              bottom = std::max(bottom, y);
            }
          std::vector<double> f(144);
          if (right <= left || bottom <= top) return f;
          const Image part =
              resize(crop(mask, left, top, right - left + 1, bottom - top + 1), 12, 12, Filter::bilinear);
          for (size_t i = 0; i < f.size(); ++i) f[i] = part.rgb[3 * i];
          return f;
        }) > 0.8);
}

TEST_CASE("memory data sets check what they are given") {
  const auto dataset = labelled({0, 2, 1}, {"a", "b", "c"});
  CHECK(dataset->class_names()[2] == "c");
  CHECK(dataset->label(1) == 2);
  CHECK(labelled({0, 4})->classes() == 5);
  CHECK_THROWS_AS(labelled({}), Error);
  CHECK_THROWS_AS(labelled({0, 3}, {"a", "b"}), Error);
  CHECK_THROWS_AS(labelled({0, -1}), Error);
  CHECK_THROWS_AS(memory_dataset({blank_image(1, 1)}, {0, 0}), Error);
  CHECK_THROWS_AS(memory_dataset({Image{2, 2, {}}}, {0}), Error);
  CHECK(labelled({0, 1}, {"caf\xc3\xa9", "\xe5\xb1\xb1"})->class_names()[0] == "caf\xc3\xa9");
  CHECK(files::message_of([] {
          labelled({0, 1}, {"a", "caf\xe9"});
        }) == "memory data set: expected class names in UTF-8, got 'caf\\xe9'");
}

TEST_CASE("class_balanced: as equal as possible, seeded, ascending") {
  std::vector<int64_t> labels;
  for (int i = 0; i < 100; ++i) labels.push_back(0);
  for (int i = 0; i < 7; ++i) labels.push_back(1);
  for (int i = 0; i < 50; ++i) labels.push_back(2);
  const auto dataset = labelled(labels);
  const auto chosen = class_balanced(*dataset, 40, 5);
  CHECK(std::is_sorted(chosen.begin(), chosen.end()));
  CHECK(std::set(chosen.begin(), chosen.end()).size() == 40);
  auto counts = class_counts(chosen, *dataset);
  CHECK(counts[1] == 7);  // it has no more
  CHECK(counts[0] + counts[2] == 33);
  CHECK(std::abs(counts[0] - counts[2]) == 1);
  CHECK(chosen == class_balanced(*dataset, 40, 5));
  CHECK(chosen != class_balanced(*dataset, 40, 6));
  CHECK(class_balanced(*dataset, 1000, 5) == all_samples(*dataset));
  CHECK_THROWS_AS(class_balanced(*dataset, 2, 5), Error);
  CHECK_THROWS_AS(class_balanced(*dataset, -1, 5), Error);
  const auto gap = labelled({0, 0, 2}, {"ant", "bee", "cat"});
  // A class without samples gives none.
  CHECK(class_balanced(*gap, 3, 0) == all_samples(*gap));
  CHECK(class_counts(class_balanced(*gap, 2, 0), *gap) == std::vector<int64_t>{1, 0, 1});
  CHECK_THROWS_AS(class_balanced(*gap, 1, 0), Error);
}

TEST_CASE("split_validation: equal shares of all classes, nothing lost, nothing twice") {
  std::vector<int64_t> labels;
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t i = 0; i < 20 * (c + 1); ++i) labels.push_back(c);  // 20, 40, 60
  const auto dataset = labelled(labels);
  const auto [train, val] = split_validation(all_samples(*dataset), *dataset, 25, 1);
  CHECK(val.size() == 25);
  CHECK(std::is_sorted(val.begin(), val.end()));
  CHECK(std::is_sorted(train.begin(), train.end()));
  std::vector<int64_t> both = train;
  both.insert(both.end(), val.begin(), val.end());
  std::sort(both.begin(), both.end());
  CHECK(both == all_samples(*dataset));
  const auto counts = class_counts(val, *dataset);
  for (size_t c = 0; c < 3; ++c)  // exact shares: 25 * (c + 1) / 6
    CHECK(std::fabs(static_cast<double>(counts[c]) - 25.0 * static_cast<double>(c + 1) / 6) < 1);
  // 4.17, 8.33, 12.5: the largest remainder gets the last one
  CHECK(counts == std::vector<int64_t>{4, 8, 13});
  CHECK(val == split_validation(all_samples(*dataset), *dataset, 25, 1).val);
  CHECK(val != split_validation(all_samples(*dataset), *dataset, 25, 2).val);
  // As many as leave one of each class.
  const auto most = split_validation(all_samples(*dataset), *dataset, 117, 1);
  CHECK(class_counts(most.train, *dataset) == std::vector<int64_t>{1, 1, 1});
  CHECK_THROWS_AS(split_validation(all_samples(*dataset), *dataset, 118, 1), Error);
  CHECK_THROWS_AS(split_validation(all_samples(*dataset), *dataset, -1, 1), Error);
  // Classes without samples have no part in it.
  CHECK(split_validation({0, 1, 2}, *dataset, 2, 1).train.size() == 1);
  CHECK_THROWS_AS(split_validation({0, 1, 2}, *dataset, 3, 1), Error);
}

TEST_CASE("unknown data sets get a hint") {
  using files::message_of, files::says;
  CHECK(says(message_of([] { open_dataset("foldr:x", Split::train); }), "did you mean 'folder:'?"));
  CHECK(says(message_of([] { open_dataset("/some/where", Split::train); }), "known are"));
  CHECK(says(message_of([] { open_dataset("", Split::train); }), "known are"));
  CHECK(says(message_of([] { open_dataset("folder", Split::train); }), "folder:DIR"));
  CHECK(says(message_of([] { open_dataset("folder:", Split::train); }), "folder:DIR"));
  CHECK(says(message_of([] { open_dataset("synthetic:shape", Split::train); }), "did you mean 'shapes'?"));
}

#ifdef VITRINE_FILES
using namespace files;

namespace {

constexpr uint32_t idx_images = 0x803, idx_labels = 0x801;

// IDX files of `count` images whose pixels are their number plus their place.
Bytes idx_images_file(uint32_t count) {
  Bytes out;
  put_big(out, idx_images);
  for (const uint32_t extent : {count, 28u, 28u}) put_big(out, extent);
  for (uint32_t i = 0; i < count; ++i)
    for (uint32_t p = 0; p < 784; ++p) out.push_back(static_cast<std::byte>(i + p));
  return out;
}
Bytes idx_labels_file(uint32_t count) {
  Bytes out;
  put_big(out, idx_labels);
  put_big(out, count);
  for (uint32_t i = 0; i < count; ++i) out.push_back(static_cast<std::byte>((i * 3) % 10));
  return out;
}

void write_fashion(const TemporaryFolder& folder, bool compressed) {
  const auto write = [&](const std::string& name, const Bytes& bytes) {
    compressed ? folder.write(name + ".gz", gzip(bytes)) : folder.write(name, bytes);
  };
  write("train-images-idx3-ubyte", idx_images_file(12));
  write("train-labels-idx1-ubyte", idx_labels_file(12));
  write("t10k-images-idx3-ubyte", idx_images_file(5));
  write("t10k-labels-idx1-ubyte", idx_labels_file(5));
}

std::string opening_fails(const std::string& spec, Split split) {
  return message_of([&] { open_dataset(spec, split); });
}

// Records of CIFAR: label bytes, then planes filled with the record's number, plus 50 and plus 100.
Bytes cifar_file(int records, int label_bytes, int classes) {
  Bytes out;
  for (int r = 0; r < records; ++r) {
    if (label_bytes == 2) out.push_back(std::byte{19});
    out.push_back(static_cast<std::byte>(r * 7 % classes));
    for (int c = 0; c < 3; ++c) out.insert(out.end(), 1024, static_cast<std::byte>(r + 50 * c));
  }
  return out;
}

Bytes tiny_png(uint32_t seed) { return encode_png(random_image(3, 2, seed)); }

}  // namespace

TEST_CASE("fashion-mnist: plain and compressed") {
  for (const bool compressed : {false, true}) {
    const TemporaryFolder folder;
    write_fashion(folder, compressed);
    const std::string spec = "fashion-mnist:" + folder.str();
    const auto train = open_dataset(spec, Split::train), all = open_dataset(spec, Split::all);
    CHECK(train->size() == 12);
    CHECK(open_dataset(spec, Split::test)->size() == 5);
    CHECK(all->size() == 17);
    CHECK(train->label(4) == 2);
    CHECK(all->label(12 + 3) == 9);
    CHECK(train->class_names()[9] == "Ankle boot");
    const Image image = train->image(7);
    CHECK(image.width == 28);
    for (size_t p = 0; p < image.rgb.size(); ++p) CHECK(image.rgb[p] == static_cast<uint8_t>(7 + p / 3));
    CHECK(says(opening_fails(spec, Split::val), "no val split"));
  }
}

TEST_CASE("fashion-mnist: damaged files are errors that name them") {
  const TemporaryFolder folder;
  write_fashion(folder, false);
  const std::string spec = "fashion-mnist:" + folder.str();
  const std::string name = "train-labels-idx1-ubyte";
  Bytes labels = idx_labels_file(12);
  for (size_t length = 0; length < labels.size(); ++length) {
    folder.write(name, Bytes(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK(says(opening_fails(spec, Split::train), name));
  }
  const auto with = [&](size_t at, int value) {
    Bytes bytes = labels;
    bytes.resize(std::max(bytes.size(), at + 1));
    bytes[at] = static_cast<std::byte>(value);
    folder.write(name, bytes);
    return opening_fails(spec, Split::train);
  };
  CHECK(says(with(20, 0), "expected 20 bytes"));  // one too many
  CHECK(says(with(3, 3), "IDX"));
  CHECK(says(with(4, 255), "expected"));  // 4 billion items
  CHECK(says(with(15, 10), "label 10"));
  folder.write(name, idx_labels_file(11));
  CHECK(says(opening_fails(spec, Split::train), "12 train images but 11 labels"));
  std::filesystem::remove(folder / name);
  CHECK(says(opening_fails(spec, Split::train), name));

  const Bytes packed = gzip(labels);
  for (size_t length = 0; length < packed.size(); ++length) {
    folder.write(name + ".gz", Bytes(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK(says(opening_fails(spec, Split::train), name));
  }
  Bytes garbage = packed;
  garbage.push_back(std::byte{7});
  folder.write(name + ".gz", garbage);
  CHECK(says(opening_fails(spec, Split::train), "behind the end"));
  for (size_t i = 10; i < packed.size(); ++i) {  // behind the gzip header: data, check sum, length
    Bytes damaged = packed;
    damaged[i] ^= std::byte{0x55};
    folder.write(name + ".gz", damaged);
    CHECK(says(opening_fails(spec, Split::train), name));
  }
  folder.write(name + ".gz", packed);
  CHECK(open_dataset(spec, Split::train)->size() == 12);
  CHECK_THROWS_AS(open_dataset("fashion-mnist:" + (folder / "nowhere"), Split::train), Error);
}

TEST_CASE("cifar10 and cifar100: records, names, damaged files") {
  const TemporaryFolder folder;
  for (int i = 1; i <= 5; ++i)
    folder.write("data_batch_" + std::to_string(i) + ".bin", cifar_file(2 + i, 1, 10));
  folder.write("test_batch.bin", cifar_file(4, 1, 10));
  const std::string spec = "cifar10:" + folder.str();
  const auto train = open_dataset(spec, Split::train);
  CHECK(train->size() == 25);
  CHECK(train->label(3 + 2) == 4);  // record 2 of the second file
  CHECK(train->class_names()[3] == "3");
  const Image image = train->image(3 + 2);
  for (size_t p = 0; p < image.rgb.size(); ++p) CHECK(image.rgb[p] == 2 + 50 * (p % 3));
  CHECK(open_dataset(spec, Split::all)->size() == 29);
  CHECK(says(opening_fails(spec, Split::val), "no val split"));

  folder.write("batches.meta.txt", bytes_of("a\nb\nc\nd\ne\nf\ng\nh\ni\r\nj\n\n"));
  CHECK(open_dataset(spec, Split::test)->class_names()[8] == "i");
  folder.write("batches.meta.txt", bytes_of("a\nb\n"));
  CHECK(says(opening_fails(spec, Split::test), "batches.meta.txt"));
  std::filesystem::remove(folder / "batches.meta.txt");

  Bytes bytes = cifar_file(4, 1, 10);
  for (const size_t length : {size_t{0}, size_t{1}, size_t{3072}, bytes.size() - 1}) {
    folder.write("test_batch.bin", Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK(says(opening_fails(spec, Split::test), "test_batch.bin"));
  }
  bytes[3073] = std::byte{10};
  folder.write("test_batch.bin", bytes);
  CHECK(says(opening_fails(spec, Split::test), "got 10 in record 1"));
  std::filesystem::remove(folder / "data_batch_4.bin");
  CHECK(says(opening_fails(spec, Split::train), "data_batch_4.bin"));

  folder.write("c/cifar-100-binary/train.bin", cifar_file(30, 2, 100));
  folder.write("c/cifar-100-binary/test.bin", cifar_file(3, 2, 100));
  const auto fine = open_dataset("cifar100:" + (folder / "c"), Split::train);
  CHECK(fine->classes() == 100);
  CHECK(fine->label(20) == 40);  // the fine label
  CHECK(fine->image(20).rgb[1] == 70);
}

TEST_CASE("folder: classes directly, or below train, val and test") {
  const TemporaryFolder folder;
  folder.write("Zebra/b.PNG", tiny_png(1));
  folder.write("Zebra/a.png", tiny_png(2));
  folder.write("ant/x.JPeG", encode_jpeg(random_image(4, 4, 3)));
  folder.write("ant/notes.txt", bytes_of("no picture"));
  folder.write("ant/.hidden.png", bytes_of("no picture"));
  folder.write(".git/config", bytes_of("nothing"));
  folder.write("readme.md", bytes_of("nothing"));
  const std::string spec = "folder:" + folder.str();
  const auto train = open_dataset(spec, Split::train);
  CHECK(train->class_names() == std::vector<std::string>{"Zebra", "ant"});  // bytewise
  REQUIRE(train->size() == 3);
  CHECK(train->labels() == std::vector<int64_t>{0, 0, 1});
  CHECK(train->name(0) == folder / "Zebra/a.png");
  CHECK(train->image(0).rgb == random_image(3, 2, 2).rgb);
  CHECK(train->image(2).width == 4);
  CHECK(open_dataset(spec, Split::all)->size() == 3);
  CHECK(says(opening_fails(spec, Split::test), "has no test split"));

  folder.write("split/train/a/1.png", tiny_png(1));
  folder.write("split/train/b/1.png", tiny_png(2));
  folder.write("split/test/a/2.png", tiny_png(3));
  folder.write("split/test/b/2.png", tiny_png(4));
  const std::string split = "folder:" + (folder / "split");
  CHECK(open_dataset(split, Split::test)->name(1) == folder / "split/test/b/2.png");
  CHECK(open_dataset(split, Split::all)->labels() == std::vector<int64_t>{0, 1, 0, 1});
  CHECK(says(opening_fails(split, Split::val), "only train, test"));
  std::filesystem::remove_all(folder / "split/test/b");
  CHECK(says(opening_fails(split, Split::test), "lacks class 'b'"));
  folder.write("split/test/b/2.png", tiny_png(4));
  folder.write("split/test/c/2.png", tiny_png(4));
  CHECK(says(opening_fails(split, Split::test), "has class 'c'"));

  folder.write("trains/train/1.png", tiny_png(1));  // a class of that name
  folder.write("trains/bus/1.png", tiny_png(1));
  CHECK(open_dataset("folder:" + (folder / "trains"), Split::train)->class_names()[1] == "train");
}

TEST_CASE("folder: a link that leads nowhere is never a class left out in silence") {
  const TemporaryFolder folder;
  folder.write("a/1.png", tiny_png(1));
  const std::string spec = "folder:" + folder.str();
  for (const char* name : {"b", "notes.txt"})  // either may have been a folder
    for (const char* target : {"gone", name}) {
      CAPTURE(name);
      CAPTURE(target);
      std::filesystem::create_symlink(target, folder / name);
      CHECK(says(opening_fails(spec, Split::train), folder / name));
      std::filesystem::remove(folder / name);
    }
  std::filesystem::create_directory_symlink("a", folder / "b");  // one that leads to a folder is a class
  CHECK(open_dataset(spec, Split::train)->classes() == 2);
  std::filesystem::create_symlink("gone", folder / "a/notes");  // no class and no picture can be meant
  CHECK(open_dataset(spec, Split::train)->size() == 2);
  std::filesystem::create_symlink("gone", folder / "a/2.png");
  CHECK(says(opening_fails(spec, Split::train), "2.png"));

  folder.write("split/val/a/1.png", tiny_png(1));
  std::filesystem::create_symlink("train", folder / "split/train");
  const std::string split = "folder:" + (folder / "split");
  CHECK(says(opening_fails(split, Split::val), folder / "split/train"));
  std::filesystem::remove(folder / "split/train");
  CHECK(open_dataset(split, Split::val)->size() == 1);
}

TEST_CASE("folder: what cannot be meant is an error") {
  const TemporaryFolder folder;
  folder.write("a/1.png", tiny_png(1));
  const std::string spec = "folder:" + folder.str();
  std::filesystem::create_directory(folder / "empty");
  CHECK(says(opening_fails(spec, Split::train), "empty"));
  folder.write("empty/picture.webp", bytes_of("x"));
  CHECK(says(opening_fails(spec, Split::train), "only 1 file (.webp)"));
  std::filesystem::remove_all(folder / "empty");
  folder.write("a/deeper/1.png", tiny_png(1));
  CHECK(says(opening_fails(spec, Split::train), "deeper"));
  std::filesystem::remove_all(folder / "a/deeper");
  std::filesystem::create_symlink("nowhere", folder / "a/2.png");
  CHECK(says(opening_fails(spec, Split::train), "2.png"));
  std::filesystem::remove(folder / "a/2.png");
  CHECK(says(opening_fails(spec + "/a", Split::train), "found pictures, not class folders, in"));
  CHECK(says(opening_fails(spec + "/a/1.png", Split::train), "is not a folder"));
  CHECK(says(opening_fails(spec + "/none", Split::train), "none"));
  folder.write("a/2.png", bytes_of("damaged"));
  const auto dataset = open_dataset(spec, Split::train);
  CHECK(says(message_of([&] { dataset->image(1); }), "2.png"));
}

TEST_CASE("folder: what is left out is told") {
  const TemporaryFolder folder;
  const std::string spec = "folder:" + folder.str();
  std::vector<std::string> notes;
  const OpenOptions options{.note = [&](const std::string& words) { notes.push_back(words); }};
  folder.write("train/a/1.png", tiny_png(1));
  folder.write("test/a/1.png", tiny_png(1));
  folder.write("test/a/2.JP2", bytes_of("x"));
  open_dataset(spec, Split::train, options);
  CHECK(notes.empty());

  for (const char* name : {"2.webp", "3.webp", "4.GIF", "README"})
    folder.write(std::string("train/a/") + name, bytes_of("x"));
  folder.write("train/5.png", tiny_png(1));
  open_dataset(spec, Split::train, options);
  REQUIRE(notes.size() == 1);
  CHECK(says(notes[0], "left out 5 files (.gif, .png, .webp, no ending)"));
  notes.clear();
  open_dataset(spec, Split::test, options);
  REQUIRE(notes.size() == 1);
  CHECK(says(notes[0], "left out 1 file (.jp2)"));

  notes.clear();
  folder.write("Validation/a/1.png", tiny_png(1));
  folder.write("extra/a/1.png", tiny_png(1));
  open_dataset(spec, Split::test, options);
  CHECK(notes.size() == 1);  // of test's own
  open_dataset(spec, Split::train, options);
  REQUIRE(notes.size() == 4);
  CHECK(says(notes[2], "ignores 'Validation'; did you mean val?"));
  CHECK(says(notes[3], "ignores 'extra', which is no split"));
}

TEST_CASE("folder: pictures where classes are expected") {
  const TemporaryFolder folder;
  const auto fails = [&](const char* where, Split split) {
    return opening_fails("folder:" + (folder / where), split);
  };
  folder.write("plain/1.png", tiny_png(1));
  CHECK(says(fails("plain", Split::train), "found pictures, not class folders, in"));
  for (const char* name : {"train/1.png", "test/1.png", "validation/1.png"})
    folder.write(std::string("splits/") + name, tiny_png(1));
  CHECK(says(fails("splits", Split::train), "expected DIR/test/<class>/*"));
  folder.write("mixed/train/1.png", tiny_png(1));
  folder.write("mixed/test/a/1.png", tiny_png(1));
  CHECK(says(fails("mixed", Split::train), "expected DIR/train/<class>/*"));

  folder.write("unlabelled/train/a/1.png", tiny_png(1));  // as contests have it
  folder.write("unlabelled/test/1.png", tiny_png(1));
  std::vector<std::string> notes;
  open_dataset("folder:" + (folder / "unlabelled"), Split::train,
               {.note = [&](const std::string& words) { notes.push_back(words); }});
  REQUIRE(notes.size() == 1);
  CHECK(says(notes[0], "ignores 'test', which holds pictures, not class folders"));
  CHECK(says(fails("unlabelled", Split::test), "expected DIR/test/<class>/*"));
}

TEST_CASE("folder: EXIF orientation on request, otherwise one remark") {
  const TemporaryFolder folder;
  Bytes exif = bytes_of("\xFF\xD8\xFF\xE1");
  put_big(exif, 34, 2);
  put(exif,
      bytes_of(std::string("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 32)));
  const Bytes jpeg = encode_jpeg(random_image(8, 4, 1));
  put(exif, {jpeg.begin() + 2, jpeg.end()});
  folder.write("a/1.jpg", exif);
  folder.write("a/2.jpg", exif);
  std::vector<std::string> notes;
  const auto note = [&](const std::string& words) { notes.push_back(words); };
  const auto stored = open_dataset("folder:" + folder.str(), Split::train, {.note = note});
  CHECK(stored->image(0).width == 8);
  CHECK(stored->image(1).width == 8);
  REQUIRE(notes.size() == 1);
  CHECK(says(notes[0], "1.jpg"));
  const auto turned = open_dataset("folder:" + folder.str(), Split::train, {.exif = true, .note = note});
  CHECK(turned->image(0).rgb == apply_orientation(stored->image(0), 6).rgb);
  CHECK(notes.size() == 1);
}

TEST_CASE("tensors: images that are ready") {
  const TemporaryFolder folder;
  const std::string path = folder / "ready.safetensors";
  Tensor images = Tensor::empty({3, 3, 2, 4}, DType::f32);
  for (size_t i = 0; i < 72; ++i) images.mutable_data<float>()[i] = static_cast<float>(i) / 8;
  const auto save = [&](const Tensor& x, const Tensor& y,
                        const std::map<std::string, std::string>& metadata = {}) {
    save_safetensors(path, {{{"images", x}, {"labels", y}}, metadata});
    return open_dataset("tensors:" + path, Split::val);
  };
  const Tensor labels = Tensor::of<int64_t>({3}, {1, 0, 2});
  const auto dataset = save(images, labels);
  CHECK(dataset->labels() == std::vector<int64_t>{1, 0, 2});
  CHECK(dataset->classes() == 3);
  CHECK(dataset->tensors().data<float>()[50] == 50.0f / 8);
  CHECK_THROWS_AS(dataset->image(0), Error);
  CHECK(save(images, labels, {{"classes", "[\"x\", \"y\", \"z\", \"w\"]"}})->class_names()[3] == "w");
  for (const char* bad : {"[\"x\"]", "3", "[1, 2, 3]", "[", "{}"})
    CHECK_THROWS_AS(save(images, labels, {{"classes", bad}}), Error);
  CHECK_THROWS_AS(save(images.reshape({3, 1, 6, 4}), labels), Error);
  CHECK_THROWS_AS(save(images.to(DType::f64), labels), Error);
  CHECK_THROWS_AS(save(images, Tensor::of<int64_t>({2}, {1, 0})), Error);
  CHECK_THROWS_AS(save(images, Tensor::of<int64_t>({3}, {1, 0, -2})), Error);
  CHECK_THROWS_AS(save(images, Tensor::of<int32_t>({3}, {1, 0, 2})), Error);
  save_safetensors(path, {{{"images", images}}, {}});
  CHECK(says(opening_fails("tensors:" + path, Split::train), "labels"));
  CHECK(says(opening_fails("tensors:" + (folder / "none"), Split::train), "none"));
}

TEST_CASE("Fashion-MNIST itself, where it is installed") {
  const char* where = std::getenv("VITRINE_FASHION_MNIST");
  const std::string folder = where ? where : "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: no Fashion-MNIST in " << folder << " (set VITRINE_FASHION_MNIST)");
    return;
  }
  const auto train = open_dataset("fashion-mnist:" + folder, Split::train);
  CHECK(train->size() == 60000);
  for (const int64_t count : class_counts(all_samples(*train), *train)) CHECK(count == 6000);
  CHECK(open_dataset("fashion-mnist:" + folder, Split::test)->size() == 10000);
  for (const int64_t count : class_counts(class_balanced(*train, 1000, 0), *train)) CHECK(count == 100);
}

TEST_CASE("photo folders, where they are") {
  const char* assets = std::getenv("VITRINE_ASSETS");
  if (assets == nullptr) {
    MESSAGE("skipped: set VITRINE_ASSETS to a folder with flowers5, cifar10, ... inside");
    return;
  }
  for (const auto& entry : std::filesystem::directory_iterator(assets)) {
    if (!entry.is_directory()) continue;
    const auto dataset = open_dataset("folder:" + entry.path().string(), Split::train);
    for (int64_t i = 0; i < dataset->size(); i += 37) CHECK_NOTHROW(dataset->image(i));
  }
}

#endif
