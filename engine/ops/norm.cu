// norm.cu: layer_norm and softmax on a device. A warp takes a row, and sums over a row end in every lane.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

constexpr int row_threads = 256;
constexpr int rows_at_once = row_threads / warp_size;

__device__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % warp_size; }
__device__ int64_t first_row() {
  return static_cast<int64_t>(blockIdx.x) * rows_at_once + threadIdx.x / warp_size;
}
__device__ int64_t row_step() { return static_cast<int64_t>(gridDim.x) * rows_at_once; }

// A row in registers: lane l holds chunks l, l + 32, ... of it. Rows of whole chunks only.
template <class T, int chunks>
struct Row {
  float at[chunks][per_chunk<T>];

  __device__ static bool holds(int v, int64_t width) {
    return (lane_of_thread() + v * warp_size) * per_chunk<T> < width;
  }
  __device__ static int64_t place(int v) {
    return (lane_of_thread() + v * warp_size) * int64_t{per_chunk<T>};
  }

  __device__ void load(const T* from, int64_t width) {
    for (int v = 0; v < chunks; ++v) {
      const Numbers<T> numbers = holds(v, width) ? load_numbers(from + place(v)) : Numbers<T>{};
      for (int i = 0; i < per_chunk<T>; ++i) at[v][i] = numbers.at[i];
    }
  }
  __device__ void store(T* to, int64_t width) const {
    for (int v = 0; v < chunks; ++v) {
      if (!holds(v, width)) continue;
      Numbers<T> numbers;
      for (int i = 0; i < per_chunk<T>; ++i) numbers.at[i] = at[v][i];
      store_numbers(to + place(v), numbers);
    }
  }
  // The sum over the row of f(chunk, i), a term that belongs to number i of chunk v.
  template <class F>
  __device__ float sum(int64_t width, const F& f) const {
    float total = 0;
    for (int v = 0; v < chunks; ++v)
      if (holds(v, width))
        for (int i = 0; i < per_chunk<T>; ++i) total += f(v, i);
    return warp_sum(total);
  }
};

template <class T, int chunks>
__global__ void __launch_bounds__(row_threads)
    norm_rows(int64_t rows, int64_t width, float epsilon, const T* x, const T* gamma, const T* beta, T* y,
              float* means, float* rstds) {
  Row<T, chunks> weight, shift, row;
  weight.load(gamma, width);
  shift.load(beta, width);
  const float share = 1 / static_cast<float>(width);
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    row.load(x + r * width, width);
    const float mean = share * row.sum(width, [&](int v, int i) { return row.at[v][i]; });
    const float variance = share * row.sum(width, [&](int v, int i) {
      const float d = row.at[v][i] - mean;
      return d * d;
    });
    const float rstd = 1 / sqrtf(variance + epsilon);
    for (int v = 0; v < chunks; ++v)
      for (int i = 0; i < per_chunk<T>; ++i)
        row.at[v][i] = (row.at[v][i] - mean) * rstd * weight.at[v][i] + shift.at[v][i];
    row.store(y + r * width, width);
    if (means != nullptr && lane_of_thread() == 0) means[r] = mean, rstds[r] = rstd;
  }
}

// Rows of any width and place, read from memory three times.
template <class T>
__global__ void __launch_bounds__(row_threads)
    norm_any_rows(int64_t rows, int64_t width, float epsilon, const T* x, const T* gamma, const T* beta, T* y,
                  float* means, float* rstds) {
  const int lane = lane_of_thread();
  const float share = 1 / static_cast<float>(width);
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    const T* row = x + r * width;
    float sum = 0, squares = 0;
    for (int64_t i = lane; i < width; i += warp_size) sum += widen(row[i]);
    const float mean = share * warp_sum(sum);
    for (int64_t i = lane; i < width; i += warp_size) {
      const float d = widen(row[i]) - mean;
      squares += d * d;
    }
    const float rstd = 1 / sqrtf(share * warp_sum(squares) + epsilon);
    for (int64_t i = lane; i < width; i += warp_size)
      y[r * width + i] = narrow<T>((widen(row[i]) - mean) * rstd * widen(gamma[i]) + widen(beta[i]));
    if (means != nullptr && lane == 0) means[r] = mean, rstds[r] = rstd;
  }
}

