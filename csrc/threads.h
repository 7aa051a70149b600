// A small persistent thread pool, shared by everything in the native core.
//
// It is made at the first call that wants more than one thread, grows to the largest number asked for, and
// idles without using a processor. After fork() the child has none of the parent's threads and starts its own
// at its first call.
#pragma once

#include <cstdint>
#include <functional>

namespace sdc {

inline constexpr int kMaxThreads = 1024;

// Threads that a call uses when it names no number: set_num_threads, else SDC_SEARCH_THREADS, else the
// processors in this process's affinity mask. Throws std::invalid_argument when SDC_SEARCH_THREADS is not a
// number from 1 to kMaxThreads.
int num_threads();

// Throws std::invalid_argument unless 1 <= n <= kMaxThreads.
void set_num_threads(int n);

// Calls fn(task, worker) once for every task in [0, n_tasks), on at most `threads` threads (0:
// num_threads()), the calling thread among them as worker 0; returns when all have ended. Workers are
// numbered from 0 to threads - 1; two calls of fn that run at the same time have different numbers, and each
// worker gets its tasks in ascending order. The first exception that fn throws is rethrown here; tasks that
// have not begun by then are skipped. May be called from several threads at once. A call from inside fn runs
// on its own thread alone.
void parallel_for(std::int64_t n_tasks, int threads,
                  const std::function<void(std::int64_t task, int worker)>& fn);

}  // namespace sdc
