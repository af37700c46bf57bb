// notes.h: what a user should know of how a device does its work: each sentence is told once.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace vitrine::gpu {

class Notes {
 public:
  void add(std::string sentence) {
    if (told_.insert(sentence).second) waiting_.push_back(std::move(sentence));
  }
  // The next one, which lives until the next call; null: none.
  const char* take() {
    if (waiting_.empty()) return nullptr;
    taken_ = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    return taken_.c_str();
  }

 private:
  std::set<std::string> told_;
  std::vector<std::string> waiting_;
  std::string taken_;
};

}  // namespace vitrine::gpu
