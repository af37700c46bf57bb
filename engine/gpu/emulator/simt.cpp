#include "engine/gpu/emulator/simt.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace vitrine::gpu::emulator {

constinit thread_local Worker* worker = nullptr;

namespace {

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string text_of_block(const uint3& block) {
  return "block " + std::to_string(block.x) + ", " + std::to_string(block.y) + ", " + std::to_string(block.z);
}

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
  barriers += other.barriers;
  collectives += other.collectives;
  products += other.products;
  matrix_loads += other.matrix_loads;
  bank_conflicts += other.bank_conflicts;
  return *this;
}

// --- in a thread of the kernel -------------------------------------------------------------------------------

void Worker::entry() {
  Worker& here = *worker;
  entered(here.scheduler_);
  (*here.kernel_)();
  Warp& warp = here.warp();
  ++warp.exited;
  if (warp.arrived > 0) {
    here.report(warp.site, std::string(warp.what) + " in a warp of which a lane has exited");
    here.leave();
  }
  here.self().state = Lane::State::exited;
  --here.alive_;
  here.leave();
}

void Worker::wait(Lane::State state) {
  Lane& lane = self();
  lane.state = state;
  switch_to(lane.context, scheduler_);
}

void Worker::report(const Site& site, std::string_view what) {
  error_ = "emulator: " + text_of(site) + ": " + std::string(what) + " (" + text_of_block(blockIdx) +
           ", thread " + std::to_string(threadIdx.x) + ")";
}

void Worker::leave() {
  switch_to(self().context, scheduler_, true);
  std::abort();  // nobody comes back
}

bool Worker::waits_at(const char* kind, const Site& site) {
  const Settings& settings = machine_.settings();
  if (!settings.sites.empty()) machine_.saw(kind, site);
  return settings.skip_line == 0 || !skips(settings, site);
}

void Worker::barrier(const Site& site) {
  if (in_barrier_ == 0) {
    barrier_site_ = site;
  } else if (!same(site, barrier_site_)) {
    report(site, "a barrier, while other threads wait at that of " + text_of(barrier_site_));
    leave();
  }
  if (++in_barrier_ < threads_) return wait(Lane::State::in_barrier);
  for (size_t i = 0; i < threads_; ++i) lanes_[i].state = Lane::State::ready;
  in_barrier_ = 0;
  ++counts.barriers;
}

void Worker::begin_collective(Warp& mine, const char* what, const Site& site) {
  if (mine.exited > 0) {
    report(site,
           std::string(what) + " in a warp of which " + std::to_string(mine.exited) + " lanes have exited");
    leave();
  }
  if (mine.arrived > 0 && !same(site, mine.site)) {
    report(site, std::string(what) + ", while other lanes of the warp wait at " + text_of(mine.site) + " (" +
                     mine.what + ")");
    leave();
  }
  mine.what = what;
  mine.site = site;
}

void Worker::end_collective(Warp& mine) {
  mine.arrived = 0;
  const size_t first = static_cast<size_t>(&mine - warps_.data()) * lanes;
  for (size_t i = first; i < first + lanes; ++i) lanes_[i].state = Lane::State::ready;
  ++counts.collectives;
}

bool Worker::is_shared(const void* at, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(shared_.get()), place = reinterpret_cast<uintptr_t>(at);
  return place >= begin && place - begin <= shared_bytes_ && shared_bytes_ - (place - begin) >= bytes;
}

// --- the scheduler -------------------------------------------------------------------------------------------

