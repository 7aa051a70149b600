#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace sdc {
namespace {

constexpr int kUndecided = 0;

std::atomic<int> default_threads{kUndecided};

using TaskFunction = std::function<void(std::int64_t, int)>;

// One call of parallel_for. `helpers_wanted`, `next_worker` and `helpers_running` belong to the pool's mutex.
struct Job {
  const TaskFunction& fn;
  const std::int64_t n_tasks;
  int helpers_wanted;
  int next_worker = 1;
  int helpers_running = 0;
  std::atomic<std::int64_t> next_task{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error{};

  void work(int worker) {
    try {
      for (std::int64_t task; (task = next_task.fetch_add(1)) < n_tasks;) fn(task, worker);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
      next_task.store(n_tasks);
    }
  }
};

thread_local bool inside_task = false;

class Pool {
 public:
  void run(Job& job) {
    std::list<Job*>::iterator place;
    {
      const std::lock_guard lock(mutex_);
      grow(job.helpers_wanted);
      place = jobs_.insert(jobs_.end(), &job);
    }
    work_available_.notify_all();
    inside_task = true;
    job.work(0);
    inside_task = false;
    std::unique_lock lock(mutex_);
    jobs_.erase(place);
    helper_done_.wait(lock, [&] { return job.helpers_running == 0; });
  }

 private:
  // A thread that cannot be had is no error: the caller does the work of those that are missing.
  void grow(int n_helpers) {
    try {
      for (; n_helpers_ < n_helpers; ++n_helpers_) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
    }
  }

  Job* wanting_help() const {
    const auto job =
        std::find_if(jobs_.begin(), jobs_.end(), [](const Job* j) { return j->helpers_wanted > 0; });
    return job == jobs_.end() ? nullptr : *job;
  }

  void help() {
    inside_task = true;
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      work_available_.wait(lock, [&] { return (job = wanting_help()) != nullptr; });
      --job->helpers_wanted;
      ++job->helpers_running;
      const int worker = job->next_worker++;
      lock.unlock();
      job->work(worker);
      lock.lock();
      if (--job->helpers_running == 0) helper_done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_available_;
  std::condition_variable helper_done_;
  std::list<Job*> jobs_;
  int n_helpers_ = 0;
};

std::atomic<Pool*> current_pool{nullptr};

// Never destroyed: its threads may wait on it until the process ends. A forked child forgets the parent's
// pool, whose threads it lacks and whose mutex may be held.
Pool& pool() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
  static_cast<void>(registered);
#endif
  Pool* existing = current_pool.load();
  if (existing != nullptr) return *existing;
  Pool* fresh = new Pool;
  if (current_pool.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;
  return *existing;
}

int affinity_count() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::clamp(CPU_COUNT(&set), 1, kMaxThreads);
#endif
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

int threads_from_environment() {
  const char* text = std::getenv("SDC_SEARCH_THREADS");
  if (text == nullptr || *text == '\0') return affinity_count();
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (*end != '\0' || n < 1 || n > kMaxThreads) {
    throw std::invalid_argument("SDC_SEARCH_THREADS must be a number from 1 to " +
                                std::to_string(kMaxThreads) + ", got '" + text + "'");
  }
  return static_cast<int>(n);
}

}  // namespace

int num_threads() {
  int n = default_threads.load(std::memory_order_relaxed);
  if (n == kUndecided) {
    const int chosen = threads_from_environment();
    if (default_threads.compare_exchange_strong(n, chosen)) n = chosen;
  }
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > kMaxThreads) {
    throw std::invalid_argument("the number of threads must be from 1 to " + std::to_string(kMaxThreads) +
                                ", got " + std::to_string(n));
  }
  default_threads.store(n);
}

void parallel_for(std::int64_t n_tasks, int threads, const TaskFunction& fn) {
  if (threads <= 0) threads = num_threads();
  threads = static_cast<int>(std::min<std::int64_t>({threads, n_tasks, kMaxThreads}));
  if (threads <= 1 || inside_task) {
    for (std::int64_t task = 0; task < n_tasks; ++task) fn(task, 0);
    return;
  }
  Job job{.fn = fn, .n_tasks = n_tasks, .helpers_wanted = threads - 1};
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace sdc
