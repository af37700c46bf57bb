// emulator_test.cpp: the emulator runs kernels as a GPU may, finds what a GPU does not promise, and says where.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "engine/dtype.h"
#include "engine/gpu/emulator/queue.h"
#include "engine/gpu/entries.h"
#include "engine/gpu/port.h"
#include "engine/random.h"
#include "tests/emulator_queue.h"

using namespace vitrine::gpu;
using vitrine::bf16;

namespace {

constexpr int threads = 128, warps = threads / warp_size;
const std::string orders[] = {"forward", "reverse", "random", "random:77"};

int lane_of_thread() { return static_cast<int>(threadIdx.x) % warp_size; }
std::string here(int line) { return "emulator_test.cpp:" + std::to_string(line); }
bool is_poison(float x) { return as_bits(x) == 0xffffffffu; }

// out[block] = the sum of the block's part of x
constexpr int barrier_of_sum = __LINE__ + 5;
template <bool with_barrier>
__global__ void __launch_bounds__(threads) sum_blocks(const float* __restrict__ x, float* out) {
  auto* part = reinterpret_cast<float*>(shared_memory());
  part[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  if constexpr (with_barrier) __syncthreads();
  const float y = warp_sum(part[(threadIdx.x + threads / 2) % threads]);
  __syncthreads();
  if (threadIdx.x % warp_size == 0) part[threadIdx.x / warp_size] = y;
  __syncthreads();
  if (threadIdx.x == 0) {
    float all = 0;
    for (int i = 0; i < warps; ++i) all += part[i];
    out[blockIdx.x] = all;
  }
}

// Reads what another warp wrote before a shuffle: warps that took turns at each shuffle would have written by then.
__global__ void read_late(const float* x, float* out) {
  auto* part = reinterpret_cast<float*>(shared_memory());
  part[threadIdx.x] = x[threadIdx.x];
  const float one = warp_max(1.0f), y = part[(threadIdx.x + threads / 2) % threads] * one;
  if (as_bits(y) != as_bits(x[threadIdx.x])) out[blockIdx.x] = y;
}

template <class Kernel>
std::string run_sum(Queue* queue, Kernel kernel, std::vector<float>& out) {
  constexpr int blocks = 5;
  std::vector<float> x(blocks * threads);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  out.assign(blocks, -1.0f);
  return done(queue,
              launch(queue, kernel, dim3(blocks), threads, threads * sizeof(float), x.data(), out.data()));
}

void check_sum(Queue* queue) {
  std::vector<float> out;
  CHECK(run_sum(queue, sum_blocks<true>, out) == "");
  for (size_t i = 0; i < out.size(); ++i) {
    const double first = static_cast<double>(i) * threads, last = first + threads - 1;
    CHECK(out[i] == (first + last) / 2 * threads);  // all sums are below 2^24
  }
}

// Two groups of one chunk for each thread; what is in the shared memory then.
enum class Waiting { none, all_but_newest, all, all_of_nothing };
template <Waiting waiting>
__global__ void copy_chunks(const float* from, float* out) {
  float* mine = reinterpret_cast<float*>(shared_memory()) + threadIdx.x * 12;
  for (int i = 0; i < 12; ++i) mine[i] = 7;
  copy_async(mine, from + threadIdx.x * 4);
  if (waiting != Waiting::all_of_nothing) commit_copies();
  copy_async_or_zero(mine + 4, nullptr, false);
  if (waiting != Waiting::all_of_nothing) commit_copies();
  if (waiting == Waiting::all_but_newest) wait_for_copies<1>();
  if (waiting == Waiting::all || waiting == Waiting::all_of_nothing) wait_for_copies<0>();
  for (int i = 0; i < 12; ++i) out[threadIdx.x * 12 + static_cast<unsigned>(i)] = mine[i];
}

template <Waiting waiting>
void check_copies(bool first_came, bool second_came) {
  alignas(16) float from[threads * 4];
  std::vector<float> out(threads * 12);
  for (int i = 0; i < threads * 4; ++i) from[i] = static_cast<float>(i);
  EmulatorQueue queue;
  REQUIRE(done(queue,
               launch(queue, copy_chunks<waiting>, dim3(1), threads, threads * 48, from, out.data())) == "");
  bool first_right = true, second_right = true, rest_right = true;
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t thread = i / 12, place = i % 12;
    if (place < 4) first_right &= first_came ? out[i] == from[thread * 4 + place] : is_poison(out[i]);
    if (place >= 4 && place < 8) second_right &= second_came ? out[i] == 0 : is_poison(out[i]);
    if (place >= 8) rest_right &= out[i] == 7;
  }
  CHECK(first_right);
  CHECK(second_right);
  CHECK(rest_right);
}

__global__ void shuffle_all(float* rotated, float* mirrored) {
  const int lane = lane_of_thread();
  rotated[threadIdx.x] = shuffle(static_cast<float>(threadIdx.x), (lane + 5) % warp_size);
  mirrored[threadIdx.x] = shuffle_xor(static_cast<float>(threadIdx.x), warp_size - 1);
}

// c (16, 16) = 1 + a (16, 16) b (16, 16), rows of `stride` elements; b is stored as it is, or transposed.
template <bool transposed>
__global__ void small_product(const bf16* a, const bf16* b, int stride, float* c) {
  auto* all = reinterpret_cast<bf16*>(shared_memory());
  const int lane = lane_of_thread();
  for (int i = lane; i < 16 * stride; i += warp_size) all[i] = a[i], all[16 * stride + i] = b[i];
  __syncwarp();
  uint32_t left[4], right[4];
  load_matrices(left, all + lane % 16 * stride + lane / 16 * 8);
  const bf16* from = all + 16 * stride;
  if (transposed) {
    load_matrices(right, from + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  } else {
    load_matrices_transposed(right, from + lane % 16 * stride + lane / 16 * 8);
  }
  for (int half = 0; half < 2; ++half) {
    float sums[4] = {1, 1, 1, 1};
    multiply_add(sums, left, right[half * 2], right[half * 2 + 1]);
    for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
}

template <bool transposed>
void check_small_product(int stride, uint64_t conflicts) {
  vitrine::Random random(1, vitrine::Purpose::test);
  std::vector<bf16> a(static_cast<size_t>(16 * stride)), b(a.size());
  for (bf16& x : a) x = vitrine::to_bf16(static_cast<float>(random.normal()));
  for (bf16& x : b) x = vitrine::to_bf16(static_cast<float>(random.normal()));
  float c[256];
  EmulatorQueue queue;
  const size_t bytes = a.size() * 2 * sizeof(bf16);
  REQUIRE(done(queue, launch(queue, small_product<transposed>, dim3(1), warp_size, bytes, a.data(), b.data(),
                             stride, &c[0])) == "");
  double worst = 0;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      double z = 1;
      for (int k = 0; k < 16; ++k) {
        const auto at = static_cast<size_t>(transposed ? j * stride + k : k * stride + j);
        z += double{to_float(a[static_cast<size_t>(i * stride + k)])} * double{to_float(b[at])};
      }
      worst = std::max(worst, std::abs(z - c[i * 16 + j]));
    }
  }
  CHECK(worst < 1e-5);
  const emulator::Counts counts = static_cast<Queue*>(queue)->machine.counts();
  CHECK(counts.matrix_loads == 2);
  CHECK(counts.products == 2);
  CHECK(counts.bank_conflicts == conflicts);
}

// --- kernels that are wrong ----------------------------------------------------------------------------------

constexpr int divergent_barrier = __LINE__ + 2;
__global__ void barrier_for_some(float*) {
  if (threadIdx.x < 32) __syncthreads();
}
constexpr int other_barrier = __LINE__ + 1;
__global__ void two_barriers(float*) { threadIdx.x / 32 == 1 ? __syncthreads() : __syncthreads(); }
constexpr int divergent_shuffle = __LINE__ + 1;
__global__ void shuffle_in_branches(float* x) { x[0] = threadIdx.x % 2 == 0 ? shuffle(1, 0) : shuffle(2, 1); }
constexpr int shuffle_after_exit = __LINE__ + 3;
__global__ void shuffle_without_all(float* x) {
  if (threadIdx.x % 32 > 9) return;
  x[0] = shuffle(1, 0);
}
constexpr int shuffle_at_barrier = __LINE__ + 2;
__global__ void shuffle_or_barrier(float* x) {
  if (threadIdx.x < 8) x[0] = shuffle(1, 0);
  __syncthreads();
}
constexpr int odd_load = __LINE__ + 1;
__global__ void misaligned_load(float* x) { store_chunk(x, load_chunk(x + 1)); }
constexpr int odd_store = __LINE__ + 1;
__global__ void misaligned_store(float* x) { store_chunk(x + 2, Chunk{}); }
constexpr int odd_row = __LINE__ + 3;
__global__ void misaligned_row(float*) {
  uint32_t parts[4];
  load_matrices(parts, shared_memory() + 8);
}
constexpr int far_copy = __LINE__ + 1;
__global__ void copy_past_the_end(float* x) { copy_async(shared_memory() + 1024, x); }

}  // namespace

