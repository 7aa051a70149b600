#include "threads.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace sdc {
namespace {

constexpr int kMaxThreads = 4096;

int usable_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned cpus = std::thread::hardware_concurrency();
  return cpus == 0 ? 1 : static_cast<int>(cpus);
}

int default_threads() {
  const char* text = std::getenv("SDC_SEARCH_THREADS");
  if (text == nullptr || *text == '\0') return usable_cpus();
  char* end = nullptr;
  errno = 0;
  const long threads = std::strtol(text, &end, 10);
  if (*end != '\0' || errno != 0 || threads < 1 || threads > kMaxThreads) {
    throw std::invalid_argument("SDC_SEARCH_THREADS must be an integer from 1 to 4096, got '" +
                                std::string(text) + "'");
  }
  return static_cast<int>(threads);
}

std::atomic<int> configured{0};

// One parallel_for. Helpers hold it by shared_ptr, since one may wake up after the caller has returned.
struct Job {
  Job(std::int64_t tasks, const std::function<void(std::int64_t, int)>& function)
      : n_tasks(tasks), fn(&function) {}

  void run(int worker) {
    for (std::int64_t task; (task = next.fetch_add(1)) < n_tasks;) {
      try {
        (*fn)(task, worker);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next.store(n_tasks);
      }
    }
  }

  const std::int64_t n_tasks;
  const std::function<void(std::int64_t, int)>* const fn;
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::condition_variable idle;
  int helpers = 0;      // inside run(), under mutex
  int next_worker = 1;  // 0 is the caller, under mutex
  bool closed = false;  // the caller has run out of tasks: nobody may join, under mutex
  std::exception_ptr error;
};

class Pool {
 public:
  void submit(const std::shared_ptr<Job>& job, int helpers) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < helpers; ++i) queue_.push_back(job);
    // Jobs of concurrent callers share the threads, so the largest request so far is enough.
    for (; size_ < helpers; ++size_) std::thread([this] { serve(); }).detach();
    wake_.notify_all();
  }

 private:
  void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        job = std::move(queue_.front());
        queue_.pop_front();
      }
      int worker;
      {
        const std::lock_guard lock(job->mutex);
        if (job->closed) continue;
        worker = job->next_worker++;
        ++job->helpers;
      }
      job->run(worker);
      const std::lock_guard lock(job->mutex);
      if (--job->helpers == 0) job->idle.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  int size_ = 0;
};

// Never destroyed: its threads live as long as the process, and after fork() the parent's is abandoned,
// because its mutex and threads mean nothing in the child.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
  (void)registered;
  Pool* current = pool.load();
  if (current == nullptr) {
    auto* fresh = new Pool;
    if (pool.compare_exchange_strong(current, fresh)) return *fresh;
    delete fresh;
  }
  return *current;
}

}  // namespace

int num_threads() {
  if (configured.load() == 0) configured.store(default_threads());
  return configured.load();
}

void set_num_threads(int threads) { configured.store(threads); }

void parallel_for(std::int64_t n_tasks, int threads, const std::function<void(std::int64_t, int)>& fn) {
  if (n_tasks <= 0) return;
  if (threads <= 1 || n_tasks == 1) {
    for (std::int64_t task = 0; task < n_tasks; ++task) fn(task, 0);
    return;
  }
  const auto job = std::make_shared<Job>(n_tasks, fn);
  const std::int64_t wanted = n_tasks < threads ? n_tasks : threads;
  the_pool().submit(job, static_cast<int>(wanted) - 1);
  job->run(0);
  std::unique_lock lock(job->mutex);
  job->closed = true;
  job->idle.wait(lock, [&] { return job->helpers == 0; });
  if (job->error) std::rethrow_exception(job->error);
}

}  // namespace sdc
