#include "engine/instruction_set.h"

#include <atomic>

#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/text.h"

namespace vitrine {

namespace {

std::vector<const cpu::KernelSet*> usable_sets() {
  std::vector<const cpu::KernelSet*> out;
#ifdef VITRINE_X86_KERNELS
  // What CMakeLists.txt lets the compiler use in each of those files.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) out.push_back(&cpu::avx512_bf16_kernels);
  if (avx512) out.push_back(&cpu::avx512_kernels);
  if (avx2) out.push_back(&cpu::avx2_kernels);
#endif
  out.push_back(&cpu::portable_kernels);
  return out;
}

std::atomic<const cpu::KernelSet*>& chosen() {
  static std::atomic<const cpu::KernelSet*> set = usable_sets().front();
  return set;
}

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const cpu::KernelSet* set : usable_sets()) names.emplace_back(set->name);
  return names;
}

std::string instruction_set() { return chosen().load()->name; }

void use_instruction_set(const std::string& name) {
  std::string known;
  for (const cpu::KernelSet* set : usable_sets()) {
    if (name == set->name) {
      chosen() = set;
      return;
    }
    known += text("{}{}", known.empty() ? "" : ", ", set->name);
  }
  fail(Fault::input, "instructions: expected one that this processor has ({}), got {}", known, quote(name));
}

namespace cpu {

template <>
const Kernels<float>& kernels() {
  return chosen().load(std::memory_order_relaxed)->f32;
}
template <>
const Kernels<double>& kernels() {
  return chosen().load(std::memory_order_relaxed)->f64;
}

}  // namespace cpu

}  // namespace vitrine
