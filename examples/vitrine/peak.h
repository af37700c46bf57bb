// peak.h: what the arithmetic units of this machine give at most, measured: the yardstick of bench gemm.
#pragma once

#include <string>

namespace vitrine::cli {

enum class Arithmetic { f32, bf16_pairs };

// On some threads at once. A multiply-add counts as two operations.
struct Peak {
  int threads = 0;
  std::string instructions{};  // of the faster of the forms that the processor has: "AVX2" ...
  int lanes = 0;               // of one vector; pairs count as two
  int units = 0;               // multiply-adds of whole vectors that a core is taken to start in a cycle
  double operations = 0;       // per second, of all threads together
  double clock = 0;            // Hz, the mean of the threads

  double nominal() const { return clock * lanes * 2 * units * threads; }
  double share() const { return operations / nominal(); }
  // A machine that others use, or another processor than `units` takes it for: otherwise nothing counts.
  bool sound() const { return share() >= 0.95 && share() <= 1.05; }
  std::string assumption() const;  // "3.22 GHz x 8 lanes x 2 units x 2 threads"
};

// The best of several short pieces within about `seconds`. Operations: independent chains of multiply-adds that
// stay in registers. Clock: a chain of additions, each of which waits for the one before, so one a cycle. All
// threads begin each piece together. Throws for processors whose vectors it does not know (x86-64 with AVX2, or
// AVX-512; ARM with NEON), and for pairs where there are none. How many pairs of vectors a core starts in a cycle
// differs between processors that look alike: `units` is then the whole number nearest to what was measured.
Peak measure_peak(int threads, double seconds, Arithmetic arithmetic = Arithmetic::f32);

}  // namespace vitrine::cli
