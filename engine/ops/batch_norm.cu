// batch_norm.cu: batch_norm on a device. A block has 32 columns; its warps take the rows in turn, and their sums are added
// in the order of the warps.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

constexpr int column_threads = 256;
constexpr int rows_at_once = column_threads / warp_size;

// A thread's place: a column, and the first of its rows.
struct Place {
  int lane = static_cast<int>(threadIdx.x) % warp_size, group = static_cast<int>(threadIdx.x) / warp_size;
  int64_t column = static_cast<int64_t>(blockIdx.x) * warp_size + lane;
};

// The sum of `own` over the threads that have this column, for all of them.
__device__ float column_sum(const Place& place, float own) {
  auto* parts = reinterpret_cast<float*>(shared_memory());  // (groups, 32)
  parts[place.group * warp_size + place.lane] = own;
  __syncthreads();
  float sum = 0;
  for (int g = 0; g < rows_at_once; ++g) sum += parts[g * warp_size + place.lane];
  __syncthreads();
  return sum;
}

template <class T>
__global__ void __launch_bounds__(column_threads)
    batch_norm_columns(int64_t rows, int64_t width, float epsilon, const T* x, const T* gamma, const T* beta,
                       T* y, float* means, float* rstds, float* variances) {
  const Place at;
  const bool inside = at.column < width;
  const float share = 1 / static_cast<float>(rows);
  float sum = 0, squares = 0;
  if (inside)
    for (int64_t r = at.group; r < rows; r += rows_at_once) sum += widen(x[r * width + at.column]);
  const float mean = share * column_sum(at, sum);
  if (inside)
    for (int64_t r = at.group; r < rows; r += rows_at_once) {
      const float distance = widen(x[r * width + at.column]) - mean;
      squares += distance * distance;
    }
  const float variance = share * column_sum(at, squares);
  if (!inside) return;
  const float rstd = 1 / sqrtf(variance + epsilon), weight = widen(gamma[at.column]),
              shift = widen(beta[at.column]);
  for (int64_t r = at.group; r < rows; r += rows_at_once)
    y[r * width + at.column] = narrow<T>(weight * ((widen(x[r * width + at.column]) - mean) * rstd) + shift);
  if (at.group == 0) means[at.column] = mean, rstds[at.column] = rstd, variances[at.column] = variance;
}

template <class T>
__global__ void __launch_bounds__(column_threads)
    batch_norm_columns_backward(int64_t rows, int64_t width, const T* x, const T* dy, const T* gamma,
                                const float* means, const float* rstds, T* dx, T* dgamma, T* dbeta) {
  const Place at;
  const bool inside = at.column < width;
  const float mean = inside ? means[at.column] : 0, rstd = inside ? rstds[at.column] : 0;
  float tilt = 0, level = 0;
  if (inside)
    for (int64_t r = at.group; r < rows; r += rows_at_once) {
      const int64_t i = r * width + at.column;
      tilt += widen(dy[i]) * ((widen(x[i]) - mean) * rstd);
      level += widen(dy[i]);
    }
  tilt = column_sum(at, tilt);
  level = column_sum(at, level);
  if (!inside) return;
  if (dx != nullptr) {
    const float share = 1 / static_cast<float>(rows), weight = widen(gamma[at.column]) * rstd;
    for (int64_t r = at.group; r < rows; r += rows_at_once) {
      const int64_t i = r * width + at.column;
      dx[i] = narrow<T>(weight * (widen(dy[i]) - share * (level + (widen(x[i]) - mean) * rstd * tilt)));
    }
  }
  if (at.group == 0) {
    if (dgamma != nullptr) dgamma[at.column] = narrow<T>(tilt);
    if (dbeta != nullptr) dbeta[at.column] = narrow<T>(level);
  }
}

constexpr size_t shared_bytes = sizeof(float) * column_threads;

}  // namespace

Result batch_norm(Queue* queue, const BatchNorm& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, batch_norm_columns<T>,
                  dim3(static_cast<unsigned>(divided_up(a.width, int64_t{warp_size}))), column_threads,
                  shared_bytes, a.rows, a.width, a.epsilon, static_cast<const T*>(a.x),
                  static_cast<const T*>(a.gamma), static_cast<const T*>(a.beta), static_cast<T*>(a.y), a.mean,
                  a.rstd, a.variance);
  });
}

Result batch_norm_backward(Queue* queue, const BatchNormBackward& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, batch_norm_columns_backward<T>,
                  dim3(static_cast<unsigned>(divided_up(a.width, int64_t{warp_size}))), column_threads,
                  shared_bytes, a.rows, a.width, static_cast<const T*>(a.x), static_cast<const T*>(a.dy),
                  static_cast<const T*>(a.gamma), a.mean, a.rstd, static_cast<T*>(a.dx),
                  static_cast<T*>(a.dgamma), static_cast<T*>(a.dbeta));
  });
}

}  // namespace vitrine::gpu