TEST_CASE(
    "emulator: sums through shared memory are right in every order, with several threads of the system, "
    "too") {
  for (const std::string& order : orders) {
    for (const char* system_threads : {"1", "3"}) {
      CAPTURE(order);
      EmulatorQueue queue(order, system_threads);
      check_sum(queue);
    }
  }
}

TEST_CASE("emulator: without a barrier threads read poison") {
  for (const std::string& order : orders) {
    CAPTURE(order);
    EmulatorQueue queue(order);
    std::vector<float> out;
    CHECK(run_sum(queue, sum_blocks<false>, out) == "");
    for (const float x : out) CHECK(std::isnan(x));
  }
}

TEST_CASE("emulator: a warp runs as far as it can before another one starts") {
  for (const char* order : {"forward", "reverse"}) {
    EmulatorQueue queue(order);
    const std::vector<float> x(threads, 2.0f);
    float out = 0;
    CHECK(done(queue, launch(queue, read_late, dim3(1), threads, threads * sizeof(float), x.data(), &out)) ==
          "");
    CHECK(std::isnan(out));
  }
}

TEST_CASE("emulator: a place can be left out without building again, and all places are listed") {
  const auto file = std::filesystem::temp_directory_path() / "vitrine_emulator_sites.txt";
  std::filesystem::remove(file);
  std::vector<float> out;
  {
    EmulatorQueue queue("", "", here(barrier_of_sum), file.string());
    CHECK(run_sum(queue, sum_blocks<true>, out) == "");
    CHECK(std::isnan(out[0]));
  }
  std::ifstream stream(file);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  std::filesystem::remove(file);
  CHECK(text == "__syncthreads " + here(barrier_of_sum) + "\n__syncthreads " + here(barrier_of_sum + 2) +
                    "\n__syncthreads " + here(barrier_of_sum + 4) + "\n");
  EmulatorQueue other("", "", "another.cu:" + std::to_string(barrier_of_sum));
  check_sum(other);
}

