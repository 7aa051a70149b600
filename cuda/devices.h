// The CUDA devices of this machine.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sdc::cuda {

struct Device {
  std::string name;
  int major, minor;  // compute capability
  std::size_t memory_bytes;
};

// All devices; none where there is no driver. Never throws for that.
std::vector<Device> devices();

// Why there are none, in the runtime's words; empty where there are.
std::string devices_problem();

}  // namespace sdc::cuda
