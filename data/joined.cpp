#include "data/joined.h"

#include "engine/check.h"
#include "engine/ops.h"

namespace vitrine {

namespace {

class Joined : public Dataset {
 public:
  Joined(std::shared_ptr<const Dataset> first, std::shared_ptr<const Dataset> second)
      : Dataset("joined", labels_of(*first, *second), first->class_names()),
        first_(std::move(first)),
        second_(std::move(second)) {
    const Tensor a = first_->tensors(), b = second_->tensors();
    if (a.defined()) ready_ = concat({a, b}, 0).value();
  }

  Image image(int64_t i) const override { return part(i).image(place(i)); }
  std::string name(int64_t i) const override { return part(i).name(place(i)); }
  std::string mark(int64_t i) const override {
    return text("{}{}", i < first_->size() ? "1 " : "2 ", part(i).mark(place(i)));
  }
  std::string fingerprint(int64_t i) const override {
    return text("{}{}", i < first_->size() ? "1 " : "2 ", part(i).fingerprint(place(i)));
  }
  Tensor tensors() const override { return ready_; }

 private:
  static std::vector<int64_t> labels_of(const Dataset& first, const Dataset& second) {
    std::vector<int64_t> all = first.labels();
    all.insert(all.end(), second.labels().begin(), second.labels().end());
    return all;
  }
  const Dataset& part(int64_t i) const {
    checked(i);
    return i < first_->size() ? *first_ : *second_;
  }
  int64_t place(int64_t i) const { return i < first_->size() ? i : i - first_->size(); }

  std::shared_ptr<const Dataset> first_, second_;
  Tensor ready_;
};

}  // namespace

std::shared_ptr<const Dataset> joined(std::shared_ptr<const Dataset> first,
                                      std::shared_ptr<const Dataset> second) {
  check(first != nullptr && second != nullptr, "joined: no data set");
  check(first->class_names() == second->class_names(), "joined: the parts have different classes");
  check(first->tensors().defined() == second->tensors().defined(),
        "joined: one part holds pictures, the other prepared numbers");
  return std::make_shared<const Joined>(std::move(first), std::move(second));
}

}  // namespace vitrine
