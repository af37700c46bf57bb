#include "engine/gpu/emulator/words.h"

#include <algorithm>
#include <cstring>
#include <string>

using vitrine::gpu::emulator::lanes;
using vitrine::gpu::emulator::worker;

void __syncthreads(const vitrine::gpu::emulator::Site& site) {
  if (worker->waits_at("__syncthreads", site)) worker->barrier(site);
}

void __syncwarp(const vitrine::gpu::emulator::Site& site) {
  if (!worker->waits_at("__syncwarp", site)) return;
  worker->collective<char>("__syncwarp", site, char{}, [](const char*, char*) {});
}

namespace vitrine::gpu {
namespace {

constexpr size_t chunk = sizeof(Chunk);

void check_chunk(const void* at, const char* what, const Site& site) {
  if (reinterpret_cast<uintptr_t>(at) % chunk == 0) return;
  worker->report(site, std::string(what) + " an address that is no multiple of 16");
  worker->leave();
}

void check_shared(const void* at, const char* what, const Site& site) {
  check_chunk(at, what, site);
  if (!worker->is_shared(at, chunk)) {
    worker->report(site, std::string(what) + " an address that is not in the block's shared memory");
    worker->leave();
  }
}

struct Shuffled {
  float x;
  int lane;
};

float exchange(const char* what, float x, int lane, const Site& site) {
  return worker->collective<float>(what, site, Shuffled{x, lane}, [](const Shuffled* in, float* out) {
    for (int i = 0; i < lanes; ++i) out[i] = in[in[i].lane & (lanes - 1)].x;
  });
}

struct Parts {
  uint32_t part[4];
};
constexpr int edge = 8;  // of a small matrix

void load(const char* what, uint32_t parts[4], const void* row, bool transposed, const Site& site) {
  check_shared(row, what, site);
  const auto act = [transposed](const uint16_t* const* rows, Parts* out) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const uint16_t* const* row_of = rows + matrix * edge;
      int users[edge] = {};  // of each group of four banks
      for (int i = 0; i < edge; ++i) ++users[reinterpret_cast<uintptr_t>(row_of[i]) / chunk % edge];
      worker->counts.bank_conflicts += static_cast<uint64_t>(*std::max_element(users, users + edge) - 1);
      for (int lane = 0; lane < lanes; ++lane) {
        const int major = lane / 4, minor = lane % 4 * 2;
        const uint32_t low = transposed ? row_of[minor][major] : row_of[major][minor];
        const uint32_t high = transposed ? row_of[minor + 1][major] : row_of[major][minor + 1];
        out[lane].part[matrix] = low | high << 16;
      }
    }
    ++worker->counts.matrix_loads;
  };
  const Parts mine = worker->collective<Parts>(what, site, static_cast<const uint16_t*>(row), act);
  std::copy_n(mine.part, 4, parts);
}

struct Factors {
  float sums[4];
  uint32_t a[4], b[2];
};
struct Sums {
  float part[4];
};

void multiply_add_all(const Factors* in, Sums* out) {
  constexpr int m = 16, n = 8, k = 16;
  float a[m][k], b[k][n];
  for (int lane = 0; lane < lanes; ++lane) {
    const int g = lane / 4, t = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack(in[lane].a[i]);
      float* to = &a[g + i % 2 * 8][t + i / 2 * 8];
      to[0] = pair.x, to[1] = pair.y;
    }
    for (int i = 0; i < 2; ++i) {
      const float2 pair = unpack(in[lane].b[i]);
      b[t + i * 8][g] = pair.x, b[t + i * 8 + 1][g] = pair.y;
    }
  }
  for (int row = 0; row < m; ++row) {
    float sums[n] = {};
    for (int i = 0; i < k; ++i) {
      for (int column = 0; column < n; ++column) sums[column] += a[row][i] * b[i][column];
    }
    const int half = row / 8 * 2;
    for (int column = 0; column < n; ++column) {
      const int lane = row % 8 * 4 + column / 2, part = half + column % 2;
      out[lane].part[part] = in[lane].sums[part] + sums[column];
    }
  }
  ++worker->counts.products;
}

}  // namespace

float shuffle(float x, int lane, const Site& site) { return exchange("shuffle", x, lane, site); }

float shuffle_xor(float x, int mask, const Site& site) {
  return exchange("shuffle_xor", x, static_cast<int>(threadIdx.x) ^ mask, site);
}

Chunk load_chunk(const void* from, const Site& site) {
  check_chunk(from, "load_chunk from", site);
  Chunk value;
  std::memcpy(&value, from, chunk);
  return value;
}

void store_chunk(void* to, Chunk value, const Site& site) {
  check_chunk(to, "store_chunk to", site);
  std::memcpy(to, &value, chunk);
}

void copy_async_or_zero(void* to, const void* from, bool there, const Site& site) {
  check_shared(to, "copy_async to", site);
  emulator::Copy copy{to, {0, 0}};
  if (there) {
    check_chunk(from, "copy_async from", site);
    std::memcpy(copy.value, from, chunk);
  }
  std::memset(to, 0xff, chunk);
  worker->self().copies.push_back(copy);
}

void commit_copies() {
  emulator::Lane& lane = worker->self();
  lane.groups.push_back(lane.copies.size());
}

void wait_for_copies(int newest, const Site& site) {
  if (!worker->waits_at("wait_for_copies", site)) return;
  emulator::Lane& lane = worker->self();
  const auto keep = static_cast<size_t>(newest);
  if (lane.groups.size() <= keep) return;
  const size_t groups = lane.groups.size() - keep, done = lane.groups[groups - 1];
  for (size_t i = 0; i < done; ++i) std::memcpy(lane.copies[i].to, lane.copies[i].value, chunk);
  lane.copies.erase(lane.copies.begin(), lane.copies.begin() + static_cast<ptrdiff_t>(done));
  lane.groups.erase(lane.groups.begin(), lane.groups.begin() + static_cast<ptrdiff_t>(groups));
  for (size_t& end : lane.groups) end -= done;
}

void load_matrices(uint32_t parts[4], const void* row, const Site& site) {
  load("load_matrices", parts, row, false, site);
}
void load_matrices_transposed(uint32_t parts[4], const void* row, const Site& site) {
  load("load_matrices_transposed", parts, row, true, site);
}

void multiply_add(float sums[4], const uint32_t a[4], uint32_t b0, uint32_t b1, const Site& site) {
  Factors factors{{}, {}, {b0, b1}};
  std::copy_n(sums, 4, factors.sums);
  std::copy_n(a, 4, factors.a);
  const Sums mine = worker->collective<Sums>("multiply_add", site, factors, multiply_add_all);
  std::copy_n(mine.part, 4, sums);
}

}  // namespace vitrine::gpu
