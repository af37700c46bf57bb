#include "engine/containers/allowance.h"

#include "engine/check.h"

namespace vitrine {

bool Allowance::try_take(size_t bytes) {
  if (bytes > left_) return false;
  left_ -= bytes;
  return true;
}

void Allowance::take(size_t bytes, std::string_view what) {
  check(try_take(bytes), where_, ": ", what, " would need more memory than the file's size and ",
        beyond_file >> 20, " MiB");
}

}  // namespace vitrine
