// peak.cpp: loops of registers alone, in assembly: so no compiler can spill, fold or reorder them, and they are
// the same in a build for the architecture's baseline.
#include "peak.h"

#include <fmt/format.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

#include "commands.h"
#include "engine/check.h"

namespace vitrine::cli {

namespace {

// Runs a piece of work `count` times.
using Loop = void (*)(uint64_t count);
constexpr int chains = 12;        // independent: more than latency x units of any processor here
constexpr int adds_at_once = 32;  // of the clock's chain, in one turn of its loop
constexpr double piece = 0.02;    // seconds; long against the start of a thread, short against a disturbance
constexpr int fewest_pieces = 3;

struct Form {
  Arithmetic arithmetic;
  const char* instructions;
  int lanes, units;
  Loop loop;
};

#if defined(__x86_64__)

// Registers of the same kind are added: some processors take additions of a constant out of the chain.
void add_chain(uint64_t count) {
  uint64_t sum = 0;
  asm volatile(
      "1:\n"
      ".rept 32\n add %[one], %[sum]\n .endr\n"
      "dec %[count]\n jnz 1b\n"
      : [sum] "+r"(sum), [count] "+r"(count)
      : [one] "r"(uint64_t{1})
      : "cc");
}

void fma_avx2(uint64_t count) {
  const float values[2] = {0.999f, 1e-3f};
  asm volatile(
      "vbroadcastss (%[values]), %%ymm14\n vbroadcastss 4(%[values]), %%ymm15\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vxorps %%ymm\\i, %%ymm\\i, %%ymm\\i\n .endr\n"
      "1:\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vfmadd231ps %%ymm14, %%ymm15, %%ymm\\i\n .endr\n"
      "dec %[count]\n jnz 1b\n vzeroupper\n"
      : [count] "+r"(count)
      : [values] "r"(values), "m"(values)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm14", "xmm15");
}

void fma_avx512(uint64_t count) {
  const float values[2] = {0.999f, 1e-3f};
  asm volatile(
      "vbroadcastss (%[values]), %%zmm14\n vbroadcastss 4(%[values]), %%zmm15\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vpxord %%zmm\\i, %%zmm\\i, %%zmm\\i\n .endr\n"
      "1:\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vfmadd231ps %%zmm14, %%zmm15, %%zmm\\i\n .endr\n"
      "dec %[count]\n jnz 1b\n vzeroupper\n"
      : [count] "+r"(count)
      : [values] "r"(values), "m"(values)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm14", "xmm15");
}

void dot_pairs(uint64_t count) {
  const uint32_t values[2] = {0x3f7f3f7f, 0x3a833a83};  // pairs of 0.996 and of 0.001
  asm volatile(
      "vbroadcastss (%[values]), %%zmm14\n vbroadcastss 4(%[values]), %%zmm15\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vpxord %%zmm\\i, %%zmm\\i, %%zmm\\i\n .endr\n"
      "1:\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n vdpbf16ps %%zmm14, %%zmm15, %%zmm\\i\n .endr\n"
      "dec %[count]\n jnz 1b\n vzeroupper\n"
      : [count] "+r"(count)
      : [values] "r"(values), "m"(values)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm14", "xmm15");
}

// Two units start a vector in each cycle, but for Zen 1, whose units are half as wide as AVX2's vectors, and
// Zen 4, whose units are half as wide as AVX-512's.
std::vector<Form> forms() {
  std::vector<Form> found;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    found.push_back({Arithmetic::f32, "AVX2", 8, __builtin_cpu_is("znver1") ? 1 : 2, fma_avx2});
  if (__builtin_cpu_supports("avx512f"))
    found.push_back({Arithmetic::f32, "AVX-512", 16, __builtin_cpu_is("amdfam19h") ? 1 : 2, fma_avx512});
  if (__builtin_cpu_supports("avx512bf16"))
    found.push_back({Arithmetic::bf16_pairs, "AVX-512 with bf16 pairs", 32, 0, dot_pairs});
  return found;
}

#elif defined(__aarch64__)

void add_chain(uint64_t count) {
  uint64_t sum = 0;
  asm volatile(
      "1:\n"
      ".rept 32\n add %[sum], %[sum], %[one]\n .endr\n"
      "subs %[count], %[count], #1\n b.ne 1b\n"
      : [sum] "+r"(sum), [count] "+r"(count)
      : [one] "r"(uint64_t{1})
      : "cc");
}

void fma_neon(uint64_t count) {
  asm volatile(
      "fmov v30.4s, #0.5\n fmov v31.4s, #0.125\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n movi v\\i\\().4s, #0\n .endr\n"
      "1:\n"
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11\n fmla v\\i\\().4s, v30.4s, v31.4s\n .endr\n"
      "subs %[count], %[count], #1\n b.ne 1b\n"
      : [count] "+r"(count)
      :
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v30", "v31");
}

std::vector<Form> forms() { return {{Arithmetic::f32, "NEON", 4, 2, fma_neon}}; }

#else

void add_chain(uint64_t) {}
std::vector<Form> forms() { return {}; }

#endif

// How often `loop` runs in one piece.
uint64_t count_for(Loop loop) {
  uint64_t count = 1 << 10;
  for (;; count *= 2) {
    const double begin = now();
    loop(count);
    const double taken = now() - begin;
    if (taken > piece / 4) return static_cast<uint64_t>(static_cast<double>(count) * piece / taken);
  }
}

// The most turns of `loop` per second that all threads made together in any piece.
double best_rate(Loop loop, int threads, double seconds) {
  const uint64_t count = count_for(loop);
  const int pieces = std::max(fewest_pieces, static_cast<int>(std::lround(seconds / piece)));
  const auto places = static_cast<size_t>(pieces) * threads;
  std::vector<double> begins(places), ends(places);
  std::barrier together(threads);
  const auto work = [&](int thread) {
    for (int i = 0; i < pieces; ++i) {
      together.arrive_and_wait();
      begins[i * threads + thread] = now();
      loop(count);
      ends[i * threads + thread] = now();
    }
  };
  std::vector<std::jthread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  others.clear();  // waits for them
  double best = 0;
  for (int i = 0; i < pieces; ++i) {
    const auto first = begins.begin() + i * threads, last = ends.begin() + i * threads;
    const double taken = *std::max_element(last, last + threads) - *std::min_element(first, first + threads);
    best = std::max(best, static_cast<double>(count) * threads / taken);
  }
  return best;
}

}  // namespace

std::string Peak::assumption() const {
  return fmt::format("{:.2f} GHz x {} lanes x 2 x {} {} x {} {}", clock / 1e9, lanes, units,
                     units == 1 ? "unit" : "units", threads, threads == 1 ? "thread" : "threads");
}

Peak measure_peak(int threads, double seconds, Arithmetic arithmetic) {
  std::vector<Form> known = forms();
  std::erase_if(known, [&](const Form& form) { return form.arithmetic != arithmetic; });
  check(!known.empty(), "{}",
        arithmetic == Arithmetic::f32
            ? "this processor's vectors are not known here: expected AVX2, AVX-512 or NEON"
            : "this processor multiplies no pairs of bf16");
  // Threads of an earlier loop may still wait by spinning.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Peak peak{.threads = threads};
  for (const Form& form : known) {
    const double operations = best_rate(form.loop, threads, seconds) * chains * form.lanes * 2;
    if (operations <= peak.operations) continue;
    peak.operations = operations;
    peak.instructions = form.instructions;
    peak.lanes = form.lanes;
    peak.units = form.units;
  }
  peak.clock = best_rate(add_chain, threads, seconds) * adds_at_once / threads;
  if (peak.units == 0)
    peak.units =
        std::max(1, static_cast<int>(std::lround(peak.operations / (peak.clock * peak.lanes * 2 * threads))));
  return peak;
}

}  // namespace vitrine::cli
