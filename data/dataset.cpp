// dataset.cpp: what all formats share, pictures in memory, and the choice of a format.
#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "data/formats.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine {
namespace {

class MemoryDataset : public Dataset {
 public:
  MemoryDataset(std::vector<Image> images, std::vector<int64_t> labels, std::vector<std::string> class_names)
      : Dataset("memory data set", std::move(labels), std::move(class_names)), images_(std::move(images)) {
    check(static_cast<int64_t>(images_.size()) == size(), "memory data set: {} images but {} labels",
          images_.size(), size());
    for (size_t i = 0; i < images_.size(); ++i)
      check_image(images_[i], MemoryDataset::name(static_cast<int64_t>(i)));
  }
  Image image(int64_t i) const override { return images_[checked(i)]; }
  std::string name(int64_t i) const override { return text("image {} in memory", i); }

 private:
  std::vector<Image> images_;
};

}  // namespace

const char* name_of(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::val:
      return "val";
    case Split::test:
      return "test";
    case Split::all:
      return "all";
    case Split::train_val:
      return "train_val";
  }
  return "?";
}

std::vector<std::string> numbered_classes(int64_t greatest, const std::string& who) {
  check(greatest < 1 << 20, "{}: label {} without class names", who, greatest);
  std::vector<std::string> names;
  for (int64_t c = 0; c <= greatest; ++c) names.push_back(std::to_string(c));
  return names;
}

bool includes(Split whole, Split part) {
  return whole == part || whole == Split::all || (whole == Split::train_val && part != Split::test);
}

Dataset::Dataset(const std::string& who, std::vector<int64_t> labels, std::vector<std::string> class_names)
    : who_(who), labels_(std::move(labels)), class_names_(std::move(class_names)) {
  check(!labels_.empty(), "{}: no samples", who_);
  check(!class_names_.empty(), "{}: no classes", who_);
  for (const std::string& name : class_names_)
    check(is_utf8(name), "{}: expected class names in UTF-8, got {}", who_, quote(name));
  for (size_t i = 0; i < labels_.size(); ++i)
    check(labels_[i] >= 0 && labels_[i] < classes(), "{}: expected labels of 0 to {}, got {} at sample {}",
          who_, classes() - 1, labels_[i], i);
}

size_t Dataset::checked(int64_t i) const {
  check(i >= 0 && i < size(), "{}: no sample {} among {}", who_, i, size());
  return static_cast<size_t>(i);
}

int64_t Dataset::label(int64_t i) const { return labels_[checked(i)]; }

std::shared_ptr<const Dataset> memory_dataset(std::vector<Image> images, std::vector<int64_t> labels,
                                              std::vector<std::string> class_names) {
  if (class_names.empty()) {
    int64_t most = -1;
    for (const int64_t label : labels) most = std::max(most, label);
    class_names = numbered_classes(most, "memory data set");
  }
  return std::make_shared<MemoryDataset>(std::move(images), std::move(labels), std::move(class_names));
}

namespace {

// All that is known about a format beside how it is opened. A new one is a line here and one in open_dataset.
struct Format {
  std::string_view scheme, where;  // "scheme:where"
  bool has_val, has_test;          // splits of its own; where folders or files tell, they are asked
};
constexpr std::array<Format, 9> formats{{{"folder", "DIR", false, false},
                                         {"fashion-mnist", "DIR", false, true},
                                         {"cifar10", "DIR", false, true},
                                         {"cifar100", "DIR", false, true},
                                         {"tensors", "FILE", false, false},
                                         {"vtab", "DIR", false, false},
                                         {"fgvc", "DIR", false, false},
                                         {"synthetic", "NAME", true, true},
                                         {"mini", "NAME", true, true}}};

// The format of `spec`; `where` receives what follows the colon.
const Format& format_of(const std::string& spec, std::string& where) {
  const size_t colon = spec.find(':');
  const std::string scheme = spec.substr(0, colon);
  std::vector<std::string_view> schemes;
  std::string known;
  for (const Format& format : formats) {
    if (format.scheme == scheme) {
      check(colon != std::string::npos && colon + 1 < spec.size(), "data set: expected '{}:{}', got {}",
            scheme, format.where, quote(spec));
      where = spec.substr(colon + 1);
      return format;
    }
    schemes.push_back(format.scheme);
    known += text("{}{}:{}", known.empty() ? "" : ", ", format.scheme, format.where);
  }
  const std::string meant = nearest(scheme, schemes);
  fail(Fault::input, "data set: unknown scheme {} in {}; known are {}{}", quote(scheme), quote(spec), known,
       scheme == "suite"             ? "; a suite names several tasks, which only a sweep takes"
       : !meant.empty()              ? text("; did you mean '{}:'?", meant)
       : spec.find('/') != spec.npos ? text("; a folder of class folders is {}", quote("folder:" + spec))
                                     : "");
}

}  // namespace

bool has_split(const std::string& spec, Split split) {
  std::string where;
  const Format& format = format_of(spec, where);
  if (split != Split::val && split != Split::test) return true;
#ifdef VITRINE_FILES
  if (format.scheme == "folder") return folder_has_split(where, split);
  if (format.scheme == "vtab") return vtab_has_split(where, split);
  if (format.scheme == "fgvc") return fgvc_has_split(where, split);
#endif
  return split == Split::val ? format.has_val : format.has_test;
}

std::string spec_below(const std::string& spec, const std::string& folder) {
  std::string where;
  const Format& format = format_of(spec, where);
  if (format.where == "NAME") return spec;
  return text("{}:{}", format.scheme, (std::filesystem::path(folder) / where).string());
}

std::shared_ptr<const Dataset> open_dataset(const std::string& spec, Split split,
                                            const OpenOptions& options) {
  std::string where;
  const std::string_view scheme = format_of(spec, where).scheme;
  if (scheme == "synthetic") return open_synthetic(where, split);
  if (scheme == "mini") return open_mini(where, split);
#ifdef VITRINE_FILES
  if (scheme == "folder") return open_folder(where, split, options);
  if (scheme == "fashion-mnist") return open_fashion_mnist(where, split);
  if (scheme == "cifar10") return open_cifar10(where, split);
  if (scheme == "cifar100") return open_cifar100(where, split);
  if (scheme == "vtab") return open_vtab(where, split, options);
  if (scheme == "fgvc") return open_fgvc(where, split, options);
  return open_tensors(where);
#else
  static_cast<void>(options);
  fail(Fault::input, "data set: {} needs file access, which this build was made without", quote(spec));
#endif
}

}  // namespace vitrine
