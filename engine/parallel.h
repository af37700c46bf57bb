// parallel.h: loops over independent items, on all threads when OpenMP is there.
//
// A loop body writes only what belongs to its own items, and no sum is ever split between items of two
// threads. So the result does not depend on the number of threads, to the last bit.
#pragma once

#include <cstdint>

#include "engine/function_ref.h"

namespace vitrine {

int thread_count();  // how many threads a loop may use
// Throws unless so many threads can be had: 1 to 1024, without OpenMP 1.
void check_thread_count(int threads);
// The same, and sets it for loops that the calling thread starts, as with OpenMP.
void set_thread_count(int threads);

// Calls body(begin, end) for chunks that cover [0, items) once each. Each chunk holds at least `grain` items
// (but the last). An exception in a body is rethrown here after all threads are done.
void parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

// The same for bodies that need working memory for each thread: body(thread, begin, end) with 0 <= thread <
// thread_count(), and no two of one number at the same time.
void parallel_for_threads(int64_t items, int64_t grain,
                          FunctionRef<void(int thread, int64_t begin, int64_t end)> body);

}  // namespace vitrine
