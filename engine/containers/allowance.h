// allowance.h: how much memory the reading of one file may take: its own size and 16 MiB.
//
// A file from outside can ask for far more than it holds: a few bytes of a pickle name one value a thousand times, a
// stride of 0 repeats one number, deflate packs zeros a thousandfold. So readers take what they are about to
// allocate from an allowance first. Weights that somebody deflated are larger than their file, too: trained ones by a
// tenth, those that were rounded to 16 bits or pruned by a few times. So what inflates to just the array that its header
// promises may take three times the file's size more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vitrine {

class Allowance {
 public:
  static constexpr size_t beyond_file = size_t{16} << 20;

  // `where` opens the sentence of a refusal, e.g. "torch: 'vit.pth'".
  Allowance(size_t file_bytes, std::string where)
      : left_(file_bytes + beyond_file), inflated_left_(3 * file_bytes), where_(std::move(where)) {}

  // Takes that many bytes, or none and says so.
  [[nodiscard]] bool try_take(size_t bytes);
  // The same; throws Fault::input if they are not left. `what` is what they are for.
  void take(size_t bytes, std::string_view what);
  // For the deflated bytes of an array whose size is known to be right. If they are not left, a reason why the array
  // cannot be read, as the end of a sentence; else empty.
  std::string try_take_inflated(uint64_t bytes);
  // Such bytes that are not needed any more.
  void give_back_inflated(uint64_t bytes) { inflated_left_ += bytes; }

 private:
  size_t left_, inflated_left_;
  std::string where_;
};

// Takes what reading this JSON may need at once for its longest word (a string, a number, or the space between): a parser
// holds it several times over. Throws as `take` does.
void take_for_json(std::string_view json, Allowance& allowance);

}  // namespace vitrine
