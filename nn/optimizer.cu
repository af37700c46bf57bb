// optimizer.cu: SGD with momentum and AdamW on a device, all parameters in one kernel; the norm of all gradients.
#include "engine/gpu/elements.h"
#include "engine/gpu/entries.h"

namespace vitrine::gpu {

namespace {

constexpr int items_at_once = 40;  // they travel as a kernel's argument
constexpr int step_threads = 256, numbers_per_block = 4 * step_threads;

// Some parameters, and how many blocks the ones before each of them have.
struct Items {
  int count = 0;
  StepItem at[items_at_once];
  unsigned first_block[items_at_once + 1] = {};
};

struct Rule {
  bool adamw;
  float momentum, beta1, beta2, epsilon;
  const float* rates;
};

__global__ void __launch_bounds__(step_threads) step_items(Items items, Rule rule) {
  int which = 0;
  while (items.first_block[which + 1] <= blockIdx.x) ++which;
  const StepItem& item = items.at[which];
  const float lr = rule.rates[0], rate = lr * rule.rates[1], unbias = rule.rates[2];
  const int64_t begin = static_cast<int64_t>(blockIdx.x - items.first_block[which]) * numbers_per_block;
  for (int64_t i = begin + threadIdx.x; i < begin + numbers_per_block && i < item.count; i += step_threads) {
    const float g = item.gradient[i], w = item.value[i];
    if (rule.adamw) {
      const float m = rule.beta1 * item.first[i] + (1 - rule.beta1) * g;
      const float v = rule.beta2 * item.second[i] + (1 - rule.beta2) * g * g;
      item.first[i] = m;
      item.second[i] = v;
      item.value[i] = w - (lr * item.decay * w + rate * m / (sqrtf(v * unbias) + rule.epsilon));
    } else {
      const float v = rule.momentum * item.first[i] + (g + item.decay * w);
      item.first[i] = v;
      item.value[i] = w - lr * v;
    }
  }
}

__device__ double add_pairwise(double own, double* sums) {
  sums[threadIdx.x] = own;
  for (int half = step_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];  // for thread 0
}

// Block (p, i): part p of the numbers of item i.
__global__ void __launch_bounds__(step_threads) square_parts(Items items, double* parts) {
  const StepItem& item = items.at[blockIdx.y];
  double sum = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * step_threads + threadIdx.x; i < item.count;
       i += int64_t{square_sum_parts} * step_threads)
    sum += static_cast<double>(item.gradient[i]) * item.gradient[i];
  sum = add_pairwise(sum, reinterpret_cast<double*>(shared_memory()));
  if (threadIdx.x == 0) parts[blockIdx.y * square_sum_parts + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(step_threads) add_parts(int64_t count, const double* parts, double* to) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += step_threads) sum += parts[i];
  sum = add_pairwise(sum, reinterpret_cast<double*>(shared_memory()));
  if (threadIdx.x == 0) to[0] = sum;
}

__global__ void __launch_bounds__(step_threads) clip_items(Items items, const double* sum, float largest) {
  const double norm = sqrt(sum[0]);
  if (!(norm > largest && norm < INFINITY)) return;
  int which = 0;
  while (items.first_block[which + 1] <= blockIdx.x) ++which;
  const StepItem& item = items.at[which];
  const float factor = static_cast<float>(largest / norm);
  const int64_t begin = static_cast<int64_t>(blockIdx.x - items.first_block[which]) * numbers_per_block;
  for (int64_t i = begin + threadIdx.x; i < begin + numbers_per_block && i < item.count; i += step_threads)
    item.gradient[i] *= factor;
}

// Calls body with some of the items at a time.
template <class F>
Result in_parts(const StepItem* list, int64_t count, const F& body) {
  for (int64_t first = 0; first < count; first += items_at_once) {
    Items items;
    for (; items.count < items_at_once && first + items.count < count; ++items.count) {
      items.at[items.count] = list[first + items.count];
      items.first_block[items.count + 1] =
          items.first_block[items.count] +
          static_cast<unsigned>(divided_up(items.at[items.count].count, numbers_per_block));
    }
    if (const Result wrong = body(items, first)) return wrong;
  }
  return nullptr;
}

}  // namespace

Result optimizer_step(Queue* queue, const OptimizerStep& a) {
  const Rule rule{a.adamw, a.momentum, a.beta1, a.beta2, a.epsilon, a.rates};
  return in_parts(a.list, a.items, [&](const Items& items, int64_t) {
    return launch(queue, step_items, dim3(items.first_block[items.count]), step_threads, 0, items, rule);
  });
}

Result clip_gradients(Queue* queue, const ClipGradients& a) {
  return in_parts(a.list, a.items, [&](const Items& items, int64_t) {
    return launch(queue, clip_items, dim3(items.first_block[items.count]), step_threads, 0, items, a.sum,
                  a.largest);
  });
}

Result square_sum(Queue* queue, const SquareSum& a) {
  constexpr size_t shared = sizeof(double) * step_threads;
  const Result wrong = in_parts(a.list, a.items, [&](const Items& items, int64_t first) {
    return launch(queue, square_parts, dim3(square_sum_parts, static_cast<unsigned>(items.count)),
                  step_threads, shared, items, a.parts + first * square_sum_parts);
  });
  if (wrong != nullptr) return wrong;
  return launch(queue, add_parts, dim3(1), step_threads, shared, a.items * square_sum_parts,
                static_cast<const double*>(a.parts), a.sum);
}

}  // namespace vitrine::gpu
