// The emulator of CUDA kernels (cuda/emulator) on kernels with known faults, each of which it must show, and
// on their right twins. Prints what differs; exits with 1 if anything does.
#include <cuda_runtime.h>

#include <cstdio>
#include <string>
#include <vector>

#include "../../cuda/dynamic_shared.cuh"

using emulator::Order;
using sdc::cuda::dynamic_shared;

namespace {

int n_checks = 0, n_failures = 0;

void expect(bool ok, const std::string& what) {
  ++n_checks;
  if (ok) return;
  ++n_failures;
  std::printf("FAILED %s\n", what.c_str());
}

constexpr unsigned kThreads = 64, kBlocks = 3;

const emulator::Schedule kSchedules[] = {{Order::forward, 0, 0xcd},
                                         {Order::reverse, 0, 0xcd},
                                         {Order::random, 1, 0xcd},
                                         {Order::random, 2, 0xcd},
                                         {Order::forward, 0, 0x11}};

// What the kernel writes to `out`, one number a thread.
template <class Kernel>
std::vector<unsigned> outcome(const Kernel& kernel, const emulator::Schedule& schedule) {
  auto* out =
      static_cast<unsigned*>(emulator::allocate(kBlocks * kThreads * sizeof(unsigned), sizeof(unsigned)));
  std::vector<unsigned> values;
  emulator::set_schedule(schedule);
  try {
    emulator::run(kBlocks, kThreads, kThreads * sizeof(unsigned), [&] { kernel(out); });
    values.assign(out, out + kBlocks * kThreads);
  } catch (...) {
    emulator::release(out);
    throw;
  }
  emulator::release(out);
  return values;
}

template <class Kernel>
bool depends_on_schedule(const Kernel& kernel) {
  const std::vector<unsigned> first = outcome(kernel, kSchedules[0]);
  for (const emulator::Schedule& schedule : kSchedules)
    if (outcome(kernel, schedule) != first) return true;
  return false;
}

template <class Kernel>
void expect_error(const Kernel& kernel, const std::string& text, const std::string& what) {
  for (const emulator::Schedule& schedule : kSchedules) {
    std::string message = "no error";
    try {
      outcome(kernel, schedule);
    } catch (const emulator::Error& error) {
      message = error.what();
    }
    expect(message.find(text) != std::string::npos, what + ": " + message);
  }
}

unsigned index_of_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

template <bool barrier>
void reversed(unsigned* out) {
  unsigned* shared = dynamic_shared<unsigned>();
  shared[threadIdx.x] = threadIdx.x + 1;
  if (barrier) __syncthreads();
  out[index_of_thread()] = shared[kThreads - 1 - threadIdx.x];
}

template <bool barrier>
void neighbour_in_warp(unsigned* out) {
  unsigned* shared = dynamic_shared<unsigned>();
  shared[threadIdx.x] = threadIdx.x + 1;
  if (barrier) __syncwarp();
  out[index_of_thread()] = shared[threadIdx.x ^ 1];
}

template <bool initialised>
void sum_in_shared(unsigned* out) {
  unsigned* shared = dynamic_shared<unsigned>();
  if (initialised && threadIdx.x == 0) shared[0] = 0;
  __syncthreads();
  atomicAdd(shared, threadIdx.x);
  __syncthreads();
  out[index_of_thread()] = shared[0];
}

void static_sum_initialised(unsigned* out) {
  __shared__ unsigned sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, threadIdx.x);
  __syncthreads();
  out[index_of_thread()] = sum;
}

void static_sum_uninitialised(unsigned* out) {
  __shared__ unsigned sum;
  atomicAdd(&sum, threadIdx.x);
  __syncthreads();
  out[index_of_thread()] = sum;
}

void static_array_overrun(unsigned* out) {
  __shared__ unsigned values[16];
  values[threadIdx.x] = 1;
  out[index_of_thread()] = values[threadIdx.x];
}

void sum_of_warp(unsigned* out) {
  unsigned value = threadIdx.x;
  for (unsigned bits = 16; bits != 0; bits /= 2) value += __shfl_xor_sync(0xffffffffu, value, bits);
  const unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 1);
  const unsigned alike = __match_any_sync(0xffffffffu, threadIdx.x % 4);
  const unsigned before = __shfl_up_sync(0xffffffffu, threadIdx.x, 1u);
  const unsigned after = __shfl_down_sync(0xffffffffu, threadIdx.x, 1u);
  const bool any = __any_sync(0xffffffffu, threadIdx.x == 40),
             all = __all_sync(0xffffffffu, threadIdx.x < 32);
  out[index_of_thread()] =
      value + odd + alike + before * 7 + after * 11 + (any ? 1000 : 0) + (all ? 5000 : 0);
}

