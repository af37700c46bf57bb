// tensors.cpp: images that were prepared elsewhere, e.g. in Python, as one safetensors file.
#ifdef VITRINE_FILES

#include <nlohmann/json.hpp>

#include "data/formats.h"
#include "engine/check.h"
#include "engine/safetensors.h"
#include "engine/text.h"

namespace vitrine {
namespace {

class TensorDataset : public Dataset {
 public:
  TensorDataset(const std::string& who, Tensor images, std::vector<int64_t> labels,
                std::vector<std::string> class_names)
      : Dataset(who, std::move(labels), std::move(class_names)), who_(who), images_(std::move(images)) {}
  Image image(int64_t i) const override {
    fail(Fault::input, "{} is prepared already and has no pixels", name(i));
  }
  std::string name(int64_t i) const override { return text("{} image {}", who_, i); }
  Tensor tensors() const override { return images_; }

 private:
  std::string who_;
  Tensor images_;
};

std::vector<std::string> class_names(const TensorFile& file, const std::vector<int64_t>& labels,
                                     const std::string& who) {
  const auto entry = file.metadata.find("classes");
  if (entry == file.metadata.end()) {
    int64_t most = -1;
    for (const int64_t label : labels) most = std::max(most, label);
    return numbered_classes(most, who);
  }
  const auto list = nlohmann::json::parse(entry->second, nullptr, false);
  std::vector<std::string> names;
  check(list.is_array(), "{}: expected the metadata entry 'classes' to be a JSON list of names", who);
  for (const auto& name : list) {
    check(name.is_string(), "{}: expected the metadata entry 'classes' to be a JSON list of names", who);
    names.push_back(name.get<std::string>());
  }
  return names;
}

}  // namespace

DatasetPointer open_tensors(const std::string& where) {
  const std::string who = text("tensors: {}", quote(where));
  const TensorFile file = load_safetensors(where);
  const Tensor images = file.at("images"), labels = file.at("labels");
  check(
      images.dtype() == DType::f32 && images.shape().rank() == 4 && images.dim(1) == 3 && images.numel() > 0,
      "{}: expected 'images' f32 (N, 3, H, W), got {} {}", who, name_of(images.dtype()), images.shape());
  check(labels.dtype() == DType::i64 && labels.shape() == Shape{images.dim(0)},
        "{}: expected 'labels' i64 ({}), got {} {}", who, images.dim(0), name_of(labels.dtype()),
        labels.shape());
  const std::span<const int64_t> values = labels.data<int64_t>();
  std::vector<int64_t> numbers(values.begin(), values.end());
  auto names = class_names(file, numbers, who);
  return std::make_shared<TensorDataset>(who, images, std::move(numbers), std::move(names));
}

}  // namespace vitrine

#endif
