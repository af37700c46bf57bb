// allowance.h: how much memory the reading of one file may take: its own size and 16 MiB.
//
// A file from outside can ask for far more than it holds: a few bytes of a pickle name one value a thousand times, a
// stride of 0 repeats one number, deflate packs zeros a thousandfold. So readers take what they are about to
// allocate from an allowance first.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vitrine {

class Allowance {
 public:
  static constexpr size_t beyond_file = size_t{16} << 20;

  // `where` opens the sentence of a refusal, e.g. "torch: 'vit.pth'".
  Allowance(size_t file_bytes, std::string where)
      : left_(file_bytes + beyond_file), where_(std::move(where)) {}

  // Takes that many bytes, or none and says so.
  [[nodiscard]] bool try_take(size_t bytes);
  // The same; throws Fault::input if they are not left. `what` is what they are for.
  void take(size_t bytes, std::string_view what);
  size_t left() const { return left_; }

 private:
  size_t left_;
  std::string where_;
};

}  // namespace vitrine
