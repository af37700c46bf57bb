// embedding.cu: embedding_add on a device.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

template <class T>
__global__ void __launch_bounds__(element_threads)
    add_entries(int64_t count, int64_t rows, int64_t width, const T* x, const T* table, const int64_t* index,
                T* out) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const int64_t row = i / width % rows, entry = index == nullptr ? row : index[row];
    out[i] = narrow<T>(widen(x[i]) + widen(table[entry * width + i % width]));
  }
}

// A thread for each number of the table: it adds up what took its entry, in the order of images and rows.
template <class T>
__global__ void __launch_bounds__(element_threads)
    sum_entries(int64_t images, int64_t rows, int64_t width, int64_t entries, const T* dy,
                const int64_t* index, T* dtable) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < entries * width;
       i += step) {
    const int64_t entry = i / width, column = i % width;
    float total = 0;
    for (int64_t b = 0; b < images; ++b) {
      const T* image = dy + b * rows * width + column;
      if (index == nullptr) {
        total += widen(image[entry * width]);
      } else {
        for (int64_t row = 0; row < rows; ++row)
          if (index[row] == entry) total += widen(image[row * width]);
      }
    }
    dtable[i] = narrow<T>(total);
  }
}

}  // namespace

Result embedding_add(Queue* queue, const EmbeddingAdd& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t count = a.images * a.rows * a.width;
    return launch(queue, add_entries<T>, blocks_for(count, element_threads), element_threads, 0, count,
                  a.rows, a.width, static_cast<const T*>(a.x), static_cast<const T*>(a.table), a.index,
                  static_cast<T*>(a.out));
  });
}

Result embedding_sum(Queue* queue, const EmbeddingSum& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, sum_entries<T>, blocks_for(a.entries * a.width, element_threads), element_threads, 0,
                  a.images, a.rows, a.width, a.entries, static_cast<const T*>(a.dy), a.index,
                  static_cast<T*>(a.dtable));
  });
}

}  // namespace vitrine::gpu
