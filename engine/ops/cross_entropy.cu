// cross_entropy.cu: the loss on a device. One block does it all: logits are few.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

constexpr int loss_threads = 256, loss_warps = loss_threads / warp_size;

template <class T>
__device__ float weight_of(const T* class_weights, int64_t c) {
  return class_weights == nullptr ? 1.0f : widen(class_weights[c]);
}

// The sum of a term for each warp, in their order; lane 0 of each brings it. For all threads of the block.
__device__ float sum_of_warps(float term, float* parts) {
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % warp_size == 0) parts[threadIdx.x / warp_size] = term;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < loss_warps; ++w) total += parts[w];
  return total;
}

template <class T>
__global__ void __launch_bounds__(loss_threads)
    loss_forward(int64_t batch, int64_t classes, float smoothing, const T* logits, const int64_t* labels,
                 const T* class_weights, T* loss, float* probabilities, float* weights) {
  auto* parts = reinterpret_cast<float*>(shared_memory());
  const int lane = static_cast<int>(threadIdx.x) % warp_size,
            warp = static_cast<int>(threadIdx.x) / warp_size;
  float own_loss = 0, own_weight = 0, all = 0;
  for (int64_t c = lane; c < classes; c += warp_size) all += weight_of(class_weights, c);
  all = warp_sum(all);
  for (int64_t b = warp; b < batch; b += loss_warps) {
    const T* row = logits + b * classes;
    const int64_t label = labels[b];
    float greatest = -INFINITY, sum = 0, smooth = 0;
    for (int64_t c = lane; c < classes; c += warp_size) greatest = fmaxf(greatest, widen(row[c]));
    greatest = warp_max(greatest);
    for (int64_t c = lane; c < classes; c += warp_size) sum += expf(widen(row[c]) - greatest);
    const float log_sum = greatest + logf(warp_sum(sum));
    for (int64_t c = lane; c < classes; c += warp_size) {
      const float z = widen(row[c]) - log_sum;
      probabilities[b * classes + c] = expf(z);
      smooth -= weight_of(class_weights, c) * z;
    }
    smooth = warp_sum(smooth) * smoothing / static_cast<float>(classes);
    if (label < 0 || label >= classes) {
      own_loss = NAN;
      continue;
    }
    const float weight = weight_of(class_weights, label);
    own_weight += weight;
    own_loss += (1 - smoothing) * weight * (log_sum - widen(row[label])) + (smoothing > 0 ? smooth : 0);
  }
  const float labels_weight = sum_of_warps(own_weight, parts), total = sum_of_warps(own_loss, parts);
  if (threadIdx.x != 0) return;
  loss[0] = narrow<T>(total / labels_weight);
  weights[0] = labels_weight;
  weights[1] = all;
}

// dlogits = dloss ((1 - s) w_label (p - onehot) + s/C (p sum(w) - w)) / sum of the labels' weights
template <class T>
__global__ void __launch_bounds__(element_threads)
    loss_backward(int64_t batch, int64_t classes, float smoothing, const int64_t* labels,
                  const T* class_weights, const float* probabilities, const float* weights, const T* dloss,
                  T* dlogits) {
  const float unit = widen(dloss[0]) / weights[0], share = smoothing / static_cast<float>(classes);
  const int64_t count = batch * classes, step = static_cast<int64_t>(gridDim.x) * element_threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * element_threads + threadIdx.x; i < count; i += step) {
    const int64_t c = i % classes, label = labels[i / classes];
    const float p = probabilities[i];
    if (label < 0 || label >= classes) {
      dlogits[i] = narrow<T>(NAN);
      continue;
    }
    const float sharp = (1 - smoothing) * weight_of(class_weights, label) * (p - (c == label ? 1.0f : 0.0f));
    const float smooth = share * (p * weights[1] - weight_of(class_weights, c));
    dlogits[i] = narrow<T>(unit * (sharp + smooth));
  }
}

}  // namespace

Result cross_entropy(Queue* queue, const CrossEntropy& a) {
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(queue, loss_forward<T>, dim3(1), loss_threads, sizeof(float) * loss_warps, a.batch,
                  a.classes, static_cast<float>(a.smoothing), static_cast<const T*>(a.logits), a.labels,
                  static_cast<const T*>(a.class_weights), static_cast<T*>(a.loss), a.probabilities,
                  a.weights);
  });
}

Result cross_entropy_backward(Queue* queue, const CrossEntropyBackward& a) {
  return with_type(a.forward.dtype, [&](auto zero) {
    using T = decltype(zero);
    const CrossEntropy& f = a.forward;
    return launch(queue, loss_backward<T>, blocks_for(f.batch * f.classes, element_threads), element_threads,
                  0, f.batch, f.classes, static_cast<float>(f.smoothing), f.labels,
                  static_cast<const T*>(f.class_weights), f.probabilities, f.weights,
                  static_cast<const T*>(a.dloss), static_cast<T*>(a.dlogits));
  });
}

}  // namespace vitrine::gpu