uint64_t Worker::random() {  // splitmix64
  uint64_t z = random_ += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void Worker::prepare_block(const Launch& launch) {
  threads_ = static_cast<size_t>(launch.threads);
  while (stacks_.size() < threads_) stacks_.emplace_back();
  if (lanes_.size() < threads_) lanes_.resize(threads_);
  if (warps_.size() < threads_ / lanes) warps_.resize(threads_ / lanes);
  for (size_t i = 0; i < threads_; ++i) {
    Lane& lane = lanes_[i];
    lane.state = Lane::State::ready;
    lane.copies.clear();
    lane.groups.clear();
    constexpr size_t step = 128;  // the lanes of a warp side by side in the cache
    prepare(lane.context, stacks_[i], i % lanes * step, entry);
  }
  for (size_t i = 0; i < threads_ / lanes; ++i) warps_[i].arrived = warps_[i].exited = 0;
  alive_ = threads_;
  in_barrier_ = 0;
  kernel_ = &launch.kernel;
  error_.clear();

  // Of exactly this size, so that the sanitizer knows where it ends.
  if (launch.shared_bytes != shared_bytes_) {
    shared_.reset();
    shared_bytes_ = 0;
    constexpr size_t alignment = 1024;
    void* at = nullptr;
    if (launch.shared_bytes > 0 && posix_memalign(&at, alignment, launch.shared_bytes) != 0)
      throw std::bad_alloc();
    shared_.reset(static_cast<unsigned char*>(at));
    shared_bytes_ = launch.shared_bytes;
  }
  if (shared_bytes_ > 0) std::memset(shared_.get(), 0xff, shared_bytes_);
}

// Lets each lane that can run do so once; false if there was none.
bool Worker::round(size_t warp) {
  const Order order = machine_.settings().order;
  const unsigned turn = order == Order::reverse ? lanes - 1 : order == Order::random ? random() % lanes : 0;
  bool ran = false;
  for (unsigned i = 0; i < lanes; ++i) {
    const unsigned index = static_cast<unsigned>(warp) * lanes + (i ^ turn);
    Lane& lane = lanes_[index];
    if (lane.state != Lane::State::ready) continue;
    ran = true;
    threadIdx.x = index;
    switch_to(scheduler_, lane.context);
    if (!error_.empty()) break;
  }
  return ran;
}

void Worker::schedule() {
  const Order order = machine_.settings().order;
  std::vector<size_t> warps;
  for (size_t i = 0; i < threads_ / lanes; ++i) warps.push_back(i);
  if (order == Order::reverse) std::reverse(warps.begin(), warps.end());
  while (alive_ > 0) {
    bool ran = false;
    if (order == Order::random) {
      for (size_t i = warps.size(); i > 1; --i) std::swap(warps[i - 1], warps[random() % i]);
    }
    for (const size_t warp : warps) {
      constexpr int longest = 12;
      int rounds = order == Order::random ? 1 << random() % longest : INT_MAX;
      while (rounds-- > 0 && round(warp)) {
        ran = true;
        if (!error_.empty()) return;
      }
    }
    if (!ran) {
      error_ = deadlock();
      return;
    }
  }
}

// A lane that waits in a collective has been told of lanes that exited or wait elsewhere, so some wait at a barrier.
std::string Worker::deadlock() const {
  std::string text = "emulator: " + text_of(barrier_site_) + ": a barrier that " +
                     std::to_string(threads_ - in_barrier_) + " of " + std::to_string(threads_) +
                     " threads never reach";
  for (size_t i = 0; i < threads_ / lanes; ++i) {
    const Warp& other = warps_[i];
    if (other.arrived == 0) continue;
    text +=
        ", lanes of warp " + std::to_string(i) + " wait at " + text_of(other.site) + " (" + other.what + ")";
  }
  return text + " (" + text_of_block(blockIdx) + ")";
}

std::string Worker::run(const Launch& launch, uint64_t block, uint64_t seed) {
  prepare_block(launch);
  random_ = seed + block * 0xd1342543de82ef95u;
  worker = this;
  gridDim = launch.grid;
  blockDim = dim3(static_cast<unsigned>(launch.threads));
  blockIdx.x = static_cast<unsigned>(block % launch.grid.x);
  blockIdx.y = static_cast<unsigned>(block / launch.grid.x % launch.grid.y);
  blockIdx.z = static_cast<unsigned>(block / launch.grid.x / launch.grid.y);
  schedule();
  worker = nullptr;
  return error_;
}

// --- the machine ---------------------------------------------------------------------------------------------

Machine::Machine(const Settings& settings) : settings_(settings) {
  for (int i = 0; i < settings.threads; ++i) workers_.push_back(std::make_unique<Worker>(*this));
  if (!settings.sites.empty()) sites_file_.open(settings.sites, std::ios::app);
}

Machine::~Machine() = default;

Counts Machine::counts() const {
  Counts all;
  for (const auto& each : workers_) all += each->counts;
  return all;
}

void Machine::saw(const char* kind, const Site& site) {
  const std::string line = std::string(kind) + " " + text_of(site) + "\n";
  const std::lock_guard lock(sites_mutex_);
  if (!sites_file_.is_open() || std::find(sites_.begin(), sites_.end(), line) != sites_.end()) return;
  sites_.push_back(line);
  sites_file_ << line << std::flush;  // a test may crash yet
}

std::string Machine::check(const Launch& launch) const {
  constexpr int most_threads = 1024;
  constexpr unsigned most_across = 65535;
  if (launch.threads <= 0 || launch.threads > most_threads || launch.threads % lanes != 0) {
    return "emulator: a block of " + std::to_string(launch.threads) +
           " threads: expected a multiple of 32 up to 1024";
  }
  if (launch.grid.x > INT_MAX || launch.grid.y > most_across || launch.grid.z > most_across) {
    return "emulator: a grid of " + std::to_string(launch.grid.x) + ", " + std::to_string(launch.grid.y) +
           ", " + std::to_string(launch.grid.z) + " blocks: expected at most 2147483647, 65535, 65535";
  }
  if (launch.shared_bytes > settings_.shared) {
    return "emulator: " + std::to_string(launch.shared_bytes) + " bytes of shared memory: expected at most " +
           std::to_string(settings_.shared);
  }
  return {};
}

std::string Machine::run(const Launch& launch) {
  const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  const uint64_t seed = settings_.seed * 0x2545f4914f6cdd1du + ++launches_;
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  std::string error;
  uint64_t error_block = UINT64_MAX;
  const auto work = [&](Worker& each) {
    for (uint64_t block; (block = next++) < blocks;) {
      const std::string text = each.run(launch, block, seed);
      if (text.empty()) continue;
      next = blocks;
      const std::lock_guard lock(mutex);
      if (block < error_block) error = text, error_block = block;
    }
  };
  std::vector<std::thread> others;
  const uint64_t count = std::min<uint64_t>(workers_.size(), blocks);
  for (uint64_t i = 1; i < count; ++i) others.emplace_back(work, std::ref(*workers_[i]));
  work(*workers_[0]);
  for (std::thread& other : others) other.join();
  return error;
}

}  // namespace vitrine::gpu::emulator
