// processes.h: several processes on one run, which are copies of each other but for their part of the work.
//
//   processes.together([&] {
//     for (...) {
//       const auto parts = processes.exchange(own_part());  // everybody's, in the order of ranks
//       ...                                                 // the same in all processes
//     }
//   });
//
// There is one way in which they meet, exchange(), and all of them come to the same exchanges in the same order. A process
// that fails comes to the next one with its error in place of its bytes, and then the error is thrown in all of them: so
// none waits for one that is gone, wherever that failed. The end of a body is such a meeting, too: where one process ends
// while another goes on, both get an error. A process that is killed takes no part in this; who started it
// (mpirun) ends the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/check.h"

namespace vitrine {

// To be used by one thread of each process.
class Processes {
 public:
  using Bytes = std::vector<std::byte>;

  Processes() = default;
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  virtual ~Processes() = default;

  virtual int rank() const = 0;   // 0 .. count() - 1
  virtual int count() const = 0;  // >= 1
  bool first() const { return rank() == 0; }

  // Runs the body, which may call the functions below; all processes call this, each with its body. Returns when all
  // bodies have. If one throws, so does this in all processes: the same Error, of the first in the order of ranks that
  // failed. All may go on after it. Bodies may hold others.
  void together(const std::function<void()>& body);

  // Everybody's bytes, in the order of ranks.
  std::vector<Bytes> exchange(std::span<const std::byte> own);
  // The first one's bytes in all of them; the others' are not looked at.
  Bytes from_first(std::span<const std::byte> own);
  // Whether it is so in any of them.
  bool any(bool own);

 protected:
  // exchange() by whatever connects the processes. Throws if that is broken.
  virtual std::vector<Bytes> gather(std::span<const std::byte> own) = 0;

 private:
  std::vector<Bytes> send(std::span<const std::byte> own, uint8_t fault, bool ended);

  int depth_ = 0;                 // bodies begun, one in the other
  std::optional<Error> failure_;  // of any process, until they come out of the body that it ends,
  int failed_depth_ = 0;          // which is this one
  bool broken_ = false;           // nobody can be told anything any more
};

// One alone, without any cost.
class OneProcess final : public Processes {
 public:
  int rank() const override { return 0; }
  int count() const override { return 1; }

 protected:
  std::vector<Bytes> gather(std::span<const std::byte> own) override;
};

// What mpirun, or another program that starts programs for MPI, says of this process in the environment: the variables of
// Open MPI, of PMI (MPICH, Slurm) or of PMIx.
struct Launched {
  int rank = 0, count = 1;  // count 0: it was started so, with how many is not said
};
Launched launched();

// What part of separate work is this program's: part `index` of `count`.
struct Share {
  int64_t index = 0, count = 1;
};
// That of an element of a job array (SLURM_ARRAY_TASK_ID and what goes with it), whose elements know nothing of each other;
// empty outside of one. Throws if its numbers do not stand at equal distances, or make no sense.
std::optional<Share> job_array_share();

// How many threads each process should use so that all on its machine have a core for each: those that they may run on, by
// the number of processes. At least 1. To be called by all of them, inside together().
int threads_of_each(Processes& processes);

}  // namespace vitrine