TEST_CASE("emulator: asynchronous copies come when they are waited for, and spoil their place before") {
  check_copies<Waiting::none>(false, false);
  check_copies<Waiting::all_but_newest>(true, false);
  check_copies<Waiting::all>(true, true);
  check_copies<Waiting::all_of_nothing>(false, false);
}

TEST_CASE("emulator: shuffles") {
  for (const std::string& order : orders) {
    EmulatorQueue queue(order);
    float rotated[64], mirrored[64];
    REQUIRE(done(queue, launch(queue, shuffle_all, dim3(1), 64, 0, &rotated[0], &mirrored[0])) == "");
    for (int i = 0; i < 64; ++i) {
      CHECK(rotated[i] == static_cast<float>(i / 32 * 32 + (i + 5) % 32));
      CHECK(mirrored[i] == static_cast<float>(i / 32 * 32 + 31 - i % 32));
    }
  }
}

TEST_CASE("emulator: small matrices, and the banks that their rows share") {
  check_small_product<false>(24, 0);  // rows of 48 bytes begin in eight different groups of banks
  check_small_product<true>(24, 0);
  check_small_product<false>(16, 8);  // rows of 32 bytes in four: each of the eight matrices takes two turns
  check_small_product<true>(64, 56);  // rows of 128 bytes in one: eight turns
}

