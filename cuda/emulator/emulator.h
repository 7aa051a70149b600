// Runs CUDA kernels, compiled by a C++ compiler from the same sources, on one thread of the CPU.
//
// Each CUDA thread is a fiber, which runs until it must wait for others: at a barrier or a warp collective.
// Blocks run one after another. The schedule is the order in which blocks start and threads go on; a kernel
// whose result depends on it has a race. What the emulator cannot show is memory ordering between threads
// that run at the same instant, races between blocks that change no result here, and time.
//
// Throws Error for
//   * a barrier that not all threads of a block reach, or that they reach at different places;
//   * a warp collective whose mask names a lane that never comes, or lacks the lane that calls it, or which
//   lanes
//     call at different places;
//   * an access outside allocated memory (allocate, dynamic shared memory), or one of the wrong alignment or
//   outside
//     a static array where compiled with -fsanitize=alignment,bounds -fsanitize-undefined-trap-on-error.
//
// Shared memory is filled with `poison` before each block, so that a kernel which reads it before writing it
// gives results that change with the poison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Order { forward, reverse, random };

struct Schedule {
  Order order = Order::forward;
  std::uint64_t seed = 0;  // of Order::random
  unsigned char poison = 0xcd;
};

void set_schedule(const Schedule& schedule);

// Whether the matrix unit has the product of bits (compute capabilities 8 and 9) or that of bytes alone.
extern bool has_binary_product;

// Runs body() for every thread of every block, with threadIdx and the like set.
void run(unsigned blocks, unsigned threads, std::size_t shared_bytes, const std::function<void()>& body);

// Memory that begins and ends at pages nobody may touch; its last byte, rounded up to `alignment`, is right
// before one.
void* allocate(std::size_t bytes, std::size_t alignment);
void release(void* memory);

// For the intrinsics of cuda_runtime.h.
unsigned char* dynamic_shared_memory();
void barrier(const char* site);
// Waits for the lanes of mask and returns the values that they gave, by lane, until this thread waits again.
struct Values {
  std::uint64_t of[32];
};
const Values& exchange(unsigned mask, std::uint64_t value, const char* site);
unsigned lane();

}  // namespace emulator
