// simt.h: runs a kernel's blocks on the CPU: a fiber for each thread, scheduled so that what a GPU does not promise
// does not happen.
//
// One warp runs until all its lanes wait or have exited, and one lane until it must wait for others; only then the
// next has its turn. So a thread that reads what another has yet to write finds poison. What goes wrong in a kernel ends
// its launch and is told in a sentence, with the place in the kernel where it happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/gpu/emulator/fiber.h"
#include "engine/gpu/emulator/settings.h"

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Those of the fiber that runs. The model of access is the fast one, which a library that is opened late may use for a
// few bytes.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local uint3 threadIdx, blockIdx;
[[gnu::tls_model("initial-exec")]] extern constinit thread_local dim3 blockDim, gridDim;

namespace vitrine::gpu::emulator {

constexpr int lanes = 32;

struct Launch {
  dim3 grid;
  int threads;
  size_t shared_bytes;
  std::function<void()> kernel;  // called in each thread
};

struct Counts {
  uint64_t barriers = 0, collectives = 0, products = 0, matrix_loads = 0;
  uint64_t bank_conflicts = 0;  // how often a load of an 8 x 8 matrix had to be repeated
  Counts& operator+=(const Counts& other);
};

// An asynchronous copy that nobody has waited for.
struct Copy {
  void* to;
  uint64_t value[2];
};

struct Lane {
  enum class State { ready, in_barrier, in_collective, exited };
  Context context;
  State state = State::ready;
  std::vector<Copy> copies;
  std::vector<size_t> groups;  // for each that was committed, how many of `copies` had been issued
};

struct Warp {
  static constexpr size_t most_in = 64, most_out = 16;  // bytes of a lane
  int arrived = 0, exited = 0;
  const char* what = nullptr;  // they wait in, and where
  Site site;
  alignas(16) unsigned char in[lanes * most_in];
  alignas(16) unsigned char out[lanes * most_out];
};

class Machine;

// Runs one block after the other.
class Worker {
 public:
  explicit Worker(Machine& machine) : machine_(machine) {}

  // What went wrong, or nothing.
  std::string run(const Launch& launch, uint64_t block, uint64_t seed);
  Counts counts;

  // For the thread that runs:
  unsigned char* shared() { return shared_.get(); }
  bool is_shared(const void* at, size_t bytes) const;
  Lane& self() { return lanes_[threadIdx.x]; }
  Warp& warp() { return warps_[threadIdx.x / lanes]; }
  void barrier(const Site& site);
  // Two steps to end the launch. No object that owns something may be alive in the thread when it leaves, as its stack
  // is not unwound.
  void report(const Site& site, std::string_view what);
  [[noreturn]] void leave();
  // A place where threads wait: false if it is to be left out.
  bool waits_at(const char* kind, const Site& site);

  // Every lane of the warp brings its `in`; the last one to come calls act(in, out) on the arrays of all.
  template <class Out, class In, class Act>
  Out collective(const char* what, const Site& site, const In& in, const Act& act) {
    static_assert(sizeof(In) <= Warp::most_in && sizeof(Out) <= Warp::most_out);
    const unsigned lane = threadIdx.x % lanes;
    Warp& mine = warp();
    In* ins = reinterpret_cast<In*>(mine.in);
    Out* outs = reinterpret_cast<Out*>(mine.out);
    begin_collective(mine, what, site);
    ins[lane] = in;
    if (++mine.arrived < lanes) {
      wait(Lane::State::in_collective);
    } else {
      act(ins, outs);
      end_collective(mine);
    }
    return outs[lane];
  }

 private:
  struct Free {
    void operator()(unsigned char* at) const { std::free(at); }  // NOLINT: of posix_memalign
  };

  static void entry();
  void prepare_block(const Launch& launch);
  void schedule();
  bool round(size_t warp);
  void wait(Lane::State state);
  void begin_collective(Warp& warp, const char* what, const Site& site);
  void end_collective(Warp& warp);
  std::string deadlock() const;
  std::string block_text() const;
  uint64_t random();

  Machine& machine_;
  Context scheduler_;
  std::vector<Stack> stacks_;
  std::vector<Lane> lanes_;
  std::vector<Warp> warps_;
  size_t threads_ = 0, alive_ = 0, in_barrier_ = 0;
  Site barrier_site_;
  const std::function<void()>* kernel_ = nullptr;
  std::unique_ptr<unsigned char[], Free> shared_;
  size_t shared_bytes_ = 0;
  uint64_t random_ = 0;
  std::string error_;
};

class Machine {
 public:
  explicit Machine(const Settings& settings);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const Settings& settings() const { return settings_; }
  // What a GPU would refuse to start, or nothing.
  std::string check(const Launch& launch) const;
  // What went wrong, or nothing.
  std::string run(const Launch& launch);
  Counts counts() const;
  void saw(const char* kind, const Site& site);

 private:
  Settings settings_;
  std::vector<std::unique_ptr<Worker>> workers_;
  uint64_t launches_ = 0;
  std::mutex sites_mutex_;
  std::vector<std::string> sites_;
  std::ofstream sites_file_;
};

// The worker of this thread of the system while it runs a block.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local Worker* worker;

}  // namespace vitrine::gpu::emulator