unsigned expected_sum_of_warp(unsigned thread) {
  const unsigned first = thread / 32 * 32, lane = thread % 32;
  return first * 32 + 31 * 16 + 0xaaaaaaaau + (0x11111111u << lane % 4) +
         (lane == 0 ? thread : thread - 1) * 7 + (lane == 31 ? thread : thread + 1) * 11 +
         (first == 32 ? 1000 : 0) + (first == 0 ? 5000 : 0);
}

// Two parts of a warp, each in its own collective.
void halves(unsigned* out) {
  const unsigned mask = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
  out[index_of_thread()] = __popc(__ballot_sync(mask, threadIdx.x % 3 == 0));
}

}  // namespace

int main() {
  expect(!depends_on_schedule(&reversed<true>), "a barrier makes the reversal the same under every schedule");
  expect(depends_on_schedule(&reversed<false>), "a missing barrier shows");
  expect(!depends_on_schedule(&neighbour_in_warp<true>), "__syncwarp suffices within a warp");
  expect(depends_on_schedule(&neighbour_in_warp<false>), "a missing __syncwarp shows");
  expect(!depends_on_schedule(&sum_in_shared<true>), "atomics on initialised shared memory");
  expect(depends_on_schedule(&sum_in_shared<false>), "uninitialised dynamic shared memory shows");
  expect(!depends_on_schedule(&static_sum_initialised), "atomics on initialised static shared memory");
  expect(depends_on_schedule(&static_sum_uninitialised), "uninitialised static shared memory shows");
  expect(!depends_on_schedule(&halves), "two halves of a warp");

  for (const emulator::Schedule& schedule : kSchedules) {
    const std::vector<unsigned> values = outcome(&sum_of_warp, schedule);
    bool same = true;
    for (unsigned i = 0; i < values.size(); ++i) same &= values[i] == expected_sum_of_warp(i % kThreads);
    expect(same, "shuffles, votes and match");
  }

  const auto odd_threads_wait = [](unsigned* out) {
    if (threadIdx.x % 2 == 1) __syncthreads();
    out[index_of_thread()] = 0;
  };
  expect_error(odd_threads_wait, "divergent barrier", "a barrier that half of the threads reach");
  const auto two_barriers = [](unsigned* out) {
    if (threadIdx.x < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
    out[index_of_thread()] = 0;
  };
  expect_error(two_barriers, "divergent barrier", "threads at two barriers");

  const auto half_a_warp = [](unsigned* out) {
    if (threadIdx.x % 32 < 16) out[index_of_thread()] = __shfl_sync(0xffffffffu, threadIdx.x, 0u);
  };
  expect_error(half_a_warp, "absent lane", "a shuffle that half of its lanes reach");
  const auto two_collectives = [](unsigned* out) {
    if (threadIdx.x % 2 == 0) {
      out[index_of_thread()] = __ballot_sync(0xffffffffu, true);
    } else {
      out[index_of_thread()] = __ballot_sync(0xffffffffu, false);
    }
  };
  expect_error(two_collectives, "absent lane", "lanes in two collectives");
  const auto not_in_the_mask = [](unsigned* out) {
    out[index_of_thread()] = __ballot_sync(0xfffffffeu, true);
  };
  expect_error(not_in_the_mask, "whose mask lacks it", "a lane outside its mask");
  const auto from_outside = [](unsigned* out) {
    const unsigned mask = threadIdx.x % 2 == 0 ? 0x55555555u : 0xaaaaaaaau;
    out[index_of_thread()] = __shfl_sync(mask, threadIdx.x, (threadIdx.x + 1) % 32);
  };
  expect_error(from_outside, "not in its mask", "a shuffle from a lane outside its mask");

  expect_error([](unsigned* out) { out[index_of_thread() + 1] = 1; }, "out of bounds",
               "a write behind the end");
  expect_error([](unsigned* out) { out[0] = out[kBlocks * kThreads]; }, "out of bounds",
               "a read behind the end");
  expect_error([](unsigned* out) { out[-static_cast<long>(1 + 1024 * index_of_thread())] = 1; },
               "out of bounds", "a write before the beginning");
  const auto shared_overrun = [](unsigned*) { dynamic_shared<unsigned>()[threadIdx.x + 1] = 1; };
  expect_error(shared_overrun, "out of bounds", "a write behind the end of dynamic shared memory");
  expect_error(&static_array_overrun, "outside a static array", "a write behind the end of a static array");
  const auto misaligned = [](unsigned* out) {
    out[0] = reinterpret_cast<const uint2*>(reinterpret_cast<const char*>(out) + 4)->x;
  };
  expect_error(misaligned, "misaligned", "a misaligned vector load");

  // After an error the next kernel runs as if nothing had happened.
  expect(!depends_on_schedule(&reversed<true>), "a right kernel after the wrong ones");
  std::printf("%d checks, %d failures\n", n_checks, n_failures);
  return n_failures == 0 ? 0 : 1;
}
