#include "emulator.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_runtime.h"

// Where a thread goes on is all that a switch changes: no signal masks, which make ucontext's switch slow.
#if defined(__x86_64__)
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");
#else
#include <ucontext.h>
#endif

// What lies in the section of static shared memory; the linker defines these where there is any.
extern "C" {
extern unsigned char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));
}

namespace emulator {

dim3 thread_index, block_index, block_size, grid_size;
bool has_binary_product = true;

namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr unsigned kLanes = 32;

// Lanes of a warp on their way into one collective, and later their values.
struct Meeting {
  unsigned mask, arrived;
  unsigned unread;  // lanes that have yet to take the values; until all have arrived, all of them
  const char* site;
  Values values;
};

enum class State { ready, at_barrier, in_collective, ended };

struct Fiber {
  State state;
  const char* site;  // where it waits
  Meeting* meeting;  // in_collective
#if defined(__x86_64__)
  void* stack_pointer;
#else
  ucontext_t context;
#endif
};

struct Allocation {
  unsigned char* pages;
  std::size_t bytes;
};

std::mutex one_kernel;
Schedule schedule;
std::map<void*, Allocation> allocations;

const std::function<void()>* body = nullptr;
std::vector<Fiber> fibers;
std::vector<std::deque<Meeting>> meetings;  // by warp
unsigned current = 0;
unsigned waiting_at_barrier = 0;
bool released = false;  // whether the thread that ran made others ready, itself among them
unsigned char* shared_memory = nullptr;
unsigned char* stacks = nullptr;
std::size_t n_stacks = 0;
std::string failure;
sigjmp_buf out_of_a_fault;
volatile sig_atomic_t may_fault = 0;

#if defined(__x86_64__)
void* scheduler_stack = nullptr;
void go_to(Fiber& fiber) { emulator_switch(&scheduler_stack, fiber.stack_pointer); }
void go_back() { emulator_switch(&fibers[current].stack_pointer, scheduler_stack); }
#else
ucontext_t scheduler_context;
void go_to(Fiber& fiber) { swapcontext(&scheduler_context, &fiber.context); }
void go_back() { swapcontext(&fibers[current].context, &scheduler_context); }
#endif

std::string who() { return "block " + std::to_string(block_index.x) + ", thread " + std::to_string(current); }

void run_fiber() {
  try {
    (*body)();
  } catch (const std::exception& error) {
    failure = who() + ": " + error.what();
  }
  fibers[current].state = State::ended;
  go_back();
  std::abort();
}

void reset(Fiber& fiber, unsigned index) {
  fiber = Fiber();
  fiber.state = State::ready;
  unsigned char* stack = stacks + index * kStackBytes;
#if defined(__x86_64__)
  // As if run_fiber had been called: six saved registers, its address, and a stack that is 8 off from 16.
  void** top = reinterpret_cast<void**>(stack + kStackBytes) - 1;
  *--top = reinterpret_cast<void*>(&run_fiber);
  top -= 6;
  std::memset(top, 0, 6 * sizeof(void*));
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack = {};
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &run_fiber, 0);
#endif
}

void wait(State state, const char* site) {
  fibers[current].state = state;
  fibers[current].site = site;
  go_back();
}

std::string what_they_wait_for() {
  std::string text;
  unsigned ended = 0, barrier = 0, collective = 0;
  const char *barrier_site = "", *collective_site = "";
  for (const Fiber& fiber : fibers) {
    ended += fiber.state == State::ended;
    if (fiber.state == State::at_barrier) ++barrier, barrier_site = fiber.site;
    if (fiber.state == State::in_collective) ++collective, collective_site = fiber.site;
  }
  text = "block " + std::to_string(block_index.x) + ": ";
  if (collective != 0)
    return text + "absent lane: " + std::to_string(collective) + " threads wait in the collective at " +
           collective_site + " for lanes of its mask that have ended or are elsewhere";
  return text + "divergent barrier: " + std::to_string(barrier) + " threads wait at " + barrier_site + ", " +
         std::to_string(ended) + " have ended";
}

