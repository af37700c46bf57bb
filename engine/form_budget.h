// form_budget.h: how many bytes of packed weights may stay, for a net that is larger than the memory for it.
//
// Packed forms (Tensor::kept_form) of all tensors that share a budget stay if they fit when they are made, first come, first
// kept; the others are made anew whenever they are needed. A net uses its weights in the same order again and again: to let go
// of those that were used longest ago would let go of each one just before it is needed.
#pragma once

#include <cstddef>
#include <mutex>

namespace vitrine {

class FormBudget {
 public:
  explicit FormBudget(size_t most) : most_(most) {}
  FormBudget(const FormBudget&) = delete;
  FormBudget& operator=(const FormBudget&) = delete;

  // Takes so many bytes if they are left, and says whether they were.
  bool take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > most_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void give_back(size_t bytes) {
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
  }
  size_t used() const {
    const std::lock_guard lock(mutex_);
    return used_;
  }

 private:
  const size_t most_;
  mutable std::mutex mutex_;
  size_t used_ = 0;
};

}  // namespace vitrine
