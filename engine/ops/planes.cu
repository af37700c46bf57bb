// planes.cu: pictures as bytes become planes of numbers, on a device.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

// A thread for each place: neighbours read neighbouring bytes, and write side by side in each plane.
template <class T>
__global__ void __launch_bounds__(element_threads)
    spread_planes(int64_t count, int64_t places, int64_t channels, const uint8_t* from, const float* values,
                  T* to) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const int64_t image = i / places, place = i % places;
    for (int64_t c = 0; c < channels; ++c)
      to[(image * channels + c) * places + place] = narrow<T>(values[c * 256 + from[i * channels + c]]);
  }
}

}  // namespace

Result planes(Queue* queue, const Planes& a) {
  const int64_t count = a.images * a.places;
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, spread_planes<T>, blocks_for(count, element_threads), element_threads, 0, count,
                  a.places, a.channels, a.from, a.values, static_cast<T*>(a.to));
  });
}

}  // namespace vitrine::gpu
