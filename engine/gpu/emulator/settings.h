// settings.h: how the emulator runs kernels, from the environment:
//
//   VITRINE_EMULATOR_ORDER=forward|reverse|random[:SEED]   which thread runs first [forward]
//   VITRINE_EMULATOR_THREADS=N                             of the system, each with its own blocks [1]
//   VITRINE_EMULATOR_MEMORY=BYTES                          that the device has in all [4 GiB]
//   VITRINE_EMULATOR_SHARED=BYTES                          that a block can have of shared memory [232448]
//   VITRINE_EMULATOR_SKIP=FILE:LINE                        leaves out what waits there: __syncthreads, __syncwarp or
//                                                          wait_for_copies
//   VITRINE_EMULATOR_SITES=FILE                            appends a line "KIND FILE:LINE" for each such place
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <version>
#ifdef __cpp_lib_source_location
#include <source_location>
#endif

#include "engine/gpu/kernels.h"

namespace vitrine::gpu::emulator {

enum class Order { forward, reverse, random };

// Where a word stands in a kernel.
#ifdef __cpp_lib_source_location
using Site = std::source_location;
#else  // clang 14 knows no columns: two words of one line are one place to it
class Site {
 public:
  static constexpr Site current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    Site site;
    site.file_ = file;
    site.line_ = line;
    return site;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }
  constexpr unsigned column() const { return 0; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
};
#endif

struct Settings {
  Order order = Order::forward;
  uint64_t seed = 1;
  int threads = 1;
  size_t memory = size_t{4} << 30;
  size_t shared = size_t{227} << 10;
  std::string skip_file;
  unsigned skip_line = 0;  // 0: none
  std::string sites;
};

Result read_settings(Settings& settings);

std::string text_of(const Site& site);  // "attention.cu:120"
bool skips(const Settings& settings, const Site& site);

}  // namespace vitrine::gpu::emulator
