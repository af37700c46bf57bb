#include "engine/parallel.h"

#include <algorithm>
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

void set_thread_count(int threads) {
  check(threads >= 1 && threads <= 1024, "threads: expected 1 to 1024, got ", threads);
#ifdef _OPENMP
  omp_set_num_threads(threads);
#endif
}

void parallel_for(int64_t items, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (items <= 0) return;
  grain = std::max<int64_t>(grain, 1);
#ifdef _OPENMP
  const int64_t chunks = std::min<int64_t>((items + grain - 1) / grain, int64_t{8} * thread_count());
  if (chunks > 1 && thread_count() > 1 && !omp_in_parallel()) {
    std::exception_ptr thrown;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      try {
        body(items * chunk / chunks, items * (chunk + 1) / chunks);
      } catch (...) {
#pragma omp critical(vitrine_parallel_for)
        thrown = std::current_exception();
      }
    }
    if (thrown) std::rethrow_exception(thrown);
    return;
  }
#endif
  body(0, items);
}

}  // namespace vitrine
