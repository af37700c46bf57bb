#include "models/training/mpi/mpi_processes.h"

// Only C's interface of MPI: that of C++ is gone from the standard.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <limits>

#include "engine/check.h"

namespace vitrine {

namespace {

void must(int result, const char* what) {
  if (result == MPI_SUCCESS) return;
  char words[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, words, &length);
  fail(Fault::resources, "MPI: {}: {}", what, words);
}

class MpiProcesses final : public Processes {
 public:
  MpiProcesses() {
    int started = 0;
    must(MPI_Initialized(&started), "MPI_Initialized");
    if (started == 0) {
      int level = 0;
      must(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread");
      own_ = true;
    }
    must(MPI_Comm_dup(MPI_COMM_WORLD, &all_), "MPI_Comm_dup");
    // An error is an Error and no end of the program.
    must(MPI_Comm_set_errhandler(all_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    must(MPI_Comm_rank(all_, &rank_), "MPI_Comm_rank");
    must(MPI_Comm_size(all_, &count_), "MPI_Comm_size");
  }
  MpiProcesses(const MpiProcesses&) = delete;
  MpiProcesses& operator=(const MpiProcesses&) = delete;
  ~MpiProcesses() override {
    if (broken_) return;  // to wait for the others could be for ever; mpirun notices who ends without a word
    MPI_Comm_free(&all_);
    if (own_) MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int count() const override { return count_; }

 protected:
  std::vector<Bytes> gather(std::span<const std::byte> own) override {
    try {
      return gather_all(own);
    } catch (...) {
      broken_ = true;
      throw;
    }
  }

 private:
  std::vector<Bytes> gather_all(std::span<const std::byte> own) {
    const auto ranks = static_cast<size_t>(count_);
    const uint64_t size = own.size();
    std::vector<uint64_t> sizes(ranks);
    must(MPI_Allgather(&size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, all_), "MPI_Allgather");
    std::vector<Bytes> out(ranks);
    for (size_t r = 0; r < ranks; ++r) out[r].resize(sizes[r]);

    // In pieces: MPI counts with int.
    const uint64_t most = std::max<uint64_t>(1, (uint64_t{1} << 30) / ranks),
                   longest = std::ranges::max(sizes);
    std::vector<int> counts(ranks), places(ranks);
    Bytes pieces;
    for (uint64_t begin = 0; begin < longest; begin += most) {
      int total = 0;
      for (size_t r = 0; r < ranks; ++r) {
        counts[r] = static_cast<int>(std::min(most, sizes[r] - std::min(sizes[r], begin)));
        places[r] = total;
        total += counts[r];
      }
      pieces.resize(static_cast<size_t>(total));
      const auto mine = own.subspan(std::min<size_t>(begin, own.size()));
      must(MPI_Allgatherv(mine.data(), counts[static_cast<size_t>(rank_)], MPI_BYTE, pieces.data(),
                          counts.data(), places.data(), MPI_BYTE, all_),
           "MPI_Allgatherv");
      for (size_t r = 0; r < ranks; ++r)
        std::copy_n(pieces.begin() + places[r], counts[r],
                    out[r].begin() + static_cast<std::ptrdiff_t>(std::min(begin, sizes[r])));
    }
    return out;
  }

  MPI_Comm all_ = MPI_COMM_NULL;
  int rank_ = 0, count_ = 1;
  bool own_ = false, broken_ = false;
};

}  // namespace

std::unique_ptr<Processes> mpi_processes() { return std::make_unique<MpiProcesses>(); }

}  // namespace vitrine