TEST_CASE("emulator: bf16 is rounded as the CPU rounds it") {
  const auto same = [](float x) {
    const uint16_t expected = vitrine::to_bf16(x).bits;
    return std::isnan(x) ? std::isnan(widen(narrow<bf16>(x))) : narrow<bf16>(x).bits == expected;
  };
  bool all = true;
  for (uint32_t high = 0; high <= 0xffffu; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      all &= same(as_float(high << 16 | low));
  }
  CHECK(all);
  CHECK(unpack(pack(1.5f, -2.0f)).x == 1.5f);
  CHECK(unpack(pack(1.5f, -2.0f)).y == -2.0f);
}

TEST_CASE("emulator: a wrong kernel ends with a sentence, and the next launch works") {
  struct Case {
    void (*kernel)(float*);
    int line;
    std::string sentence;
  };
  const Case cases[] = {
      {barrier_for_some, divergent_barrier, "a barrier that 96 of 128 threads never reach (block 0, 0, 0)"},
      {two_barriers, other_barrier, ": a barrier, while other threads wait at "},
      {shuffle_in_branches, divergent_shuffle, "shuffle, while other lanes of the warp wait at "},
      {shuffle_without_all, shuffle_after_exit, "shuffle in a warp of which "},
      {shuffle_or_barrier, shuffle_at_barrier + 1,
       "lanes of warp 0 wait at " + here(shuffle_at_barrier) + " (shuffle)"},
      {misaligned_load, odd_load, "load_chunk from an address that is no multiple of 16"},
      {misaligned_store, odd_store, "store_chunk to an address that is no multiple of 16"},
      {misaligned_row, odd_row, "load_matrices an address that is no multiple of 16"},
      {copy_past_the_end, far_copy, "copy_async to an address that is not in the block's shared memory"},
  };
  for (const std::string& order : orders) {
    CAPTURE(order);
    EmulatorQueue queue(order);
    for (const Case& each : cases) {
      alignas(16) float x[8] = {};
      const std::string text = done(queue, launch(queue, each.kernel, dim3(2, 3), threads, 1024, &x[0]));
      CAPTURE(text);
      CHECK(text.starts_with("emulator: emulator_test.cpp:"));
      CHECK(text.find(here(each.line)) != std::string::npos);
      CHECK(text.find(each.sentence) != std::string::npos);
      check_sum(queue);
    }
  }
}

TEST_CASE("emulator: what a GPU would refuse is refused") {
  EmulatorQueue queue;
  float* none = nullptr;
  const auto start = [&](dim3 grid, int block, size_t shared) {
    return done(queue, launch(queue, barrier_for_some, grid, block, shared, none));
  };
  CHECK(start(dim3(1), 48, 0).starts_with("emulator: a block of 48 threads"));
  CHECK(start(dim3(1), 0, 0).starts_with("emulator: a block of 0 threads"));
  CHECK(start(dim3(1), 1056, 0).starts_with("emulator: a block of 1056 threads"));
  CHECK(start(dim3(1, 65536), 32, 0).starts_with("emulator: a grid of 1, 65536, 1"));
  CHECK(start(dim3(1), 32, (227 << 10) + 1).starts_with("emulator: 232449 bytes of shared memory"));
  CHECK(start(dim3(0), 32, 0) == "");
  CHECK(start(dim3(1), 32, 227 << 10) == "");

  Queue* other = nullptr;
  CHECK(sentence(open_queue({.device = 1}, &other)) != "");
  CHECK(sentence(open_queue({.tf32 = true}, &other)).find("no tf32") != std::string::npos);
  const char* const wrong[] = {"sideways", "0", "file", nullptr, "227 KB", "-1"};
  for (int i = 0; i < 6; ++i) {
    if (wrong[i] == nullptr) continue;  // any name of a file will do
    EmulatorQueue::set(EmulatorQueue::names[i], wrong[i]);
    CHECK(sentence(open_queue({}, &other)).starts_with(EmulatorQueue::names[i]));
    unsetenv(EmulatorQueue::names[i]);
  }
}