// The order in which n things are taken.
std::vector<unsigned> order_of(unsigned n, std::mt19937_64& random) {
  std::vector<unsigned> order(n);
  std::iota(order.begin(), order.end(), 0u);
  if (schedule.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (schedule.order == Order::random) std::shuffle(order.begin(), order.end(), random);
  return order;
}

void run_block(std::size_t shared_bytes, std::mt19937_64& random) {
  if (shared_memory != nullptr) std::memset(shared_memory, schedule.poison, shared_bytes);
  if (__start_emulated_shared != nullptr)
    std::memset(__start_emulated_shared, schedule.poison,
                static_cast<std::size_t>(__stop_emulated_shared - __start_emulated_shared));
  const unsigned threads = static_cast<unsigned>(fibers.size());
  for (unsigned i = 0; i < threads; ++i) reset(fibers[i], i);
  for (auto& warp : meetings) warp.clear();
  waiting_at_barrier = 0;
  // The first in the order that can go on always does: a warp runs as far ahead of the others as barriers let
  // it.
  const std::vector<unsigned> order = order_of(threads, random);
  for (unsigned at = 0; at < threads;) {
    const unsigned i = order[at++];
    if (fibers[i].state != State::ready) continue;
    current = i;
    thread_index.x = i;
    released = false;
    go_to(fibers[i]);
    if (!failure.empty()) throw Error(failure);
    if (released) at = 0;
  }
  for (const Fiber& fiber : fibers)
    if (fiber.state != State::ended) throw Error(what_they_wait_for());
}

void on_fault(int signal, siginfo_t*, void*) {
  if (may_fault) siglongjmp(out_of_a_fault, signal);
  _exit(128 + signal);
}

constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};

// Turns faults into errors for as long as this lives.
class FaultCatcher {
 public:
  FaultCatcher() : stack_(64 * 1024) {
    stack_t alternate = {};
    alternate.ss_sp = stack_.data();
    alternate.ss_size = stack_.size();
    sigaltstack(&alternate, &stack_before_);
    struct sigaction action = {};
    action.sa_sigaction = &on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (std::size_t i = 0; i < std::size(kFaults); ++i) sigaction(kFaults[i], &action, &before_[i]);
    may_fault = 1;
  }
  ~FaultCatcher() {
    may_fault = 0;
    for (std::size_t i = 0; i < std::size(kFaults); ++i) sigaction(kFaults[i], &before_[i], nullptr);
    sigaltstack(&stack_before_, nullptr);
  }
  FaultCatcher(const FaultCatcher&) = delete;
  FaultCatcher& operator=(const FaultCatcher&) = delete;

 private:
  std::vector<unsigned char> stack_;
  stack_t stack_before_ = {};
  struct sigaction before_[std::size(kFaults)] = {};
};

std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

void set_schedule(const Schedule& wanted) { schedule = wanted; }

void* allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t page = page_bytes(), inner = round_up(std::max<std::size_t>(bytes, 1), page);
  void* mapped = mmap(nullptr, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  unsigned char* pages = static_cast<unsigned char*>(mapped);
  mprotect(pages + page, inner, PROT_READ | PROT_WRITE);
  unsigned char* memory = pages + page + inner - round_up(bytes, alignment);
  allocations[memory] = {pages, inner + 2 * page};
  return memory;
}

void release(void* memory) {
  const auto found = allocations.find(memory);
  if (found == allocations.end()) return;
  munmap(found->second.pages, found->second.bytes);
  allocations.erase(found);
}

