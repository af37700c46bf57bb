#include <cstdio>

#include "models/training/mpi/mpi_processes.h"

int main() {
  const auto processes = vitrine::mpi_processes();
  processes->together([&] {
    const std::byte rank{static_cast<unsigned char>(processes->rank())};
    const auto all = processes->exchange({&rank, 1});
    if (processes->first())
      std::printf("%zu, the last is %d\n", all.size(), std::to_integer<int>(all.back()[0]));
  });
}
