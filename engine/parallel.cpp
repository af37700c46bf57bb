#include "engine/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>

#include "engine/check.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace vitrine {

#ifdef _OPENMP
int thread_count() { return omp_get_max_threads(); }
#else
int thread_count() { return 1; }
#endif

void check_thread_count(int threads) {
  check(threads >= 1 && threads <= 1024, "threads: expected 1 to 1024, got {}", threads);
#ifndef _OPENMP
  if (threads > 1) left_out(text("{} threads", threads), "VITRINE_OPENMP");
#endif
}

void set_thread_count(int threads) {
  check_thread_count(threads);
#ifdef _OPENMP
  omp_set_num_threads(threads);
#endif
}

void parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  parallel_for_threads(items, grain, [&](int, int64_t begin, int64_t end) { body(begin, end); });
}

void parallel_for_threads(int64_t items, int64_t grain, FunctionRef<void(int, int64_t, int64_t)> body) {
  if (items <= 0) return;
  grain = std::max<int64_t>(grain, 1);
#ifdef _OPENMP
  if (items > grain && thread_count() > 1 && !omp_in_parallel()) {
    // Each thread takes a share of what is left, so that the last pieces are small and all end together.
    std::atomic<int64_t> next = 0;
    std::exception_ptr thrown;
    const int64_t shares = int64_t{3} * thread_count();
#pragma omp parallel
    {
      int64_t begin = next.load();
      while (begin < items) {
        const int64_t end = std::min(items, begin + std::max(grain, (items - begin) / shares));
        if (!next.compare_exchange_weak(begin, end)) continue;
        try {
          body(omp_get_thread_num(), begin, end);
        } catch (...) {
#pragma omp critical(vitrine_parallel_for)
          thrown = std::current_exception();
        }
        begin = next.load();
      }
    }
    if (thrown) std::rethrow_exception(thrown);
    return;
  }
#endif
  body(0, 0, items);
}

}  // namespace vitrine
