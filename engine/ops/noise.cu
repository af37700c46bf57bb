// noise.cu: dropout and drop_path on a device, with the very numbers that engine/random.h has for them.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

struct Words {
  uint32_t at[4];
};

// Philox4x32-10 (Salmon et al., SC 2011).
__device__ Words philox_words(uint64_t key, Words counter) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter.at[0], b = uint64_t{0xCD9E8D57} * counter.at[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.at[1] ^ k0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.at[3] ^ k1, static_cast<uint32_t>(a)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// A thread for each four groups of an image, which share one counter.
template <class T>
__global__ void __launch_bounds__(element_threads)
    drop(int64_t images, int64_t per_image, int64_t group, double probability, uint64_t seed, uint32_t use,
         const int64_t* key, const T* x, T* out) {
  const int64_t groups = (per_image + group - 1) / group, fours = (groups + 3) / 4;
  const float factor = static_cast<float>(1 / (1 - probability));
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t t = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; t < images * fours;
       t += step) {
    const int64_t b = t / fours, four = t % fours;
    const Words words = philox_words(seed, {{static_cast<uint32_t>(four), static_cast<uint32_t>(key[1 + b]),
                                             static_cast<uint32_t>(key[0]), use}});
    for (int w = 0; w < 4; ++w) {
      const int64_t begin = (four * 4 + w) * group, end = begin + group;
      const float keep = words.at[w] * 0x1p-32 < probability ? 0 : factor;
      for (int64_t i = begin; i < end && i < per_image; ++i)
        out[b * per_image + i] = narrow<T>(keep * widen(x[b * per_image + i]));
    }
  }
}

}  // namespace

Result dropout(Queue* queue, const Dropout& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t fours = divided_up(divided_up(a.per_image, a.group), 4);
    return launch(queue, drop<T>, blocks_for(a.images * fours, element_threads), element_threads, 0, a.images,
                  a.per_image, a.group, a.probability, a.seed, a.purpose | a.lane << 8, a.key,
                  static_cast<const T*>(a.x), static_cast<T*>(a.out));
  });
}

}  // namespace vitrine::gpu
