// A persistent pool of threads.
#pragma once

#include <cstdint>
#include <functional>

namespace sdc {

// The default number of threads: what set_num_threads said, else SDC_SEARCH_THREADS, else the CPUs in this
// process's affinity mask. Throws std::invalid_argument if the variable is not an integer from 1 to 4,096.
int num_threads();
void set_num_threads(int threads);  // threads >= 1

// Runs fn(task, worker) for every task in [0, n_tasks), on at most `threads` threads of which the caller is
// one; 0 <= worker < threads, and no two calls with the same worker run at once. Tasks start in ascending
// order. The first exception is rethrown here after the tasks under way have ended; those not begun are
// dropped. Calls from several threads at once are safe, and so are calls from inside fn. After fork() the
// child makes its own threads.
void parallel_for(std::int64_t n_tasks, int threads, const std::function<void(std::int64_t, int)>& fn);

}  // namespace sdc
