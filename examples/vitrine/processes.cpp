// processes.cpp: whether this program is one of several that work together.
#include "commands.h"
#include "engine/check.h"
#ifdef VITRINE_MPI
#include "models/training/mpi/mpi_processes.h"
#endif

namespace vitrine::cli {

std::unique_ptr<Processes> start_processes() {
  const Launched start = launched();
  if (start.count == 1) return std::make_unique<OneProcess>();
#ifdef VITRINE_MPI
  auto processes = mpi_processes();
  check(start.count == 0 || processes->count() == start.count, "mpirun started ", start.count,
        " processes, but the MPI that this program was built with sees ", processes->count(),
        "; take the mpirun that belongs to it");
  return processes;
#else
  if (start.rank > 0) return nullptr;
  fail(
      Fault::input, "mpirun started ", start.count > 1 ? text(start.count, " processes") : "this process",
      ", but this program was built without MPI; install libopenmpi-dev and openmpi-bin (Debian's names) and "
      "build it in a new folder, or run it without mpirun");
#endif
}

}  // namespace vitrine::cli