TEST_CASE("emulator: memory is poisoned, and recorded work is done by a replay only") {
  EmulatorQueue queue("reverse");
  CHECK(std::string(describe_queue(queue)) == "the emulator: each thread of a GPU on the CPU, reverse order");
  constexpr size_t count = threads, bytes = count * sizeof(float);
  void *x = nullptr, *sums = nullptr, *copied = nullptr;
  for (void** block : {&x, &sums, &copied}) {
    REQUIRE(sentence(allocate(queue, bytes, block)) == "");
    CHECK(reinterpret_cast<uintptr_t>(*block) % 256 == 0);
  }
  std::vector<float> ones(count, 1.0f), seen(count);
  const auto first = [&](void* block) {
    CHECK(sentence(download(queue, seen.data(), block, bytes)) == "");
    return seen[0];
  };
  CHECK(is_poison(first(x)));
  CHECK(sentence(upload(queue, x, ones.data(), bytes)) == "");

  Graph* graph = nullptr;
  CHECK(sentence(end_record(queue, &graph)) == "no work is being recorded");
  REQUIRE(sentence(begin_record(queue)) == "");
  CHECK(sentence(begin_record(queue)) != "");
  CHECK(sentence(launch(queue, sum_blocks<true>, dim3(1), threads, bytes, static_cast<const float*>(x),
                        static_cast<float*>(sums))) == "");
  CHECK(sentence(copy(queue, copied, sums, bytes)) == "");
  CHECK(sentence(clear(queue, sums, bytes)) == "");
  CHECK(sentence(upload(queue, x, ones.data(), bytes)) != "");
  CHECK(sentence(download(queue, ones.data(), x, bytes)) != "");
  CHECK(sentence(wait(queue)) != "");
  void* late = nullptr;
  CHECK(sentence(allocate(queue, bytes, &late)) == "");
  CHECK(late != nullptr);
  REQUIRE(sentence(end_record(queue, &graph)) == "");

  CHECK(is_poison(first(sums)));
  CHECK(is_poison(first(copied)));
  for (const float factor : {1.0f, 3.0f}) {
    for (float& value : ones) value = factor;
    CHECK(sentence(upload(queue, x, ones.data(), bytes)) == "");
    CHECK(sentence(replay(queue, graph)) == "");
    CHECK(first(copied) == factor * threads);
    CHECK(first(sums) == 0);
  }
  drop(queue, graph);
  spoil(queue, x, bytes);
  CHECK(is_poison(first(x)));
  for (void* block : {x, sums, copied, late}) release(queue, block);
}

TEST_CASE("emulator: work is done when somebody waits, and what is brought ahead comes before all of it") {
  EmulatorQueue queue;
  std::vector<float> from{1, 2}, to(2), seen(2);
  constexpr size_t bytes = 2 * sizeof(float);
  void* block = nullptr;
  REQUIRE(sentence(allocate(queue, bytes, &block)) == "");
  auto* inside = static_cast<float*>(block);  // the CPU's memory, here
  CHECK(sentence(upload(queue, block, from.data(), bytes)) == "");
  from = {3, 4};  // it was free to change
  CHECK(sentence(copy(queue, to.data(), block, bytes)) == "");
  CHECK(is_poison(inside[0]));
  CHECK(to[0] == 0);
  CHECK(sentence(wait(queue)) == "");
  CHECK(to == std::vector<float>{1, 2});
  CHECK(sentence(clear(queue, block, bytes)) == "");
  CHECK(sentence(upload_ahead(queue, block, from.data(), bytes)) == "");
  CHECK(inside[1] == 4);
  CHECK(sentence(download(queue, seen.data(), block, bytes)) == "");
  CHECK(seen[1] == 0);  // a race that a test must see: the zeros came after it
  // What goes wrong is told by the wait, also where a block was given back between.
  CHECK(sentence(launch(queue, barrier_for_some, dim3(1), threads, 0, static_cast<float*>(nullptr))) == "");
  release(queue, block);
  CHECK(sentence(wait(queue)).find("barrier") != std::string::npos);
  CHECK(sentence(wait(queue)) == "");
}