// With g = dy gamma and n the normed row: dx = rstd (g - mean(g) - n mean(g n)) + residual
template <class T, int chunks>
__global__ void __launch_bounds__(row_threads)
    norm_rows_backward(int64_t rows, int64_t width, const T* x, const T* dy, const T* gamma,
                       const float* means, const float* rstds, const T* residual, T* dx) {
  Row<T, chunks> weight, normed, slope, added;
  weight.load(gamma, width);
  const float share = 1 / static_cast<float>(width);
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    const float mean = means[r], rstd = rstds[r];
    normed.load(x + r * width, width);
    slope.load(dy + r * width, width);
    if (residual != nullptr) added.load(residual + r * width, width);
    for (int v = 0; v < chunks; ++v)
      for (int i = 0; i < per_chunk<T>; ++i) {
        normed.at[v][i] = (normed.at[v][i] - mean) * rstd;
        slope.at[v][i] *= weight.at[v][i];
      }
    const float level = share * slope.sum(width, [&](int v, int i) { return slope.at[v][i]; });
    const float tilt =
        share * slope.sum(width, [&](int v, int i) { return slope.at[v][i] * normed.at[v][i]; });
    for (int v = 0; v < chunks; ++v)
      for (int i = 0; i < per_chunk<T>; ++i)
        slope.at[v][i] = rstd * (slope.at[v][i] - level - normed.at[v][i] * tilt) +
                         (residual == nullptr ? 0 : added.at[v][i]);
    slope.store(dx + r * width, width);
  }
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    norm_any_rows_backward(int64_t rows, int64_t width, const T* x, const T* dy, const T* gamma,
                           const float* means, const float* rstds, const T* residual, T* dx) {
  const int lane = lane_of_thread();
  const float share = 1 / static_cast<float>(width);
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    const float mean = means[r], rstd = rstds[r];
    const auto slope = [&](int64_t i) { return widen(dy[r * width + i]) * widen(gamma[i]); };
    const auto normed = [&](int64_t i) { return (widen(x[r * width + i]) - mean) * rstd; };
    float level = 0, tilt = 0;
    for (int64_t i = lane; i < width; i += warp_size) level += slope(i), tilt += slope(i) * normed(i);
    level = share * warp_sum(level);
    tilt = share * warp_sum(tilt);
    for (int64_t i = lane; i < width; i += warp_size)
      dx[r * width + i] = narrow<T>(rstd * (slope(i) - level - normed(i) * tilt) +
                                    (residual == nullptr ? 0 : widen(residual[r * width + i])));
  }
}

// dgamma = sum over rows of dy n, dbeta = sum of dy. A block has 32 columns; its warps take the rows in turn, and their
// sums are added in the order of the warps.
template <class T>
__global__ void __launch_bounds__(row_threads)
    norm_weights(int64_t rows, int64_t width, const T* x, const T* dy, const float* means, const float* rstds,
                 T* dgamma, T* dbeta) {
  auto* parts = reinterpret_cast<float*>(shared_memory());  // (2, warps, 32)
  const int lane = lane_of_thread(), group = static_cast<int>(threadIdx.x) / warp_size;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * warp_size + lane;
  float gamma = 0, beta = 0;
  if (column < width)
    for (int64_t r = group; r < rows; r += rows_at_once) {
      const float slope = widen(dy[r * width + column]);
      if (dgamma != nullptr) gamma += slope * (widen(x[r * width + column]) - means[r]) * rstds[r];
      beta += slope;
    }
  parts[group * warp_size + lane] = gamma;
  parts[(rows_at_once + group) * warp_size + lane] = beta;
  __syncthreads();
  if (group != 0 || column >= width) return;
  gamma = beta = 0;
  for (int g = 0; g < rows_at_once; ++g) {
    gamma += parts[g * warp_size + lane];
    beta += parts[(rows_at_once + g) * warp_size + lane];
  }
  if (dgamma != nullptr) dgamma[column] = narrow<T>(gamma);
  if (dbeta != nullptr) dbeta[column] = narrow<T>(beta);
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    softmax_rows(int64_t rows, int64_t width, float factor, const T* x, T* y) {
  const int lane = lane_of_thread();
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    const T* row = x + r * width;
    float greatest = -INFINITY, sum = 0;
    for (int64_t i = lane; i < width; i += warp_size) greatest = fmaxf(greatest, factor * widen(row[i]));
    greatest = warp_max(greatest);
    for (int64_t i = lane; i < width; i += warp_size) sum += expf(factor * widen(row[i]) - greatest);
    const float share = 1 / warp_sum(sum);
    for (int64_t i = lane; i < width; i += warp_size)
      y[r * width + i] = narrow<T>(share * expf(factor * widen(row[i]) - greatest));
  }
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    softmax_rows_backward(int64_t rows, int64_t width, float factor, const T* y, const T* dy, T* dx) {
  const int lane = lane_of_thread();
  for (int64_t r = first_row(); r < rows; r += row_step()) {
    float level = 0;
    for (int64_t i = lane; i < width; i += warp_size)
      level += widen(y[r * width + i]) * widen(dy[r * width + i]);
    level = warp_sum(level);
    for (int64_t i = lane; i < width; i += warp_size)
      dx[r * width + i] = narrow<T>(factor * widen(y[r * width + i]) * (widen(dy[r * width + i]) - level));
  }
}

// Calls f with how many chunks a lane must hold for a row, 1 to 8; with 0 for rows that do not come in chunks.
template <class T, class F>
Result with_chunks(int64_t width, bool whole, const F& f) {
  const int64_t per_lane = divided_up(width, int64_t{per_chunk<T>} * warp_size);
  if (!whole || width % per_chunk<T> != 0 || per_lane > 8) return f(std::integral_constant<int, 0>{});
  if (per_lane == 1) return f(std::integral_constant<int, 1>{});
  if (per_lane == 2) return f(std::integral_constant<int, 2>{});
  if (per_lane == 3) return f(std::integral_constant<int, 3>{});
  if (per_lane == 4) return f(std::integral_constant<int, 4>{});
  if (per_lane <= 6) return f(std::integral_constant<int, 6>{});
  return f(std::integral_constant<int, 8>{});
}

}  // namespace

