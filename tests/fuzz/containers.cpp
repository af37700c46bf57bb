// containers.cpp: libFuzzer's entry to the readers of checkpoints. Which of them is VITRINE_FUZZ_CONTAINER: any lets
// the first bytes tell, the others make what they are given the inside of a file that is right up to there.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/containers/npy.h"
#include "engine/containers/pickle.h"
#include "engine/containers/state.h"
#include "engine/containers/tensor_file.h"

using namespace vitrine;

namespace {

using Bytes = std::vector<std::byte>;

// Touches all that was read.
void touch(const TensorFile& file, size_t size) {
  size_t copied = 0;
  unsigned sum = 0;
  for (const auto& [name, tensor] : file.tensors) {
    for (const std::byte byte : tensor.raw()) sum += std::to_integer<unsigned>(byte);
    copied += tensor.bytes();
  }
  if (sum == 1 && copied > size && file.tensors.empty()) __builtin_trap();
}

// The pickle of a checkpoint without the checksums around it.
void read_pickle(const std::shared_ptr<const Bytes>& bytes) {
  Allowance allowance(bytes->size(), "x");
  size_t used = 0;
  const PickleTree tree(*bytes, "x", allowance, used);
  const StateDict state = state_of(tree, "x", allowance);
  for (const auto& [name, ref] : state.opaque) static_cast<void>(tree.describe(ref));
}

void read(const std::shared_ptr<const Bytes>& bytes) {
  const std::string container = VITRINE_FUZZ_CONTAINER;
  if (container == "pickle") {
    read_pickle(bytes);
  } else if (container == "npy") {
    touch(read_npy({*bytes, bytes, {}}, "x"), bytes->size());
  } else if (container == "safetensors") {
    touch(read_safetensors(*bytes, bytes, "x"), bytes->size());
  } else {
    touch(read_tensors(*bytes, bytes, "x"), bytes->size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  const auto bytes = std::make_shared<const Bytes>(begin, begin + size);
  try {
    read(bytes);
  } catch (const Error&) {
    // What is refused is as good as what is read; anything else is a find.
  }
  return 0;
}
