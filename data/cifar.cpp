// cifar.cpp: CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their binary versions. A record is one label byte
// (CIFAR-100: the coarse one, then the fine one) and 32 x 32 bytes each of red, green and blue.
#ifdef VITRINE_FILES

#include <filesystem>

#include "data/formats.h"
#include "data/lines.h"
#include "engine/check.h"
#include "engine/file.h"
#include "engine/text.h"

namespace vitrine {
namespace {

namespace fs = std::filesystem;
constexpr size_t side = 32, plane = side * side, pixels = 3 * plane;

// What tells the two data sets apart.
struct Layout {
  const char* name;
  const char* folder;  // in which the archive puts the files
  const char* names_file;
  std::vector<std::string> train, test;
  size_t label_bytes;  // the last of them is the label
  int64_t classes;
};

class Cifar : public Dataset {
 public:
  Cifar(const Layout& layout, std::vector<std::byte> records, std::vector<int64_t> labels,
        std::vector<std::string> class_names)
      : Dataset(layout.name, std::move(labels), std::move(class_names)),
        name_(layout.name),
        label_bytes_(layout.label_bytes),
        records_(std::move(records)) {}
  Image image(int64_t i) const override {
    Image image = blank_image(side, side);
    const std::byte* from = records_.data() + checked(i) * (label_bytes_ + pixels) + label_bytes_;
    for (size_t p = 0; p < plane; ++p)
      for (size_t c = 0; c < 3; ++c) image.rgb[3 * p + c] = static_cast<uint8_t>(from[c * plane + p]);
    return image;
  }
  std::string name(int64_t i) const override { return text("{} image {}", name_, i); }

 private:
  const char* name_;
  size_t label_bytes_;
  std::vector<std::byte> records_;
};

// The lines of the names file, or the classes' numbers if there is no such file.
std::vector<std::string> class_names(const fs::path& folder, const Layout& layout) {
  const fs::path path = folder / layout.names_file;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return numbered_classes(layout.classes - 1, layout.name);
  std::vector<std::string> names;
  const std::string file = read_text(path.string(), 1 << 20, layout.name);
  for (const Line& line : lines_of(file)) names.emplace_back(line.words);
  check(static_cast<int64_t>(names.size()) == layout.classes, "{}: expected {} names in {}, got {}",
        layout.name, layout.classes, quote(path.string()), names.size());
  return names;
}

DatasetPointer open_cifar(const std::string& where, Split split, const Layout& layout) {
  check(split != Split::val, "{}: no val split, only train and test", layout.name);
  fs::path folder = where;
  std::error_code ignored;
  if (fs::is_directory(folder / layout.folder, ignored)) folder /= layout.folder;

  std::vector<std::string> files;
  if (includes(split, Split::train)) files = layout.train;
  if (includes(split, Split::test)) files.insert(files.end(), layout.test.begin(), layout.test.end());
  const size_t record = layout.label_bytes + pixels;
  std::vector<std::byte> records;
  std::vector<int64_t> labels;
  for (const std::string& file : files) {
    const std::string path = (folder / file).string();
    const std::vector<std::byte> bytes = read_file(path);
    check(!bytes.empty() && bytes.size() % record == 0,
          "{}: expected {} to hold a multiple of {} bytes, got {}", layout.name, quote(path), record,
          bytes.size());
    for (size_t at = 0; at < bytes.size(); at += record) {
      const auto label = static_cast<int64_t>(bytes[at + layout.label_bytes - 1]);
      check(label < layout.classes, "{}: {}: expected labels of 0 to {}, got {} in record {}", layout.name,
            quote(path), layout.classes - 1, label, at / record);
      labels.push_back(label);
    }
    records.insert(records.end(), bytes.begin(), bytes.end());
  }
  return std::make_shared<Cifar>(layout, std::move(records), std::move(labels), class_names(folder, layout));
}

}  // namespace

DatasetPointer open_cifar10(const std::string& where, Split split) {
  return open_cifar(
      where, split,
      {"cifar10",
       "cifar-10-batches-bin",
       "batches.meta.txt",
       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
       {"test_batch.bin"},
       1,
       10});
}

DatasetPointer open_cifar100(const std::string& where, Split split) {
  return open_cifar(
      where, split,
      {"cifar100", "cifar-100-binary", "fine_label_names.txt", {"train.bin"}, {"test.bin"}, 2, 100});
}

}  // namespace vitrine

#endif