void run(unsigned blocks, unsigned threads, std::size_t shared_bytes, const std::function<void()>& kernel) {
  const std::lock_guard<std::mutex> lock(one_kernel);
  if (threads == 0 || threads > 1024) throw Error("a block must have 1 to 1,024 threads");
  if (threads % kLanes != 0) throw Error("the emulator runs whole warps only");
  if (shared_bytes > 48 * 1024) throw Error("a block gets 48 KB of shared memory unless it asks for more");
  if (n_stacks < threads) {
    if (stacks != nullptr) munmap(stacks, n_stacks * kStackBytes);
    void* mapped =
        mmap(nullptr, threads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    stacks = static_cast<unsigned char*>(mapped);
    n_stacks = threads;
  }
  std::unique_ptr<void, void (*)(void*)> shared(shared_bytes == 0 ? nullptr : allocate(shared_bytes, 1),
                                                &release);
  shared_memory = static_cast<unsigned char*>(shared.get());
  body = &kernel;
  fibers.assign(threads, Fiber());
  meetings.assign(threads / kLanes, {});
  failure.clear();
  block_size = {threads, 1, 1};
  grid_size = {blocks, 1, 1};
  thread_index = block_index = {0, 0, 0};

  std::mt19937_64 random(schedule.seed);
  const std::vector<unsigned> order = order_of(blocks, random);
  const FaultCatcher catcher;
  if (const int signal = sigsetjmp(out_of_a_fault, 1)) {
    const bool memory = signal == SIGSEGV || signal == SIGBUS;
    throw Error(who() + ": " +
                (memory ? "access out of bounds" : "misaligned access, or one outside a static array"));
  }
  for (const unsigned block : order) {
    block_index.x = block;
    run_block(shared_bytes, random);
  }
}

unsigned char* dynamic_shared_memory() { return shared_memory; }

unsigned lane() { return thread_index.x % kLanes; }

void barrier(const char* site) {
  for (const Fiber& fiber : fibers) {
    if (fiber.state == State::at_barrier && std::strcmp(fiber.site, site) != 0)
      throw Error(std::string("divergent barrier: threads wait at ") + fiber.site + " and at " + site);
  }
  if (++waiting_at_barrier < fibers.size()) {
    wait(State::at_barrier, site);
    return;
  }
  waiting_at_barrier = 0;
  for (Fiber& fiber : fibers)
    if (fiber.state == State::at_barrier) fiber.state = State::ready;
  released = true;
  go_back();
}

const Values& exchange(unsigned mask, std::uint64_t value, const char* site) {
  const unsigned warp = current / kLanes, own = 1u << lane();
  if ((mask & own) == 0)
    throw Error(std::string(site) + ": lane " + std::to_string(lane()) +
                " calls a collective whose mask lacks it");
  std::deque<Meeting>& pending = meetings[warp];
  // Those that all lanes have left, and whose values the last of them no longer reads.
  while (!pending.empty() && pending.front().unread == 0) pending.pop_front();
  // Lanes of another mask may wait for this one as well: it reaches them afterwards, or never, which shows
  // then.
  const auto found = std::find_if(pending.begin(), pending.end(), [&](const Meeting& meeting) {
    return meeting.mask == mask && meeting.arrived != mask;
  });
  Meeting* meeting;
  if (found == pending.end()) {
    meeting = &pending.emplace_back(Meeting{mask, 0, mask, site, {}});
  } else {
    meeting = &*found;
    if (std::strcmp(meeting->site, site) != 0)
      throw Error(std::string("absent lane: some lanes wait at ") + meeting->site + ", others at " + site);
  }
  meeting->values.of[lane()] = value;
  meeting->arrived |= own;
  if (meeting->arrived != meeting->mask) {
    fibers[current].meeting = meeting;
    wait(State::in_collective, site);
  } else {
    for (unsigned i = 0; i < kLanes; ++i) {
      Fiber& fiber = fibers[warp * kLanes + i];
      if ((mask >> i & 1) != 0 && fiber.state == State::in_collective && fiber.meeting == meeting)
        fiber.state = State::ready;
    }
    released = true;
    go_back();  // so that it does not always run ahead of the others
  }
  meeting->unread &= ~own;
  return meeting->values;
}

}  // namespace emulator
