#if defined(__x86_64__)
#include "calibration_body.h"

namespace sdc {

SDC_CALIBRATION_LEVEL(kAvx2Calibration, __attribute__((target("avx2,fma"))), 8, 6)

}  // namespace sdc
#endif
