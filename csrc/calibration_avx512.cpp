#if defined(__x86_64__)
#include "calibration_body.h"

namespace sdc {

// 512-bit vectors: gcc and clang prefer 256 bits for loops they vectorise themselves, which is as fast there.
SDC_CALIBRATION_LEVEL(kAvx512Calibration, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))),
                      16, 12)

}  // namespace sdc
#endif