Result layer_norm(Queue* queue, const LayerNorm& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool whole = aligned(a.x) && aligned(a.gamma) && aligned(a.beta) && aligned(a.y);
    return with_chunks<T>(a.width, whole, [&](auto chunks) {
      auto kernel = norm_any_rows<T>;
      if constexpr (chunks() > 0) kernel = norm_rows<T, chunks()>;
      return launch(queue, kernel, blocks_for(a.rows, rows_at_once), row_threads, 0, a.rows, a.width,
                    a.epsilon, static_cast<const T*>(a.x), static_cast<const T*>(a.gamma),
                    static_cast<const T*>(a.beta), static_cast<T*>(a.y), a.mean, a.rstd);
    });
  });
}

Result layer_norm_backward(Queue* queue, const LayerNormBackward& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool whole =
        aligned(a.x) && aligned(a.dy) && aligned(a.gamma) && aligned(a.residual) && aligned(a.dx);
    return with_chunks<T>(a.width, whole, [&](auto chunks) {
      auto kernel = norm_any_rows_backward<T>;
      if constexpr (chunks() > 0) kernel = norm_rows_backward<T, chunks()>;
      return launch(queue, kernel, blocks_for(a.rows, rows_at_once), row_threads, 0, a.rows, a.width,
                    static_cast<const T*>(a.x), static_cast<const T*>(a.dy), static_cast<const T*>(a.gamma),
                    a.mean, a.rstd, static_cast<const T*>(a.residual), static_cast<T*>(a.dx));
    });
  });
}

Result layer_norm_weights(Queue* queue, const LayerNormWeights& a) {
  if (a.dgamma == nullptr && a.dbeta == nullptr) return nullptr;
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, norm_weights<T>, blocks_for(a.width, warp_size), row_threads,
                  sizeof(float) * 2 * row_threads, a.rows, a.width, static_cast<const T*>(a.x),
                  static_cast<const T*>(a.dy), a.mean, a.rstd, static_cast<T*>(a.dgamma),
                  static_cast<T*>(a.dbeta));
  });
}

Result softmax(Queue* queue, const Softmax& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, softmax_rows<T>, blocks_for(a.rows, rows_at_once), row_threads, 0, a.rows, a.width,
                  a.factor, static_cast<const T*>(a.x), static_cast<T*>(a.y));
  });
}

Result softmax_backward(Queue* queue, const SoftmaxBackward& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, softmax_rows_backward<T>, blocks_for(a.rows, rows_at_once), row_threads, 0, a.rows,
                  a.width, a.factor, static_cast<const T*>(a.y), static_cast<const T*>(a.dy),
                  static_cast<T*>(a.dx));
  });
}

}  // namespace vitrine::gpu
