// mpi_processes.h: the processes that mpirun started. A library of its own (vitrine_mpi), built where MPI is found
// (VITRINE_MPI), so that nobody needs MPI who has no use for it.
#pragma once

#include <memory>

#include "models/training/processes.h"

namespace vitrine {

// All processes of MPI_COMM_WORLD. Starts MPI, and ends it when the result is destroyed; where the program has started it
// already, that stays the program's business. To be called by all of them, once at a time. Throws Fault::resources if MPI
// cannot be started or fails; only the calling thread speaks to it (MPI_THREAD_FUNNELED).
std::unique_ptr<Processes> mpi_processes();

}  // namespace vitrine
