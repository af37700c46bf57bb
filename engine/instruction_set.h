// instruction_set.h: which of the processor's instructions the kernels use. One binary holds kernels for several
// sets and takes the best that the processor has.
#pragma once

#include <string>
#include <vector>

namespace vitrine {

// The sets that this binary has kernels for and this processor can run, the best first: "avx512_bf16",
// "avx512", "avx2", "portable".
std::vector<std::string> instruction_sets();

// The one in use, by name.
std::string instruction_set();

// Takes another one, for tests and comparisons; throws if it is none of those above, naming them. Sums are rounded in
// another order then, so the bits of results differ between sets. Not while an op runs.
void use_instruction_set(const std::string& name);

}  // namespace vitrine
